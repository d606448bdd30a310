"""`anymask everything` with the fake in this process: its pictures, and what it leaves."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_everything import FakeJob
from PIL import Image

from anymask.cli import everything_job, everything_run, main
from anymask.formats.run_items import Here


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(name="jobs")
def fake_jobs(monkeypatch: pytest.MonkeyPatch) -> list[FakeJob]:
    """Runs use the fake, in this process; the jobs that were made."""
    made: list[FakeJob] = []

    def worker(job: FakeJob, folder: Any) -> Here:
        made.append(job)
        return Here(job, folder.new)

    monkeypatch.setattr(everything_job, "EverythingJob", FakeJob)
    monkeypatch.setattr(everything_run, "make_worker", worker)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return made


@pytest.fixture(name="never")
def no_model(jobs: list[FakeJob], monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> None:
        pytest.fail("a model was loaded for input that is wrong")

    monkeypatch.setattr(FakeJob, "build", build)


@pytest.fixture(name="run")
def run_here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def call(*args: object) -> Ran:
        code = main(["everything", *map(str, args)])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


def save(path: Path, size: tuple[int, int] = (60, 40), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(name="photos")
def three_photos(tmp_path: Path) -> Path:
    for i, name in enumerate(("a.jpg", "b.png", "sub/a.jpg")):
        save(tmp_path / "photos" / name, seed=i)
    return tmp_path / "photos"


def names(folder: Path) -> list[str]:
    found = (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in found if not name.startswith(".anymask"))


def tree(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
