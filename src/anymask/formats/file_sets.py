"""Sets of one file, or one folder, for each picture: what those formats share."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from anymask.errors import DataError, Note
from anymask.formats.atomic import write_atomic
from anymask.formats.names import inside, safe_relative
from anymask.formats.pictures import Pictures
from anymask.formats.records import Category, Record, Remarks
from anymask.image_sniff import SUFFIXES

Read = Callable[[str, Remarks], Record]  # an id of the set -> its record


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileSet:
    """Pictures whose masks lie in files of their own; see `anymask.formats.records.RecordSet`.

    Attributes
    ----------
    name
        Of the folder.
    path
        The folder.
    ids
        Relative paths without ending, with ``/``, sorted.
    categories
        Those that are listed beforehand.
    notes
        What belongs to no picture.
    strict
        What would be cut or left out is an error.
    """

    name: str
    path: Path
    ids: tuple[str, ...]
    categories: tuple[Category, ...] = ()
    notes: tuple[Note, ...] = ()
    strict: bool = False
    _read: Read = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Record]:
        return (self.read(image_id) for image_id in self.ids)

    def stem_of(self, image_id: str) -> str:
        """The id, without what follows the picture's name."""
        return plain_stem(image_id)

    def read(self, image_id: str) -> Record:
        """One picture's masks, checked; errors are those of the format."""
        return self._read(image_id, Remarks(str(self.path / image_id), self.strict))


class FileWriter:
    """One file for each picture; see `anymask.formats.records.SetWriter`.

    Parameters
    ----------
    root
        The folder.
    ending
        What follows the picture's name without its own ending.
    make
        The file's bytes; what it cannot keep is said to the remarks.
    folder
        Where the files lie below `root`.
    pictures
        Where pictures are put below `root`.
    strict
        What the format cannot keep is an error.
    flat
        No folders inside: ``x/a`` becomes ``x__a``.
    """

    def __init__(
        self,
        root: Path,
        ending: str,
        make: Callable[[Record, Remarks], bytes],
        *,
        folder: str = "",
        pictures: str = "",
        strict: bool = False,
        flat: bool = False,
    ) -> None:
        self.root, self.ending, self.strict, self.flat = root, ending, strict, flat
        self._make, self._folder, self._pictures = make, folder, pictures

    def path(self, stem: str) -> Path:
        """Where the file of a picture goes."""
        return placed(self.root / self._folder, self._flat(stem) + self.ending)

    def picture_path(self, file_name: str) -> Path:
        """Where the picture itself goes."""
        return placed(self.root / self._pictures, self._flat(file_name))

    def done(self, stem: str) -> bool:
        """Whether the file of a picture is there."""
        return os.path.lexists(self.path(stem))

    def add(self, record: Record) -> tuple[Note, ...]:
        """Write a picture's file.

        Raises
        ------
        OutputError
            As `anymask.formats.atomic.write_atomic`.
        DataError
            If strict: what the format cannot keep.
        """
        remarks = Remarks(record.where, self.strict)
        content = self._make(record, remarks)
        write_atomic(self.path(stem_of(record.file_name)), content)
        return tuple(remarks.notes)

    def finish(self) -> tuple[Note, ...]:
        """Nothing is common to all."""
        return ()

    def close(self) -> None:
        """Nothing waits."""

    def _flat(self, name: str) -> str:
        return str(safe_relative(name)).replace("/", "__") if self.flat else name


def placed(root: Path, name: str) -> Path:
    """A path below a folder that names cannot lead out of.

    Raises
    ------
    OutputError
        ``name-unsafe``, ``name-too-long``, ``name-outside``.
    """
    return inside(root, safe_relative(name))


def stem_of(file_name: str) -> str:
    """A relative path without the ending of its last part.

    >>> stem_of("x.y/a.b.jpg")
    'x.y/a.b'
    """
    path = PurePosixPath(file_name)
    return str(path.with_name(path.stem)) if path.suffix else file_name


def named_picture(name: str) -> str | None:
    """The picture that results are named after by its full name, or None.

    >>> named_picture("x/a.jpg.panoptic"), named_picture("x/a")
    ('x/a.jpg', None)
    """
    name = name.removesuffix(".panoptic")
    return name if PurePosixPath(name).suffix.lower() in SUFFIXES else None


def plain_stem(name: str) -> str:
    """The picture's name without its ending, from that of its masks' file without its own.

    >>> plain_stem("x/a.jpg.panoptic"), plain_stem("x/a.b")
    ('x/a', 'x/a.b')
    """
    full = named_picture(name)
    return name if full is None else stem_of(full)


def find_files(root: Path, ending: str) -> tuple[str, ...]:
    """Relative paths without ending of all files below a folder, sorted; hidden ones are not.

    Raises
    ------
    DataError
        ``set-missing``, ``set-empty``.
    """
    if not root.is_dir():
        raise DataError("set-missing", "there is no such folder", given=str(root))
    found = []
    for folder, folders, names in os.walk(root):  # links to folders are not followed
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(folder).relative_to(root).as_posix()
        for name in names:
            if name.lower().endswith(ending) and not name.startswith("."):
                stem = name[: -len(ending)]
                found.append(stem if here == "." else f"{here}/{stem}")
    if not found:
        raise DataError("set-empty", f"no file ends in {ending}", where=str(root))
    return tuple(sorted(found))


def picture_of(
    stem: str, places: tuple[Pictures, ...], stated: str | None, remarks: Remarks
) -> tuple[str, Pictures | None, str | None]:
    """The file name of a picture, and where it lies as far as it is found.

    Its name as it lies there, else as its masks' file states it where that agrees, else a guess.
    """
    full = named_picture(stem)
    for pictures in places:
        found = pictures.find_stem(stem) if full is None else pictures.find(full, remarks.where)
        if found is not None:
            return found, pictures, found
    if full is not None:
        return full, None, None
    name = PurePosixPath((stated or "").replace("\\", "/")).name  # never a path
    if name and PurePosixPath(name).stem == PurePosixPath(stem).name:
        return str(PurePosixPath(stem).with_name(name)), None, None
    remarks.say("name-guessed", f"the picture was not found: called {stem}.jpg")
    return f"{stem}.jpg", None, None
