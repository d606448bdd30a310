"""Runs of the copying job: their inputs, and what they leave, for the tests of runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_jobs import Copy, whole_run

SCRIPT = str(Path(__file__).with_name("run_jobs.py"))
LONG_S = 60.0  # a busy machine is slow


@pytest.fixture(autouse=True, name="quick_disk")
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills lose nothing that was written: only a power cut would, and here is none."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def fill(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(name="inputs")
def three_inputs(tmp_path: Path) -> Path:
    return fill(tmp_path / "in", a="first", b="second", c="third")


def here(root: Path, inputs: Path, **options: object) -> object:
    return whole_run(root, inputs, Copy(), child=False, **options)


def failures(root: Path) -> list[dict[str, str]]:
    path = root / "failures.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def start(root: Path, inputs: Path, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, SCRIPT, str(root), str(inputs), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE)
