"""What one picture gave: the value that the formats write."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from anymask.errors import Note
from anymask.masks import Masks


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was pointed at to get a mask, px of the image as `anymask.prompts` has it.

    Attributes
    ----------
    points
        (x, y) each.
    labels
        1 for a point on the object, 0 for one off it.
    box
        x0, y0, x1, y1, or None.
    mask
        Name of the file whose mask was given, or None.
    text
        The phrase that asked for it, or None; `box` is then the detector's.
    name
        What the detector takes it for, or None.
    detector_score
        0..1, or None.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: str | None = None
    text: str | None = None
    name: str | None = None
    detector_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """The masks of one picture.

    Attributes
    ----------
    file
        The picture's name as it was given.
    pixels
        The picture.
    masks
        One for each object, or several alternatives for one object.
    asked
        One for each mask.
    alternatives
        The masks are different answers to one question.
    notes
        What was understood how.
    """

    file: str
    pixels: UInt8[np.ndarray, "H W 3"]
    masks: Masks
    asked: tuple[Asked, ...]
    alternatives: bool = False
    notes: tuple[Note, ...] = ()
