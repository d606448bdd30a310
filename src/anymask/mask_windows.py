"""Masks that fill a small part of their image: run lengths from that part alone.

Most masks of a photo are small. Encoding the window that holds one costs what the window costs,
not what the image costs.
"""

import numpy as np
from jaxtyping import Bool, Int64
from pycocotools import mask as coco

from anymask.mask_rle import Rle, box_of, runs_of


def encode_window(
    bits: Bool[np.ndarray, "h w"], corner: tuple[int, int], size: tuple[int, int]
) -> Rle:
    """Compressed run lengths of a mask that is empty outside a window.

    Parameters
    ----------
    bits
        The mask within the window.
    corner
        (x, y) of the window's first pixel in the image, px.
    size
        (H, W) of the image, px.

    >>> encode_window(np.ones((1, 1), bool), (1, 0), (2, 3))["counts"]
    '213'
    """
    return rle_of_edges(edges_of(bits, corner, size[0]), size)


def decode_window(rle: Rle) -> tuple[Bool[np.ndarray, "h w"], tuple[int, int]]:
    """A mask within its tight box, and the box's corner (x, y), px; nothing for an empty mask.

    Errors as in `anymask.mask_rle.runs_of`.

    >>> decode_window({"size": [2, 3], "counts": "213"})
    (array([[ True]]), (1, 0))
    """
    runs = runs_of(rle)
    height = rle["size"][0]
    x0, y0, x1, y1 = box_of(runs, height)
    ends = np.cumsum(runs).clip(x0 * height, x1 * height)
    lengths = np.diff(ends, prepend=x0 * height)
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, lengths).reshape(x1 - x0, height)
    return np.ascontiguousarray(columns[:, y0:y1].T), (x0, y0)


def edges_of(
    bits: Bool[np.ndarray, "h w"], corner: tuple[int, int], height: int
) -> Int64[np.ndarray, " E"]:
    """Where the mask begins and ends in turn, counted down the columns of the whole image."""
    h, w = bits.shape
    framed = np.zeros((w, h + 2), bool)  # an empty pixel above and below each column
    framed[:, 1:-1] = bits.T
    flat = framed.ravel()
    column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), h + 2)
    edges = (column + corner[0]) * height + row + corner[1]
    if h < height:
        return edges
    # a run that reaches the bottom goes on at the top of the next column: no edge there
    joined = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
    return np.delete(edges, np.concatenate([joined, joined + 1]))


def box_of_bits(
    bits: Bool[np.ndarray, "h w"], corner: tuple[int, int]
) -> tuple[int, int, int, int]:
    """First and last pixel as x0, y0, x1, y1 in the image, inclusive; zeros for an empty mask."""
    rows, columns = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    x, y = corner
    return int(columns[0] + x), int(rows[0] + y), int(columns[-1] + x), int(rows[-1] + y)


class ColumnRuns:
    """Run lengths of a mask that is made from left to right, some columns at a time.

    The mask of a very large image is never there as a whole.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        """`size` is the (H, W) of the image, px."""
        self._size = size
        self._edges: list[Int64[np.ndarray, " _"]] = []

    def add(self, bits: Bool[np.ndarray, "h w"], corner: tuple[int, int]) -> None:
        """The next columns; `corner` is the (x, y) of their first pixel in the image."""
        edges = edges_of(bits, corner, self._size[0])
        if self._edges and len(edges) and len(self._edges[-1]):
            last = self._edges[-1]
            if last[-1] == edges[0]:  # one run goes on
                self._edges[-1], edges = last[:-1], edges[1:]
        if len(edges):
            self._edges.append(edges)

    def rle(self) -> Rle:
        """Compressed run lengths of all that was added."""
        nothing = np.zeros(0, np.int64)
        return rle_of_edges(np.concatenate([nothing, *self._edges]), self._size)


def rle_of_edges(edges: Int64[np.ndarray, " E"], size: tuple[int, int]) -> Rle:
    """Compressed run lengths of edges as `edges_of` gives them."""
    height, width = size
    lengths = np.diff(edges, prepend=0, append=height * width)
    if len(lengths) > 1 and not lengths[-1]:
        lengths = lengths[:-1]  # COCO ends with the last run that there is
    packed = coco.frPyObjects({"size": [height, width], "counts": lengths.tolist()}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}
