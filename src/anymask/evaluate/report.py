"""Scores of single masks, and their means as JSON, table and markdown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from anymask.evaluate.detail import Detail
from anymask.evaluate.detail_page import detail_plots, detail_remarks
from anymask.evaluate.detail_report import Judged, figures_of
from anymask.evaluate.plots import Plot, Series
from anymask.evaluate.rows import Row, markdown_table, or_none, terminal_table, text_of

AREAS = ((0.0, 0.01), (0.01, 0.03), (0.03, 0.10), (0.10, 1.01))  # shares of the picture

_Means = tuple[int, tuple[float, ...]]  # number of masks, mean of each measure


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskScore:
    """How well one mask was found.

    Attributes
    ----------
    set, image_id, annotation
        Which mask it is; `annotation` is the id in its file.
    area_unit
        Share of the picture that the mask covers, 0..1.
    ious
        One IoU for each of the report's measures; NaN where it was not taken.
    detail
        More about its answers, where that was asked for.
    """

    set: str
    image_id: str
    annotation: int | str
    area_unit: float
    ious: tuple[float, ...]
    detail: Detail | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All scores of an evaluation.

    Attributes
    ----------
    sets
        Names of all sets in the order given, also of those without a mask.
    measures
        What the IoUs of a score are, such as ``("box", "click1", ...)``.
    scores
        One for each mask.
    """

    sets: tuple[str, ...]
    measures: tuple[str, ...]
    scores: tuple[MaskScore, ...]

    def mean(self, measure: str, of: str | None = None) -> float:
        """Mean IoU of all masks, or of those of one set; NaN where there is none."""
        scores = self.scores if of is None else self._of_set(of)
        return self._means(scores)[1][self.measures.index(measure)]

    def to_dict(self) -> dict[str, object]:
        """``{"pooled": {...}, "mean_of_sets": {...}, "sets": {name: {...}}}``.

        Each part has ``masks`` (their number) and the mean of every measure, None where nothing
        was measured. ``mean_of_sets`` weighs every set that has masks equally. Where answers were
        looked at closely there is ``details`` too, pooled (`anymask.evaluate.detail_report`).
        """
        sets = {name: self._means(self._of_set(name)) for name in self.sets}
        judged = self.judged()
        return {
            "pooled": self._part(self._means(self.scores)),
            "mean_of_sets": self._part(self._mean_of(list(sets.values()))),
            "sets": {name: self._part(part) for name, part in sets.items()},
            **({"details": figures_of(judged)} if judged else {}),
        }

    def judged(self, of: str | None = None) -> list[Judged]:
        """All masks that were looked at closely, or those of one set."""
        box = self.measures.index("box") if "box" in self.measures else -1
        scores = self.scores if of is None else self._of_set(of)
        return [
            Judged(detail=score.detail, box=score.ious[box])
            for score in scores
            if score.detail is not None
        ]

    def table(self) -> Table:
        """For the terminal: a row for each set, for sizes, and for the means."""
        return terminal_table("Mean IoU", self._heads(), self._cells())

    def markdown(self) -> str:
        """The same as a markdown table."""
        return markdown_table(self._heads(), self._cells())

    def remarks(self) -> str:
        """What was seen in the answers, as markdown."""
        return detail_remarks(self.judged())

    def plots(self) -> tuple[Plot, ...]:
        """Means by share of the picture, and what was seen in the answers."""
        sizes = [(label, means) for label, count, means in self._rows()[1] if count]
        if not sizes:
            return ()
        names = [name for name in self.measures if name not in ("filled_box", "grabcut_box")]
        places = tuple(range(len(sizes)))
        areas = Plot(
            name="areas",
            title="Mean IoU by share of the picture",
            x_label="",
            y_label="mean IoU",
            series=tuple(
                Series(
                    label=name.replace("_", " "),
                    x=places,
                    y=tuple(means[self.measures.index(name)] for _, means in sizes),
                    style="bars",
                )
                for name in names
            ),
            ticks=tuple(label.removeprefix("area ") for label, _ in sizes),
        )
        return (areas, *detail_plots(self.judged()))

    def _heads(self) -> list[str]:
        return ["masks", *(name.replace("_", " ") for name in self.measures)]

    def _cells(self) -> list[list[Row]]:
        return [
            [(label, (str(count), *map(text_of, means))) for label, count, means in section]
            for section in self._rows()
        ]

    def _rows(self) -> list[list[tuple[str, int, tuple[float, ...]]]]:
        sets = [(name, *self._means(self._of_set(name))) for name in self.sets]
        sizes = [
            (
                f"area {low:.0%}-{min(high, 1):.0%}",
                *self._means(self._of_area(low, high)),
            )
            for low, high in AREAS
        ]
        means = [
            ("mean of sets", *self._mean_of([(count, mean) for _, count, mean in sets])),
            ("pooled", *self._means(self.scores)),
        ]
        return [sets, sizes, means]

    def _of_set(self, name: str) -> list[MaskScore]:
        return [score for score in self.scores if score.set == name]

    def _of_area(self, low: float, high: float) -> list[MaskScore]:
        return [score for score in self.scores if low <= score.area_unit < high]

    def _means(self, scores: Sequence[MaskScore]) -> _Means:
        if not scores:
            return 0, (math.nan,) * len(self.measures)
        means = np.mean([score.ious for score in scores], axis=0)
        return len(scores), tuple(map(float, means))

    def _mean_of(self, parts: Sequence[_Means]) -> _Means:
        """Mean of the parts that are not empty, each with the same weight."""
        filled = [means for count, means in parts if count]
        if not filled:
            return 0, (math.nan,) * len(self.measures)
        return sum(count for count, _ in parts), tuple(map(float, np.mean(filled, axis=0)))

    def _part(self, part: _Means) -> dict[str, object]:
        count, means = part
        values = map(or_none, means)
        return {"masks": count, **dict(zip(self.measures, values, strict=True))}
