"""Names of result files, from the names of what they are results of.

A result keeps the relative path and the full name of its picture, so that ``a.jpg`` and ``a.png``,
or ``x/a.jpg`` and ``y/a.jpg``, do not meet. Names that could lead out of the folder, or that some
systems refuse, are errors, and so are names that only differ in what some systems do not tell
apart.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from anymask.errors import AnymaskError, OutputError, shown

LONGEST_NAME = 255  # bytes of one part of a path, on all file systems in use
_LONGEST_PATH = 4000  # bytes of a whole relative path
_RESERVED = re.compile(
    r"(?i)(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?"
)


def safe_relative(
    name: str, *, room: int = 0, error: type[AnymaskError] = OutputError
) -> PurePosixPath:
    """A name that was read somewhere, as a relative path that stays where it is put.

    Parameters
    ----------
    name
        Parts divided by ``/``. Anything else, such as a newline or an accent, is kept as it is.
    room
        Bytes that will be appended to the last part.
    error
        What is raised: `OutputError` for names to be written, `DataError` for names that were read
        in a file.

    Raises
    ------
    AnymaskError
        ``name-unsafe``: empty, absolute, with ``..`` or NUL, or a device on Windows;
        ``name-too-long``.

    >>> str(safe_relative("x/a.jpg"))
    'x/a.jpg'
    """
    parts = name.split("/")
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        raise _unsafe(name, "the path is absolute", error)
    for part in parts:
        problem = _problem(part)
        if problem is not None:
            raise _unsafe(name, problem, error)
    lengths = [len(os.fsencode(part)) for part in parts]
    if max(lengths[-1] + room, *lengths) > LONGEST_NAME or sum(lengths) > _LONGEST_PATH:
        raise error(
            "name-too-long",
            f"a name has {max(lengths)} bytes, and at most {LONGEST_NAME - room} can be written",
            given=name,
            hint="rename it",
        )
    return PurePosixPath(*parts)


def inside(root: Path, relative: PurePosixPath) -> Path:
    """The path below a folder, links followed.

    Raises
    ------
    OutputError
        ``name-outside``: a link leads out of the folder.
    """
    path = root / relative
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise OutputError(
            "name-outside",
            "a link leads out of the folder",
            where=str(path),
            hint="remove the link, or choose another folder",
        )
    return path


def common_folder(folders: Sequence[str | os.PathLike[str]]) -> Path:
    """The deepest folder that holds all of some folders, absolute; links are not followed.

    Raises
    ------
    OutputError
        ``no-common-folder``: they are on different drives.
    """
    absolute = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100 - cuts .., no links
    try:
        return Path(os.path.commonpath(absolute))
    except ValueError as error:
        raise OutputError(
            "no-common-folder",
            "the pictures are on different drives",
            given=absolute,
            hint="run once for each drive",
        ) from error


def check_clashes(names: Iterable[str]) -> None:
    """Refuse names that are the same where capitals and accents are not told apart.

    Parameters
    ----------
    names
        Gone through a second time where two look the same: no generator. Memory is 8 bytes a name.

    Raises
    ------
    OutputError
        ``name-clash``: both are named.
    """
    keys = np.fromiter((hash(_folded(name)) for name in names), np.int64)
    values, counts = np.unique(keys, return_counts=True)
    suspects = set(values[counts > 1].tolist())
    seen: dict[str, str] = {}
    for name in names if suspects else ():
        folded = _folded(name)
        if hash(folded) not in suspects:
            continue
        if folded in seen:
            same = "are the same file" if seen[folded] == name else "would get the same name"
            raise OutputError(
                "name-clash",
                f"two pictures {same}: {shown(seen[folded])} and {shown(name)}",
                hint="rename one, or run twice with different folders",
            )
        seen[folded] = name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _problem(part: str) -> str | None:
    """What is wrong with one part of a path."""
    if "\0" in part:
        return "the name holds a NUL character"
    if part in ("", "."):
        return "a part of the path is empty"
    if ".." in part.split("\\"):
        return "the path leads upwards"
    if _RESERVED.fullmatch(part):
        return "the name is that of a device on Windows"
    return None


def _unsafe(name: str, problem: str, error: type[AnymaskError]) -> AnymaskError:
    return error("name-unsafe", problem, given=name, hint="rename it")
