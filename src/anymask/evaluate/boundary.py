"""How well the border of a mask follows the true border: boundary F as the DAVIS benchmark has it.

    precision = share of the found border within r px of the true border
    recall    = share of the true border within r px of the found border
    F         = 2 precision recall / (precision + recall)

A border is the pixels that differ from the pixel to the right, below, or below and to the right:
they are on either side of the mask's outline, and where the mask runs along the last row or column
of the image there is none. r is 0.008 of the image's diagonal, rounded up; distances are those of
pixel centres (a disk of radius r). Nothing is matched one to one: a doubled border counts as found.

Perazzi et al. 2016, A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool

TOLERANCE = 0.008  # of the diagonal


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundaryScore:
    """Precision and recall of a border, 0..1.

    Without a border on either side both are 1. Where only one side has a border, what cannot be
    wrong is 1 and the other 0, so that F is 0.
    """

    precision: float
    recall: float

    @property
    def f(self) -> float:
        """Harmonic mean of the two; 0 where both are."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def boundary_score(
    truth: Bool[np.ndarray, "H W"],
    predicted: Bool[np.ndarray, "H W"],
    ignore: Bool[np.ndarray, "H W"] | None = None,
    *,
    tolerance: float = TOLERANCE,
) -> BoundaryScore:
    """Compare the borders of two masks.

    Parameters
    ----------
    ignore
        Pixels that count as outside in both masks.
    tolerance
        Distance up to which a border is found: a share of the image's diagonal, rounded up to
        whole px; from 1 on, px.

    >>> square = np.zeros((20, 20), bool)
    >>> square[5:15, 5:15] = True
    >>> boundary_score(square, np.roll(square, 1, 1)).f
    1.0
    """
    if ignore is not None:
        truth, predicted = truth & ~ignore, predicted & ~ignore
    reach = tolerance_px(truth.shape[0], truth.shape[1], tolerance)
    wanted, found = border(truth), border(predicted)
    some_wanted, some_found = bool(wanted.any()), bool(found.any())
    if not (some_wanted and some_found):
        return BoundaryScore(
            precision=float(some_wanted or not some_found),
            recall=float(some_found or not some_wanted),
        )
    return BoundaryScore(
        precision=float(_near(wanted, reach)[found].mean()),
        recall=float(_near(found, reach)[wanted].mean()),
    )


def border(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Pixels unlike the one to the right, below, or below and to the right.

    >>> border(np.array([[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], bool)).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def tolerance_px(height: int, width: int, tolerance: float = TOLERANCE) -> float:
    """A tolerance in px: from 1 on it is px already."""
    return tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(height, width))


def _near(edge: Bool[np.ndarray, "H W"], reach: float) -> Bool[np.ndarray, "H W"]:
    """Pixels whose centre lies at most ``reach`` from that of a pixel of the border.

    Squares of distances are whole numbers, and float32 keeps those apart far beyond any tolerance.
    Unlike dilation with a disk the time does not grow with it.
    """
    away = cv2.distanceTransform((~edge).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= math.sqrt(math.floor(reach**2) + 0.5))
