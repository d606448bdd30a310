"""A folder of results: what will be written, whether it can be, and writing it.

Everything that can be refused is refused before a picture is looked at.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from anymask.errors import OutputError
from anymask.formats import OUTPUTS, Output
from anymask.formats.atomic import ensure_folder, write_atomic
from anymask.formats.names import check_clashes, inside, safe_relative
from anymask.formats.result import Result

_AT_ONCE = 4  # files made at the same time
_LARGE = 50_000_000  # pixels from which on files are made one by one, to save memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One file of a picture.

    Attributes
    ----------
    ending
        What follows the picture's full name.
    output
        Its row of the table.
    index
        The mask it shows, None for all.
    """

    ending: str
    output: Output
    index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFolder:
    """Where results go.

    Attributes
    ----------
    root
        The folder; made when needed.
    count
        Masks of each picture.
    alternatives
        The masks of a picture are different answers to one question.
    overwrite
        Replace files that are there.
    skip
        Leave files that are there as they are, and write the missing ones.
    """

    root: Path
    count: int
    alternatives: bool = False
    overwrite: bool = False
    skip: bool = False

    @property
    def planned(self) -> tuple[Planned, ...]:
        """The files of one picture, in the order in which they appear."""
        files = []
        for row in OUTPUTS:
            many = row.each == "mask" or (row.each == "view" and self.alternatives)
            for i in range(self.count) if many else [None]:
                number = f".{i + 1}" if i is not None and self.count > 1 else ""
                files.append(Planned(ending=number + row.ending, output=row, index=i))
        return tuple(files)

    def path(self, name: str, planned: Planned) -> Path:
        """Where a file of the picture of that name goes."""
        relative = safe_relative(name, room=len(planned.ending))
        return inside(self.root, PurePosixPath(f"{relative}{planned.ending}"))

    def check(self, names: Iterable[str], keep: Iterable[Path] = ()) -> None:
        """Refuse what cannot be written, before any work; the folder is made and swept.

        Parameters
        ----------
        names
            Relative paths of all pictures; gone through up to three times.
        keep
            Files that must not be replaced whatever is allowed: inputs.

        Raises
        ------
        OutputError
            ``name-clash``, ``name-unsafe``, ``name-too-long``, ``name-outside``; ``file-exists``;
            ``output-is-input``; ``folder-read-only`` and others of `ensure_folder`.
        """
        check_clashes(names)
        room = max(len(file.ending) for file in self.planned)
        fresh = not self.root.exists()
        folder = None
        for name in names:
            relative = safe_relative(name, room=room)
            if fresh:
                continue
            if relative.parent != folder:  # a million pictures lie in few folders
                folder = relative.parent
                inside(self.root, relative)
            if not (self.overwrite or self.skip):
                self._check_files(name)
        ensure_folder(self.root)
        if not fresh:
            self._check_inputs(names, keep)

    def done(self, name: str) -> bool:
        """Whether all files of a picture are there and are to be left as they are."""
        return all(self._kept(self.path(name, file)) for file in self.planned)

    def write(self, result: Result, name: str) -> list[Path]:
        """Make and write the files of a picture; their paths.

        Raises
        ------
        OutputError
            As `write_atomic`.
        """
        wanted = [file for file in self.planned if not self._kept(self.path(name, file))]
        height, width = result.masks.size
        at_once = _AT_ONCE if height * width < _LARGE else 1
        with ThreadPoolExecutor(at_once) as pool:
            for first in range(0, len(wanted), at_once):
                some = wanted[first : first + at_once]
                made = pool.map(lambda file: file.output.make(result, file.index), some)
                for file, content in zip(some, made, strict=True):  # in order: the JSON last
                    write_atomic(self.path(name, file), content, overwrite=self.overwrite)
        return [self.path(name, file) for file in self.planned]

    def _kept(self, path: Path) -> bool:
        return self.skip and os.path.lexists(path)

    def _check_files(self, name: str) -> None:
        for file in self.planned:
            path = f"{self.root}/{name}{file.ending}"
            if os.path.lexists(path):
                raise OutputError(
                    "file-exists",
                    "the file is there already",
                    where=path,
                    hint="pass --overwrite to replace it, --skip to go on with what is missing",
                )

    def _check_inputs(self, names: Iterable[str], keep: Iterable[Path]) -> None:
        """Refuse to replace an input."""
        root = self.root.resolve()
        endings = tuple(row.ending for row in OUTPUTS)
        inputs = {
            path.resolve()
            for path in keep
            if path.name.endswith(endings) and path.resolve().is_relative_to(root)
        }
        if not inputs:
            return
        for name in names:
            for file in self.planned:
                path = self.path(name, file)
                if path.resolve() in inputs:
                    raise OutputError(
                        "output-is-input",
                        "an input would be replaced",
                        where=str(path),
                        hint="choose another folder with -o",
                    )
