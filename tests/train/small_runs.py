"""Small photos and small networks to train, for all tests of training."""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco

from anymask.formats.sa1b import split_of
from anymask.train.batches import StepKind
from anymask.train.config import Optim, TrainConfig
from anymask.train.loop import train
from anymask.train.run import new_network, teaching_of
from anymask.train.running import begin
from anymask.train.team import Alone

CPU = torch.device("cpu")
SMALL_SAM = {
    "model": "sam-vit-b",
    "size": 64,
    "network": {
        "dim": 32,
        "depth": 2,
        "heads": 2,
        "global_blocks": (1,),
        "window": 2,
        "out_dim": 32,
        "hidden": 64,
    },
}
SMALL_SAM2 = {
    "model": "sam2.1-tiny",
    "size": 64,
    "network": {
        "dim": 16,
        "heads": 1,
        "depths": (1, 1, 2, 1),
        "windows": (4, 2, 2, 2),
        "global_blocks": (3,),
        "background": 4,
        "out_dim": 32,
        "hidden": 64,
        "memory": False,
    },
}
SMALL_EFFICIENT = {
    "model": "efficient-sam-ti",
    "size": 64,
    "network": {"dim": 32, "depth": 2, "heads": 2},
}
NETWORKS = {"sam": SMALL_SAM, "sam2": SMALL_SAM2, "efficient": SMALL_EFFICIENT}


def write_photos(folder: Path, count: int = 6, *, split: str = "train", masks: int = 2) -> None:
    """Photos of 120 x 90 px with bright blocks, as pairs; ids of one split."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    names = (f"p{i}" for i in range(1000))
    for name in [n for n in names if split_of(n) == split][:count]:
        pixels = rng.integers(0, 80, (90, 120, 3), np.uint8)
        annotations = []
        for number in range(masks):
            mask = np.zeros((90, 120), np.uint8, order="F")
            y, x = rng.integers(5, 40, 2)
            mask[y : y + 40, x + 30 * number : x + 30 * number + 35] = 1
            pixels[mask > 0] = (200, 60 * number, 90)
            rle = coco.encode(mask)
            annotations.append(
                {
                    "id": number,
                    "segmentation": {"size": [90, 120], "counts": rle["counts"].decode()},
                    "bbox": [float(v) for v in coco.toBbox(rle)],
                    "area": int(coco.area(rle)),
                }
            )
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        (folder / f"{name}.jpg").write_bytes(buffer.getvalue())
        record = {
            "image": {"image_id": name, "width": 120, "height": 90, "file_name": f"{name}.jpg"},
            "annotations": annotations,
        }
        (folder / f"{name}.json").write_text(json.dumps(record))


def small_config(
    data: tuple[str, ...] | Path | str = "", out: Path | str = "", **changes: object
) -> TrainConfig:
    """A run of a small SAM; changes win."""
    return TrainConfig(
        **{
            "data": data if isinstance(data, tuple) else (str(data),),
            "out": str(out),
            "steps": 4,
            "kinds": (StepKind(views=2, prompts=2, side=64),),
            "rounds": (0.5, 0.5),
            "optim": Optim(lr=1e-3, warmup=2),
            "save_every": 100,
            "judge_photos": 0,
            **SMALL_SAM,
            **changes,
        }
    )


def begun(config, folder):
    """The run of a config."""
    return begin(config, new_network(config).train(), folder)


def go(run, drawer, folder, **more):
    """`train`, alone on the CPU."""
    return train(
        run, drawer, folder, team=Alone(CPU), teaching=teaching_of(run.config, Alone(CPU)), **more
    )
