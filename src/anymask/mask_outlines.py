"""Outlines of a mask: rings along the edges of its pixels, with holes.

The corners of all rings are found at once: a point of the pixel grid is a corner where one or
three of the four pixels around it are on, and a corner twice where two diagonal ones are. Along
every grid line corners are begin and end of an edge in turn, so sorting links each to one beside it
and one above or below: closed rings.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Int64, UInt8

Ring = list[list[float]]  # [[x, y], ...], px; the last point is not the first one again


def polygons(mask: Bool[np.ndarray, "H W"]) -> list[list[Ring]]:
    """Outlines as [[outer ring, hole, ...], ...], a list for each piece of the mask.

    Rings run along pixel edges: filling them (even-odd, by pixel centres) gives the mask back
    exactly. Outer rings go counterclockwise on the screen, holes clockwise. Pixels that meet only
    at a corner belong to different pieces.

    >>> polygons(np.array([[False, True, True]]))
    [[[[1.0, 0.0], [1.0, 1.0], [3.0, 1.0], [3.0, 0.0]]]]
    """
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return []
    top, left = int(ys[0]), int(xs[0])
    inner = mask[top : ys[-1] + 1, left : xs[-1] + 1].astype(np.uint8)
    _, pieces = cv2.connectedComponents(inner, connectivity=4)
    corners, across, down = _linked(inner)
    parts: dict[int, list[Ring]] = {}
    for first in _follow(across, down):
        x, y = corners[first[0]]
        ring = (corners[first] + (left, top)).astype(np.float64).tolist()
        # the first edge is the top of its ring: an outer one has its piece below, a hole above
        if inner[y, x]:
            parts.setdefault(int(pieces[y, x]), []).insert(0, ring[:1] + ring[:0:-1])
        else:
            parts.setdefault(int(pieces[y - 1, x]), []).append(ring)
    return [parts[piece] for piece in sorted(parts)]


def _linked(
    inner: UInt8[np.ndarray, "H W"],
) -> tuple[Int64[np.ndarray, "N 2"], Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """Corners (x, y) line by line, and of each the corner across and the one up or down."""
    padded = np.pad(inner, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    count = upper_left + upper_right + lower_left + lower_right
    twice = (count == 2) & (upper_left == lower_right)
    ys, xs = np.nonzero((count % 2 == 1) | twice)
    again = twice[ys, xs]
    x, y = np.repeat(xs, 1 + again), np.repeat(ys, 1 + again)
    second = np.zeros(len(x), bool)
    second[np.cumsum(1 + again)[again] - 1] = True
    # Where two pieces touch, the first corner ends the edge from the left. It turns up if the
    # upper left pixel is on and down if not, so that each ring stays with its own pixel.
    falling = np.repeat(upper_left[ys, xs].astype(bool), 1 + again)
    order = np.lexsort((second == falling, y, x))
    down = np.empty(len(x), np.int64)
    down[order[0::2]], down[order[1::2]] = order[1::2], order[0::2]
    across = np.arange(len(x)) ^ 1
    return np.stack([x, y], axis=1).astype(np.int64), across, down


def _follow(
    across: Int64[np.ndarray, " N"], down: Int64[np.ndarray, " N"]
) -> list[Int64[np.ndarray, " K"]]:
    """Rings of corner numbers; each begins with its first corner and goes right."""
    sideways, upright = across.tolist(), down.tolist()
    left = bytearray(b"\1") * len(sideways)
    rings = []
    for start in range(0, len(sideways), 2):  # every ring's first corner begins an edge
        if not left[start]:
            continue
        ring, corner = [], start
        while left[corner]:
            beside = sideways[corner]
            left[corner] = left[beside] = 0
            ring += [corner, beside]
            corner = upright[beside]
        rings.append(np.array(ring, np.int64))
    return rings
