"""YOLO's segmentation labels: a text for each picture, a line for each mask.

    data.yaml, labels/a.txt, images/a.jpg          lines: class x y x y ..., 0..1 of the picture

A line has one outline. Masks of several parts, and holes, become one by bridges that are gone there
and back: filled by the even-odd rule they give the mask exactly, and so they do here. A picture
without a text, or with an empty one, shows none of the classes. Pictures tell the sizes; their
place is that of the text with ``images`` for ``labels``, or beside it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from anymask.errors import DataError, Note, OutputError
from anymask.formats.atomic import write_atomic
from anymask.formats.facts import say_dropped
from anymask.formats.file_sets import FileSet, FileWriter, find_files
from anymask.formats.outlines import filled
from anymask.formats.pictures import Pictures, picture_sizes
from anymask.formats.records import (
    NO_CATEGORY,
    Annotation,
    Category,
    ReadOptions,
    Record,
    Remarks,
    WriteOptions,
    measured,
)
from anymask.formats.yolo_names import names_text, read_names
from anymask.image_sniff import SUFFIXES
from anymask.mask_outlines import polygons
from anymask.mask_rle import encode_rle

_FAR = 2.0  # coordinates above are px, not shares
_PAIRS = 4_000_000  # corners times corners looked at for the shortest bridge
_NO_LABELS = re.compile(r"(?i)(.*/)?(classes|readme[^/]*|requirements|train|val|valid|test)")


def joined(
    parts: Sequence[Sequence[Sequence[Sequence[float]]]],
) -> Float[np.ndarray, "N 2"]:
    """All rings of `anymask.mask_outlines.polygons` as one, by bridges at their nearest corners."""
    rings = [np.array(ring, np.float64) for rings in parts for ring in rings]
    path = rings[0]
    for ring in rings[1:]:
        some = ring if len(ring) * len(path) <= _PAIRS else ring[:1]
        far = np.abs(path[:, None] - some[None]).sum(-1)
        i, j = np.unravel_index(int(far.argmin()), far.shape)
        around = np.concatenate([ring[j:], ring[: j + 1]])
        path = np.concatenate([path[: i + 1], around, path[i:]])
    return path


class Writer(FileWriter):
    """Texts in ``labels``, pictures in ``images``, classes in ``data.yaml``."""

    def __init__(self, root: Path, options: WriteOptions) -> None:
        super().__init__(
            root, ".txt", self._text, folder="labels", pictures="images", strict=options.strict
        )
        self.categories = options.categories
        self._by_id = {each.id: i for i, each in enumerate(options.categories)}
        self._by_name = {each.name: i for i, each in reversed([*enumerate(options.categories)])}
        self._named = False

    def add(self, record: Record) -> tuple[Note, ...]:
        """As `FileWriter.add`; the classes come first.

        Raises
        ------
        OutputError
            ``classes-differ``: another list of classes is there.
        """
        self._write_names()
        return super().add(record)

    def finish(self) -> tuple[Note, ...]:
        """The classes, where there was no picture."""
        self._write_names()
        return ()

    def _write_names(self) -> None:
        if self._named:
            return
        path = self.root / "data.yaml"
        text = names_text([each.name for each in self.categories]).encode("ascii")
        if not path.is_file():
            write_atomic(path, text)
        elif path.read_bytes() != text:
            raise OutputError(
                "classes-differ",
                "the classes of an earlier run are others",
                where=str(path),
                hint="choose another folder",
            )
        self._named = True

    def _class(self, annotation: Annotation) -> int:
        number = self._by_id.get(-1 if annotation.category_id is None else annotation.category_id)
        word = NO_CATEGORY if annotation.category is None else annotation.category
        if number is not None and self.categories[number].name == word:
            return number
        if word not in self._by_name:
            raise OutputError("category-unknown", "it is not among the classes", given=word)
        return self._by_name[word]

    def _text(self, record: Record, remarks: Remarks) -> bytes:
        height, width = record.size
        lines = []
        say_dropped(record, remarks)
        for annotation in record.annotations:
            at = f"id {annotation.id}"
            if annotation.category is None:
                remarks.say("category-added", f"{at}: called {NO_CATEGORY!r}")
            if annotation.iscrowd:
                remarks.lost("crowd-lost", "that it is a crowd is not kept", at=at)
            if annotation.ignore is not None:
                remarks.lost("ignore-lost", "its ignored pixels are not kept", at=at)
            parts = polygons(annotation.mask())
            if not parts:
                remarks.lost("mask-empty", "the mask has no pixel: left out", at=at)
                continue
            if len(parts) > 1:
                remarks.say("parts-joined", f"{at}: {len(parts)} parts are joined by bridges")
            if any(len(rings) > 1 for rings in parts):
                remarks.say("holes-joined", f"{at}: holes are joined to the outline by bridges")
            flat = (joined(parts) / (width, height)).ravel().tolist()
            numbers = (f"{v:.7f}".rstrip("0").rstrip(".") for v in flat)
            lines.append(f"{self._class(annotation)} {' '.join(numbers)}\n")
        return "".join(lines).encode("ascii")


def writer(root: Path, options: WriteOptions) -> Writer:
    """See `Writer`."""
    return Writer(root, options)


def open_set(path: Path, options: ReadOptions) -> FileSet:
    """A folder of labels, or its ``data.yaml``, of which the names of classes alone are used.

    Raises
    ------
    DataError
        ``set-missing``, ``set-empty``, ``classes-broken``; when read ``label-broken``,
        ``not-normalised``, ``category-unknown``, ``picture-missing``; if strict ``box-only``,
        ``polygon-degenerate``, ``polygon-clipped``, ``mask-empty``.
    """
    root = path.parent if path.is_file() else path
    names = read_names(path)
    places = _places(root)
    pictures = Pictures(options.images or root)
    if options.images is None:
        places = _with_backgrounds(root, places)
    categories = tuple(Category(id=i, name=name) for i, name in sorted((names or {}).items()))
    return FileSet(
        name=root.resolve().name,
        path=root,
        ids=tuple(sorted(places)),
        categories=categories,
        notes=()
        if names is not None
        else (Note("classes-missing", "no data.yaml and no classes.txt: classes are numbers"),),
        strict=options.strict,
        _read=partial(_read, root, pictures, places, names, options.images is not None),
    )


def looks_like(path: Path) -> bool:
    """Whether there is a list of classes, or a folder of labels."""
    if path.is_file():
        return path.suffix in (".yaml", ".yml")
    if any((path / name).is_file() for name in ("data.yaml", "classes.txt", "dataset.yaml")):
        return True
    return (path / "labels").is_dir() and any((path / "labels").rglob("*.txt"))


def _places(root: Path) -> dict[str, str]:
    """Name of a picture -> its text, both relative and without ending."""
    found = [name for name in find_files(root, ".txt") if not _NO_LABELS.fullmatch(name)]
    below = [name for name in found if "labels" in name.split("/")[:-1]]
    return {_without(name, "labels"): name for name in below or found}


def _with_backgrounds(root: Path, places: Mapping[str, str]) -> dict[str, str]:
    """The same with pictures that have no text; their place is where the text would be."""
    folders = {str(PurePosixPath(name).parent) for name in places.values()}
    more = {}
    for folder in folders:
        inside = root / _swapped(f"{folder}/x").rpartition("/")[0]
        if inside.is_dir():
            for file in inside.iterdir():
                if file.suffix.lower() in SUFFIXES:
                    text = str(PurePosixPath(folder) / file.stem)
                    more[_without(text, "labels")] = text
    return {**more, **places}


def _without(name: str, part: str) -> str:
    parts = name.split("/")
    if part in parts[:-1]:
        del parts[len(parts) - 2 - parts[-2::-1].index(part)]
    return "/".join(parts)


def _swapped(name: str) -> str:
    """The place of a picture from that of its text."""
    parts = name.split("/")
    if "labels" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("labels")] = "images"
    return "/".join(parts)


def _read(
    root: Path,
    pictures: Pictures,
    places: Mapping[str, str],
    names: Mapping[int, str] | None,
    apart: bool,
    name: str,
    remarks: Remarks,
) -> Record:
    path = root / f"{places[name]}.txt"
    remarks.where = where = str(path)
    picture = pictures.find_stem(name if apart else _swapped(places[name]))
    sizes = None if picture is None else picture_sizes(pictures.source.path / picture)
    if picture is None or sizes is None:
        raise DataError(
            "picture-missing",
            "there is no picture, which tells the size",
            where=where,
            hint="put it into images/ under the same name, or say where pictures are",
        )
    try:
        text = path.read_text("ascii") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("label-broken", f"no text of labels ({error})", where=where) from error
    found = [
        _annotation(i, line.split(), sizes[1], names, remarks)
        for i, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]
    return Record(
        image_id=name,
        file_name=name + PurePosixPath(picture).suffix,
        size=sizes[1],
        annotations=tuple(each for each in found if each is not None),
        where=where,
        notes=tuple(remarks.notes),
        _source=pictures.source,
        _picture=picture,
    )


def _annotation(
    line: int,
    words: list[str],
    size: tuple[int, int],
    names: Mapping[int, str] | None,
    remarks: Remarks,
) -> Annotation | None:
    at = f"line {line}"
    where = f"{remarks.where}: {at}"
    try:
        number, flat = int(words[0]), [float(word) for word in words[1:]]
    except ValueError as error:
        raise DataError(
            "label-broken", "a line is: class x y x y ...", given=" ".join(words), where=where
        ) from error
    if number < 0 or (names is not None and number not in names):
        raise DataError("category-unknown", "no class has that number", given=number, where=where)
    if len(flat) == 4:
        remarks.lost("box-only", "there is a box and no mask: left out", at=at)
        return None
    if len(flat) % 2 or not all(map(math.isfinite, flat)):
        raise DataError(
            "label-broken",
            f"{len(flat)} numbers are no pairs of x and y",
            where=where,
            hint="is there a score at the end? remove it",
        )
    xy = np.array(flat, np.float64).reshape(-1, 2)
    if np.abs(xy).max(initial=0) > _FAR:
        raise DataError(
            "not-normalised",
            "coordinates are shares of the picture, 0..1",
            given=float(np.abs(xy).max()),
            where=where,
            hint="divide x by the width and y by the height",
        )
    bits = filled(xy * (size[1], size[0]), size, remarks, at)
    if not bits.any():
        if len(xy) >= 3:
            remarks.lost("mask-empty", "the mask has no pixel: left out", at=at)
        return None
    word = str(number) if names is None else names[number]
    return measured(line, encode_rle(bits), category=word, category_id=number)
