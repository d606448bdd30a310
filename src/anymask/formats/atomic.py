"""Writing files whole or not at all, and never over what somebody else wrote unasked.

A file is written beside its place, flushed to disk, and moved there in one step: after a crash
there is the old file or the new one, never half of one.
"""

import errno
import os
import secrets
from pathlib import Path

from anymask.errors import OutputError

_PREFIX, _SUFFIX = ".anymask-", ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_atomic(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file.

    Raises
    ------
    OutputError
        ``file-exists``, ``disk-full``, ``folder-locked`` or ``write-failed``; then the file that
        was there is as it was, and nothing else is left.
    """
    if not overwrite:
        refuse_existing([path])
    temporary = path.with_name(f"{_PREFIX}{secrets.token_hex(6)}{_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        _forget(temporary)
        raise as_output_error(error, path) from error
    except BaseException:
        _forget(temporary)
        raise


def refuse_existing(paths: list[Path]) -> None:
    """Raise ``file-exists`` for the first path that is there already.

    Raises
    ------
    OutputError
        ``file-exists``.
    """
    there = next((path for path in paths if path.exists() or path.is_symlink()), None)
    if there is not None:
        raise OutputError(
            "file-exists",
            "the file is there already and stays as it is",
            where=str(there),
            hint="pass --overwrite, or another folder",
        )


def prepare_folder(folder: Path) -> None:
    """Make a folder, sweep what a crash left in it, and see that it can be written to.

    Raises
    ------
    OutputError
        ``folder-locked`` or another reason, before any work is done.
    """
    probe = folder / f"{_PREFIX}{secrets.token_hex(6)}{_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            stale.unlink(missing_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        _forget(probe)
        raise as_output_error(error, folder) from error


def as_output_error(error: OSError, path: Path) -> OutputError:
    """What the system says, as one of ours."""
    if error.errno in _FULL:
        return OutputError(
            "disk-full", "there is no room left", where=str(path), hint="free some space"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(
            "folder-locked",
            "the folder may not be written to",
            where=str(path if path.is_dir() else path.parent),
            hint="choose another with -o",
        )
    return OutputError("write-failed", f"writing failed ({error.strerror})", where=str(path))


def _forget(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the first error is the one to tell
