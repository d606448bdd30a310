"""The pictures that a command line names: files, folders, patterns, and ``-`` for stdin.

They are walked through one by one, as often as needed, and never all held: a folder may have a
million.
"""

import fnmatch
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anymask.errors import ImageError, Note
from anymask.formats.names import common_folder
from anymask.image_folder import find_images, natural

STDIN = "-"
STDIN_NAME = "stdin"

Remark = Callable[[Path, Note], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One picture.

    Attributes
    ----------
    path
        Where it is, as it was named; ``-`` for stdin.
    name
        Its relative path below the folder that holds all that was named, with ``/``.
    """

    path: str
    name: str


class Inputs:
    """What a command line names, as items in the order given; natural order within each argument.

    Parameters
    ----------
    arguments
        Files, folders, patterns such as ``"photos/*.jpg"`` (where no shell expands them), ``-``.
    apart
        A folder of results; what is in it is not taken for an input when a folder around it is.
    """

    def __init__(self, arguments: Sequence[str], *, apart: Path | None = None) -> None:
        self.arguments = tuple(arguments)
        self._apart = None if apart is None else os.path.abspath(apart)  # noqa: PTH100
        holders = [_holder(argument) for argument in arguments if argument != STDIN]
        self._root = str(common_folder(holders)) if holders else ""

    @property
    def root(self) -> Path:
        """The folder below which all items have their names."""
        return Path(self._root)

    @property
    def single(self) -> bool:
        """Whether one argument names one file."""
        return len(self.arguments) == 1 and not (
            _is_pattern(self.arguments[0]) or Path(self.arguments[0]).is_dir()
        )

    def __iter__(self) -> Iterator[Item]:
        return self.walk()

    def walk(self, remark: Remark | None = None) -> Iterator[Item]:
        """The items; `remark` is told what is passed over.

        Raises
        ------
        ImageError
            ``no-match``: nothing fits a pattern; ``no-pictures``: a folder has none.
        """
        for argument in self.arguments:
            if argument == STDIN:
                yield Item(path=STDIN, name=STDIN_NAME)
            elif _is_pattern(argument):
                yield from self._matches(argument)
            elif Path(argument).is_dir():
                yield from self._below(argument, remark)
            else:
                yield self._item(argument)

    def names(self) -> "Names":
        """The items' names alone, to be gone through any number of times."""
        return Names(self)

    def _item(self, path: str) -> Item:
        relative = os.path.relpath(os.path.abspath(path), self._root)  # noqa: PTH100
        return Item(path=path, name=relative.replace(os.sep, "/"))

    def _matches(self, pattern: str) -> Iterator[Item]:
        found = False
        for path in _glob(pattern):
            found = True
            yield self._item(path)
        if not found:
            raise ImageError("no-match", "no file fits the pattern", given=pattern)

    def _below(self, folder: str, remark: Remark | None) -> Iterator[Item]:
        top = os.path.abspath(folder)  # noqa: PTH100
        apart = self._apart
        inner = apart is not None and apart != top and Path(apart).is_relative_to(top)
        found = False
        for path, note in find_images(folder):
            if inner and Path(os.path.abspath(path)).is_relative_to(str(apart)):  # noqa: PTH100
                continue
            if note is None:
                found = True
                yield self._item(str(path))
            elif remark is not None:
                remark(path, note)
        if not found:
            raise ImageError("no-pictures", "the folder holds no pictures", where=folder)


class Names:
    """Names of inputs; see `Inputs.names`."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    def __iter__(self) -> Iterator[str]:
        return (item.name for item in self._inputs)


def _is_pattern(argument: str) -> bool:
    """A file of exactly that name comes first: ``photo[1].jpg`` is a common one."""
    return glob.has_magic(argument) and not os.path.lexists(argument)


def _holder(argument: str) -> str:
    """The folder that all items of an argument are in."""
    if _is_pattern(argument):
        return _plain_start(argument) or "."
    if Path(argument).is_dir():
        return argument
    return os.path.dirname(argument) or "."  # noqa: PTH120


def _plain_start(pattern: str) -> str:
    """The folders of a pattern before its first wildcard; "" for the current one."""
    while glob.has_magic(pattern):
        pattern = os.path.dirname(pattern)  # noqa: PTH120
    return pattern


def _glob(pattern: str) -> Iterator[str]:
    """Files that fit a pattern, in natural order; of the names, one short string each is held."""
    folder, last = os.path.split(pattern)
    if glob.has_magic(folder) or last == "**":
        found: Iterator[str] = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - of any path
    else:
        found = _listed(folder, last)
    start = _plain_start(pattern)
    start = os.path.join(start, "") if start else ""  # noqa: PTH118
    ends = (path.removeprefix(start) for path in found if not Path(path).is_dir())
    lines = [f"{natural(end)}\x00{end}" for end in ends]
    lines.sort()
    return (start + line.partition("\x00")[2] for line in lines)


def _listed(folder: str, pattern: str) -> Iterator[str]:
    """Files of one folder that fit a pattern, one by one."""
    if not Path(folder or ".").is_dir():
        return
    hidden = pattern.startswith(".")
    with os.scandir(folder or ".") as entries:
        for entry in entries:
            name = entry.name
            if (hidden or not name.startswith(".")) and fnmatch.fnmatch(name, pattern):
                yield os.path.join(folder, name)  # noqa: PTH118
