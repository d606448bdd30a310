"""Geometry of masks as pure functions: boxes, RLE, stability, clean-up, polygons, NMS.

Where SAM's official code has a function of the kind, these give its results exactly; the recorded
cases are in the tests.
"""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Int64
from pycocotools import mask as coco

from anymask.errors import DataError

Rle = dict[str, Any]  # {"size": [H, W], "counts": str}, COCO's compressed form


def encode_rle(mask: Bool[np.ndarray, "H W"]) -> Rle:
    """COCO's compressed run lengths, counts as text.

    >>> encode_rle(np.zeros((2, 3), bool))
    {'size': [2, 3], 'counts': '6'}
    """
    packed = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(v) for v in packed["size"]], "counts": packed["counts"].decode("ascii")}


def decode_rle(rle: Rle) -> Bool[np.ndarray, "H W"]:
    """The mask of compressed or plain run lengths.

    Raises
    ------
    DataError
        ``rle-broken``: the runs do not fill the size.
    """
    counts, (height, width) = rle["counts"], rle["size"]
    if isinstance(counts, list):
        runs = np.asarray(counts, np.int64)
        if (runs < 0).any() or runs.sum() != height * width:
            raise DataError(
                "rle-broken",
                f"the runs fill {int(runs.sum())} pixels of {height * width}",
                hint="are height and width swapped?",
            )
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    text = counts.encode("ascii") if isinstance(counts, str) else counts
    bits: np.ndarray = coco.decode({"size": [height, width], "counts": text}).astype(bool)
    return bits


def tight_boxes(masks: Bool[np.ndarray, "N H W"]) -> Int64[np.ndarray, "N 4"]:
    """First and last pixel of each mask as x0, y0, x1, y1, inclusive; zeros for an empty mask."""
    boxes = np.zeros((len(masks), 4), np.int64)
    for i, mask in enumerate(masks):
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(ys):
            boxes[i] = xs[0], ys[0], xs[-1], ys[-1]
    return boxes


def stability_score(
    logits: Float[np.ndarray, "N H W"], threshold: float, offset: float
) -> Float[np.ndarray, " N"]:
    """Area above a raised threshold over area above a lowered one; NaN where both are empty."""
    high = (logits > threshold + offset).sum((-2, -1), dtype=np.int64)
    low = (logits > threshold - offset).sum((-2, -1), dtype=np.int64)
    with np.errstate(invalid="ignore"):
        return (high / low).astype(np.float32)


def remove_small_regions(
    mask: Bool[np.ndarray, "H W"], below: float, kind: str
) -> tuple[Bool[np.ndarray, "H W"], bool]:
    """Fill holes, or remove islands, of an area below a limit; whether anything changed.

    8-connected. Where every island is small the largest stays.

    Parameters
    ----------
    kind
        ``"holes"`` or ``"islands"``.
    """
    holes = kind == "holes"
    working = (mask ^ holes).astype(np.uint8)
    count, regions, stats, _ = cv2.connectedComponentsWithStats(working, None, None, None, 8)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    small = [i + 1 for i, size in enumerate(sizes) if size < below]
    if not small:
        return mask, False
    fill = [0, *small]
    if not holes:
        fill = [i for i in range(count) if i not in fill]
        if not fill:
            fill = [int(np.argmax(sizes)) + 1]
    return np.isin(regions, fill), True


def polygons(mask: Bool[np.ndarray, "H W"]) -> list[list[list[list[float]]]]:
    """Outlines as [[outer ring, hole, hole ...], ...]; rings of [x, y] along pixel edges.

    Rings run along the edges of pixels, so that filling them gives the mask back exactly.
    """
    if not mask.any():
        return []
    # at twice the size a contour through pixel centres tells the edges of the true pixels
    padded = np.pad(mask.astype(np.uint8), 1)
    big = np.repeat(np.repeat(padded, 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(big, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts: dict[int, list[list[list[float]]]] = {}
    for i, contour in enumerate(contours):
        parent = int(hierarchy[0][i][3])
        ring = _edges(contour[:, 0, :])
        if parent < 0:
            parts.setdefault(i, []).insert(0, ring)
        else:
            parts.setdefault(parent, []).append(ring)
    return list(parts.values())


def _edges(points: Int[np.ndarray, "N 2"]) -> list[list[float]]:
    """A contour of a doubled mask as a ring along pixel edges of the mask, corners only."""
    # small pixels 2i and 2i + 1 are pixel i: its left edge is i, its right edge i + 1. The contour
    # of a hole runs on the mask's side of the edge, so the same rule serves it.
    xy = points.astype(np.int64)
    edges = (xy + 1) // 2 - 1  # the padding shifts by one pixel
    ring: list[list[float]] = []
    for x, y in edges.tolist():
        if ring and ring[-1] == [x, y]:
            continue
        while len(ring) > 1 and _straight(ring[-2], ring[-1], [x, y]):
            ring.pop()
        ring.append([float(x), float(y)])
    while len(ring) > 3 and _straight(ring[-2], ring[-1], ring[0]):
        ring.pop()
    while len(ring) > 3 and _straight(ring[-1], ring[0], ring[1]):
        ring.pop(0)
    return ring


def _straight(a: list[float], b: list[float], c: list[float]) -> bool:
    return (b[0] - a[0]) * (c[1] - b[1]) == (b[1] - a[1]) * (c[0] - b[0])


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


def mask_iou(
    a: Bool[np.ndarray, "N H W"], b: Bool[np.ndarray, "M H W"]
) -> Float[np.ndarray, "N M"]:
    """IoU of every pair, 0..1; two empty masks score 1."""
    left = a.reshape(len(a), -1).astype(np.float32)
    right = b.reshape(len(b), -1).astype(np.float32)
    both = left @ right.T
    either = left.sum(1)[:, None] + right.sum(1)[None] - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0).astype(np.float32)
