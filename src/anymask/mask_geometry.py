"""Geometry of masks and boxes as pure functions: boxes, stability, clean-up, overlap, NMS.

Where SAM's official code has a function of the kind, these give its results exactly; the recorded
cases are in the tests.
"""

from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

_PIXELS_AT_ONCE = 2**20  # of each mask; float32 counts exactly up to 2**24


def tight_boxes(masks: Bool[np.ndarray, "*N H W"]) -> Int64[np.ndarray, "*N 4"]:
    """First and last pixel of each mask as x0, y0, x1, y1, inclusive; zeros for an empty mask.

    >>> tight_boxes(np.array([[False, True, True]]))
    array([1, 0, 2, 0])
    """
    rows, columns = np.asarray(masks.any(-1)), np.asarray(masks.any(-2))
    height, width = masks.shape[-2:]
    found = np.stack(
        [
            columns.argmax(-1),
            rows.argmax(-1),
            width - 1 - columns[..., ::-1].argmax(-1),
            height - 1 - rows[..., ::-1].argmax(-1),
        ],
        axis=-1,
    )
    found[~rows.any(-1)] = 0
    return found.astype(np.int64)


def stability_score(
    logits: Float[np.ndarray, "N H W"], threshold: float, offset: float
) -> Float32[np.ndarray, " N"]:
    """Area above a raised threshold over area above a lowered one; NaN where both are empty."""
    high = np.array([np.count_nonzero(mask > threshold + offset) for mask in logits], np.float32)
    low = np.array([np.count_nonzero(mask > threshold - offset) for mask in logits], np.float32)
    with np.errstate(invalid="ignore"):
        return high / low


def remove_small_regions(
    mask: Bool[np.ndarray, "H W"], below: float, kind: Literal["holes", "islands"]
) -> tuple[Bool[np.ndarray, "H W"], bool]:
    """Fill holes, or remove islands, of an area below a limit; whether there were any.

    8-connected. Where every island is small the largest stays, of equal ones the first.
    """
    holes = kind == "holes"
    working = (mask ^ holes).astype(np.uint8)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(working, None, None, None, 8)
    sizes = stats[:, cv2.CC_STAT_AREA]
    small = sizes < below
    small[0] = False  # what is not of the kind at all
    if not small.any():
        return mask, False
    if holes:
        small[0] = True
        return small[regions], True
    kept = ~small
    kept[0] = False
    if not kept.any():
        kept[1 + sizes[1:].argmax()] = True
    return kept[regions], True


def mask_iou(
    a: Bool[np.ndarray, "N H W"], b: Bool[np.ndarray, "M H W"]
) -> Float32[np.ndarray, "N M"]:
    """IoU of every pair, 0..1; two empty masks score 1.

    >>> left = np.array([[[True, True, False, False]]])
    >>> mask_iou(left, np.roll(left, 1, -1)).round(3).tolist()
    [[0.3330000042915344]]
    """
    first, second = (m.reshape(len(m), m.shape[1] * m.shape[2]) for m in (a, b))
    both = np.zeros((len(a), len(b)), np.float64)
    for start in range(0, first.shape[1], _PIXELS_AT_ONCE):
        part = slice(start, start + _PIXELS_AT_ONCE)
        both += first[:, part].astype(np.float32) @ second[:, part].astype(np.float32).T
    areas = [np.count_nonzero(flat, axis=1).astype(np.float64) for flat in (first, second)]
    either = areas[0][:, None] + areas[1][None] - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0).astype(np.float32)


def nms(
    boxes: Float[np.ndarray, "N 4"], scores: Float[np.ndarray, " N"], threshold: float
) -> Int64[np.ndarray, " K"]:
    """Indices of boxes (x0, y0, x1, y1) that no better one overlaps by more than IoU `threshold`.

    Greedy by falling score, equal scores in their order; a pair of empty boxes never overlaps.
    """
    x0, y0, x1, y1 = boxes.astype(np.float32).T
    areas = (x1 - x0) * (y1 - y0)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(int(first))
        w = np.minimum(x1[first], x1[rest]) - np.maximum(x0[first], x0[rest])
        h = np.minimum(y1[first], y1[rest]) - np.maximum(y0[first], y0[rest])
        both = w.clip(0) * h.clip(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            overlap = both / (areas[first] + areas[rest] - both)
        order = rest[~(overlap > threshold)]
    return np.array(kept, np.int64)
