"""Small random models that behave like large ones: a SAM of 64 px and a nano of 64 px."""

from functools import cache
from types import MappingProxyType

import numpy as np

from anymask.variants import Asset, InputSpec, Variant, lone_padding, sam_padding
from tiny import noisy_model

SIZE = (40, 60)  # (H, W) of the image that tests look at
NOISE = {"sam": 0.1, "nano": 0.003}

ROWS = {
    "sam": Variant(
        name="small-sam",
        builder="sam",
        network=MappingProxyType(
            {
                "dim": 32,
                "depth": 2,
                "heads": 2,
                "global_blocks": (1,),
                "side": 64,
                "out_dim": 32,
                "hidden": 64,
            }
        ),
        spec=InputSpec(
            side=64,
            multiple=64,
            mean=(123.675, 116.28, 103.53),
            std=(58.395, 57.12, 57.375),
            point_shift_net=0.5,
            box_shift_net=0.5,
            padding=sam_padding,
        ),
        weights=Asset(file="none"),
        licence="Apache-2.0",
        summary="",
        parameters=0,
    ),
    "nano": Variant(
        name="small-nano",
        builder="nano",
        spec=InputSpec(
            side=64,
            multiple=32,
            mean=(127.0,) * 3,
            std=(128.0,) * 3,
            point_shift_px=0.5,
            padding=lone_padding,
        ),
        weights=Asset(file="none"),
        licence="Apache-2.0",
        summary="",
        parameters=0,
    ),
}


@cache
def small_model(kind, seed=0):
    """The same random model for the same arguments."""
    return noisy_model(ROWS[kind], NOISE[kind], seed)


@cache
def picture(size=SIZE):
    """Noise with a bright block; read-only."""
    pixels = np.random.default_rng(5).integers(0, 256, (*size, 3), np.uint8)
    pixels[size[0] // 3 : size[0] // 2, size[1] // 3 : size[1] // 2] = 250
    pixels.flags.writeable = False
    return pixels


SIDE_OF_GRID = 6
LOOSE = {  # settings of everything mode that keep masks of `tiny.tiny_sam(3)`
    "points_per_side": SIDE_OF_GRID,
    "pred_iou_thresh": 0.2,
    "stability_score_thresh": 0.25,
    "stability_score_offset": 0.05,
    "box_nms_thresh": 0.99,
    "crop_nms_thresh": 0.99,
}


def blocks() -> np.ndarray:
    """A picture of coloured blocks, 54 x 88."""
    coarse = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((9, 11, 1), np.uint8))
