"""Figures of automatic masks: pooled over photos, as JSON, table and markdown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from rich.table import Table

from anymask.evaluate.automatic_metrics import THRESHOLDS, PhotoScore
from anymask.evaluate.detail import SIZES
from anymask.evaluate.plots import Plot, Series
from anymask.evaluate.report import AREAS
from anymask.evaluate.rows import Row, markdown_table, or_none, terminal_table, text_of

MEASURES = (
    "ar1000",
    "recall50",
    "best",
    "ar10",
    "ar100",
    "precision",
    "precision50",
    "coverage",
    "duplicates",
)  # what they are stands in anymask.evaluate.automatic
_RECALLS = 5  # the first of them are about true masks, and known for each size


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One line of a report.

    Attributes
    ----------
    photos, truths, masks
        How many there are.
    values
        One for each of `MEASURES`; NaN where nothing was measured.
    """

    photos: int
    truths: int
    masks: int
    values: tuple[float, ...]

    def to_dict(self) -> dict[str, object]:
        """Counts and measures by name, None for NaN."""
        values = map(or_none, self.values)
        return {
            "photos": self.photos,
            "truths": self.truths,
            "masks": self.masks,
            **dict(zip(MEASURES, values, strict=True)),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticReport:
    """All figures of an evaluation.

    Attributes
    ----------
    sets
        Names of all sets in the order given, also of those without a photo.
    scores
        One for each photo.
    """

    sets: tuple[str, ...]
    scores: tuple[PhotoScore, ...]

    def mean(self, measure: str, of: str | None = None) -> float:
        """A measure over all photos, or over those of one set; NaN where there is none."""
        return pooled(self._of(of)).values[MEASURES.index(measure)]

    def to_dict(self) -> dict[str, object]:
        """``{"pooled": {}, "mean_of_sets": {}, "sets": {}, "areas": {}, "sizes": {}}``.

        Each part has the numbers of photos, true masks and masks and every measure, None where
        nothing was measured. ``mean_of_sets`` weighs every set that has a figure equally.
        """
        return {
            "pooled": pooled(self.scores).to_dict(),
            "mean_of_sets": self._mean_of_sets().to_dict(),
            "sets": {name: pooled(self._of(name)).to_dict() for name in self.sets},
            "areas": {label: figures.to_dict() for label, figures in self._areas()},
            "sizes": {label: figures.to_dict() for label, figures in self._sizes()},
        }

    def table(self) -> Table:
        """For the terminal: a row for each set, for sizes of true masks, and for the means."""
        shown = [i for i, name in enumerate(_HEADS) if name not in _WIDE]
        rows = [
            [(label, [cells[i] for i in shown]) for label, cells in section]
            for section in self._cells()
        ]
        return terminal_table("Automatic masks", [_HEADS[i] for i in shown], rows)

    def markdown(self) -> str:
        """The same as a markdown table, and AR of the best 10 and 100 masks."""
        return markdown_table(_HEADS, self._cells())

    def remarks(self) -> str:
        """Nothing that the table does not say."""
        return ""

    def plots(self) -> tuple[Plot, ...]:
        """Recall against the IoU that counts as found, and by size."""
        all_found = [score.found() for score in self.scores if len(score.best)]
        if not all_found:
            return ()
        recalls = np.concatenate(all_found).mean(0)
        sizes = [(label, one) for label, one in self._areas() if one.truths]
        places = tuple(range(len(sizes)))
        return (
            Plot(
                name="recall",
                title=f"True masks found, {sum(map(len, all_found))} of {len(self.scores)} photos",
                x_label="IoU from which on a mask is found",
                y_label="recall",
                series=(Series(label="recall", x=THRESHOLDS, y=tuple(recalls.tolist())),),
            ),
            Plot(
                name="areas",
                title="By share of the picture",
                x_label="",
                y_label="",
                series=tuple(
                    Series(
                        label=label,
                        x=places,
                        y=tuple(one.values[MEASURES.index(name)] for _, one in sizes),
                        style="bars",
                    )
                    for label, name in (("AR", "ar1000"), ("R .5", "recall50"), ("best", "best"))
                ),
                ticks=tuple(label.removeprefix("area ") for label, _ in sizes),
            ),
        )

    def _cells(self) -> list[list[Row]]:
        return [
            [(label, _cells(figures)) for label, figures in section] for section in self._rows()
        ]

    def _rows(self) -> list[list[tuple[str, Figures]]]:
        means = [("mean of sets", self._mean_of_sets()), ("pooled", pooled(self.scores))]
        sets = [(name, pooled(self._of(name))) for name in self.sets]
        return [sets, self._areas(), self._sizes(), means]

    def _areas(self) -> list[tuple[str, Figures]]:
        return [
            (
                f"area {low:.0%}-{min(high, 1):.0%}",
                _of_some(self.scores, [_between(s.areas_unit, low, high) for s in self.scores]),
            )
            for low, high in AREAS
        ]

    def _sizes(self) -> list[tuple[str, Figures]]:
        """By COCO's sizes, px of the photo as it is."""
        return [
            (name, _of_some(self.scores, [_between(s.pixels, low, high) for s in self.scores]))
            for name, (low, high) in SIZES.items()
        ]

    def _of(self, name: str | None) -> list[PhotoScore]:
        return [score for score in self.scores if name is None or score.set == name]

    def _mean_of_sets(self) -> Figures:
        """Each set with the same weight, each measure over the sets that have it."""
        parts = [pooled(self._of(name)) for name in self.sets]
        columns = [[v for v in column if not math.isnan(v)] for column in _columns(parts)]
        return Figures(
            photos=sum(part.photos for part in parts),
            truths=sum(part.truths for part in parts),
            masks=sum(part.masks for part in parts),
            values=tuple(_ratio(sum(column), len(column)) for column in columns),
        )


_HEADS = ("true", "masks", "AR", "R .5", "best", "AR10", "AR100", "P", "P .5", "cover", "dupl")
_WIDE = ("AR10", "AR100")  # there is no room for them in 80 columns: JSON and markdown have them


def pooled(scores: Sequence[PhotoScore]) -> Figures:
    """Photos together: recalls over true masks, precision over masks, coverage over photos."""
    masks, judged = (sum(s.masks for s in scores), sum(s.judged for s in scores))
    right = sum((s.right for s in scores), np.zeros(1))
    return Figures(
        photos=len(scores),
        truths=sum(len(s.best) for s in scores),
        masks=masks,
        values=(
            *_recalls(scores, [np.ones(len(s.best), bool) for s in scores]),
            _ratio(float(right.mean()), judged),
            _ratio(float(right[0]), judged),
            _ratio(sum(s.coverage for s in scores), len(scores)),
            _ratio(sum(s.duplicates for s in scores), masks),
        ),
    )


def _of_some(scores: Sequence[PhotoScore], inside: Sequence[Bool[np.ndarray, " _"]]) -> Figures:
    """Recalls of some true masks; matched among all of them, not for each size anew."""
    return Figures(
        photos=sum(bool(rows.any()) for rows in inside),
        truths=sum(int(rows.sum()) for rows in inside),
        masks=0,
        values=(*_recalls(scores, inside), *(math.nan,) * (len(MEASURES) - _RECALLS)),
    )


def _recalls(
    scores: Sequence[PhotoScore], inside: Sequence[Bool[np.ndarray, " _"]]
) -> tuple[float, ...]:
    """AR, recall at the first threshold, mean best IoU, AR of the best 10 and 100 masks."""
    if not any(rows.any() for rows in inside):
        return (math.nan,) * _RECALLS

    def pool(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([v[rows] for v, rows in zip(values, inside, strict=True)])

    found = pool([s.found() for s in scores])
    return (
        float(found.mean()),
        float(found[:, 0].mean()),
        float(pool([s.best for s in scores]).mean()),
        *(float(pool([s.found(most) for s in scores]).mean()) for most in (10, 100)),
    )


def _between(values: np.ndarray, low: float, high: float) -> Bool[np.ndarray, " T"]:
    return np.asarray((low <= values) & (values < high))


def _columns(parts: Sequence[Figures]) -> list[list[float]]:
    return [[part.values[i] for part in parts] for i in range(len(MEASURES))]


def _ratio(share: float, whole: int) -> float:
    return share / whole if whole else math.nan


def _cells(figures: Figures) -> list[str]:
    counts = [str(figures.truths), str(figures.masks or "-")]
    return counts + [text_of(value) for value in figures.values]
