"""Bytes by name from a folder or from an uncompressed tar, without unpacking it."""

import os
import tarfile
import weakref
from pathlib import Path
from typing import Protocol, runtime_checkable

from anymask.errors import DataError


@runtime_checkable
class Source(Protocol):
    """Where the bytes of a set lie."""

    def names(self) -> list[str]: ...

    def read(self, name: str) -> bytes: ...

    def where(self, name: str) -> str: ...

    def path_of(self, name: str) -> Path | None:
        """Its own file, or None where it is a part of another."""
        ...


class Folder:
    """Files in a folder and in the folders inside of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """All files, in no order; hidden folders and links to folders are not entered."""
        found: list[str] = []
        waiting = [""]
        while waiting:
            inner = waiting.pop()
            try:
                with os.scandir(self.path / inner) as entries:
                    for entry in entries:
                        if entry.is_file():
                            found.append(inner + entry.name)
                        elif entry.is_dir(follow_symlinks=False) and entry.name[0] != ".":
                            waiting.append(f"{inner}{entry.name}/")
            except OSError as error:
                raise DataError(
                    "set-unreadable", f"cannot read ({error.strerror})", where=self.where(inner)
                ) from error
        return found

    def where(self, name: str) -> str:
        return str(self.path / name)

    def path_of(self, name: str) -> Path | None:
        return self.path / name

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise DataError(
                "set-unreadable", f"cannot read ({error.strerror})", where=self.where(name)
            ) from error


class Tar:
    """Members of an uncompressed tar by offset, so that reading needs no seek and no lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[str, tuple[int, int]] = {}  # name -> offset, bytes
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(
                "set-unreadable", f"cannot read ({error.strerror})", where=str(path)
            ) from error
        weakref.finalize(self, os.close, descriptor)
        self._descriptor = descriptor
        end = os.fstat(descriptor).st_size
        try:
            with tarfile.open(path, "r:") as tar:
                members = [member for member in tar if member.isreg() and not member.issparse()]
        except (tarfile.TarError, OSError) as error:
            raise DataError(
                "tar-broken",
                f"no whole uncompressed tar ({error})",
                where=str(path),
                hint="unpack a compressed one, fetch a broken one again",
            ) from error
        for member in members:
            if member.offset_data + member.size > end:
                raise DataError("tar-broken", "the tar ends early", where=self.where(member.name))
            if member.name in self.places:
                raise DataError(
                    "pair-ambiguous", "two members have one name", where=self.where(member.name)
                )
            self.places[member.name] = (member.offset_data, member.size)

    def names(self) -> list[str]:
        """All members that are plain files, in the order of the tar."""
        return list(self.places)

    def __reduce__(self) -> tuple[object, ...]:
        return (Tar, (self.path,))  # a descriptor means nothing in another process

    def where(self, name: str) -> str:
        return f"{self.path}: {name}"

    def path_of(self, name: str) -> Path | None:
        return None

    def read(self, name: str) -> bytes:
        offset, size = self.places[name]
        parts = []
        while size > 0:
            part = os.pread(self._descriptor, size, offset)
            if not part:
                raise DataError("tar-broken", "the tar ends early", where=self.where(name))
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)
