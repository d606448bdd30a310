"""The result files of a folder run: written without a name, recognised by their content."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from anymask.errors import OutputError
from anymask.formats.atomic import naming


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A file that has no name yet.

    Attributes
    ----------
    path
        Where it belongs, below the run's folder, with ``/``.
    at
        Where it lies.
    sha256
        Of its content.
    """

    path: str
    at: Path
    sha256: str


def content_hash(path: Path) -> str | None:
    """SHA-256 of a file's content; None for what is no file or cannot be read."""
    try:
        if not path.is_file():  # a pipe would block
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def stage(folder: Path, files: Iterable[tuple[str, bytes]]) -> tuple[Staged, ...]:
    """Write files, given by where they belong, into a folder where they have no name yet.

    Raises
    ------
    OutputError
        As `anymask.formats.atomic.write_atomic`.
    """
    staged = []
    for number, (path, data) in enumerate(files):
        at = folder / str(number)
        with naming(at), at.open("wb") as file:  # what is half written has no name yet
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.append(Staged(path=path, at=at, sha256=hashlib.sha256(data).hexdigest()))
    return tuple(staged)


def take_back(root: Path, files: Iterable[tuple[str, str]]) -> None:
    """Remove files below a folder whose content is still the stated one, and empty folders then.

    Raises
    ------
    OutputError
        One cannot be removed.
    """
    for path, sha256 in files:
        target = root / path
        with naming(target):
            if target.is_symlink() or content_hash(target) != sha256:
                continue
            target.unlink()
            folder = target.parent
            while folder != root and not any(folder.iterdir()):
                folder.rmdir()
                folder = folder.parent


def empty(folder: Path) -> None:
    """Remove all files of a folder of ours."""
    with naming(folder):
        for path in folder.iterdir():
            path.unlink()


def taken(target: Path) -> OutputError:
    """The error of a file in the way that is not this run's."""
    return OutputError(
        "file-exists",
        "something is there already that this run did not write",
        where=str(target),
        hint="choose another folder, or move it away",
    )


def changed(target: Path) -> OutputError:
    """The error of a result that somebody has worked on."""
    return OutputError(
        "result-changed",
        "this result was changed after it was written",
        where=str(target),
        hint="move it away to have it made anew, or choose another folder",
    )
