"""Label maps: a PNG whose pixel values number the objects of a picture, 0 for none.

Up to 255 objects it has a palette, so that it can be looked at; up to 65535 it is grey of 16 bits.
Each pixel belongs to one object at most: where masks overlap the smaller one stays in front, of
equal ones the first. What is known of the objects (id, category, scores) stands in a text of the
PNG named ``anymask``, which other programs pass over.

    {"file_name": "a.jpg", "objects": [{"value": 1, "id": 7, "category": "cat"}, ...]}
"""

import colorsys
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Int32
from PIL import Image, PngImagePlugin

from anymask.errors import DataError, OutputError
from anymask.formats.checks import as_dict, as_id, as_list, as_text, to_json
from anymask.formats.facts import facts_of, facts_to_row
from anymask.formats.file_sets import FileSet, FileWriter, find_files, picture_of
from anymask.formats.pictures import Pictures
from anymask.formats.records import (
    Annotation,
    ReadOptions,
    Record,
    Remarks,
    WriteOptions,
    measured,
    of_generated,
)
from anymask.generated import GeneratedMasks
from anymask.mask_rle import Rle, area_of, pack_runs, runs_of

_PALETTE, _GREY16 = 255, 65535  # most objects of each kind
_LARGEST_TEXT = 2**25  # bytes: Pillow reads twice as many
_MOST_PIXELS = 500_000_000
_OURS = ".panoptic"  # ends what `anymask everything` calls a label map
_VOID = 255  # what others write where it is not known whose a pixel is


def paint(rles: Sequence[Rle], size: tuple[int, int]) -> Int32[np.ndarray, "H W"]:
    """Masks over each other, the largest first; mask k has the value k + 1.

    >>> paint([pack_runs([0, 3], (1, 3)), pack_runs([1, 1, 1], (1, 3))], (1, 3))
    array([[1, 2, 1]], dtype=int32)
    """
    height, width = size
    flat = np.zeros(height * width, np.int32)  # column after column, as the runs go
    runs = [runs_of(rle) for rle in rles]
    areas = [area_of(each) for each in runs]
    for k in sorted(range(len(runs)), key=lambda k: (-areas[k], -k)):
        lengths = runs[k][1::2]
        starts = np.cumsum(runs[k])[1::2] - lengths
        before = np.cumsum(lengths) - lengths
        flat[np.arange(areas[k]) + np.repeat(starts - before, lengths)] = k + 1
    return np.ascontiguousarray(flat.reshape(width, height).T)


def map_png(
    labels: Int[np.ndarray, "H W"],
    objects: Sequence[Mapping[str, object]] = (),
    file_name: str = "",
) -> bytes:
    """A label map as PNG.

    Parameters
    ----------
    labels
        0 for nothing, else the number of an object.
    objects
        What is known of the objects: ``value`` and others.
    file_name
        The picture's.

    Raises
    ------
    OutputError
        ``labels-many``: more objects than a PNG can number.
    """
    most = int(labels.max(initial=0))
    if most > _GREY16:
        raise OutputError(
            "labels-many",
            f"a label map numbers up to {_GREY16} objects",
            given=most,
            hint="choose a format of run lengths",
        )
    info = PngImagePlugin.PngInfo()
    text = to_json({"file_name": file_name, "objects": list(objects)}).decode("ascii")
    if len(text) <= _LARGEST_TEXT:
        info.add_itxt("anymask", text)
    if most <= _PALETTE:
        picture = Image.fromarray(np.ascontiguousarray(labels, np.uint8))
        picture.putpalette(_palette())
    else:
        picture = Image.fromarray(np.ascontiguousarray(labels, np.uint16))
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def generated_png(masks: GeneratedMasks, file_name: str) -> bytes:
    """What everything mode found as a label map: mask k has the value k + 1."""
    record = of_generated(masks, file_name, "")
    return map_png(paint(masks.rles, masks.size), _objects(record), file_name)


def record_png(record: Record, remarks: Remarks) -> bytes:
    """The label map of a record; what masks lose to those in front of them is said."""
    labels = paint([each.rle for each in record.annotations], record.size)
    left = np.bincount(labels.ravel(), minlength=len(record.annotations) + 1)[1:].tolist()
    for annotation, kept in zip(record.annotations, left, strict=True):
        at, whole = f"id {annotation.id}", annotation.pixels
        if whole and not kept:
            remarks.lost("mask-hidden", "smaller masks are in front of all of it", at=at)
        elif kept < whole:
            remarks.lost("overlap-cut", f"{whole - kept} of {whole} px belong to others", at=at)
        if annotation.ignore is not None:
            remarks.lost("ignore-lost", "its ignored pixels are not kept", at=at)
    return map_png(labels, _objects(record), record.file_name)


def writer(root: Path, options: WriteOptions) -> FileWriter:
    """PNGs in a folder; pictures in ``images`` there."""
    return FileWriter(root, ".png", record_png, pictures="images", strict=options.strict)


def open_set(path: Path, options: ReadOptions) -> FileSet:
    """A folder of label maps; a picture is found by the same name with another ending.

    Raises
    ------
    DataError
        ``set-missing``, ``set-empty``; when read ``label-map-broken``, ``label-map-colours``; if
        strict ``void-left-out``.
    """
    root = path / "labels" if (path / "labels").is_dir() else path
    ids = _maps(root)
    folders = [options.images] if options.images else [path / "images", path.parent / "images"]
    places = tuple(Pictures(folder) for folder in folders)
    return FileSet(
        name=path.resolve().name,
        path=path,
        ids=ids,
        strict=options.strict,
        _read=partial(_read, root, places),
    )


def looks_like(path: Path) -> bool:
    """Whether the first PNG of a folder is a palette picture or grey of 16 bits.

    In folders inside, names that `anymask everything` gives to label maps are looked for alone.
    """
    if not path.is_dir():
        return False
    root = path / "labels" if (path / "labels").is_dir() else path
    try:
        names = _maps(root)
    except DataError:
        return False
    likely = (root / f"{n}.png" for n in names if "/" not in n or n.endswith(_OURS))
    first = next((file for file in likely if file.is_file()), None)
    if first is None:
        return False
    with first.open("rb") as file:
        head = file.read(26)
    deep, colours = head[24:25], head[25:26]
    return head.startswith(b"\x89PNG") and (
        colours == b"\x03" or (deep, colours) == (b"\x10", b"\0")
    )


def _maps(root: Path) -> tuple[str, ...]:
    """Relative paths of label maps, without ending; those of `anymask everything` alone if any.

    Beside them may be other pictures of what was found.
    """
    names = tuple(name for name in find_files(root, ".png") if not name.startswith("images/"))
    return tuple(name for name in names if name.endswith(_OURS)) or names


def _read(root: Path, places: tuple[Pictures, ...], name: str, remarks: Remarks) -> Record:
    path = root / f"{name}.png"
    remarks.where = where = str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError("set-unreadable", f"cannot read ({error.strerror})", where=where) from error
    labels, text, palette = decode_map(content, where)
    table = _table(text, where)
    masks = _masks(labels)
    if not text and palette and _VOID in masks and _VOID - 1 not in masks and len(masks) > 1:
        remarks.lost("void-left-out", f"the value {_VOID} is taken for unknown, not an object")
        del masks[_VOID]
    stated = table.get("file_name")
    file_name, pictures, picture = picture_of(
        name, places, stated if isinstance(stated, str) else None, remarks
    )
    known = {row["value"]: row for row in _rows(table, where)}
    return Record(
        image_id=name,
        file_name=file_name,
        size=(labels.shape[0], labels.shape[1]),
        annotations=tuple(
            _annotation(value, rle, known.get(value, {}), where) for value, rle in masks.items()
        ),
        where=where,
        notes=tuple(remarks.notes),
        _source=None if pictures is None else pictures.source,
        _picture=picture,
    )


def _masks(labels: Int32[np.ndarray, "H W"]) -> dict[int, Rle]:
    """Run lengths of every value but 0, by value."""
    height, width = labels.shape
    flat = labels.T.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.append(starts, len(flat)))
    values = flat[starts]
    order = np.argsort(values, kind="stable")
    values, firsts = np.unique(values[order], return_index=True)
    found = {}
    for value, mine in zip(values.tolist(), np.split(order, firsts[1:]), strict=True):
        if value:
            ends = starts[mine] + lengths[mine]
            gaps = starts[mine] - np.concatenate([[0], ends[:-1]])
            runs = np.stack([gaps, lengths[mine]], axis=1).ravel()
            found[value] = pack_runs(np.append(runs, len(flat) - ends[-1]), (height, width))
    return found


def _annotation(value: int, rle: Rle, row: Mapping[str, object], where: str) -> Annotation:
    number = row.get("category_id")
    plain = measured(
        as_id(row.get("id", value), where),
        rle,
        category=as_text(row.get("category"), "a category", where),
        category_id=number if type(number) is int else None,
        iscrowd=bool(row.get("iscrowd", False)),
    )
    return replace(plain, **facts_of(row))


def _objects(record: Record) -> list[dict[str, object]]:
    """What is known of the objects, by value."""
    rows = []
    for value, annotation in enumerate(record.annotations, start=1):
        row: dict[str, object] = {"value": value, "id": annotation.id}
        if annotation.category is not None:
            row["category"] = annotation.category
        if annotation.category_id is not None:
            row["category_id"] = annotation.category_id
        if annotation.iscrowd:
            row["iscrowd"] = True
        rows.append(row | facts_to_row(annotation))
    return rows


def decode_map(content: bytes, where: str) -> tuple[Int32[np.ndarray, "H W"], str, bool]:
    """Values of a PNG, the text of ours, and whether there is a palette.

    Raises
    ------
    DataError
        ``label-map-broken``, ``label-map-colours``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                mode, (width, height) = picture.mode, picture.size
                if width * height > _MOST_PIXELS:
                    raise DataError(
                        "label-map-broken", f"no label map has {width}x{height} px", where=where
                    )
                text = str(picture.info.get("anymask", ""))
                values = np.asarray(picture)
    except DataError:
        raise
    except Exception as error:  # on damaged files Pillow's readers raise almost anything
        raise DataError(
            "label-map-broken", f"no whole PNG ({error})", where=where, hint="fetch it again"
        ) from error
    if values.ndim != 2:
        raise DataError(
            "label-map-colours",
            "the PNG has colours where numbers of objects are wanted",
            given=mode,
            where=where,
            hint="save it with a palette or as grey",
        )
    return values.astype(np.int32), text, mode == "P"


def _table(text: str, where: str) -> dict[str, object]:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise DataError(
            "json-broken", f"no JSON in the PNG's text ({error})", where=where
        ) from error
    return as_dict(found, where)


def _rows(table: Mapping[str, object], where: str) -> list[dict[str, Any]]:
    rows = [as_dict(row, where) for row in as_list(table.get("objects", []), "objects", where)]
    return [row for row in rows if type(row.get("value")) is int]


@lru_cache(maxsize=1)
def _palette() -> bytes:
    """Black, then 255 colours of which neighbours differ much."""
    colours = [0, 0, 0]
    for k in range(1, 256):
        hue = k * 0.618034 % 1.0  # the golden ratio: no two near each other for long
        rgb = colorsys.hsv_to_rgb(hue, (0.9, 0.6, 0.75)[k % 3], (1.0, 0.8, 0.9)[k // 3 % 3])
        colours += [round(255 * part) for part in rgb]
    return bytes(colours)
