"""The pictures of a set: found by name, their sizes, and beside masks in another place."""

import io
import os
import warnings
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from PIL import Image

from anymask.errors import DataError
from anymask.formats.names import safe_relative
from anymask.formats.records import Record
from anymask.image_members import Folder
from anymask.image_sniff import SUFFIXES

_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112


class Pictures:
    """A folder of pictures.

    Parameters
    ----------
    root
        The folder. A file there is found by its name alone: names never lead out of it.
    """

    def __init__(self, root: Path) -> None:
        self.source = Folder(root)
        self._stems: dict[Path, dict[str, str]] = {}  # folder -> stem -> name

    def find(self, name: str, where: str) -> str | None:
        """The name itself where such a file is there, else None.

        Raises
        ------
        DataError
            ``name-unsafe``, ``name-too-long``: `name` would lead elsewhere.
        """
        relative = checked_name(name, where)
        return str(relative) if (self.source.path / relative).is_file() else None

    def find_stem(self, stem: str) -> str | None:
        """The picture of that name, or of that name with any ending of a picture."""
        inner = PurePosixPath(stem)
        folder = self.source.path / inner.parent
        if folder not in self._stems:
            names = sorted(entry.name for entry in _files(folder))
            files = [PurePosixPath(name) for name in reversed(names)]
            kept = [file for file in files if file.suffix.lower() in SUFFIXES]
            stems = {file.stem: file.name for file in kept}
            self._stems[folder] = stems | {file.name: file.name for file in kept}
        found = self._stems[folder].get(inner.name)
        return None if found is None else str(inner.parent / found)


def checked_name(name: str, where: str) -> PurePosixPath:
    """A file name that a set states, as a relative path.

    Raises
    ------
    DataError
        ``name-unsafe``, ``name-too-long``.
    """
    try:
        return safe_relative(name, error=DataError)
    except DataError as error:
        raise DataError(
            error.code,
            error.problem,
            given=name,
            where=where,
            hint="a path below the folder of pictures is wanted",
        ) from error


def guess_root(candidates: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first folder that has the first of the files."""
    first = next(iter(names), None)
    if first is None:
        return None
    return next((folder for folder in candidates if (folder / first).is_file()), None)


def picture_sizes(content: Path | bytes) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """(H, W) as stored and as shown upright, from the header alone; None where it cannot be told.

    They differ in photos whose camera was held upright.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)
            with opened as picture:
                width, height = picture.size
                turned = picture.getexif().get(_ORIENTATION) in _TURNED
    except Exception:  # on damaged files Pillow's readers raise almost anything
        return None
    return (height, width), (width, height) if turned else (height, width)


def check_picture(record: Record) -> None:
    """Refuse a picture of another size than its masks.

    Raises
    ------
    DataError
        ``record-size``.
    """
    path = record.image_path()
    if not record.has_picture:
        return
    found = picture_sizes(record.image_bytes() if path is None else path)
    if found is not None and record.size not in found:
        (height, width), stated = found[0], record.size
        raise DataError(
            "record-size",
            f"the masks are for {stated[1]}x{stated[0]} (width x height), the picture has "
            f"{width}x{height}",
            where=record.where,
            hint="was one of the two rotated or scaled?",
        )


def _files(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_file()]
    except OSError:
        return []
