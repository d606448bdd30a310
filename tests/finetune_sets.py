"""Small sets to learn from, in every format, and small random models of three families."""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from anymask.formats import set_format
from anymask.formats.records import Category, Record, WriteOptions, measured
from anymask.image_members import Folder
from anymask.mask_rle import encode_rle
from anymask.model import Model
from anymask.variant_specs import padding_always
from anymask.variants import Asset, InputSpec, Outputs, Variant, lone_padding, sam_padding, stretch
from tiny import noisy_model

SIZE = (48, 64)  # (H, W)
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def _row(name, builder, network, **spec) -> Variant:
    outputs = Outputs(stable=0.98) if builder == "sam2" else Outputs()
    return Variant(
        name=f"small-{name}",
        builder=builder,
        network=MappingProxyType(network),
        spec=InputSpec(side=64, **spec),
        weights=Asset(file="none"),
        licence="Apache-2.0",
        summary="for tests",
        parameters=0,
        outputs=outputs,
    )


_SMALL = {"side": 64, "out_dim": 32, "hidden": 32}
ROWS = {
    "nano": _row(
        "nano",
        "nano",
        {},
        multiple=32,
        mean=(127.0,) * 3,
        std=(128.0,) * 3,
        point_shift_px=0.5,
        padding=lone_padding,
    ),
    "sam": _row(
        "sam",
        "sam",
        {"dim": 32, "depth": 2, "heads": 2, "global_blocks": (1,), **_SMALL},
        multiple=64,
        mean=_MEAN,
        std=_STD,
        point_shift_net=0.5,
        box_shift_net=0.5,
        padding=sam_padding,
    ),
    "sam2": _row(
        "sam2",
        "sam2",
        {
            "dim": 16,
            "heads": 1,
            "depths": (1, 1, 2, 1),
            "windows": (4, 4, 4, 2),
            "global_blocks": (3,),
            "background": 4,
            **_SMALL,
        },
        multiple=32,
        mean=_MEAN,
        std=_STD,
        fit=stretch,
        resize="smooth",
        enlarge="bilinear",
        point_shift_net=0.5,
        box_shift_net=0.5,
        padding=padding_always,
    ),
}


@cache
def small_model(kind: str) -> Model:
    """The same random model each time; nobody writes to it."""
    return noisy_model(ROWS[kind], 0.003 if kind == "nano" else 0.05)


@dataclass(frozen=True)
class Shapes:
    """A picture of two bright rectangles, and their masks."""

    pixels: np.ndarray
    masks: tuple[np.ndarray, ...]


def shapes(seed: int) -> Shapes:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 70, (*SIZE, 3), np.uint8)
    masks = []
    for left in (2, 34):
        y, x = int(rng.integers(2, 20)), left + int(rng.integers(0, 8))
        h, w = int(rng.integers(14, 26)), int(rng.integers(12, 20))
        mask = np.zeros(SIZE, bool)
        mask[y : y + h, x : x + w] = True
        pixels[mask] = rng.integers(150, 255, 3, np.uint8)
        masks.append(mask)
    return Shapes(pixels, tuple(masks))


def write_set(root: Path, count: int = 10, *, kind: str = "sa1b", words=("disc", "disc")) -> Path:
    """A set of pictures ``p00``, ``p01``, ... in a format, with its pictures beside it."""
    source = root.with_name(root.name + "-pictures")
    source.mkdir(parents=True)
    listed = tuple(Category(id=i, name=word) for i, word in enumerate(sorted(set(words))))
    made = set_format(kind).create(root, WriteOptions(categories=listed))
    try:
        for number in range(count):
            name, seen = f"p{number:02}.png", shapes(number)
            buffer = io.BytesIO()
            Image.fromarray(seen.pixels).save(buffer, "PNG")
            (source / name).write_bytes(buffer.getvalue())
            record = Record(
                image_id=Path(name).stem,
                file_name=name,
                size=SIZE,
                where=name,
                annotations=tuple(
                    measured(i, encode_rle(mask), category=word)
                    for i, (mask, word) in enumerate(zip(seen.masks, words, strict=True), start=1)
                ),
                _source=Folder(source),
                _picture=name,
            )
            target = made.picture_path(name)
            made.add(record)
            if target != root:  # a tar has its pictures inside
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(buffer.getvalue())
        made.finish()
    finally:
        made.close()
    return root
