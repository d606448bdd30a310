"""Edges of any width to lines of one px, without breaking them.

Rounds of two half steps (Guo and Hall 1989, algorithm A1): a half step removes all pixels at once
that are on the upper right, or lower left, rim and that no line needs, until nothing changes. What
is removed depends on a pixel's eight neighbours alone: a table of 256 answers.
"""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

# neighbours in a ring from the upper left on, clockwise: P2 (north) is the second
_RING = np.array([[1, 2, 4], [128, 0, 8], [64, 32, 16]], np.float32)


def thin(edges: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Lines of one px in the middle of edges; ends and junctions stay.

    >>> thin(np.ones((3, 9), bool)).sum(0).max()
    np.int64(1)
    """
    now = edges.astype(np.uint8)
    while True:
        before = now
        for table in _TABLES:
            ring = cv2.filter2D(now, cv2.CV_32F, _RING, borderType=cv2.BORDER_CONSTANT)
            now = now & (1 - table[ring.astype(np.uint8)])
        if np.array_equal(now, before):
            return now.astype(bool)


def _removable(half: int) -> UInt8[np.ndarray, " 256"]:
    """For each ring of neighbours whether the pixel inside goes in this half step."""
    rings = (np.arange(256)[:, None] >> np.arange(8)) & 1 == 1
    nw, n, ne, e, se, s, sw, w = rings.T
    arcs = sum(
        (~before & (corner | after)).astype(int)
        for before, corner, after in ((n, ne, e), (e, se, s), (s, sw, w), (w, nw, n))
    )
    one_way = sum((a | b).astype(int) for a, b in ((nw, n), (ne, e), (se, s), (sw, w)))
    other_way = sum((a | b).astype(int) for a, b in ((n, ne), (e, se), (s, sw), (w, nw)))
    fewest = np.minimum(one_way, other_way)
    kept = (n | ne | ~se) & e if half == 0 else (s | sw | ~nw) & w
    gone = (arcs == 1) & (fewest >= 2) & (fewest <= 3) & ~kept
    return np.asarray(gone, np.uint8)


_TABLES = (_removable(0), _removable(1))
