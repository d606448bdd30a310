"""Faults of the disk on demand: the n-th call that writes below a folder fails.

    from faults import Faults, faults_below  # noqa: F401 - the fixture `faults`

    def test_x(faults, tmp_path):
        for error in faults.each(lambda: save(tmp_path / "a"), errno.ENOSPC):
            ...  # look at what is left; `error` is None in the last round, which passes

Counted are opening for writing, writing, fsync, replace and link. As SQLite tests itself: call 0
fails, then call 1, and so on until the action passes.
"""

import builtins
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_MOST_CALLS = 500


class Faults:
    """Counts calls that write below `folder`, and fails the one that it is armed for."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.calls = 0
        self._left, self._number, self._forever = -1, 0, False
        self._struck = False
        self._descriptors: set[int] = set()
        self._real = {name: getattr(os, name) for name in ("open", "fsync", "replace", "link")}
        real_open, real_close = io.open, os.close
        patch.setattr(os, "open", self._os_open)
        patch.setattr(os, "fsync", self._fsync)
        patch.setattr(os, "replace", self._named("replace"))
        patch.setattr(os, "link", self._named("link"))

        def close(descriptor: int) -> None:
            self._descriptors.discard(descriptor)
            real_close(descriptor)

        def open_file(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
            ours = file in self._descriptors if isinstance(file, int) else self._inside(file)
            if not ours or not set(mode) & set("wax+"):
                return real_open(file, mode, *args, **more)
            if not isinstance(file, int):
                self._tick()
            opened = real_open(file, mode, *args, **more)
            self._descriptors.add(opened.fileno())
            return _Shaky(opened, self)

        patch.setattr(os, "close", close)
        patch.setattr(io, "open", open_file)
        patch.setattr(builtins, "open", open_file)

    def arm(self, after: int, number: int, *, forever: bool = False) -> None:
        """Let `after` calls pass; the next fails with the errno `number` (and all after it)."""
        self._left, self._number, self._forever = after, number, forever

    def disarm(self) -> bool:
        """Whether the fault was still waiting for its call."""
        waiting, self._left = self._left > 0 or (self._left == 0 and not self._struck), -1
        return waiting

    def each(
        self, action: Callable[[], object], number: int, *, forever: bool = False
    ) -> Iterator[Exception | None]:
        """Run the action with a fault at call 0, 1, 2 ...; what it raised, None at last."""
        for after in range(_MOST_CALLS):
            self._struck = False
            self.arm(after, number, forever=forever)
            error: Exception | None = None
            try:
                action()
            except Exception as raised:
                error = raised
            passed = self.disarm()
            assert not (passed and error), f"it fails without a fault: {error!r}"
            yield error
            if passed:
                return
        raise AssertionError(f"it does not pass within {_MOST_CALLS} calls")

    def _tick(self) -> None:
        self.calls += 1
        if self._left == 0:
            self._struck = True
            if not self._forever:
                self._left = -1
            raise OSError(self._number, os.strerror(self._number))
        self._left -= self._left > 0

    def _inside(self, path: Any) -> bool:
        try:
            return os.path.realpath(os.fspath(path)).startswith(self.folder)
        except TypeError:
            return False

    def _os_open(self, path: Any, flags: int, *args: Any, **more: Any) -> int:
        ours = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and self._inside(path)
        if ours:
            self._tick()
        descriptor: int = self._real["open"](path, flags, *args, **more)
        if ours:
            self._descriptors.add(descriptor)
        return descriptor

    def _fsync(self, descriptor: int) -> None:
        if descriptor in self._descriptors:
            self._tick()
        self._real["fsync"](descriptor)

    def _named(self, name: str) -> Callable[..., Any]:
        def call(source: Any, target: Any, **more: Any) -> Any:
            if self._inside(target):
                self._tick()
            return self._real[name](source, target, **more)

        return call


class _Shaky:
    """An open file whose writes are counted."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __enter__(self) -> "_Shaky":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, data: Any) -> Any:
        self._faults._tick()
        return self._file.write(data)

    def close(self) -> None:
        if not self._file.closed:
            self._faults._descriptors.discard(self._file.fileno())
        self._file.close()


@pytest.fixture(name="faults")
def faults_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Faults below tmp_path."""
    yield Faults(monkeypatch, tmp_path)
