"""Reading the layout of SA-1B: pairs of a picture and a JSON of masks, in a folder or a tar.

A set is a folder or an uncompressed tar of ``<id>.jpg`` (or ``.png``) and ``<id>.json``. The id is
the stem of the pair's file name. Names and ids written inside a JSON are never used as paths.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, UInt8

from anymask.errors import DataError
from anymask.formats.members import Folder, Source, Tar
from anymask.formats.rle import Rle
from anymask.image import load_image

_PICTURES = (".jpg", ".jpeg", ".png")
_LARGEST_JSON = 256 * 2**20  # bytes; SA-1B's own are below 1 MB
_MOST_PIXELS = 2**32  # a forged size must not become an array
_VAL_BELOW = 26  # of 256: about a tenth of all ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One mask of a picture.

    Attributes
    ----------
    id
        As the file states it, else the position in the file.
    rle
        The mask; its size is the picture's.
    bbox
        (x, y, width, height), px, as stated, else measured.
    area
        Number of pixels as stated, else measured.
    category
        The source's own word, or None.
    iscrowd
        The mask covers a group of objects as one.
    ignore
        Pixels that must not count when a result is compared with this mask, or None.
    """

    id: int | str
    rle: Rle
    bbox: tuple[float, float, float, float]
    area: float
    category: str | None = None
    iscrowd: bool = False
    ignore: Rle | None = None

    def mask(self) -> Bool[np.ndarray, "H W"]:
        """The mask as bits."""
        return self.rle.decode()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """One picture with its masks; the pixels are read when asked for.

    Attributes
    ----------
    image_id
        Stem of the pair's file name.
    size
        (H, W) as the JSON states it, px.
    annotations
        The masks in the order of the file.
    where
        Set and file, for messages.
    """

    image_id: str
    size: tuple[int, int]
    annotations: tuple[Annotation, ...]
    where: str
    _source: Source = field(repr=False)
    _picture: str = field(repr=False)

    def image_bytes(self) -> bytes:
        """The picture file as it is, undecoded."""
        return self._source.read(self._picture)

    def pixels(self) -> UInt8[np.ndarray, "H W 3"]:
        """The picture as RGB.

        Raises
        ------
        ImageError
            The picture cannot be read.
        DataError
            ``record-size``: the picture has another size than its JSON states.
        """
        pixels = load_image(self.image_bytes()).pixels
        if pixels.shape[:2] != self.size:
            raise DataError(
                "record-size",
                f"the JSON states {self.size[1]}x{self.size[0]} (width x height), the picture has "
                f"{pixels.shape[1]}x{pixels.shape[0]}",
                where=self.where,
                hint="was one of the two rotated or scaled?",
            )
        return pixels


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
        Ids of all pairs, sorted.
    unannotated
        Stems of pictures without a JSON, sorted; they are left out of `ids`.
    """

    name: str
    path: Path
    ids: tuple[str, ...]
    unannotated: tuple[str, ...]
    _source: Source = field(repr=False)
    _pairs: Mapping[str, tuple[str, str]] = field(repr=False)  # id -> picture, JSON

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[object, ...]:
        return (open_sa1b, (self.path,))  # another process opens its own file

    def read(self, image_id: str) -> Record:
        """One picture's masks, checked; its pixels wait until asked for.

        Raises
        ------
        DataError
            ``unknown-id``, ``json-broken``, ``record-broken``, ``rle-broken``, ``rle-size``: with
            the place in the file.
        """
        if image_id not in self._pairs:
            raise DataError("unknown-id", "the set has no such id", given=image_id, where=self.name)
        picture, table = self._pairs[image_id]
        where = self._source.where(table)
        size, annotations = parse_record(_parse_json(self._source.read(table), where), where)
        return Record(
            image_id=image_id,
            size=size,
            annotations=annotations,
            where=where,
            _source=self._source,
            _picture=picture,
        )


def split_of(image_id: str) -> str:
    """``"val"`` for about a tenth of all ids, ``"train"`` for the others; never changes.

    >>> split_of("cat_group0045"), split_of("cat_group0100")
    ('train', 'train')
    """
    digest = hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()
    return "val" if digest[0] < _VAL_BELOW else "train"


def open_sa1b(path: str | os.PathLike[str]) -> Sa1bSet:
    """Open a folder or an uncompressed tar of pairs; reads names only.

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
    pairs, unannotated = _pair(source)
    if not pairs:
        raise DataError(
            "set-empty",
            "no pair of <id>.jpg (or .png) and <id>.json was found",
            where=str(path),
            hint="SA-1B's layout is wanted, files side by side",
        )
    return Sa1bSet(
        name=name,
        path=path,
        ids=tuple(sorted(pairs)),
        unannotated=unannotated,
        _source=source,
        _pairs=pairs,
    )


def parse_record(table: object, where: str) -> tuple[tuple[int, int], tuple[Annotation, ...]]:
    """The size (H, W) and the masks of a decoded JSON; `where` goes into messages.

    Raises
    ------
    DataError
        See `Sa1bSet.read`.
    """
    table = _dict(table, where)
    image = _dict(table.get("image"), f"{where}: image")
    size = (
        _side(image.get("height"), f"{where}: image.height"),
        _side(image.get("width"), f"{where}: image.width"),
    )
    if size[0] * size[1] > _MOST_PIXELS:
        raise DataError("record-broken", f"no picture has {size[1]}x{size[0]} px", where=where)
    rows = table.get("annotations")
    if not isinstance(rows, list):
        raise DataError("record-broken", "annotations must be a list", given=rows, where=where)
    return size, tuple(
        _annotation(row, index, size, f"{where}: annotations[{index}]")
        for index, row in enumerate(rows)
    )


def _annotation(row: object, index: int, size: tuple[int, int], where: str) -> Annotation:
    row = _dict(row, where)
    name = row.get("id", index)
    if isinstance(name, bool) or not isinstance(name, int | str):
        raise DataError("record-broken", "an id is a number or a text", given=name, where=where)
    rle = _rle(row.get("segmentation"), size, f"{where} (id {name}): segmentation")
    ignore = row.get("ignore")
    category = row.get("category")
    if not isinstance(category, str | None):
        raise DataError("record-broken", "a category is a text", given=category, where=where)
    area = _number(row.get("area"))
    return Annotation(
        id=name,
        rle=rle,
        bbox=_bbox(row.get("bbox"), rle, where),
        area=float(rle.area) if area is None or area < 0 else area,
        category=category,
        iscrowd=bool(row.get("iscrowd", False)),
        ignore=None if ignore is None else _rle(ignore, size, f"{where} (id {name}): ignore"),
    )


def _rle(value: object, size: tuple[int, int], where: str) -> Rle:
    table = _dict(value, where)
    stated, counts = table.get("size"), table.get("counts")
    if not isinstance(stated, list) or len(stated) != 2:
        raise DataError("record-broken", "size must be [height, width]", given=stated, where=where)
    if tuple(stated) != size:
        swapped = tuple(stated[::-1]) == size
        raise DataError(
            "rle-size",
            f"the mask is {stated}, its picture {list(size)} (height, width)",
            where=where,
            hint="are height and width swapped?" if swapped else "scale the mask to its picture",
        )
    if isinstance(counts, str):
        rle = Rle(size=size, counts=counts.encode("utf-8", "surrogatepass"))
    elif isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts):
        rle = Rle.from_runs(counts, size)
    else:
        raise DataError(
            "record-broken", "counts must be a text or run lengths", given=counts, where=where
        )
    try:
        rle.runs()
    except DataError as error:
        raise DataError(error.code, error.problem, given=error.given, where=where) from None
    return rle


def _bbox(value: object, rle: Rle, where: str) -> tuple[float, float, float, float]:
    if value is None:
        rows, columns = rle.decode().nonzero()
        if len(rows) == 0:
            return (0.0, 0.0, 0.0, 0.0)
        left, top = float(columns.min()), float(rows.min())
        return (left, top, float(columns.max()) + 1 - left, float(rows.max()) + 1 - top)
    numbers = [_number(number) for number in value] if isinstance(value, list) else []
    x, y, width, height = numbers if len(numbers) == 4 else [None] * 4
    if x is None or y is None or width is None or height is None:
        raise DataError(
            "record-broken", "bbox must be [x, y, width, height]", given=value, where=where
        )
    return (x, y, width, height)


def _number(value: object) -> float | None:
    """A finite number as float, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def _side(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError("record-broken", "a side is a whole number of px", given=value, where=where)
    return value


def _dict(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise DataError("record-broken", "a JSON object is wanted", given=value, where=where)
    return value


def _parse_json(text: bytes, where: str) -> object:
    if len(text) > _LARGEST_JSON:
        raise DataError("json-broken", f"the JSON has {len(text)} bytes", where=where)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("json-broken", f"no JSON ({error})", where=where) from error


def _pair(source: Source) -> tuple[dict[str, tuple[str, str]], tuple[str, ...]]:
    """Pictures and JSONs by stem, and the stems of pictures that have no JSON."""
    pictures: dict[str, str] = {}
    tables: dict[str, str] = {}
    for name in sorted(source.names()):
        file = PurePosixPath(name)
        kind = file.suffix.lower()
        if file.name.startswith(".") or kind not in (*_PICTURES, ".json"):
            continue
        found = tables if kind == ".json" else pictures
        if file.stem in found:
            raise DataError(
                "pair-ambiguous",
                f"two files have the id {file.stem!r}",
                given=[found[file.stem], name],
                where=source.where(name),
            )
        found[file.stem] = name
    for stem, name in tables.items():
        if stem not in pictures:
            raise DataError(
                "pair-broken", f"{stem}.jpg (or .png) is missing", where=source.where(name)
            )
    pairs = {stem: (pictures[stem], name) for stem, name in tables.items()}
    return pairs, tuple(sorted(pictures.keys() - tables.keys()))
