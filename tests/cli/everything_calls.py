"""`anymask everything` with the fake in this process: its pictures, and what it leaves."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_calls import Ran, calls_of, refuses_to_load, save
from fake_everything import FakeJob

from anymask.cli import everything_job, everything_run
from anymask.formats.run_items import Here


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
    monkeypatch.setattr(FakeJob, "build", refuses_to_load)


@pytest.fixture(name="run")
def run_here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return calls_of(capsys, "everything")


@pytest.fixture(name="photos")
def three_photos(tmp_path: Path) -> Path:
    for i, name in enumerate(("a.jpg", "b.png", "sub/a.jpg")):
        save(tmp_path / "photos" / name, seed=i)
    return tmp_path / "photos"


def names(folder: Path) -> list[str]:
    found = (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in found if not name.startswith(".anymask"))
