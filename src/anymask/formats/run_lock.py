"""The lock of a run folder: one run at a time, and a second one is told whose it is.

The operating system holds the lock for an open file and lets go when the process ends, however it
ends. The file says host, process and a beat that counts up every few seconds, for people and for
file systems without locks: there an owner lives as long as its beat goes on while one looks. No
clock is read, so a jump of the clock ends nothing.
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
from anymask.formats.atomic import naming

BEAT_S = 5.0
_WATCH_BEATS = 3  # beats that an owner may miss before it counts as dead
_ORPHAN_S = 20.0  # a killed run's worker may hold the lock for as long
_LOOK_AGAIN_S = 0.1
_BYTES = 256  # the file's size while it is held: a beat is one write in place


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who holds a lock.

    Attributes
    ----------
    host
        Name of the machine.
    pid
        Its process.
    beat
        How often it has said that it lives.
    """

    host: str
    pid: int
    beat: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def same(self, other: "Owner | None") -> bool:
        """Whether the other is the same process."""
        return other is not None and (self.host, self.pid) == (other.host, other.pid)


class RunLock:
    """The right to write into a run folder.

    Parameters
    ----------
    path
        The lock's file; it stays, empty, when the lock is let go of.
    beat_s
        Seconds between two beats.
    sleep
        Waits some seconds; only tests give another.
    """

    def __init__(
        self, path: Path, *, beat_s: float = BEAT_S, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.path = path
        self._beat_s, self._sleep = beat_s, sleep
        self._me = Owner(host=socket.gethostname(), pid=os.getpid(), beat=0)
        self._file: int | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def descriptor(self) -> int:
        """The open file; the lock lasts as long as any process has it open."""
        if self._file is None:
            raise ValueError("the lock is not held")
        return self._file

    def take(self) -> None:
        """Hold the lock from now on; that of a dead process is taken over.

        Raises
        ------
        RunError
            ``run-locked``: another run has it; its process and machine are named.
        OutputError
            The file cannot be made.
        """
        while self._file is None:
            with naming(self.path):
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._claim()
                if not self._is_there():  # its last owner has removed it meanwhile
                    self._close()
                    continue
                with naming(self.path):
                    self._say(self._me)
            except BaseException:
                self._close()
                raise
        self._thread = threading.Thread(target=self._live, name="run-lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Let go; the file is left empty."""
        if self._file is None:
            return
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        _unlock(self._file)
        self._close()

    def check(self) -> None:
        """Make sure that the lock is still ours, where nobody but the file's content holds it.

        Raises
        ------
        RunError
            ``run-lock-lost``: another run has taken over.
        """
        owner = self._read()
        if owner is not None and not self._me.same(owner):
            raise RunError(
                "run-lock-lost",
                f"{owner} has taken this folder over",
                where=str(self.path.parent),
                hint="was this process stopped for a while? Let one of the two run",
            )

    def _claim(self) -> None:
        """Wait until the lock is free, or refuse."""
        free, owner = _try_lock(self.descriptor), self._read()
        if free is False:
            if owner is None or not self._is_dead(owner) or not self._wait_for_orphans():
                raise self._locked(owner)
            owner = None
        if owner is None or (free and owner.host == self._me.host):
            return  # the system let go of it: its process has ended
        if owner.host == self._me.host and not _alive(owner.pid):
            return
        if self._beats(owner):
            raise self._locked(owner)

    def _is_there(self) -> bool:
        """Whether the name still leads to the open file."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _wait_for_orphans(self) -> bool:
        """Whether the lock comes free soon: a killed run's worker is just about to end."""
        for _ in range(int(_ORPHAN_S / _LOOK_AGAIN_S)):
            self._sleep(_LOOK_AGAIN_S)
            if _try_lock(self.descriptor):
                return True
        return False

    def _beats(self, owner: Owner) -> bool:
        """Whether an owner that cannot be asked goes on counting."""
        for _ in range(2 * _WATCH_BEATS):
            self._sleep(self._beat_s / 2)
            if self._read() != owner:
                return True
        return False

    def _is_dead(self, owner: Owner) -> bool:
        return owner.host == self._me.host and not _alive(owner.pid)

    def _locked(self, owner: Owner | None) -> RunError:
        return RunError(
            "run-locked",
            f"another run works in this folder: {owner or 'its process is not known'}",
            where=str(self.path.parent.parent),
            hint="wait for it or stop it, or choose another folder",
        )

    def _live(self) -> None:
        """Count up until the end; a disk that fails now is met by the run itself."""
        beat = 0
        while not self._end.wait(self._beat_s):
            beat += 1
            with contextlib.suppress(OSError):
                if self._me.same(self._read()):
                    self._say(Owner(host=self._me.host, pid=self._me.pid, beat=beat))

    def _say(self, owner: Owner) -> None:
        text = json.dumps({"host": owner.host, "pid": owner.pid, "beat": owner.beat})
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        os.write(self.descriptor, text.encode("ascii").ljust(_BYTES - 1) + b"\n")

    def _read(self) -> Owner | None:
        """What the file says; None if it is empty or was cut."""
        try:
            table = json.loads(self.path.read_bytes())
            return Owner(host=str(table["host"]), pid=int(table["pid"]), beat=int(table["beat"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30  # locked bytes cannot be read by others: lock one beyond the text

    def _alive(pid: int) -> bool:
        """Not asked here, where the system's locks are always to be had."""
        return True

    def _try_lock(descriptor: int) -> bool | None:
        """Whether the lock is ours now."""
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        with contextlib.suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _alive(pid: int) -> bool:
        """Whether a process of this machine lives."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # another user's
            return True
        return not _zombie(pid)

    def _zombie(pid: int) -> bool:
        """Whether a process has ended and its parent has not looked yet; known on Linux alone."""
        try:
            status = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return False
        return status.rpartition(b")")[2].split()[:1] == [b"Z"]

    def _try_lock(descriptor: int) -> bool | None:
        """Whether the lock is ours now; None on a file system without locks."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    def _unlock(descriptor: int) -> None:
        """Let go for all processes that have the file open."""
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
