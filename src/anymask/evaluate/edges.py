"""How well a model's edges are those that people drew, on photos whose regions are known.

Each photo's edge map is compared with the edges of each of its annotators; who drew which regions
is told from their order (`anymask.evaluate.edge_truth`). What the figures are stands in
`anymask.evaluate.edge_metrics`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from rich.table import Table

from anymask.evaluate.edge_metrics import EdgeCounts, EdgeFigures, count_edges, figures_of
from anymask.evaluate.edge_truth import true_edges
from anymask.evaluate.photos import Progress, chosen_photos, walk
from anymask.evaluate.plots import Plot, Series
from anymask.evaluate.rows import Row, markdown_table, or_none, terminal_table, text_of
from anymask.formats.records import RecordSet

_HEADS = ("photos", "ODS", "OIS", "AP", "R50")


@runtime_checkable
class Finder(Protocol):
    """What is judged: `anymask.predict.edges.EdgeFinder`, or anything that behaves like it."""

    def edges(self, image: Any) -> Float32[np.ndarray, "H W"]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeReport:
    """All figures of an evaluation.

    Attributes
    ----------
    sets
        Names of all sets in the order given, also of those without a photo.
    counts
        One for each photo.
    """

    sets: tuple[str, ...]
    counts: tuple[EdgeCounts, ...]

    def figures(self, of: str | None = None) -> EdgeFigures:
        """Of all photos, or of those of one set; thresholds are chosen for these photos."""
        return figures_of([one for one in self.counts if of is None or one.set == of])

    def to_dict(self) -> dict[str, object]:
        """``{"pooled": {...}, "sets": {name: {...}}}``: photos, ods, ois, ap, r50, threshold.

        None where nothing was measured. ``curve`` in ``pooled`` has precision and recall at each
        threshold.
        """
        pooled = self.figures()
        curve = {
            "precision": [round(v, 6) for v in pooled.precision.tolist()],
            "recall": [round(v, 6) for v in pooled.recall.tolist()],
        }
        return {
            "pooled": {**_part(pooled), "curve": curve},
            "sets": {name: _part(self.figures(name)) for name in self.sets},
        }

    def table(self) -> Table:
        """For the terminal: a row for each set, and one for all photos."""
        return terminal_table("Edges", _HEADS, self._rows())

    def markdown(self) -> str:
        """The same as a markdown table."""
        return markdown_table(_HEADS, self._rows())

    def remarks(self) -> str:
        """Which threshold is the best for all photos together."""
        known = self.figures()
        return f"ODS is reached at a threshold of {known.threshold:.2f}.\n" if known.photos else ""

    def plots(self) -> tuple[Plot, ...]:
        """Precision against recall over all thresholds."""
        known = self.figures()
        if not known.photos:
            return ()
        seen = known.precision > 0  # where nothing is found there is no precision
        curve = Series(
            label=f"ODS {known.ods:.3f}, AP {known.ap:.3f}",
            x=tuple(known.recall[seen].tolist()),
            y=tuple(known.precision[seen].tolist()),
        )
        best = round(known.threshold * (len(known.recall) + 1)) - 1
        point = Series(
            label="best threshold",
            x=(float(known.recall[best]),),
            y=(float(known.precision[best]),),
        )
        return (
            Plot(
                name="precision-recall",
                title=f"Edges of {known.photos} photos",
                x_label="recall",
                y_label="precision",
                series=(curve, point),
                x_range=(0.0, 1.0),
            ),
        )

    def _rows(self) -> list[list[Row]]:
        sets: list[Row] = [(name, _cells(self.figures(name))) for name in self.sets]
        return [sets, [("pooled", _cells(self.figures()))]]


def evaluate_edges(
    finder: Finder,
    sets: Sequence[RecordSet],
    *,
    split: str = "val",
    limit: int | None = None,
    progress: Progress | None = None,
) -> EdgeReport:
    """Find the edges of every photo of the sets and score them; the same input, the same report.

    Parameters
    ----------
    finder
        Makes an edge map of a photo, 0..1.
    sets
        What to judge on, with the regions of one or several annotators a photo; their names must
        differ. A photo without regions is left out.
    split
        ``"val"`` for the photos kept out of training (`anymask.formats.sa1b.split_of`), or
        ``"all"``.
    limit
        At most so many photos of each set, those with the lowest SHA-256 of their ids.
    progress
        Called with (photos done, photos in all).

    Raises
    ------
    DataError
        ``split-unknown``, ``set-twice``, or a broken record (see
        `anymask.formats.sa1b.Sa1bSet.read`).
    """
    counts: list[EdgeCounts] = []
    for data, record in walk(chosen_photos(sets, split, limit), progress):
        truths = true_edges(record.annotations, record.size)
        if truths:
            found = finder.edges(record.pixels())
            counts.append(count_edges(found, truths, name=data.name, image_id=record.image_id))
    return EdgeReport(sets=tuple(data.name for data in sets), counts=tuple(counts))


def _part(figures: EdgeFigures) -> dict[str, object]:
    values = {name: getattr(figures, name) for name in ("ods", "ois", "ap", "r50", "threshold")}
    return {"photos": figures.photos, **{name: or_none(value) for name, value in values.items()}}


def _cells(figures: EdgeFigures) -> list[str]:
    values = (figures.ods, figures.ois, figures.ap, figures.r50)
    return [str(figures.photos), *(text_of(v) for v in values)]
