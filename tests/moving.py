"""A SAM 2 of 64 px that follows objects, with seeded random weights, and clips for it."""

import copy
from dataclasses import replace
from functools import cache
from types import MappingProxyType

import numpy as np
import torch

from anymask.model import Model
from anymask.variants import Variant, variant
from tiny import tiny_model

_SAM2 = variant("sam2.1-tiny")
SIZE = (40, 60)  # (H, W) of the clip's frames
MOOD = -24.85  # bias at which objects of `clip` are there on about half of the frames
MOVING: Variant = replace(
    _SAM2,
    name="moving",
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
            "memory": MappingProxyType(
                {"dim": 32, "memory_dim": 8, "depth": 2, "hidden": 64, "absent": True}
            ),
        }
    ),
    spec=replace(_SAM2.spec, side=64),
)


@cache
def moving(seed: int = 2) -> Model:
    """The same model for the same seed; nothing is read."""
    return tiny_model(MOVING, seed)


@cache
def moody() -> Model:
    """One for which the objects of `clip` come and go: its judgement of that is made sharp."""
    network = copy.deepcopy(moving(2).network)
    last = network.decoder.object_mlp.layers[2]
    with torch.no_grad():
        last.weight.mul_(40)
        last.bias.fill_(MOOD)
    return Model(network, MOVING)


def clip(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """Frames (T, H, W, 3) of two coloured blocks that drift over noise."""
    draw = np.random.default_rng(seed)
    frames = draw.integers(0, 120, (count, *size, 3)).astype(np.uint8)
    for t in range(count):
        for colour, (y, x) in (((250, 40, 40), (8, 4 + t)), ((40, 250, 90), (22, 40 - t))):
            x %= size[1] - 12
            frames[t, y : y + 12, x : x + 12] = colour
    return frames
