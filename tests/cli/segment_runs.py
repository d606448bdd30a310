"""`anymask segment` in this process with a fake predictor, and a photo to run it on.

    from segment_runs import cat_photo, fake_loaded, never_loaded, run_segment  # noqa: F401

These are the fixtures `photo`, `fake` and `never` (a model that is loaded fails the test), `run`.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_predictor import FakePredictor
from PIL import Image

from anymask.cli import main, segment


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(name="fake")
def fake_loaded(monkeypatch: pytest.MonkeyPatch) -> FakePredictor:
    predictor = FakePredictor()
    monkeypatch.setattr(segment, "_load", lambda *_: predictor)
    return predictor


@pytest.fixture(name="never")
def never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        pytest.fail("a model was loaded for input that is wrong")

    monkeypatch.setattr(segment, "_load", load)


@pytest.fixture(name="run")
def run_segment(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def call(*args: object) -> Ran:
        code = main(["segment", *map(str, args)])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


@pytest.fixture(name="photo")
def cat_photo(tmp_path: Path) -> Path:
    return save(tmp_path / "photos" / "cat.jpg")


def save(path: Path, size: tuple[int, int] = (60, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
    return picture


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def tree_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(os.fsencode(path))
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def disc(x: float, y: float, radius: float, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    yy, xx = np.mgrid[: size[0], : size[1]]
    return np.hypot(xx - x, yy - y) <= radius
