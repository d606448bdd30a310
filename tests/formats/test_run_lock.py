"""The lock of a run folder (row F4), also where the system offers no locks."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from anymask.errors import OutputError, RunError
from anymask.formats import run_lock
from anymask.formats.run_lock import RunLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / ".anymask").mkdir()
    return tmp_path / ".anymask" / "lock"


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""
    monkeypatch.setattr(run_lock, "_try_lock", lambda descriptor: None)


def say(path: Path, host: str, pid: int, beat: int = 0) -> None:
    path.write_text(json.dumps({"host": host, "pid": pid, "beat": beat}).ljust(255) + "\n")


def owner(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_bytes()))


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_f4_the_file_names_host_and_process_while_it_is_held(path: Path) -> None:
    lock = RunLock(path)
    lock.take()
    assert owner(path) == {"host": socket.gethostname(), "pid": os.getpid(), "beat": 0}
    lock.release()
    assert path.read_bytes() == b""
    lock.release()  # twice is once


def test_f4_the_owner_says_again_and_again_that_it_lives(path: Path) -> None:
    lock = RunLock(path, beat_s=0.01)
    lock.take()
    end = time.monotonic() + 30
    while int(str(owner(path)["beat"])) < 3:
        assert time.monotonic() < end
        time.sleep(0.005)
    lock.release()
    assert path.read_bytes() == b""


def test_f4_a_second_one_is_refused_and_told_whose_it_is(path: Path) -> None:
    lock = RunLock(path)
    lock.take()
    with pytest.raises(RunError) as caught:
        RunLock(path).take()
    assert caught.value.code == "run-locked"
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(caught.value)
    lock.release()
    third = RunLock(path)
    third.take()
    third.release()


def test_f4_what_a_dead_process_left_is_taken_over(path: Path) -> None:
    say(path, socket.gethostname(), ended_process())
    lock = RunLock(path)
    lock.take()
    assert owner(path)["pid"] == os.getpid()
    lock.release()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}'])
def test_f4_a_file_without_an_owner_is_free(path: Path, text: str) -> None:
    path.write_text(text)
    lock = RunLock(path)
    lock.take()
    lock.release()


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "without locks"])
def test_f4_an_owner_elsewhere_lives_as_long_as_its_beat_goes_on(
    path: Path, locks: bool, request: pytest.FixtureRequest
) -> None:
    if not locks:
        request.getfixturevalue("no_locks")
    say(path, "elsewhere", 7)
    beats = iter(range(1, 100))
    slept: list[float] = []

    def beating(seconds: float) -> None:
        slept.append(seconds)
        say(path, "elsewhere", 7, next(beats))

    with pytest.raises(RunError) as caught:
        RunLock(path, sleep=beating).take()
    assert "process 7 on elsewhere" in str(caught.value)
    lock = RunLock(path, sleep=slept.append)  # no beat comes while it is looked at
    lock.take()
    assert sum(slept[1:]) >= 2 * run_lock.BEAT_S
    lock.release()


def test_f4_without_locks_a_living_process_of_this_machine_is_watched_too(
    path: Path, no_locks: None
) -> None:
    first = RunLock(path, beat_s=0.01)
    first.take()
    with pytest.raises(RunError):
        RunLock(path, beat_s=0.05).take()
    first.release()
    say(path, socket.gethostname(), ended_process())
    second = RunLock(path, sleep=_never)
    second.take()  # a dead one is not
    second.release()


def _never(seconds: float) -> None:
    pytest.fail("there is nothing to wait for")


def test_f4_an_owner_that_was_taken_for_dead_finds_out(path: Path) -> None:
    lock = RunLock(path)
    lock.take()
    lock.check()
    say(path, "elsewhere", 7)
    with pytest.raises(RunError) as caught:
        lock.check()
    assert caught.value.code == "run-lock-lost"
    assert "process 7 on elsewhere" in str(caught.value)
    lock.release()


def test_f4_a_file_that_was_removed_meanwhile_is_made_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[[int], bool | None] = run_lock._try_lock
    removed: list[Path] = []

    def remove_once(descriptor: int) -> bool | None:
        if not removed:
            path.unlink()  # as its last owner does when nothing was done
            removed.append(path)
        return real(descriptor)

    monkeypatch.setattr(run_lock, "_try_lock", remove_once)
    lock = RunLock(path)
    lock.take()
    assert owner(path)["pid"] == os.getpid()
    lock.release()


def test_o3_a_folder_that_takes_no_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        RunLock(tmp_path / "missing" / "lock").take()
    with pytest.raises(ValueError, match="not held"):
        _ = RunLock(tmp_path / "lock").descriptor
