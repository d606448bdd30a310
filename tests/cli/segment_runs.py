"""`anymask segment` in this process with a fake predictor, and a photo to run it on.

    from segment_runs import cat_photo, fake_loaded, never_loaded, run_segment  # noqa: F401

These are the fixtures `photo`, `fake` and `never` (a model that is loaded fails the test), `run`.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_calls import Ran, calls_of, refuses_to_load, save
from fake_predictor import FakePredictor
from PIL import Image

from anymask.cli import segment


@pytest.fixture(name="fake")
def fake_loaded(monkeypatch: pytest.MonkeyPatch) -> FakePredictor:
    predictor = FakePredictor()
    monkeypatch.setattr(segment, "_load", lambda *_: predictor)
    return predictor


@pytest.fixture(name="never")
def never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "_load", refuses_to_load)


@pytest.fixture(name="run")
def run_segment(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return calls_of(capsys, "segment")


@pytest.fixture(name="photo")
def cat_photo(tmp_path: Path) -> Path:
    return save(tmp_path / "photos" / "cat.jpg")


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
