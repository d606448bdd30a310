"""COCO's data sets: one JSON of images, annotations and categories.

    {"info", "licenses", "images": [{"id", "width", "height", "file_name"}],
     "annotations": [{"id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd"}],
     "categories": [{"id", "name", "supercategory"}]}

Masks are written as run lengths, which keep everything, or as polygons; these can have no holes, so
masks with holes stay run lengths. Ours, where known: ``predicted_iou``, ``point_coords``,
``stability_score``, ``crop_box`` and ``ignore_region`` (run lengths).

Polygons of others become masks as COCO's own tools make them. A large JSON is never held whole:
read, a few bytes an annotation; written, a few bytes a picture.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Int64

from anymask.errors import DataError, Note
from anymask.formats.checks import as_bbox, as_dict, as_id, as_rle, as_size, as_text, number
from anymask.formats.coco_masks import polygons_to_rle
from anymask.formats.facts import facts_of
from anymask.formats.file_sets import stem_of
from anymask.formats.json_stream import Element, elements
from anymask.formats.pictures import Pictures, checked_name, guess_root
from anymask.formats.records import Annotation, Category, ReadOptions, Record, Remarks
from anymask.formats.segment_set import is_result
from anymask.mask_rle import Rle, area_of, runs_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CocoSet:
    """A data set JSON; its annotations are read picture by picture.

    Attributes
    ----------
    name
        Stem of the file.
    path
        The file.
    ids
        Ids of all images as text, in the order of the file.
    categories
        As the file numbers them; two may have one name.
    notes
        What belongs to no picture and was left out.
    strict
        What would be cut or left out is an error.
    """

    name: str
    path: Path
    ids: tuple[str, ...]
    categories: tuple[Category, ...]
    notes: tuple[Note, ...]
    strict: bool
    _images: Mapping[str, tuple[int, str, object, object]] = field(repr=False)
    _rows: Int64[np.ndarray, " N"] = field(repr=False)  # sorted: number of the image
    _places: Int64[np.ndarray, "N 2"] = field(repr=False)  # byte and length of the annotation
    _pictures: Pictures | None = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Record]:
        return (self.read(image_id) for image_id in self.ids)

    def stem_of(self, image_id: str) -> str:
        """The file name without its ending, as it is stated."""
        return stem_of(self._images[image_id][1])

    def read(self, image_id: str) -> Record:
        """One picture's masks, checked.

        Raises
        ------
        DataError
            ``unknown-id``, ``json-broken``, ``record-broken``, ``rle-broken``, ``rle-size``,
            ``category-unknown``, ``name-unsafe``; if strict ``mask-empty``, ``box-only``,
            ``polygon-degenerate``, ``polygon-clipped``, ``box-empty``, ``box-clipped``.
        """
        if image_id not in self._images:
            raise DataError("unknown-id", "the set has no such id", given=image_id, where=self.name)
        row, file_name, height, width = self._images[image_id]
        where = f"{self.path}: image {image_id}"
        size = as_size(height, width, where)
        remarks = Remarks(where, self.strict)
        names = {category.id: category.name for category in self.categories}
        found = []
        first, last = np.searchsorted(self._rows, [row, row + 1]).tolist()
        with self.path.open("rb") as file:
            for start, length in self._places[first:last].tolist():
                file.seek(start)
                table = _decoded(file.read(length), f"{self.path}: byte {start}")
                found.append(_annotation(table, size, names, remarks))
        picture = None
        if self._pictures is not None:
            picture = self._pictures.find(file_name, where)
        return Record(
            image_id=image_id,
            file_name=str(checked_name(file_name, where)),
            size=size,
            annotations=tuple(each for each in found if each is not None),
            where=where,
            notes=tuple(remarks.notes),
            _source=None if picture is None or self._pictures is None else self._pictures.source,
            _picture=picture,
        )


def open_coco(path: Path, *, strict: bool = False, images: Path | None = None) -> CocoSet:
    """Open a data set JSON: all of it is looked through once, the masks are read later.

    Parameters
    ----------
    path
        The JSON, or a folder with one JSON.
    strict
        What would be cut or left out is an error.
    images
        The folder that file names are below; None tries the usual ones.

    Raises
    ------
    DataError
        ``set-missing``, ``json-broken``, ``json-shape``, ``record-broken``; ``id-twice``: two
        images, annotations or categories of one id; if strict ``image-unknown``.
    """
    path = _the_json(path)
    index = _Index(str(path))
    try:
        with path.open("rb") as file:
            for element in elements(file, str(path)):
                index.take(element, file)
    except OSError as error:
        raise DataError(
            "set-unreadable", f"cannot read ({error.strerror})", where=str(path)
        ) from error
    return index.done(path, strict, images)


def open_set(path: Path, options: ReadOptions) -> CocoSet:
    """See `open_coco`."""
    return open_coco(path, strict=options.strict, images=options.images)


def looks_like(path: Path) -> bool:
    """Whether a JSON begins as a data set does; the first few megabytes are looked at."""
    if path.is_dir():
        found = sorted(path.glob("*.json"))[:2]
        return len(found) == 1 and looks_like(found[0])
    if path.suffix.lower() != ".json" or is_result(path):
        return False
    wanted = {"images", "annotations", "categories", "info", "licenses"}
    seen: set[str] = set()
    with contextlib.suppress(OSError, DataError), path.open("rb") as file:
        for _ in zip(elements(file, "", seen), range(2), strict=False):
            pass
    return bool(seen) and seen <= wanted


class _Index:
    """What is known of a JSON while its elements come by, in any order."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lists: set[str] = set()
        self.images: dict[str, tuple[int, str, object, object]] = {}
        self.categories: dict[int, Category] = {}
        self.owners: list[str] = []  # of annotations: id of their image
        self.places: list[tuple[int, int]] = []
        self.ids: set[int | str] = set()

    def take(self, element: Element, file: IO[bytes]) -> None:
        """One element."""
        if element.key == "annotations":
            self._annotation(element, file)
        elif element.key in ("images", "categories"):
            at = f"{self.where}: {element.key}"
            table = as_dict(_again(element, file, at), at)
            (self._image if element.key == "images" else self._category)(table, at)

    def _image(self, table: dict[str, object], at: str) -> None:
        name = str(as_id(table.get("id"), at))
        if name in self.images:
            raise self._twice("images", name)
        file_name = table.get("file_name")
        if not isinstance(file_name, str):
            raise DataError("record-broken", "a file_name is a text", given=file_name, where=at)
        self.images[name] = (len(self.images), file_name, table.get("height"), table.get("width"))

    def _category(self, table: dict[str, object], at: str) -> None:
        number = table.get("id")
        if type(number) is not int:
            raise DataError("record-broken", "a category's id is a number", given=number, where=at)
        if number in self.categories:
            raise self._twice("categories", number)
        name = as_text(table.get("name"), "a category's name", at)
        self.categories[number] = Category(
            id=number,
            name="" if name is None else name,
            supercategory=as_text(table.get("supercategory"), "a supercategory", at),
        )

    def _annotation(self, element: Element, file: IO[bytes]) -> None:
        at = f"{self.where}: annotations[{len(self.owners)}]"
        table = as_dict(element.value, at)
        if isinstance(table.get("image_id"), str) or isinstance(table.get("id"), str):
            table = as_dict(_again(element, file, at), at)  # texts need another look
        if "id" in table:
            name = as_id(table["id"], at)
            if name in self.ids:
                raise self._twice("annotations", name)
            self.ids.add(name)
        self.owners.append(str(as_id(table.get("image_id"), at)))
        self.places.append((element.start, element.length))

    def _twice(self, what: str, name: object) -> DataError:
        return DataError(
            "id-twice",
            f"two {what} have one id",
            given=name,
            where=self.where,
            hint="number them anew",
        )

    def done(self, path: Path, strict: bool, images: Path | None) -> CocoSet:
        """The set, when all elements are there."""
        if not self.images:
            raise DataError(
                "json-shape",
                "the JSON lists no images",
                where=self.where,
                hint="a data set of COCO's has images, annotations and categories",
            )
        remarks = Remarks(self.where, strict)
        rows = np.array([self.images.get(owner, (-1,))[0] for owner in self.owners], np.int64)
        for i in np.flatnonzero(rows < 0).tolist():
            text = f"its image {self.owners[i]} is not listed: left out"
            remarks.lost("image-unknown", text, at=f"annotations[{i}]")
        places = np.array(self.places, np.int64).reshape(-1, 2)
        order = np.argsort(rows, kind="stable")
        order = order[rows[order] >= 0]
        names = (image[1] for image in self.images.values())
        root = images or guess_root(_usual_folders(path), names)
        return CocoSet(
            name=path.stem,
            path=path,
            ids=tuple(self.images),
            categories=tuple(self.categories.values()),
            notes=tuple(remarks.notes),
            strict=strict,
            _images=self.images,
            _rows=rows[order],
            _places=places[order],
            _pictures=None if root is None else Pictures(root),
        )


def _annotation(
    value: object, size: tuple[int, int], names: Mapping[int, str], remarks: Remarks
) -> Annotation | None:
    """One mask, or None where it has no pixel."""
    row = as_dict(value, remarks.where)
    name = as_id(row.get("id", -1), remarks.where)
    at = f"annotation {name}"
    where = f"{remarks.where}: {at}"
    category_id = row.get("category_id")
    if category_id is not None and (type(category_id) is not int or category_id not in names):
        raise DataError(
            "category-unknown", "no category has that id", given=category_id, where=where
        )
    rle = _mask(row.get("segmentation"), size, remarks, at)
    if rle is None:
        return None
    ignore, area = row.get("ignore_region"), number(row.get("area"))
    return Annotation(
        id=name,
        rle=rle,
        bbox=as_bbox(row.get("bbox"), rle, remarks, at),
        area=float(area_of(runs_of(rle))) if area is None or area <= 0 else area,
        category=names.get(category_id) if isinstance(category_id, int) else None,
        category_id=category_id if isinstance(category_id, int) else None,
        iscrowd=bool(row.get("iscrowd", False)),
        ignore=None if ignore is None else as_rle(ignore, size, f"{where}: ignore_region"),
        **facts_of(row),
    )


def _mask(value: object, size: tuple[int, int], remarks: Remarks, at: str) -> Rle | None:
    if value is None:
        remarks.lost("box-only", "there is a box and no mask: left out", at=at)
        return None
    if isinstance(value, list):
        rle = polygons_to_rle(value, size, remarks, at)
    else:
        rle = as_rle(value, size, f"{remarks.where}: {at}: segmentation")
    if rle is not None and not area_of(runs_of(rle)):
        remarks.lost("mask-empty", "the mask has no pixel: left out", at=at)
        return None
    return rle


def _the_json(path: Path) -> Path:
    """The file itself, or the only JSON of a folder."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.json")) if path.is_dir() else []
    if len(found) == 1:
        return found[0]
    raise DataError(
        "set-missing",
        f"there are {len(found)} JSONs" if path.is_dir() else "there is no such file",
        given=str(path),
        hint="give the JSON of the data set",
    )


def _usual_folders(path: Path) -> list[Path]:
    """Where pictures usually lie beside annotations."""
    part = path.stem.split("_")[-1]  # instances_val2017.json is about val2017/
    near = (path.parent, path.parent.parent)
    inner = ("images", part, f"images/{part}", "")
    return [folder / name for name in inner for folder in near]


def _again(element: Element, file: IO[bytes], where: str) -> Any:
    """An element with its texts right; the file goes on where it was."""
    at = file.tell()
    file.seek(element.start)
    found = _decoded(file.read(element.length), where)
    file.seek(at)
    return found


def _decoded(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("json-broken", f"no JSON ({error})", where=where) from error
