"""Writing a file whole or not at all: beside the target first, flushed, then put in its place.

A reader sees the old file or the new one, never half of one, even when the process is killed. What
a killed process leaves behind is found by its lock, which the system lets go of, and removed by
the next run.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from anymask.errors import OutputError

Writer = Callable[[IO[bytes]], object]

_PREFIX, _SUFFIX = ".anymask-", ".part"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_CODES = {
    errno.ENOSPC: ("disk-full", "there is no room left", "free some space, or choose another disk"),
    errno.EDQUOT: ("disk-full", "the quota is used up", "free some space, or choose another disk"),
    errno.EROFS: ("folder-read-only", "nothing can be written here", "choose another folder"),
    errno.EACCES: ("folder-read-only", "nothing may be written here", "choose another folder"),
    errno.EPERM: ("folder-read-only", "nothing may be written here", "choose another folder"),
    errno.ENAMETOOLONG: ("name-too-long", "the name is too long", "choose a shorter one"),
    errno.ENOTDIR: ("not-a-folder", "a part of the path is a file", "choose another folder"),
    errno.EISDIR: ("is-a-folder", "a folder of this name is in the way", "choose another name"),
}


def write_atomic(
    path: str | os.PathLike[str], data: bytes | Writer, *, overwrite: bool = False
) -> None:
    """Write a file whole or not at all; folders on the way are made.

    Parameters
    ----------
    path
        The target.
    data
        Its bytes, or a function that writes them to an open binary file.
    overwrite
        Replace a file that is there. Without it two writers never replace each other's file.

    Raises
    ------
    OutputError
        ``file-exists``, ``disk-full``, ``folder-read-only``, ``name-too-long``,
        ``not-a-folder``, ``is-a-folder`` or ``write-failed``; an old file is kept then, and no
        other is left.
    """
    with atomic_file(path, overwrite=overwrite) as file:
        if isinstance(data, bytes):
            file.write(data)
        else:
            data(file)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """An open binary file that is `path` once the block is left, and is gone where it raises.

    Errors as in `write_atomic`; those of the system within the block become `OutputError`, too.
    """
    target = Path(path)
    if not overwrite and os.path.lexists(target):
        raise exists(target)
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temp, descriptor = _create(target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                _publish(temp, target, overwrite)  # while the lock on the file is still held
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink()
            raise
    _sync_folder(target.parent)


def place(files: Iterable[tuple[Path, Path]]) -> None:
    """Give whole files, which lie on the same disk, their names; none takes another's place.

    Parameters
    ----------
    files
        Of each where it lies and where it belongs; folders on the way are made.

    Raises
    ------
    OutputError
        As `write_atomic`; the files before the one at fault are in place then.
    """
    folders = set()
    for source, target in files:
        with naming(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _publish(source, target, overwrite=False)
        folders.add(target.parent)
    for folder in folders:
        _sync_folder(folder)


def ensure_folder(folder: str | os.PathLike[str]) -> None:
    """Make a folder, prove that files can be written in it, and sweep it.

    Raises
    ------
    OutputError
        As `write_atomic`.
    """
    where = Path(folder)
    with naming(where):
        if where.exists() and not where.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file", str(where))
        where.mkdir(parents=True, exist_ok=True)
        sweep(where)
        temp, descriptor = _create(where)
        os.close(descriptor)
        temp.unlink()


def sweep(folder: str | os.PathLike[str]) -> int:
    """Remove what killed processes left in a folder; how many files those were.

    The temporary files of living processes are locked, and stay.
    """
    removed = 0
    with os.scandir(folder) as entries:
        found = [Path(e.path) for e in entries if _is_temp(e.name)]
    for path in found:
        with contextlib.suppress(OSError):
            removed += _remove_abandoned(path)
    return removed


def exists(target: Path) -> OutputError:
    """The error of a file that is there already."""
    return OutputError(
        "file-exists",
        "the file is there already",
        where=str(target),
        hint="allow overwriting, or choose another place",
    )


def _is_temp(name: str) -> bool:
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def _create(folder: Path) -> tuple[Path, int]:
    """A new temporary file, locked, and its descriptor."""
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with contextlib.suppress(FileNotFoundError):
            # a sweep may have come between the two calls: the name must still be this file's
            _lock(descriptor, wait=True)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return path, descriptor
        os.close(descriptor)


def _remove_abandoned(path: Path) -> bool:
    """Remove a temporary file if the process that wrote it is gone; whether it was."""
    if os.name == "nt":
        path.unlink()  # fails for a file that somebody holds open
        return True
    descriptor = os.open(path, os.O_RDWR)
    try:
        gone = _lock(descriptor, wait=False)
        if gone:
            path.unlink()
        return gone
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Take the lock of a file until it is closed; whether that could be done."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):  # Windows; somebody has it; a file system without locks
        return False
    return True


def _publish(temp: Path, target: Path, overwrite: bool) -> None:
    """Give the file its name."""
    if not overwrite:
        try:
            os.link(temp, target)  # fails where another process was faster
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            with contextlib.suppress(OSError):
                temp.unlink()
            return
        if os.path.lexists(target):
            raise exists(target)
    os.replace(temp, target)  # noqa: PTH105 - tests count the calls of os


def _sync_folder(folder: Path) -> None:
    """Make the name last through a power cut, where the system can do that for folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def naming(target: Path) -> Iterator[None]:
    """Turn what the system says into an `OutputError` that names the target."""
    try:
        yield
    except FileExistsError as error:
        raise exists(target) from error
    except OSError as error:
        code, problem, hint = _CODES.get(
            error.errno or 0,
            ("write-failed", f"writing failed: {error.strerror or error}", "is the disk sound?"),
        )
        raise OutputError(code, problem, where=str(target), hint=hint) from error
