"""SA-1B's layout: pairs of a picture and a JSON of its masks, in a folder or a tar.

A set is a folder or an uncompressed tar of ``<id>.jpg`` (or ``.png``) and ``<id>.json``, in folders
inside too. The id is the pair's path without ending (`anymask.formats.sa1b_pairs`). Names and ids
written inside a JSON are never used as paths. A JSON is

    {"image": {"image_id", "width", "height", "file_name"}, "annotations": [...]}

and each mask has ``id``, ``segmentation`` (COCO's run lengths), ``bbox``, ``area`` and, where they
are known, ``predicted_iou``, ``point_coords``, ``crop_box`` and ``stability_score``. Ours are
``category``, ``category_id``, ``iscrowd`` and ``ignore``. Boxes go from edge to edge.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from anymask.errors import DataError, Note
from anymask.formats.checks import (
    as_bbox,
    as_dict,
    as_id,
    as_list,
    as_rle,
    as_size,
    as_text,
    number,
    parse_json,
    plain,
    to_json,
)
from anymask.formats.facts import facts_of, facts_to_row
from anymask.formats.file_sets import FileWriter, find_files, named_picture, plain_stem
from anymask.formats.json_stream import keys
from anymask.formats.pictures import Pictures
from anymask.formats.records import (
    Annotation,
    Category,
    ReadOptions,
    Record,
    Remarks,
    WriteOptions,
    of_generated,
)
from anymask.formats.sa1b_pairs import Pairs, find_pairs
from anymask.formats.sa1b_tar import TarWriter
from anymask.generated import GeneratedMasks
from anymask.image_members import Folder, Source, Tar
from anymask.mask_rle import area_of, runs_of

_VAL_BELOW = 26  # of 256: about a tenth of all ids


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sa1bSet:
    """A set of pictures with masks. Reading is safe from several threads.

    Attributes
    ----------
    name
        Stem of the folder or tar.
    path
        Where it lies.
    ids
        Ids of all pairs, sorted; with ``/`` where they lie in folders inside.
    unannotated
        Stems of pictures without a JSON, sorted; they are left out of `ids`.
    strict
        What would be cut or left out is an error.
    """

    name: str
    path: Path
    ids: tuple[str, ...]
    unannotated: tuple[str, ...]
    strict: bool = False
    _source: Source = field(repr=False)
    _pairs: Pairs = field(repr=False)
    _apart: Pictures | None = field(default=None, repr=False)  # where other pictures are

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Record]:
        return (self.read(image_id) for image_id in self.ids)

    def __reduce__(self) -> tuple[object, ...]:
        alone = any(picture is None for picture, _ in self._pairs.values())
        apart = None if self._apart is None else self._apart.source.path
        # another process opens its own file
        return (_reopened, (self.path, self.strict, alone, apart))

    @property
    def notes(self) -> tuple[Note, ...]:
        """Pictures without masks."""
        text = "{}: the picture has no JSON: left out"
        return tuple(Note("picture-unannotated", text.format(stem)) for stem in self.unannotated)

    def stem_of(self, image_id: str) -> str:
        """The id, without the ending of a picture that results are named after."""
        return plain_stem(image_id)

    @property
    def categories(self) -> tuple[Category, ...]:
        """None: they are not listed beforehand."""
        return ()

    def read(self, image_id: str) -> Record:
        """One picture's masks, checked; its pixels wait until asked for.

        Raises
        ------
        DataError
            ``unknown-id``, ``json-broken``, ``record-broken``, ``rle-broken``, ``rle-size``: with
            the place in the file; if strict ``mask-empty``, ``box-empty``, ``box-clipped``.
        """
        if image_id not in self._pairs:
            raise DataError("unknown-id", "the set has no such id", given=image_id, where=self.name)
        picture, table = self._pairs[image_id]
        where = self._source.where(table)
        decoded = parse_json(self._source.read(table), where)
        size, annotations, notes = parse_record(decoded, where, strict=self.strict)
        source = self._source
        if picture is None and self._apart is not None:
            full = named_picture(image_id)
            found = self._apart.find(full, where) if full else self._apart.find_stem(image_id)
            source, picture = self._apart.source, found
        return Record(
            image_id=image_id,
            file_name=_file_name(decoded, image_id, picture),
            size=size,
            annotations=annotations,
            where=where,
            notes=notes,
            _source=source,
            _picture=picture,
        )


def split_of(image_id: str) -> str:
    """``"val"`` for about a tenth of all ids, ``"train"`` for the others; never changes.

    >>> split_of("cat_group0045"), split_of("cat_group0100")
    ('train', 'train')
    """
    digest = hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()
    return "val" if digest[0] < _VAL_BELOW else "train"


def open_sa1b(
    path: str | os.PathLike[str], *, strict: bool = False, alone: bool = False
) -> Sa1bSet:
    """Open a folder or an uncompressed tar of pairs; reads names only.

    Parameters
    ----------
    path
        The folder or tar.
    strict
        What would be cut or left out of a record is an error when it is read.
    alone
        Take a JSON without its picture too.

    Raises
    ------
    DataError
        ``set-missing``, ``tar-broken``, ``set-empty``, ``pair-broken`` (a JSON without picture),
        ``pair-ambiguous`` (two files of one id).
    """
    path = Path(path)
    if path.is_dir():
        source: Source = Folder(path)
        name = path.resolve().name
    elif path.is_file():
        source = Tar(path)
        name = path.stem
    else:
        raise DataError(
            "set-missing",
            "there is neither a folder nor a tar here",
            given=str(path),
            hint="give a folder or an uncompressed tar of <id>.jpg and <id>.json",
        )
    pairs, unannotated = find_pairs(source, alone=alone, packed=isinstance(source, Tar))
    if not pairs:
        raise DataError(
            "set-empty",
            "no pair of <id>.jpg (or .png) and <id>.json was found",
            where=str(path),
            hint="SA-1B's layout is wanted, the two side by side",
        )
    return Sa1bSet(
        name=name,
        path=path,
        ids=tuple(sorted(pairs)),
        unannotated=unannotated,
        strict=strict,
        _source=source,
        _pairs=pairs,
    )


def open_set(path: Path, options: ReadOptions) -> Sa1bSet:
    """See `open_sa1b`; a JSON alone is taken too, and its picture may lie elsewhere."""
    return _reopened(path, options.strict, True, options.images)


def writer(root: Path, options: WriteOptions) -> FileWriter | TarWriter:
    """JSONs and pictures side by side, as `open_sa1b` takes them; in a tar if it is called so."""

    def make(record: Record, remarks: Remarks) -> bytes:
        return record_json(record)

    if root.suffix.lower() == ".tar":
        return TarWriter(root, record_json)
    return FileWriter(root, ".json", make, flat=True)


def looks_like(path: Path) -> bool:
    """Whether it is a tar, or a folder whose first JSON is about one image.

    A JSON beside a label map, ``a.jpg.panoptic.json``, only repeats it.
    """
    if path.is_file():
        return path.suffix.lower() == ".tar"
    first = next(iter(sorted(path.glob("*.json"))), None)
    if first is None:
        with contextlib.suppress(DataError):
            first = path / f"{find_files(path, '.json')[0]}.json"
    if first is None or first.name.endswith(".panoptic.json"):
        return False
    return {"image", "annotations"} <= keys(first)


def parse_record(
    table: object, where: str, *, strict: bool = False
) -> tuple[tuple[int, int], tuple[Annotation, ...], tuple[Note, ...]]:
    """The size (H, W), the masks and the losses of a decoded JSON; `where` goes into messages.

    Raises
    ------
    DataError
        See `Sa1bSet.read`.
    """
    table = as_dict(table, where)
    image = as_dict(table.get("image"), f"{where}: image")
    size = as_size(image.get("height"), image.get("width"), f"{where}: image")
    remarks = Remarks(where, strict)
    found = [
        _annotation(row, index, size, remarks)
        for index, row in enumerate(as_list(table.get("annotations"), "annotations", where))
    ]
    annotations = tuple(each for each in found if each is not None)
    return size, annotations, tuple(remarks.notes)


def record_json(record: Record) -> bytes:
    """The JSON of one picture."""
    height, width = record.size
    image = {
        "image_id": record.image_id,
        "width": width,
        "height": height,
        "file_name": record.file_name,
    }
    rows = [_row(each) for each in record.annotations]
    return to_json({"image": image, "annotations": rows}) + b"\n"


def generated_json(masks: GeneratedMasks, file_name: str, image_id: str) -> bytes:
    """The JSON of what everything mode found in one picture; ids count from 1."""
    return record_json(of_generated(masks, file_name, image_id))


def _annotation(
    value: object, index: int, size: tuple[int, int], remarks: Remarks
) -> Annotation | None:
    """One mask, or None where it has no pixel."""
    where = f"{remarks.where}: annotations[{index}]"
    row = as_dict(value, where)
    name = as_id(row.get("id", index), where)
    at = f"annotations[{index}] (id {name})"
    rle = as_rle(row.get("segmentation"), size, f"{remarks.where}: {at}: segmentation")
    measured = area_of(runs_of(rle))
    if not measured:
        remarks.lost("mask-empty", "the mask has no pixel: left out", at=at)
        return None
    ignore, area = row.get("ignore"), number(row.get("area"))
    category_id = row.get("category_id")
    return Annotation(
        id=name,
        rle=rle,
        bbox=as_bbox(row.get("bbox"), rle, remarks, at),
        area=float(measured) if area is None or area < 0 else area,
        category=as_text(row.get("category"), "a category", where),
        category_id=category_id if type(category_id) is int else None,
        iscrowd=bool(row.get("iscrowd", False)),
        ignore=None if ignore is None else as_rle(ignore, size, f"{remarks.where}: {at}: ignore"),
        **facts_of(row),
    )


def _row(annotation: Annotation) -> dict[str, object]:
    """One mask as JSON has it; what is not known is left out."""
    row: dict[str, object] = {
        "id": annotation.id,
        "segmentation": annotation.rle,
        "bbox": [plain(v) for v in annotation.bbox],
        "area": plain(annotation.area),
        **facts_to_row(annotation),
        "category": annotation.category,
        "category_id": annotation.category_id,
        "iscrowd": True if annotation.iscrowd else None,
        "ignore": annotation.ignore,
    }
    return {key: value for key, value in row.items() if value is not None}


def _reopened(path: Path, strict: bool, alone: bool, apart: Path | None) -> Sa1bSet:
    return replace(
        open_sa1b(path, strict=strict, alone=alone),
        _apart=None if apart is None else Pictures(apart),
    )


def _file_name(table: object, image_id: str, picture: str | None) -> str:
    """The picture's, in the folder of the id: as it lies there, else as the JSON states it."""
    full = named_picture(image_id)
    if picture is None and full is not None:
        return full
    name = _stated(table, image_id) if picture is None else PurePosixPath(picture).name
    return str(PurePosixPath(image_id).with_name(name))


def _stated(table: object, image_id: str) -> str:
    """The name that a JSON states, without folders, where it agrees with the id."""
    stem = PurePosixPath(image_id).name
    image = table.get("image") if isinstance(table, dict) else None
    stated = image.get("file_name") if isinstance(image, dict) else None
    name = PurePosixPath(stated.replace("\\", "/")).name if isinstance(stated, str) else ""
    return name if stem in (PurePosixPath(name).stem, name) else f"{stem}.jpg"
