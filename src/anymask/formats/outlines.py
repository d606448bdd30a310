"""Outlines that were read: checked, cut to their picture, filled."""

import numpy as np
from jaxtyping import Bool, Float

from anymask.errors import DataError
from anymask.formats.records import Remarks
from anymask.mask_fill import fill_rings

BEYOND = 1.0  # px that outlines may stick out without a word: others round so


def filled(
    xy: Float[np.ndarray, "N 2"], size: tuple[int, int], remarks: Remarks, at: str
) -> Bool[np.ndarray, "H W"]:
    """The pixels inside of one ring, told by their centres; none for less than three corners.

    Raises
    ------
    DataError
        ``record-broken``: the ring is too long for any picture; if strict
        ``polygon-degenerate``, ``polygon-clipped``.
    """
    height, width = size
    if len(xy) < 3:
        text = f"an outline of {len(xy)} corners is none: left out"
        remarks.lost("polygon-degenerate", text, at=at)
        return np.zeros(size, bool)
    if np.maximum(-xy, xy - (width, height)).max() > BEYOND:
        remarks.lost("polygon-clipped", "an outline goes beyond the picture: cut off", at=at)
    try:
        return fill_rings([xy], size)
    except ValueError as error:
        where = f"{remarks.where}: {at}"
        raise DataError("record-broken", f"no outline ({error})", where=where) from error
