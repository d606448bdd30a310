"""What a box alone gives without any network: the box itself, and GrabCut started from it.

Rother et al. 2004, "GrabCut: interactive foreground extraction using iterated graph cuts", in
OpenCV's implementation.
"""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

GRABCUT_SIDE = 256  # px; longest side that GrabCut works at: at 384 px it takes twice the time
GRABCUT_ROUNDS = 5

Box = tuple[float, float, float, float]


def filled_box(size: tuple[int, int], box: Box) -> Bool[np.ndarray, "H W"]:
    """The pixels whose centres lie in a box (x0, y0, x1, y1); `size` is (H, W), px.

    >>> filled_box((2, 4), (1.0, 0.0, 3.0, 1.0)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    x0, y0, x1, y1 = box
    row, column = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    inside: Bool[np.ndarray, "H W"] = np.outer(
        (row > y0) & (row < y1), (column > x0) & (column < x1)
    )
    return inside


def grabcut_box(pixels: UInt8[np.ndarray, "H W 3"], box: Box) -> Bool[np.ndarray, "H W"]:
    """GrabCut from a box, 5 rounds; a box that fills the picture comes back as it is.

    The picture is scaled to at most 256 px on the longer side, and the result back to its size by
    nearest neighbour. The same input gives the same mask.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, GRABCUT_SIDE / max(height, width))
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    small = pixels if scale == 1 else cv2.resize(pixels, (w, h), interpolation=cv2.INTER_AREA)
    # whole pixels of the small picture, at least one
    left, top = min(int(box[0] * w / width), w - 1), min(int(box[1] * h / height), h - 1)
    right = min(w, max(left + 1, round(box[2] * w / width)))
    bottom = min(h, max(top + 1, round(box[3] * h / height)))
    if (left, top, right, bottom) == (0, 0, w, h):
        return filled_box((height, width), box)  # nothing is left to learn the background from
    labels = np.zeros((h, w), np.uint8)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # the colour clusters start from random centres
    cv2.grabCut(
        np.ascontiguousarray(small),
        labels,
        (left, top, right - left, bottom - top),
        background,
        foreground,
        GRABCUT_ROUNDS,
        cv2.GC_INIT_WITH_RECT,
    )
    inside = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    nearest = cv2.INTER_NEAREST_EXACT
    return cv2.resize(inside, (width, height), interpolation=nearest).astype(bool)
