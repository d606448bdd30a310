"""Where a patient user clicks: the innermost point of a region, and the next correction.

The innermost point is the pixel whose centre lies farthest from every pixel outside the region
(Euclidean distance between pixel centres). What lies beyond the image's border counts as outside:
a region that touches the border is clicked away from it. Ties go to the first pixel in row-major
order.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from anymask.errors import DataError


def inner_distance(region: Bool[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Distance of each pixel of a region to the nearest pixel outside, px; 0 outside.

    >>> inner_distance(np.ones((3, 3), bool))[1].tolist()
    [1.0, 2.0, 1.0]
    """
    padded = np.pad(
        region.view(np.uint8) if region.flags.c_contiguous else region.astype(np.uint8), 1
    )
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.ascontiguousarray(distance[1:-1, 1:-1])


def innermost_point(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int]:
    """The innermost pixel (x, y) of a mask.

    Raises
    ------
    DataError
        ``mask-empty``: there is no pixel to choose.

    >>> innermost_point(np.ones((3, 5), bool))
    (1, 1)
    """
    x, y, depth = _deepest(mask)
    if depth == 0:
        raise DataError("mask-empty", "an empty mask has no innermost point")
    return x, y


def next_click(
    truth: Bool[np.ndarray, "H W"],
    predicted: Bool[np.ndarray, "H W"],
    ignore: Bool[np.ndarray, "H W"] | None = None,
) -> tuple[int, int, int] | None:
    """The next correction (x, y, label): 1 where the mask misses something, 0 where it runs over.

    It is the innermost point of that error region, a connected part of the missed or of the
    superfluous pixels, in which the largest circle fits; of two equal ones the missed. Pixels in
    `ignore` are never wrong. None where nothing is wrong.

    >>> truth = np.zeros((5, 5), bool)
    >>> truth[1:4, 1:4] = True
    >>> next_click(truth, ~truth)
    (2, 2, 1)
    """
    missed, superfluous = truth & ~predicted, predicted & ~truth
    if ignore is not None:
        missed, superfluous = missed & ~ignore, superfluous & ~ignore
    # The deepest pixel of all parts is the centre of the largest circle in any one part: a circle
    # never reaches over the gap between two.
    x, y, depth = _deepest(missed)
    x_over, y_over, depth_over = _deepest(superfluous)
    if max(depth, depth_over) == 0:
        return None
    return (x, y, 1) if depth >= depth_over else (x_over, y_over, 0)


def _deepest(region: Bool[np.ndarray, "H W"]) -> tuple[int, int, float]:
    """Pixel (x, y) and its distance to the outside; distance 0 for an empty region."""
    distance = inner_distance(region)
    y, x = divmod(int(distance.argmax()), distance.shape[1])
    return x, y, float(distance[y, x])
