"""A command of `anymask` in this process, how it ended, and photos to run it on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from anymask.cli import main


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def calls_of(capsys: pytest.CaptureFixture[str], *command: str) -> Callable[..., Ran]:
    """A function that runs the command with more arguments."""

    def call(*args: object) -> Ran:
        code = main([*command, *map(str, args)])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


def refuses_to_load(*_: object) -> None:
    """In the place of what loads a model."""
    pytest.fail("a model was loaded for input that is wrong")


def save(path: Path, size: tuple[int, int] = (60, 40), seed: int = 0) -> Path:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path
