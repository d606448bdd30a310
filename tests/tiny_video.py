"""A SAM 2 of side 64 with a memory and seeded random weights, and small clips for it."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from anymask.formats.png import encode_png
from anymask.model import Model
from anymask.variants import variant
from tiny import noisy_model

_OFFICIAL = variant("sam2.1-tiny")
SIDE, SIZE = 64, (48, 64)  # of the network; (H, W) of the clips' frames
ROW = replace(
    _OFFICIAL,
    name="tiny-sam2",
    network=MappingProxyType(
        {
            "dim": 16,
            "heads": 1,
            "depths": (1, 1, 1, 1),
            "windows": (4, 4, 4, 2),
            "global_blocks": (),
            "background": 4,
            "side": SIDE,
            "out_dim": 32,
            "hidden": 64,
            "memory": {"absent": True, "dim": 32, "memory_dim": 16, "depth": 1, "hidden": 64},
        }
    ),
    spec=replace(_OFFICIAL.spec, side=SIDE),
)


@cache
def tiny_video_model(seed: int = 0) -> Model:
    """The same random model for the same seed; nothing is read."""
    return noisy_model(ROW, 0.05, seed)


def clip(frames: int = 5) -> list[np.ndarray]:
    """A bright square that goes right over noise."""
    ground = np.random.default_rng(0).integers(0, 90, (*SIZE, 3), np.uint8)
    pictures = []
    for t in range(frames):
        picture = ground.copy()
        picture[12:32, 4 + 5 * t : 24 + 5 * t] = 220, 180, 40
        pictures.append(picture)
    return pictures


def write_clip(folder: Path, frames: int = 5) -> Path:
    """The clip as a folder of pictures."""
    folder.mkdir()
    for t, picture in enumerate(clip(frames)):
        (folder / f"{t:05d}.png").write_bytes(encode_png(picture))
    return folder
