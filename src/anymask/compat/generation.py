"""What the official mask generators check alike, with the errors that they raise."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from jaxtyping import Float

from anymask.frame_crops import layer_grids
from anymask.generated import OUTPUT_MODES, OutputMode


def checked_grids(
    points_per_side: int | None,
    point_grids: Sequence[Float[np.ndarray, "_ 2"]] | None,
    layers: int,
    factor: int,
) -> list[Float[np.ndarray, "_ 2"]]:
    """Points of the image and of each layer of crops, from either way to give them.

    Raises
    ------
    AssertionError
        Both or neither were given.
    """
    if (points_per_side is None) == (point_grids is None):
        raise AssertionError("give points_per_side or point_grids, and None for the other")
    if points_per_side is None:
        return list(point_grids or ())[: layers + 1]
    return layer_grids(points_per_side, layers, factor)


def checked_output_mode(output_mode: str) -> OutputMode:
    """The output mode, if it is one.

    Raises
    ------
    AssertionError
        It is none.
    """
    if output_mode not in OUTPUT_MODES:
        known = ", ".join(OUTPUT_MODES)
        raise AssertionError(f"output_mode is one of {known}, not {output_mode!r}")
    return cast(OutputMode, output_mode)
