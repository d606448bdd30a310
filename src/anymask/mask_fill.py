"""Outlines to masks: which pixels lie inside of rings, told by their centres."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

_CROSSINGS = 50_000_000  # edges times rows they cross: more is no outline of any picture


def fill_rings(
    rings: Sequence[Float[np.ndarray, "_ 2"]], size: tuple[int, int]
) -> Bool[np.ndarray, "H W"]:
    """Pixels whose centre is inside of an odd number of rings.

    Parameters
    ----------
    rings
        Corners (x, y), px, pixel edges at whole numbers; the last one is joined to the first. What
        lies outside of the image is cut off. A way there and back again counts for nothing, so
        rings may be joined to one by lines that are gone twice.
    size
        (H, W), px.

    Raises
    ------
    ValueError
        The rings are too long for any picture, or not finite.

    >>> fill_rings([np.array([[0.0, 0.0], [2, 0], [2, 1], [0, 1]])], (1, 3)).tolist()
    [[True, True, False]]
    """
    height, width = size
    begins = np.concatenate([np.asarray(ring, np.float64) for ring in rings] or [np.empty((0, 2))])
    ends = np.concatenate(
        [np.roll(np.asarray(ring, np.float64), -1, axis=0) for ring in rings] or [begins]
    )
    if not np.isfinite(begins).all():
        raise ValueError("a corner is not finite")
    # an edge crosses the rows whose centre line is in [upper y, lower y)
    falling = begins[:, 1] > ends[:, 1]
    upper = np.where(falling[:, None], ends, begins)
    lower = np.where(falling[:, None], begins, ends)
    first = np.ceil(upper[:, 1] - 0.5).clip(0, height).astype(np.int64)
    last = np.ceil(lower[:, 1] - 0.5).clip(0, height).astype(np.int64)
    count = last - first
    if count.sum() > _CROSSINGS:
        raise ValueError("the outline is too long")
    found = np.zeros((height, width), bool)
    if not count.any():
        return found
    top, bottom = int(first[count > 0].min()), int(last[count > 0].max())
    edge = np.repeat(np.arange(len(begins)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    down = lower[edge, 1] - upper[edge, 1]  # not 0: the edge crosses a row
    share = (row + 0.5 - upper[edge, 1]) / down
    x = upper[edge, 0] + share * (lower[edge, 0] - upper[edge, 0])
    column = np.ceil(x - 0.5).clip(0, width).astype(np.int64)
    left, right = int(column.min()), int(column.max())
    shape = (bottom - top, right - left + 1)
    places = (row - top) * shape[1] + column - left
    odd = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape) % 2 == 1
    found[top:bottom, left:right] = np.logical_xor.accumulate(odd, axis=1)[:, : right - left]
    return found
