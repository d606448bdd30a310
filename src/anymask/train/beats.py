"""Signs of life of the processes of a run, so that a lost one is noticed and named.

Each process has a file in a folder that all share: who it is, a beat that counts up, and the reason
when it ends on an error. No clock is compared between machines: a process is lost when its beat
stands still for a while.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anymask.errors import RunError
from anymask.formats.atomic import write_atomic

BEAT_S, SILENT_S = 2.0, 40.0
_LOST = 4  # exit code of a process that ends because another is lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """What a process says of itself."""

    rank: int
    host: str
    pid: int
    beat: int
    ended: str = ""

    def __str__(self) -> str:
        return f"process {self.rank} (pid {self.pid} on {self.host})"


class Beats:
    """Tells of this process, and watches the others.

    Parameters
    ----------
    folder
        Where the files lie; all processes see it.
    rank, world
        Which process this is, and of how many.
    silent_s
        How long a beat may stand still.
    lost
        Called with the error when one is lost while this process waits for it; ends the process.
    """

    def __init__(
        self,
        folder: Path,
        rank: int,
        world: int,
        *,
        silent_s: float = SILENT_S,
        lost: Callable[[RunError], object] | None = None,
    ) -> None:
        self.folder, self.rank, self.world = folder, rank, world
        self._silent_s, self._lost = silent_s, lost or _end
        self._beat = 0
        self._seen: dict[int, tuple[Sign | None, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="beats", daemon=True)

    def come(self) -> None:
        """Say that this process is there, over what an earlier run has left."""
        self._say()

    def watch(self) -> None:
        """Beat and look from now on; all must have come."""
        self._thread.start()

    def stop(self, ended: str) -> None:
        """End, with the reason for those who look."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(Exception):
            self._say(ended)

    def find_lost(self, wait_s: float = 10.0) -> RunError | None:
        """Who has ended on an error, died or fallen silent; looked for a while."""
        until = time.monotonic() + wait_s
        while True:
            found = self._look()
            if found is not None or time.monotonic() > until:
                return found
            time.sleep(0.2)

    def _look(self) -> RunError | None:
        now = time.monotonic()
        for rank in range(self.world):
            if rank == self.rank:
                continue
            sign = self._read(rank)
            before, since = self._seen.get(rank, (None, now))
            if rank not in self._seen or sign != before:
                self._seen[rank] = (sign, now)
                since = now
            why = self._why(sign, now - since)
            if why:
                return RunError(
                    "rank-lost",
                    f"{sign or f'process {rank}'} {why}",
                    where=str(self.folder.parent),
                    hint="the last saved state is whole; the same command goes on from it",
                )
        return None

    def _why(self, sign: Sign | None, silent_s: float) -> str:
        """What is wrong with a process, or nothing."""
        if sign is not None and sign.ended:
            return "" if sign.ended == "done" else f"ended: {sign.ended}"
        if sign is not None and sign.host == socket.gethostname() and not _alive(sign.pid):
            return "was killed"
        if silent_s > self._silent_s:
            return f"has not been heard of for {silent_s:.0f} s"
        return ""

    def _live(self) -> None:
        while not self._stop.wait(BEAT_S):
            self._beat += 1
            with contextlib.suppress(Exception):  # a full disk is met by the run itself
                self._say()
            if self._look() is None or self._stop.wait(min(5.0, self._silent_s)):
                continue
            error = self._look()  # the main thread has had its time to meet it by itself
            if error is not None:
                self._lost(error)
                return

    def _path(self, rank: int) -> Path:
        return self.folder / f"{rank}.json"

    def _say(self, ended: str = "") -> None:
        about = {
            "rank": self.rank,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "beat": self._beat,
            "ended": ended,
        }
        write_atomic(self._path(self.rank), json.dumps(about).encode("ascii"), overwrite=True)

    def _read(self, rank: int) -> Sign | None:
        try:
            return Sign(**json.loads(self._path(rank).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


def _end(error: RunError) -> None:
    """Tell, and end this process, whose main thread waits for what never comes."""
    print(error, file=sys.stderr, flush=True)
    os._exit(_LOST)


def _alive(pid: int) -> bool:
    """Whether a process of this machine lives; one that has ended and waits to be seen does not."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1] != [b"Z"]
    return True
