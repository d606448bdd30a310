"""Writing a tar in SA-1B's layout: pictures and JSONs in pairs, ``a.jpg`` before ``a.json``.

The same pictures give the same bytes whatever their order: pairs are sorted by name, and nothing
tells of the time, the user or the machine. Until `finish` they wait in a file without a name, which
goes with the process; then the tar appears whole under its name, or not at all.
"""

import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from anymask.errors import Note, OutputError
from anymask.formats.atomic import naming, write_atomic
from anymask.formats.file_sets import stem_of
from anymask.formats.names import safe_relative
from anymask.formats.records import Record

_TIME = 315_532_800  # the start of 1980: some programs warn of 1970, and zip knows nothing earlier


class TarWriter:
    """One tar of many pictures; see `anymask.formats.records.PackedWriter`.

    Parameters
    ----------
    path
        The tar. While it is written the disk has its content twice.
    make
        The JSON of a picture.
    """

    def __init__(self, path: Path, make: Callable[[Record], bytes]) -> None:
        self.target, self._make = path, make
        self._pairs: dict[str, list[tuple[str, int, int]]] = {}  # stem -> name, byte, length
        self._file: IO[bytes] | None = None

    def path(self, stem: str) -> Path:
        """The tar, for every picture."""
        return self.target

    def picture_path(self, file_name: str) -> Path:
        """The tar too."""
        return self.target

    def member(self, stem: str) -> str:
        """The JSON's name inside: no folders, as SA-1B has it.

        Raises
        ------
        OutputError
            ``name-unsafe``, ``name-too-long``.
        """
        return f"{_flat(stem)}.json"

    def add(self, record: Record) -> tuple[Note, ...]:
        """A picture and its JSON.

        Raises
        ------
        DataError
            ``picture-missing``; ``set-unreadable`` and others where the picture lies.
        OutputError
            ``picture-twice``: a picture of that name is there; ``disk-full`` and others of
            `anymask.formats.atomic.write_atomic`.
        """
        picture = _flat(record.file_name)
        stem = stem_of(picture)
        if stem in self._pairs:
            raise OutputError("picture-twice", "two pictures have one name", given=picture)
        contents = {picture: record.image_bytes(), f"{stem}.json": self._make(record)}
        with naming(self.target):
            if self._file is None:
                self.target.parent.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self.target.parent)  # noqa: SIM115 - `close`
            places = []
            for name, content in contents.items():
                places.append((name, self._file.seek(0, 2), len(content)))
                self._file.write(content)
        self._pairs[stem] = places
        return ()

    def finish(self) -> tuple[Note, ...]:
        """Write the tar.

        Raises
        ------
        OutputError
            As `anymask.formats.atomic.write_atomic`.
        """
        write_atomic(self.target, self._write)
        self.close()
        return ()

    def close(self) -> None:
        """Forget what was not written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, file: IO[bytes]) -> None:
        with tarfile.open(
            fileobj=file,
            mode="w",
            format=tarfile.GNU_FORMAT,  # names of any bytes and length, files of any size
            encoding="utf-8",
            errors="surrogateescape",
        ) as tar:
            for stem in sorted(self._pairs):
                for name, start, length in self._pairs[stem]:
                    about = tarfile.TarInfo(name)
                    about.size, about.mtime, about.mode = length, _TIME, 0o644
                    if self._file is not None:
                        self._file.seek(start)
                        tar.addfile(about, self._file)


def _flat(name: str) -> str:
    """``x/a`` as ``x__a``, with room for the JSON's ending."""
    flat = str(safe_relative(name)).replace("/", "__")
    return str(safe_relative(flat, room=len(".json")))
