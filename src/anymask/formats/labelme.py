"""LabelMe's JSON: one beside each picture, with its shapes.

    {"version", "flags", "shapes": [{"label", "points", "group_id", "shape_type", "flags", ...}],
     "imagePath", "imageData", "imageHeight", "imageWidth"}

Shapes of one group and label are parts of one mask. Polygons along pixel edges are written, which
can have no hole: a mask with holes becomes a shape of the type mask, cut to its box. Read are
polygons, rectangles, circles and masks. The path of the picture is taken for its name alone.
"""

import base64
import binascii
import io
import warnings
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from anymask.errors import DataError
from anymask.formats.checks import (
    as_dict,
    as_list,
    as_size,
    as_text,
    numbers,
    parse_json,
    plain,
    to_json,
)
from anymask.formats.facts import say_dropped
from anymask.formats.file_sets import FileSet, FileWriter, find_files, picture_of
from anymask.formats.json_stream import keys
from anymask.formats.outlines import filled
from anymask.formats.pictures import Pictures, picture_sizes
from anymask.formats.png import encode_png
from anymask.formats.records import (
    NO_CATEGORY,
    Annotation,
    ReadOptions,
    Record,
    Remarks,
    WriteOptions,
    measured,
)
from anymask.image_members import Source
from anymask.mask_outlines import polygons
from anymask.mask_rle import encode_rle

_VERSION = "5.5.0"  # of the layout; older LabelMe knows no masks


def record_json(record: Record, remarks: Remarks) -> bytes:
    """The JSON of one picture; what LabelMe has no place for is said."""
    height, width = record.size
    shapes: list[dict[str, object]] = []
    say_dropped(record, remarks)
    for group, annotation in enumerate(record.annotations, start=1):
        at = f"id {annotation.id}"
        if annotation.ignore is not None:
            remarks.lost("ignore-lost", "its ignored pixels are not kept", at=at)
        if annotation.category is None:
            remarks.say("category-added", f"{at}: called {NO_CATEGORY!r}")
        made = _shapes(annotation, group)
        if not made:
            remarks.lost("mask-empty", "the mask has no pixel: left out", at=at)
        shapes += made
    table: dict[str, object] = {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": PurePosixPath(record.file_name).name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return to_json(table) + b"\n"


def writer(root: Path, options: WriteOptions) -> FileWriter:
    """JSONs in a folder, pictures beside them."""
    return FileWriter(root, ".json", record_json, strict=options.strict)


def open_set(path: Path, options: ReadOptions) -> FileSet:
    """A folder of JSONs.

    Raises
    ------
    DataError
        ``set-missing``, ``set-empty``; when read ``json-broken``, ``record-broken``,
        ``picture-missing`` where the size is not stated; if strict ``shape-no-area``,
        ``polygon-degenerate``, ``polygon-clipped``, ``mask-empty``.
    """
    return FileSet(
        name=path.resolve().name,
        path=path,
        ids=find_files(path, ".json"),
        strict=options.strict,
        _read=partial(_read, path, Pictures(options.images or path)),
    )


def looks_like(path: Path) -> bool:
    """Whether the first JSON of a folder has shapes."""
    first = next(iter(sorted(path.rglob("*.json"))), None) if path.is_dir() else None
    return first is not None and "shapes" in keys(first)


class Embedded:
    """The picture inside a JSON; see `anymask.image_members.Source`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return [self.path.name]

    def where(self, name: str) -> str:
        return str(self.path)

    def path_of(self, name: str) -> Path | None:
        return None

    def read(self, name: str) -> bytes:
        table = as_dict(_load(self.path), str(self.path))
        return _unpacked(table.get("imageData"), "imageData", str(self.path))


def _read(root: Path, pictures: Pictures, name: str, remarks: Remarks) -> Record:
    path = root / f"{name}.json"
    remarks.where = where = str(path)
    table = as_dict(_load(path), where)
    stated = as_text(table.get("imagePath"), "imagePath", where)
    source: Source | None = None
    picture = _named(name, stated, pictures)
    file_name = picture
    if picture is not None:
        source = pictures.source
    else:
        file_name, found, picture = picture_of(name, (pictures,), stated, remarks)
        source = None if found is None else found.source
    if source is None and isinstance(table.get("imageData"), str):
        source, picture = Embedded(path), path.name
    size = _size(table, source, picture, where)
    return Record(
        image_id=name,
        # by the name of the JSON: what the picture is called inside may be anything
        file_name=name + PurePosixPath(file_name or "").suffix,
        size=size,
        annotations=_annotations(table, size, remarks),
        where=where,
        notes=tuple(remarks.notes),
        _source=source,
        _picture=picture,
    )


def _named(name: str, stated: str | None, pictures: Pictures) -> str | None:
    """The picture that the JSON states, if it lies beside it."""
    last = PurePosixPath((stated or "").replace("\\", "/")).name
    beside = str(PurePosixPath(name).parent / last)
    return beside if last and (pictures.source.path / beside).is_file() else None


def _size(
    table: dict[str, object], source: Source | None, picture: str | None, where: str
) -> tuple[int, int]:
    height, width = table.get("imageHeight"), table.get("imageWidth")
    if height is None or width is None:
        content = source.read(picture) if source is not None and picture is not None else b""
        sizes = picture_sizes(content)
        if sizes is None:
            raise DataError(
                "picture-missing",
                "neither the JSON nor a picture tells the size",
                where=where,
                hint="put the picture beside it",
            )
        height, width = sizes[1]
    return as_size(height, width, where)


def _annotations(
    table: dict[str, object], size: tuple[int, int], remarks: Remarks
) -> tuple[Annotation, ...]:
    groups: dict[object, list[tuple[int, dict[str, object]]]] = {}
    for i, value in enumerate(as_list(table.get("shapes"), "shapes", remarks.where)):
        where = f"{remarks.where}: shapes[{i}]"
        shape = as_dict(value, where)
        label = as_text(shape.get("label"), "a label", where)
        group = shape.get("group_id")
        alone = not isinstance(group, int | str)
        groups.setdefault(i if alone else (str(group), label), []).append((i, shape))
    found = []
    for shapes in groups.values():
        first, one = shapes[0]
        bits = np.zeros(size, bool)
        for i, each in shapes:
            bits |= _shape_bits(each, size, remarks, f"shapes[{i}]")
        if not bits.any():
            remarks.lost("mask-empty", "the mask has no pixel: left out", at=f"shapes[{first}]")
            continue
        flags, word = one.get("flags"), one.get("label")
        annotation = measured(
            first,
            encode_rle(bits),
            category=word if isinstance(word, str) else None,
            iscrowd=isinstance(flags, dict) and flags.get("iscrowd") is True,
        )
        found.append(annotation)
    return tuple(found)


def _shape_bits(
    shape: dict[str, object], size: tuple[int, int], remarks: Remarks, at: str
) -> Bool[np.ndarray, "H W"]:
    where = f"{remarks.where}: {at}"
    kind = shape.get("shape_type") or "polygon"
    listed = as_list(shape.get("points"), "points", where)
    pairs = [numbers(each, 2) for each in listed]
    if None in pairs:
        raise DataError("record-broken", "points are [x, y]", given=listed, where=where)
    xy = np.array([pair for pair in pairs if pair is not None], np.float64).reshape(-1, 2)
    if kind == "mask" and len(xy) == 2:
        return _placed(_crop(shape, where), xy[0], size, remarks, at)
    if kind == "circle" and len(xy) == 2:
        return _circle(xy, size, remarks, at)
    if kind == "rectangle" and len(xy) == 2:
        (x0, y0), (x1, y1) = xy.tolist()
        xy = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
    elif kind not in ("polygon", "rectangle", "rotation"):
        remarks.lost("shape-no-area", f"a {kind} is no mask: left out", at=at)
        return np.zeros(size, bool)
    return filled(xy, size, remarks, at)


def _circle(
    xy: Float[np.ndarray, "2 2"], size: tuple[int, int], remarks: Remarks, at: str
) -> Bool[np.ndarray, "H W"]:
    """Pixels whose centre is at most as far from the first point as the second is."""
    (x, y), radius = xy[0], float(np.hypot(*(xy[1] - xy[0])))
    height, width = size
    if min(x, y) - radius < -1 or x + radius > width + 1 or y + radius > height + 1:
        remarks.lost("polygon-clipped", "an outline goes beyond the picture: cut off", at=at)
    dx, dy = np.arange(width) + 0.5 - x, np.arange(height) + 0.5 - y
    return np.asarray(np.hypot(dx[None], dy[:, None]) <= radius)


def _crop(shape: dict[str, object], where: str) -> Bool[np.ndarray, "h w"]:
    content = _unpacked(shape.get("mask"), "mask", where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                return np.asarray(picture.convert("L")) > 0
    except Exception as error:  # on damaged files Pillow's readers raise almost anything
        raise DataError("record-broken", f"the mask is no PNG ({error})", where=where) from error


def _placed(
    crop: Bool[np.ndarray, "h w"],
    corner: Float[np.ndarray, " 2"],
    size: tuple[int, int],
    remarks: Remarks,
    at: str,
) -> Bool[np.ndarray, "H W"]:
    """A part of a mask at its place."""
    bits = np.zeros(size, bool)
    x, y = (int(v) for v in np.clip(corner, -(2**31), 2**31))
    top, left = max(0, -y), max(0, -x)
    inner = crop[top : max(0, size[0] - y), left : max(0, size[1] - x)]
    if inner.sum() < crop.sum():
        remarks.lost("polygon-clipped", "the mask goes beyond the picture: cut off", at=at)
    if inner.size:
        y, x = y + top, x + left
        bits[y : y + inner.shape[0], x : x + inner.shape[1]] = inner
    return bits


def _shapes(annotation: Annotation, group: int) -> list[dict[str, object]]:
    """A mask as shapes: its parts, or all of it if there are holes."""
    bits = annotation.mask()
    parts = polygons(bits)
    about: dict[str, object] = {
        "label": NO_CATEGORY if annotation.category is None else annotation.category,
        "group_id": group if len(parts) > 1 else None,
        "description": "",
        "flags": {"iscrowd": True} if annotation.iscrowd else {},
    }
    if all(len(rings) == 1 for rings in parts):
        rings = [[[plain(v) for v in corner] for corner in rings[0]] for rings in parts]
        return [{**about, "points": ring, "shape_type": "polygon", "mask": None} for ring in rings]
    ys, xs = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    y0, y1, x0, x1 = int(ys[0]), int(ys[-1]), int(xs[0]), int(xs[-1])
    packed = encode_png(np.ascontiguousarray(bits[y0 : y1 + 1, x0 : x1 + 1]).astype(np.uint8))
    return [
        {
            **about,
            "group_id": None,
            "points": [[x0, y0], [x1, y1]],
            "shape_type": "mask",
            "mask": base64.b64encode(packed).decode("ascii"),
        }
    ]


def _load(path: Path) -> object:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            "set-unreadable", f"cannot read ({error.strerror})", where=str(path)
        ) from error
    return parse_json(content, str(path))


def _unpacked(value: object, what: str, where: str) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError("record-broken", f"{what} is no base64 ({error})", where=where) from error
