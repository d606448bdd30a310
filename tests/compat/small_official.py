"""What the tests of compatibility share: tiny models behind the official names, and a picture."""

import copy
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from anymask.compat.sam2.modeling import SAM2Base
from anymask.compat.segment_anything.build_sam import trainable
from anymask.compat.segment_anything.modeling import Sam
from anymask.variants import Variant, variant
from tiny import tiny_model, tiny_sam

SIZE = (40, 60)
_SAM2 = variant("sam2.1-tiny")
TINY_SAM2: Variant = replace(
    _SAM2,
    name="tiny-sam2",
    network=MappingProxyType(
        {
            "dim": 16,
            "heads": 1,
            "depths": (1, 1, 2, 1),
            "windows": (8, 4, 4, 2),
            "global_blocks": (3,),
            "background": 7,
            "side": 64,
            "out_dim": 32,
            "hidden": 64,
        }
    ),
    spec=replace(_SAM2.spec, side=64),
)


def small_sam(seed: int = 0) -> Sam:
    """A tiny SAM of its own: what one test does to it, no other sees."""
    return trainable(copy.deepcopy(tiny_sam(seed)))


def small_sam2(seed: int = 0) -> SAM2Base:
    """A tiny SAM 2 of its own."""
    return SAM2Base(tiny_model(TINY_SAM2, seed))


def picture(size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
