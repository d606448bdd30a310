"""How good an edge map is beside the edges that people drew: the Berkeley benchmark's figures.

At each of 99 thresholds the map becomes lines of one px, which are compared with the edges of each
annotator one by one, pixels paired one to one within 0.0075 of the photo's diagonal:

    recall    = pairs, over all annotators, per pixel of all their edges
    precision = found pixels that are in a pair with any annotator, per found pixel
    F         = 2 precision recall / (precision + recall)

``ods`` is the best F that one threshold gives for all photos together, ``ois`` F with the best
threshold for each photo. ``ap`` is the mean precision over recalls 0, 0.01 ... 1, interpolated
between thresholds and 0 where no threshold reaches; ``r50`` is the recall where precision is 0.5.

Martin et al. 2004 (IEEE TPAMI 26:5), Arbelaez et al. 2011 (IEEE TPAMI 33:5).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from anymask.evaluate.edge_match import match_edges
from anymask.evaluate.edge_thin import thin

THRESHOLDS = 99
TOLERANCE = 0.0075  # of the diagonal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EdgeCounts:
    """Pixels of one photo at each of K thresholds.

    Attributes
    ----------
    set, image_id
        Which photo it is.
    paired, drawn
        Of all annotators together: pixels in a pair, and pixels in all.
    right, found
        Pixels found: those in a pair with any annotator, and all.
    """

    set: str
    image_id: str
    paired: Int64[np.ndarray, " K"]
    drawn: int
    right: Int64[np.ndarray, " K"]
    found: Int64[np.ndarray, " K"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EdgeFigures:
    """Photos together; NaN without a photo.

    Attributes
    ----------
    photos
        How many.
    ods, ois, ap, r50
        See above, 0..1.
    threshold
        The one of `ods`.
    precision, recall
        At each threshold.
    """

    photos: int
    ods: float
    ois: float
    ap: float
    r50: float
    threshold: float
    precision: Float64[np.ndarray, " K"]
    recall: Float64[np.ndarray, " K"]


def thresholds(count: int = THRESHOLDS) -> Float64[np.ndarray, " K"]:
    """Evenly between 0 and 1, both left out.

    >>> thresholds(3).tolist()
    [0.25, 0.5, 0.75]
    """
    return np.arange(1, count + 1) / (count + 1)


def count_edges(
    strength: Float32[np.ndarray, "H W"],
    truths: Sequence[Bool[np.ndarray, "H W"]],
    *,
    count: int = THRESHOLDS,
    tolerance: float = TOLERANCE,
    name: str = "",
    image_id: str = "",
) -> EdgeCounts:
    """Compare an edge map, 0..1, with each annotator's edges.

    Parameters
    ----------
    count
        Number of thresholds; what reaches one is an edge.
    tolerance
        Share of the diagonal that the two pixels of a pair may be apart.
    """
    reach = tolerance * math.hypot(*strength.shape)
    drawn = [thin(truth) for truth in truths]
    rows = np.zeros((3, count), np.int64)
    last, known = None, np.zeros(3, np.int64)
    for k, level in enumerate(thresholds(count)):
        edges = strength >= level
        size = int(edges.sum())
        if size != last:  # thresholds that no pixel lies between give the same edges
            last, known = size, _compare(thin(edges), drawn, reach)
        rows[:, k] = known
    return EdgeCounts(
        set=name,
        image_id=image_id,
        paired=rows[0],
        drawn=sum(int(one.sum()) for one in drawn),
        right=rows[1],
        found=rows[2],
    )


def _compare(
    edges: Bool[np.ndarray, "H W"], drawn: Sequence[Bool[np.ndarray, "H W"]], reach: float
) -> Int64[np.ndarray, " 3"]:
    """Pairs, right and found pixels."""
    right, paired = np.zeros_like(edges), 0
    for truth in drawn:
        matched = match_edges(edges, truth, reach)
        paired += int(matched.truth.sum())
        right |= matched.found
    return np.array([paired, right.sum(), edges.sum()], np.int64)


def figures_of(counts: Sequence[EdgeCounts]) -> EdgeFigures:
    """ODS, OIS, AP and R50 of photos, all with the same thresholds."""
    if not counts:
        nan = dict.fromkeys(("ods", "ois", "ap", "r50", "threshold"), math.nan)
        return EdgeFigures(photos=0, precision=np.zeros(0), recall=np.zeros(0), **nan)
    paired, right, found = (
        np.stack([getattr(one, name) for one in counts]) for name in ("paired", "right", "found")
    )
    drawn = np.array([one.drawn for one in counts])
    precision = _share(right.sum(0), found.sum(0))
    recall = _share(paired.sum(0), drawn.sum())
    together = _f(precision, recall)
    each = _f(_share(right, found), _share(paired, drawn[:, None]))
    own = np.arange(len(counts)), each.argmax(1)
    best = int(together.argmax())
    return EdgeFigures(
        photos=len(counts),
        ods=float(together[best]),
        ois=float(
            _f(
                _share(right[own].sum(), found[own].sum()),
                _share(paired[own].sum(), drawn.sum()),
            )
        ),
        ap=_average_precision(precision, recall),
        r50=_recall_at_half(precision, recall),
        threshold=float(thresholds(len(together))[best]),
        precision=precision,
        recall=recall,
    )


def _share(part: Any, whole: Any) -> Any:
    """Part of whole; 0 of nothing is 0, as where no edge is found."""
    return part / np.maximum(whole, 1)


def _f(precision: Any, recall: Any) -> Any:
    """Harmonic mean; numbers or arrays of any shape."""
    both = precision + recall
    return 2 * precision * recall / np.where(both > 0, both, 1)


def _average_precision(
    precision: Float64[np.ndarray, " K"], recall: Float64[np.ndarray, " K"]
) -> float:
    """Mean over 101 recalls; of thresholds with one recall the highest precision counts."""
    rows: dict[float, float] = {}
    for p, r in zip(precision.tolist(), recall.tolist(), strict=True):
        if p > 0:  # a threshold that nothing reaches tells nothing about precision
            rows[r] = max(p, rows.get(r, 0.0))
    if not rows:
        return 0.0
    known = np.array(sorted(rows.items()))
    wanted = np.linspace(0, 1, 101)
    at = np.interp(wanted, known[:, 0], known[:, 1], left=known[0, 1], right=0.0)
    return float(at.mean())


def _recall_at_half(
    precision: Float64[np.ndarray, " K"], recall: Float64[np.ndarray, " K"]
) -> float:
    """The highest recall at a precision of a half, between thresholds linear.

    Where every threshold is more precise it is the highest recall there is, where none is, 0.
    """
    order = np.argsort(recall, kind="stable")
    p, r = precision[order], recall[order]
    good = np.flatnonzero(p >= 0.5)
    if not len(good):
        return 0.0
    last = int(good[-1])
    if last + 1 == len(p):
        return float(r[last])
    share = (p[last] - 0.5) / (p[last] - p[last + 1])
    return float(r[last] + share * (r[last + 1] - r[last]))
