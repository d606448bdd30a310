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
    height, width = size
    edges = edges_of(bits, corner, height)
    lengths = np.diff(edges, prepend=0, append=height * width)
    if len(lengths) > 1 and not lengths[-1]:
        lengths = lengths[:-1]  # COCO ends with the last run that there is
    packed = coco.frPyObjects({"size": [height, width], "counts": lengths.tolist()}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


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
