"""What is changed by chance: the crop, the side, colours, objects of other photos."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """How often what is changed; shares of 1.

    Attributes
    ----------
    whole, part
        Views that show the whole photo, or a part of it; the others look closely at one object.
    flip
        Views that are mirrored.
    colour
        Whether colours are changed at all; see `change_colours`.
    paste
        Views that get objects of another photo; see `anymask.train.paste`.
    paste_most
        Objects at most.
    paste_scale
        Smallest and largest change of their size.
    """

    whole: float = 0.3
    part: float = 0.4
    flip: float = 0.5
    colour: bool = True
    paste: float = 0.0
    paste_most: int = 3
    paste_scale: tuple[float, ...] = (0.5, 1.5)


def change_colours(
    pixels: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """Brightness, contrast, saturation and a tint by chance; sometimes grey; a new array."""
    if rng.random() < 0.25:
        return pixels.copy()
    gain = rng.uniform(0.7, 1.35) * rng.uniform(0.92, 1.08, 3)
    shift = rng.uniform(-20, 20)
    grey = 1.0 if rng.random() < 0.07 else rng.uniform(-0.3, 0.5)
    # one 3x3 matrix does it all: blend each channel with the mean of the three, then scale
    matrix = ((1 - grey) * np.eye(3) + grey / 3) * gain[:, None]
    offset = 127 - 127 * float(gain.mean()) + shift
    changed = pixels.astype(np.float32) @ matrix.T.astype(np.float32) + np.float32(offset)
    out: np.ndarray = np.clip(changed, 0, 255).astype(np.uint8)
    return out
