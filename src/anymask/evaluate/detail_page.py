"""Details of prompted masks as plots, and as tables in markdown."""

from collections.abc import Sequence
from typing import Any

from anymask.evaluate.detail import FITS, SIZES
from anymask.evaluate.detail_report import Judged, figures_of
from anymask.evaluate.plots import Plot, Series, binned


def detail_plots(masks: Sequence[Judged]) -> tuple[Plot, ...]:
    """Mean IoU after each click, by size, predicted against true IoU, faults."""
    if not masks:
        return ()
    known: dict[str, Any] = figures_of(masks)
    after = known["mean_after"]
    clicks = tuple(range(1, len(after) + 1))
    box = sum(one.box for one in masks) / len(masks)
    sizes = {name: one for name, one in known["sizes"].items() if one["masks"]}
    places = tuple(range(len(sizes)))
    faults = {name: one for name, one in known["faults"].items() if one["masks"]}
    return (
        Plot(
            name="clicks",
            title=f"Mean IoU after each click, {len(masks)} masks",
            x_label="clicks",
            y_label="mean IoU",
            whole=True,
            series=(
                Series(label="clicks", x=clicks, y=tuple(after)),
                Series(label="box", x=(1, max(2, len(after))), y=(box, box)),
            ),
        ),
        Plot(
            name="sizes",
            title="By size of the object (COCO's bounds, px of the photo)",
            x_label="",
            y_label="mean",
            series=tuple(
                Series(
                    label=label,
                    x=places,
                    y=tuple(one[key] for one in sizes.values()),
                    style="bars",
                )
                for label, key in (
                    ("IoU, box", "box"),
                    ("IoU, one click", "click1"),
                    ("boundary F, box", "boundary_f_box"),
                )
            ),
            ticks=tuple(f"{name} ({one['masks']})" for name, one in sizes.items()),
        ),
        _scores(masks, known["pearson"]),
        Plot(
            name="faults",
            title="What the first click's answer is",
            x_label="",
            y_label="share",
            series=(
                Series(
                    label="of masks",
                    x=tuple(range(len(faults))),
                    y=tuple(one["share"] for one in faults.values()),
                    style="bars",
                ),
                Series(
                    label="of lost IoU",
                    x=tuple(range(len(faults))),
                    y=tuple(one["of_lost_iou"] or 0.0 for one in faults.values()),
                    style="bars",
                ),
            ),
            ticks=tuple(faults),
            y_range=None,
        ),
    )


def _scores(masks: Sequence[Judged], pearson: dict[str, float | None]) -> Plot:
    """Predicted against true IoU, each mask a dot, and the mean of what was predicted alike."""
    pairs = {
        "box": [(one.detail.predicted_box, one.box) for one in masks],
        "click1": [(one.detail.predicted[0], one.click) for one in masks],
    }
    series: list[Series] = []
    for name, rows in pairs.items():
        x, y = (tuple(column) for column in zip(*rows, strict=True))
        r = pearson.get(name)
        label = name if r is None else f"{name} (r {r:.2f})"
        series.append(Series(label=label, x=x, y=y, style="dots"))
    for name, rows in pairs.items():
        means = binned([x for x, _ in rows], [y for _, y in rows])
        series.append(Series(label=f"{name}, mean", x=means[0], y=means[1]))
    return Plot(
        name="scores",
        title="Predicted and true IoU",
        x_label="predicted",
        y_label="true",
        series=tuple(series),
        unit=True,
    )


def detail_remarks(masks: Sequence[Judged]) -> str:
    """Tables in markdown: clicks needed, borders, sizes, scores, faults."""
    if not masks:
        return ""
    known: dict[str, Any] = figures_of(masks)
    rule = known["more_clicks_never_worse"]
    falls = ", ".join(str(one) for one in rule["falls_at"])
    after = ", ".join(f"{one:.3f}" for one in known["mean_after"])
    parts = [
        f"Mean IoU after each click: {after}. "
        + ("More clicks never make the mean worse." if rule["holds"] else f"It falls at {falls}."),
        "Boundary F: "
        + ", ".join(f"{name} {_text(value)}" for name, value in known["boundary_f"].items())
        + f". Wrong pixels near the true border (box): {_text(known['near_border'])}.",
        "Correlation of predicted with true IoU: "
        + ", ".join(f"{name} {_text(value)}" for name, value in known["pearson"].items())
        + ".",
    ]
    if known["noc"]:
        parts.append(
            "Clicks needed: "
            + ", ".join(f"{name} {_text(value)}" for name, value in known["noc"].items())
            + "."
        )
    columns = ("masks", "box", "click1", "boundary_f_box", "near_border")
    names = ("masks", "box", "one click", "boundary F, box", "near the border")
    parts.append(
        _table(
            ("size", *names),
            [(name, *(_text(known["sizes"][name][c]) for c in columns)) for name in SIZES],
        )
    )
    parts.append(
        _table(
            (f"first click (fits: IoU {FITS})", "masks", "share", "of lost IoU"),
            [
                (name, *(_text(one[c]) for c in ("masks", "share", "of_lost_iou")))
                for name, one in known["faults"].items()
            ],
        )
    )
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
