"""A mask generator without a network, and a command line that uses it.

It answers with two discs and a bar, at once. Run as a script it is ``anymask`` with that generator
in its worker, for tests that need a process of their own.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from anymask.cli.everything_job import EverythingJob
from anymask.errors import PromptError
from anymask.generated import GeneratedMasks
from anymask.mask_rle import encode_rle


class FakeGenerator:
    """Takes what `MaskGenerator` takes."""

    def __init__(self, memory_mb: int, options: dict[str, Any]) -> None:
        self.memory_mb, self.options = memory_mb, options
        self.model = SimpleNamespace(notes=())
        self.rois: list[Any] = []

    def generate(self, picture: Any, *, roi: Any = None) -> GeneratedMasks:
        self.rois.append(roi)
        time.sleep(float(os.environ.get("FAKE_DELAY_S", "0")))
        height, width = picture.pixels.shape[:2]
        if roi is not None and roi[0] >= width:
            raise PromptError("roi-empty", "the box holds nothing of the image", where="roi")
        if "FAKE_MB" in os.environ and self.memory_mb > int(os.environ["FAKE_MB"]):
            raise MemoryError("that much")
        y, x = np.mgrid[:height, :width]
        shade = int(picture.pixels[0, 0, 0])  # so that other pictures have other masks
        masks = [
            np.hypot(x - width / 3, y - height / 2) <= 4 + shade % 5,
            np.hypot(x - width / 2, y - height / 3) <= 8,
            np.abs(y - height / 2) <= 1,
        ]
        count = 0 if "FAKE_NONE" in os.environ else 3
        return GeneratedMasks(
            size=(height, width),
            rles=tuple(encode_rle(mask) for mask in masks[:count]),
            scores=np.array([0.75, 0.5, 1.0], np.float32)[:count],
            stability=np.array([0.5, 1.0, 0.25], np.float32)[:count],
            points=np.array([[1.5, 2.0], [3.0, 4.5], [5.0, 6.0]])[:count],
            crop_boxes=np.tile(np.array([[0, 0, width, height]]), (count, 1)),
            notes=picture.notes,
        )


@dataclass(kw_only=True)
class FakeJob(EverythingJob):
    """The job with that generator."""

    def build(self, memory_mb: int) -> Any:
        os.write(1, b"noise of a C library\n" if "FAKE_NOISE" in os.environ else b"")
        if "FAKE_READY" in os.environ:
            Path(os.environ["FAKE_READY"]).touch()
        return FakeGenerator(memory_mb, dict(self.options))


def run_process() -> int:
    """`anymask` with the fake."""
    from anymask.cli import everything_job, main

    everything_job.EverythingJob = FakeJob  # type: ignore[misc]
    if "FAKE_QUICK_DISK" in os.environ:
        os.fsync = lambda descriptor: None
    return main()


if __name__ == "__main__":
    sys.exit(run_process())
