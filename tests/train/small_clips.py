"""Small clips of moving blocks in DAVIS layout, and runs on them, for all tests of training."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from small_runs import write_photos

from anymask.formats.davis import davis_png
from anymask.train.video_config import Pace, SampleKind, VideoConfig

SIZE = (96, 128)


def write_clip(path: Path, *, frames: int = 5, seed: int = 0, grey: int | None = None) -> None:
    """Two blocks that cross a noisy ground; a ground of one grey tells clips apart."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 90, (*SIZE, 3), np.uint8)
    if grey is not None:
        ground[:] = grey
    with tarfile.open(path, "w") as tar:
        for t in range(frames):
            pixels, labels = ground.copy(), np.zeros(SIZE, np.uint8)
            for number, (y, x) in enumerate([(20, 10 + 8 * t), (50, 80 - 8 * t)], start=1):
                labels[y : y + 30, x : x + 34] = number
                pixels[labels == number] = (220, 90 * number, 40)
            picture = io.BytesIO()
            Image.fromarray(pixels).save(picture, "PNG")
            for name, content in (
                (f"JPEGImages/{t:05}.png", picture.getvalue()),
                (f"Annotations/{t:05}.png", davis_png(labels)),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def small_video_config(root: Path, **changes: object) -> VideoConfig:
    """A run on two small clips, one of them held out, and small photos; changes win."""
    (root / "clips").mkdir(exist_ok=True)
    for seed, name in enumerate(("taught", "held")):
        if not (root / "clips" / f"{name}.tar").exists():
            write_clip(root / "clips" / f"{name}.tar", seed=seed)
    if not (root / "photos").exists():
        write_photos(root / "photos")
    kind = {"height": 64, "width": 96, "frames": 3, "objects": 2}
    return VideoConfig(
        **{
            "clips": str(root / "clips"),
            "held_out": ("held",),
            "photos": (str(root / "photos"),),
            "out": str(root / "run"),
            "steps": 2,
            "samples": 1,
            "kinds": (SampleKind(made_up=False, **kind), SampleKind(made_up=True, **kind)),
            "shares": (0.5, 0.5),
            "pace": Pace(lr=1e-3, warmup=1),
            "save_every": 100,
            "judge_every": 100,
            **changes,
        }
    )
