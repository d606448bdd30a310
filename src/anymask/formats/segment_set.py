"""What `anymask segment` wrote, as a set: a JSON for each picture, as `coco` describes it.

The words that asked for a mask are its category, so that masks found by words become a data set of
any other format. It is only read: clicks and boxes of other formats are no prompts.
"""

import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from anymask.errors import DataError
from anymask.formats.checks import (
    as_bbox,
    as_dict,
    as_list,
    as_rle,
    as_size,
    as_text,
    number,
    numbers,
    parse_json,
)
from anymask.formats.coco import parse_images
from anymask.formats.file_sets import FileSet, find_files, picture_of
from anymask.formats.json_stream import elements
from anymask.formats.pictures import Pictures
from anymask.formats.records import Annotation, ReadOptions, Record, Remarks
from anymask.mask_rle import area_of, runs_of


def open_set(path: Path, options: ReadOptions) -> FileSet:
    """A folder of results of `anymask segment`.

    Raises
    ------
    DataError
        ``set-missing``, ``set-empty``; when read ``json-broken``, ``json-shape``,
        ``record-broken``, ``rle-broken``, ``rle-size``; if strict ``mask-empty``.
    """
    names = tuple(name for name in find_files(path, ".json") if is_result(path / f"{name}.json"))
    if not names:
        raise DataError("set-empty", "no JSON of anymask segment is here", where=str(path))
    folders = [options.images] if options.images else [path, path / "images", path.parent]
    places = tuple(Pictures(folder) for folder in folders)
    return FileSet(
        name=path.resolve().name,
        path=path,
        ids=names,
        strict=options.strict,
        _read=partial(_read, path, places),
    )


def looks_like(path: Path) -> bool:
    """Whether a folder has a JSON that is named after a picture and holds results."""
    if not path.is_dir():
        return False
    try:
        names = find_files(path, ".json")
    except DataError:
        return False
    return is_result(path / f"{names[0]}.json")


def is_result(file: Path) -> bool:
    """Whether the first image in a JSON has masks of its own, which COCO's images have not."""
    with contextlib.suppress(OSError, DataError), file.open("rb") as opened:
        first = next(elements(opened, ""), None)
        if first is not None and isinstance(first.value, dict):
            return first.key == "images" and "masks" in first.value
    return False


def _read(root: Path, places: tuple[Pictures, ...], name: str, remarks: Remarks) -> Record:
    file = root / f"{name}.json"
    remarks.where = where = str(file)
    entry = parse_images(parse_json(file.read_bytes(), where))[0]
    size = as_size(entry["height"], entry["width"], where)
    rows = as_list(entry["masks"], "masks", where)
    found = [_annotation(as_dict(row, where), i, size, remarks) for i, row in enumerate(rows)]
    file_name, pictures, picture = picture_of(
        name, places, as_text(entry["file"], "file", where), remarks
    )
    return Record(
        image_id=name,
        file_name=file_name,
        size=size,
        annotations=tuple(each for each in found if each is not None),
        where=where,
        notes=tuple(remarks.notes),
        _source=None if pictures is None else pictures.source,
        _picture=picture,
    )


def _annotation(
    row: Mapping[str, object], index: int, size: tuple[int, int], remarks: Remarks
) -> Annotation | None:
    at = f"masks[{index}]"
    where = f"{remarks.where}: {at}"
    rle = as_rle(row.get("segmentation"), size, where)
    measured = area_of(runs_of(rle))
    if not measured:
        remarks.lost("mask-empty", "the mask has no pixel: left out", at=at)
        return None
    prompts = as_dict(row.get("prompts", {}), where)
    stated = prompts.get("points")
    pairs = [numbers(each, 2) for each in stated] if isinstance(stated, list) else []
    return Annotation(
        id=index,
        rle=rle,
        bbox=as_bbox(row.get("bbox"), rle, remarks, at),
        area=float(measured),
        category=as_text(prompts.get("text"), "a text", where),
        predicted_iou=number(row.get("score")),
        points=tuple((pair[0], pair[1]) for pair in pairs if pair is not None),
    )
