"""What the tests of compatibility share: a tiny model behind the official names, and a picture."""

import copy

import numpy as np

from anymask.compat.segment_anything.build_sam import trainable
from anymask.compat.segment_anything.modeling import Sam
from tiny import tiny_sam

SIZE = (40, 60)


def small_sam(seed: int = 0) -> Sam:
    """A tiny SAM of its own: what one test does to it, no other sees."""
    return trainable(copy.deepcopy(tiny_sam(seed)))


def picture(size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
