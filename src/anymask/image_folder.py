"""Pictures below a folder, one by one, in the order in which people count."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from anymask.errors import ImageError, Note
from anymask.image_sniff import SUFFIXES


def find_images(
    root: str | os.PathLike[str], follow: bool = False, *, deep: bool = True
) -> Iterator[tuple[Path, Note | None]]:
    """Pictures below a folder by their suffix, in natural order: f2 before f10, folder by folder.

    Yields (path, None) for a picture and (path, note) for what is passed over: folders that cannot
    be read, links that lead nowhere and, unless `follow`, links to folders and out of `root`. With
    `follow` a folder is entered once, however many links lead to it, so every walk ends. Unless
    `deep`, folders inside are passed by. Memory is that of the names in one folder, about 150 bytes
    each.

    Raises
    ------
    ImageError
        ``image-missing``: `root` is no folder.
    """
    top = Path(root)
    if not top.is_dir():
        raise ImageError("image-missing", "there is no such folder", where=str(top))
    return _walk(top, follow, deep)


def _walk(top: Path, follow: bool, deep: bool) -> Iterator[tuple[Path, Note | None]]:
    inside = os.path.realpath(top)
    entered: set[tuple[int, int]] = set()
    waiting: list[Iterator[tuple[Path, str]]] = [iter([(top, "folder")])]
    while waiting:
        path, kind = next(waiting[-1], (top, "end"))
        if kind == "end":
            waiting.pop()
            continue
        inner = kind == "folder" or (kind == "link" and path.is_dir())
        if inner and not deep and path != top:
            continue
        if kind == "link":
            kind, note = _behind_link(path, inside, follow)
            if note is not None:
                yield path, note
                continue
        if kind == "file":
            if path.suffix.lower() in SUFFIXES:
                yield path, None
            continue
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in entered:
                yield path, Note("link-loop", "this folder was entered before")
                continue
            waiting.append(_entries(path))
            entered.add((status.st_dev, status.st_ino))
        except OSError as error:
            yield path, Note("folder-unreadable", f"not read: {error.strerror}")


def _behind_link(path: Path, inside: str, follow: bool) -> tuple[str, Note | None]:
    """What a link leads to, and why it is passed over if it is."""
    kind = "folder" if path.is_dir() else "file"
    if kind == "file" and path.suffix.lower() not in SUFFIXES:
        return kind, None
    if not path.exists():
        return kind, Note("link-broken", "a link that leads nowhere")
    if kind == "folder" and not follow:
        return kind, Note("link-skipped", "a link to a folder")
    if not follow and not Path(os.path.realpath(path)).is_relative_to(inside):
        return kind, Note("link-skipped", "a link out of the folder")
    return kind, None


def _entries(folder: Path) -> Iterator[tuple[Path, str]]:
    """(path, folder, link or file) in natural order."""
    lines = []  # key, name and kind in one string each: a million must fit in little memory
    with os.scandir(folder) as entries:
        for entry in entries:
            kind = "file"
            if entry.is_symlink():
                kind = "link"
            elif entry.is_dir(follow_symlinks=False):
                kind = "folder"
            lines.append(f"{natural(entry.name)}\x00{entry.name}\x00{kind}")
    lines.sort()
    parts = (line.split("\x00") for line in lines)
    return ((folder / name, kind) for _, name, kind in parts)


def natural(name: str) -> str:
    """A key that sorts as people count: numbers by value, letters without case.

    >>> sorted(["f10", "F2", "f1"], key=natural)
    ['f1', 'F2', 'f10']
    """

    def counted(digits: re.Match[str]) -> str:
        return chr(0x30 + len(digits[1])) + digits[1]  # the longer number is the larger one

    return re.sub(r"0*([0-9]+)", counted, name.casefold())
