"""Plots of a report as plain data, and their drawing.

Drawing needs matplotlib (the extra ``train``); the data do not. The same data give the same bytes:
nothing of the time, the place or the user's settings is in a picture.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

_SIZE, _DPI = (6.0, 4.2), 110  # inches, dots an inch
_COLORS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#475569")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Some numbers with a name.

    Attributes
    ----------
    x, y
        As many of each; NaN in y leaves a gap.
    style
        How they are shown. Bars of several series stand side by side.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    style: Literal["line", "dots", "bars"] = "line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One picture.

    Attributes
    ----------
    name
        Of its file, without ending.
    title, x_label, y_label
        What stands on it.
    series
        What is shown.
    ticks
        Names for x of 0, 1, ...; none keeps numbers.
    whole
        x are whole numbers.
    unit
        Both axes go from 0 to 1 and have a diagonal where the two are equal.
    x_range, y_range
        What the axes show; None fits.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    ticks: tuple[str, ...] = ()
    whole: bool = False
    unit: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = (0.0, 1.0)


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return find_spec("matplotlib") is not None


def draw(plot: Plot) -> bytes:
    """A PNG."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not those of the user
        figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
        canvas: Any = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _fill(axes, plot)
        if len(plot.series) > 1:
            across = min(5, len(plot.series))
            figure.legend(loc="outside lower center", ncols=across, fontsize=8, frameon=False)
        file = io.BytesIO()
        canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


def _fill(axes: Any, plot: Plot) -> None:
    bars = [one for one in plot.series if one.style == "bars"]
    width = 0.8 / max(1, len(bars))
    seen = {"line": 0, "dots": 0, "bars": 0}
    axes.set_axisbelow(True)
    for one in plot.series:  # the first of each style has the first colour: dots and their means
        color = _COLORS[seen[one.style] % len(_COLORS)]
        seen[one.style] += 1
        if one.style == "bars":
            shift = (bars.index(one) - (len(bars) - 1) / 2) * width
            axes.bar([x + shift for x in one.x], one.y, width * 0.92, label=one.label, color=color)
        elif one.style == "dots":
            axes.plot(one.x, one.y, ".", label=one.label, color=color, alpha=0.5, markersize=5)
        else:
            marker = "o" if len(one.x) <= 30 else None
            axes.plot(one.x, one.y, label=one.label, color=color, marker=marker, markersize=4)
    if plot.unit:
        axes.plot([0, 1], [0, 1], color="#94a3b8", linewidth=1, linestyle="--")
        axes.set_xlim(0, 1)
        axes.set_aspect("equal")
    if plot.whole:
        axes.xaxis.get_major_locator().set_params(integer=True)
    if plot.ticks:
        slanted = max(map(len, plot.ticks)) > 12 and len(plot.ticks) > 4
        axes.set_xticks(
            range(len(plot.ticks)), plot.ticks, rotation=30 if slanted else 0,
            ha="right" if slanted else "center",
        )  # fmt: skip
    if plot.x_range is not None:
        axes.set_xlim(*plot.x_range)
    if plot.y_range is not None:
        axes.set_ylim(*plot.y_range)
    axes.set_title(_plain(plot.title), fontsize=11)
    axes.set_xlabel(_plain(plot.x_label))
    axes.set_ylabel(_plain(plot.y_label))
    axes.grid(alpha=0.25)


def _plain(text: str) -> str:
    """Dollars would begin a formula."""
    return text.replace("$", r"\$")


def binned(
    x: Sequence[float], y: Sequence[float], bins: int = 10
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean x and mean y of what lies in each of `bins` equal parts of 0..1; empty ones left out.

    >>> binned([0.1, 0.15, 0.9], [0.2, 0.4, 1.0], 2)
    ((0.125, 0.9), (0.3, 1.0))
    """
    parts: dict[int, list[tuple[float, float]]] = {}
    for a, b in zip(x, y, strict=True):
        parts.setdefault(min(bins - 1, max(0, int(a * bins))), []).append((a, b))
    means = [
        (sum(a for a, _ in part) / len(part), sum(b for _, b in part) / len(part))
        for _, part in sorted(parts.items())
    ]
    return tuple(round(a, 12) for a, _ in means), tuple(round(b, 12) for _, b in means)
