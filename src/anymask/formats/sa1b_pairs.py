"""Which picture belongs to which JSON of a set in SA-1B's layout, told by names alone.

The id of a pair is the path of its JSON, with ``/`` and without ``.json``. A JSON has the stem of
its picture, or its whole name, ``a.jpg.json``, as `anymask everything` writes it. In a tar the
folder that all JSONs lie in is no part of ids, and pictures may lie in a folder of their own.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from anymask.errors import DataError
from anymask.formats.file_sets import named_picture
from anymask.image_members import Source
from anymask.image_sniff import SUFFIXES

_USUAL = (".jpg", ".jpeg", ".png")  # come before pictures of other kinds

Pairs = dict[str, tuple[str | None, str]]  # id -> picture, JSON


def find_pairs(source: Source, *, alone: bool, packed: bool) -> tuple[Pairs, tuple[str, ...]]:
    """All pairs, and the stems of pictures that have no JSON, sorted.

    Parameters
    ----------
    source
        Its names are looked at, no contents.
    alone
        Take a JSON without its picture too.
    packed
        It is a tar, whose folders are how it was packed.

    Raises
    ------
    DataError
        ``pair-broken`` (a JSON without picture), ``pair-ambiguous`` (two files of one id).
    """
    files = {name: file for name in source.names() if (file := _inner(name)) is not None}
    tables = _tables(source, files)
    pictures = _pictures(source, files, tables)
    top, apart = (_common(tables), _common(pictures)) if packed else ("", "")
    pairs: Pairs = {}
    used = set()
    for key, table in tables.items():
        image_id = key.removeprefix(top)
        place = next((each for each in (key, apart + image_id) if each in pictures), None)
        if place is None and not alone:
            raise DataError(
                "pair-broken", f"{image_id}.jpg (or .png) is missing", where=source.where(table)
            )
        used.add(place)
        pairs[image_id] = (None if place is None else pictures[place], table)
    return pairs, tuple(sorted(key.removeprefix(top) for key in pictures.keys() - used))


def _inner(name: str) -> PurePosixPath | None:
    """A file's path inside of the set; None for one that is hidden.

    Where a member of a tar would lead out of it, its last part alone is taken.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        path = PurePosixPath(path.name)
    return None if any(part.startswith(".") for part in path.parts) else path


def _tables(source: Source, files: Mapping[str, PurePosixPath]) -> dict[str, str]:
    """JSONs by path without ending."""
    found: dict[str, str] = {}
    for name in sorted(files):
        if files[name].suffix.lower() == ".json":
            _put(found, str(files[name].with_suffix("")), name, source)
    return found


def _pictures(
    source: Source, files: Mapping[str, PurePosixPath], tables: Mapping[str, str]
) -> dict[str, str]:
    """Pictures by path: whole where a JSON is named after it, else without ending."""
    usual: dict[str, str] = {}
    other: dict[str, str] = {}
    for name in sorted(files):
        file = files[name]
        kind = file.suffix.lower()
        if kind in SUFFIXES and not _is_result(file):
            key = str(file) if str(file) in tables else str(file.with_suffix(""))
            if kind in _USUAL:
                _put(usual, key, name, source)
            else:
                other.setdefault(key, name)
    return other | usual


def _put(found: dict[str, str], key: str, name: str, source: Source) -> None:
    if key in found:
        raise DataError(
            "pair-ambiguous",
            f"two files have the id {key!r}",
            given=[found[key], name],
            where=source.where(name),
        )
    found[key] = name


def _is_result(file: PurePosixPath) -> bool:
    """Whether a PNG shows what was found in the picture that it is named after."""
    bare = file.stem.removesuffix(".overlay").removesuffix(".panoptic")
    return bare != file.stem and named_picture(bare) is not None


def _common(keys: Iterable[str]) -> str:
    """The folder that all lie in, with its slash, or an empty text."""
    folders = [os.path.dirname(key) for key in keys]  # noqa: PTH120 - of texts, not of files
    found = os.path.commonpath(folders) if all(folders) and folders else ""
    return found and f"{found}/"
