"""How well objects are followed through a clip: J, F and J&F as the DAVIS benchmark has them.

    J  region similarity: IoU of the mask with the true one, frame by frame
    F  boundary accuracy: see `anymask.evaluate.boundary`
    J&F = (mean of J + mean of F) / 2

The protocol is the semi-supervised one. The true masks of the first frame are given; the first
frame, which is known, and the last one are left out of all figures. The objects are those of the
first frame: whoever comes later has no row. Each object of each clip has

    mean    over its frames
    recall  share of its frames above 0.5
    decay   mean of the first quarter of its frames minus that of the last: how much is lost on the
            way; quarters share the frame on their border

and figures of several clips are means over all their objects, each with the same weight. Pixels of
the value 255 are void: nobody knows whose they are, and they belong to neither mask. An object
that is out of sight has an empty true mask: an empty answer scores 1 there, any other 0.

Perazzi et al. 2016, A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation
(the measures); Pont-Tuset et al. 2017, The 2017 DAVIS Challenge on Video Object Segmentation,
arXiv:1704.00675 (several objects, void, J&F).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from anymask.errors import DataError
from anymask.evaluate.boundary import boundary_score

VOID = 255  # in label maps
LEAST_FRAMES = 3  # the first and the last are not judged
_RECALLED = 0.5
_BINS = 4
_MID = 1e-10  # halves are rounded up, not to even: (1 + 4) / 2 is 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """One measure of one object.

    Attributes
    ----------
    mean, recall
        0..1.
    decay
        -1..1; below 0 where the object was followed better at the end.
    """

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ObjectScore:
    """How well one object was followed.

    Attributes
    ----------
    object
        Its value in the label maps.
    j, f
        Of each judged frame, 0..1.
    """

    object: int
    j: Float64[np.ndarray, " T"]
    f: Float64[np.ndarray, " T"]

    @property
    def jf(self) -> float:
        """J&F, 0..1."""
        return (statistics(self.j).mean + statistics(self.f).mean) / 2


def statistics(values: Float64[np.ndarray, " T"]) -> Statistics:
    """Mean, recall and decay of a measure over frames.

    >>> statistics(np.array([1.0, 0.9, 0.6, 0.3]))
    Statistics(mean=0.7, recall=0.75, decay=0.5)
    """
    count = len(values)
    edges = np.floor(np.linspace(1, count, _BINS + 1) + 0.5 + _MID).astype(np.int64) - 1
    first, last = values[edges[0] : edges[1] + 1], values[edges[-2] : edges[-1] + 1]
    return Statistics(
        mean=float(values.mean()),
        recall=float((values > _RECALLED).mean()),
        decay=float(first.mean() - last.mean()),
    )


def region_similarity(
    truth: Bool[np.ndarray, "H W"],
    predicted: Bool[np.ndarray, "H W"],
    void: Bool[np.ndarray, "H W"] | None = None,
) -> float:
    """IoU of two masks without the void pixels; 1 where both are empty.

    >>> region_similarity(np.array([[True, True, False]]), np.array([[False, True, True]]))
    0.3333333333333333
    """
    if void is not None:
        truth, predicted = truth & ~void, predicted & ~void
    union = int((truth | predicted).sum())
    return int((truth & predicted).sum()) / union if union else 1.0


def frame_scores(
    truth: Bool[np.ndarray, "H W"],
    predicted: Bool[np.ndarray, "H W"],
    void: Bool[np.ndarray, "H W"] | None = None,
) -> tuple[float, float]:
    """J and F of one object on one frame."""
    j = region_similarity(truth, predicted, void)
    return j, boundary_score(truth, predicted, void).f


def score_clip(
    truth: UInt8[np.ndarray, "T H W"] | Sequence[UInt8[np.ndarray, "H W"]],
    predicted: UInt8[np.ndarray, "t h w"] | Sequence[UInt8[np.ndarray, "h w"]],
) -> tuple[ObjectScore, ...]:
    """All objects of a clip, by their label maps.

    Parameters
    ----------
    truth
        One map a frame, from the first frame to the last: 0 nothing, 255 void, else an object.
    predicted
        As many, of the same objects. The first and the last are not looked at.

    Returns
    -------
    tuple of ObjectScore
        One for each object of the first frame, by rising value; each has T - 2 frames.

    Raises
    ------
    DataError
        ``clip-short``: fewer than 3 frames; ``clip-lengths``, ``clip-sizes``: the two do not
        belong together.

    >>> maps = np.zeros((4, 8, 8), np.uint8)
    >>> maps[:, 2:6, 2:6] = 1
    >>> score_clip(maps, maps)[0].jf
    1.0
    """
    if len(truth) != len(predicted):
        raise DataError("clip-lengths", f"there are {len(truth)} true maps", given=len(predicted))
    if len(truth) < LEAST_FRAMES:
        raise DataError(
            "clip-short",
            f"the first frame and the last are not judged: {LEAST_FRAMES} frames are the least",
            given=len(truth),
        )
    objects = objects_of(truth[0])
    scores = np.empty((len(objects), len(truth) - 2, 2))
    for at, (true, found) in enumerate(zip(truth[1:-1], predicted[1:-1], strict=True)):
        if true.shape != found.shape:
            raise DataError(
                "clip-sizes",
                f"the true map is {true.shape[1]}x{true.shape[0]}",
                given=f"{found.shape[1]}x{found.shape[0]}",
                where=f"frame {at + 1}",
            )
        void = true == VOID
        for row, value in enumerate(objects):
            scores[row, at] = frame_scores(true == value, found == value, void)
    return tuple(
        ObjectScore(object=value, j=rows[:, 0], f=rows[:, 1])
        for value, rows in zip(objects, scores, strict=True)
    )


def objects_of(labels: UInt8[np.ndarray, "H W"]) -> tuple[int, ...]:
    """The values of a label map that are objects, by rising value.

    >>> objects_of(np.array([[0, 2, 255, 1]], np.uint8))
    (1, 2)
    """
    return tuple(int(value) for value in np.unique(labels) if value not in (0, VOID))
