"""`anymask` with the fake predictor in a process of its own, with and without a terminal."""

import errno
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

FAKE = str(Path(__file__).with_name("fake_predictor.py"))
LONG_S = 60.0  # a busy machine is slow


@pytest.fixture(name="photos")
def four_photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{i}.png" for i in range(1, 5)]
    for path in paths:
        Image.new("RGB", (60, 40), (90, 120, 60)).save(path)
    return paths


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Ours, but without what makes terminals differ."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return kept | {"TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"} | dict(changes)


def run(
    *args: object, script: str = FAKE, env: Mapping[str, str] | None = None, **options: object
) -> "Ended":
    """`anymask` with the fake predictor in a process of its own, without a terminal."""
    done = subprocess.run(
        [sys.executable, script, *map(str, args)],
        env=environment(env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LONG_S,
        **options,  # type: ignore[call-overload]
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass
class Ended:
    code: int
    out: bytes
    err: bytes = b""


def _as_in_a_terminal() -> None:
    """In the child: take the terminal, and heed Ctrl-C even where the tests run in the background.

    A shell starts background jobs with interrupts ignored, and children inherit that.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A process on a terminal of its own, whose screen and keyboard we are."""

    script = FAKE

    def __init__(self, args: Sequence[object], env: Mapping[str, str] | None = None) -> None:
        self.master, slave = pty.openpty()
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, self.script, *map(str, args)],
            env=environment(env or {}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_as_in_a_terminal,
        )
        os.close(slave)

    def until(self, reached: Callable[[], bool]) -> None:
        """Read the screen until something is true."""
        end = time.monotonic() + LONG_S
        while not reached():
            assert time.monotonic() < end, self.seen
            if not self._read():
                assert reached(), self.seen
                return

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> Ended:
        """Read to the end; how it ended."""
        end = time.monotonic() + LONG_S
        while self._read() and time.monotonic() < end:
            pass
        code = self.process.wait(LONG_S)
        os.close(self.master)
        return Ended(code, self.seen)

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.02)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # the other side is closed
                raise
            return False
        self.seen += data
        return bool(data)
