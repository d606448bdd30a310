"""What all formats of data sets have in common: a set is pictures with their masks.

A reader gives `Record` after `Record`, a writer takes them. What is lost on the way becomes a
`Note` of the record, one for each mask that is concerned, or an error where nothing may be lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from anymask.errors import DataError, Note
from anymask.generated import GeneratedMasks
from anymask.image import load_image
from anymask.image_members import Source
from anymask.mask_rle import Rle, area_of, box_of, decode_rle, runs_of

Box = tuple[float, float, float, float]
MOST_PIXELS = 2**32  # a forged size must not become an array
NO_CATEGORY = "object"  # where a format must name one and none is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One mask of a picture.

    Attributes
    ----------
    id
        As the file states it, else the position in the file.
    rle
        The mask as COCO's compressed run lengths; its size is the picture's.
    bbox
        (x, y, width, height), px, as stated, else measured.
    area
        Number of pixels as stated, else measured.
    category
        The source's own word, or None.
    category_id
        Its number where the source numbers them: two categories may have one name.
    iscrowd
        The mask covers a group of objects as one.
    ignore
        Pixels that must not count when a result is compared with this mask, or None.
    predicted_iou, stability_score
        How sure a model was, 0..1, or None.
    points
        (x, y) of the points that the mask was decoded from, px.
    crop_box
        (x, y, width, height) of the part of the picture that was looked at, px, or None.
    """

    id: int | str
    rle: Rle
    bbox: Box
    area: float
    category: str | None = None
    category_id: int | None = None
    iscrowd: bool = False
    ignore: Rle | None = None
    predicted_iou: float | None = None
    stability_score: float | None = None
    points: tuple[tuple[float, float], ...] = ()
    crop_box: Box | None = None

    def mask(self) -> Bool[np.ndarray, "H W"]:
        """The mask as bits."""
        return decode_rle(self.rle)

    @property
    def pixels(self) -> int:
        """Number of pixels, counted."""
        return area_of(runs_of(self.rle))


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """One class of objects, as a set numbers it."""

    id: int
    name: str
    supercategory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """One picture with its masks; the pixels are read when asked for.

    Attributes
    ----------
    image_id
        The picture's name in its set; stem of its file in most formats.
    file_name
        The picture's file, a path with ``/`` below the folder of pictures.
    size
        (H, W) as the set states it, px.
    annotations
        The masks in the order of the file.
    where
        Set and file, for messages.
    notes
        What was cut or left out while reading, one note for each mask concerned.
    """

    image_id: str
    file_name: str
    size: tuple[int, int]
    annotations: tuple[Annotation, ...]
    where: str
    notes: tuple[Note, ...] = ()
    _source: Source | None = field(default=None, repr=False)
    _picture: str | None = field(default=None, repr=False)

    @property
    def has_picture(self) -> bool:
        """Whether the set knows where the picture lies."""
        return self._source is not None and self._picture is not None

    def image_bytes(self) -> bytes:
        """The picture file as it is, undecoded.

        Raises
        ------
        DataError
            ``picture-missing``.
        """
        if self._source is None or self._picture is None:
            raise DataError(
                "picture-missing",
                "the picture is not beside its masks",
                given=self.file_name,
                where=self.where,
                hint="say where pictures are",
            )
        return self._source.read(self._picture)

    def image_path(self) -> Path | None:
        """Where the picture lies as a file of its own, or None."""
        if self._source is None or self._picture is None:
            return None
        return self._source.path_of(self._picture)

    def pixels(self) -> UInt8[np.ndarray, "H W 3"]:
        """The picture as RGB.

        Raises
        ------
        ImageError
            The picture cannot be read.
        DataError
            ``picture-missing``; ``record-size``: the picture has another size than its JSON states.
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


@runtime_checkable
class RecordSet(Protocol):
    """Pictures with their masks, of any format."""

    @property
    def name(self) -> str: ...

    @property
    def ids(self) -> Sequence[str]:
        """Names of all pictures, for `read`."""
        ...

    @property
    def categories(self) -> tuple[Category, ...]:
        """All categories where the set lists them beforehand."""
        ...

    @property
    def notes(self) -> tuple[Note, ...]:
        """What belongs to no picture."""
        ...

    def stem_of(self, image_id: str) -> str:
        """Relative path of the picture without its ending; the picture's record has the same."""
        ...

    def read(self, image_id: str) -> Record: ...

    def __iter__(self) -> Iterator[Record]: ...


@runtime_checkable
class SetWriter(Protocol):
    """Where records go. Nothing that is there is replaced."""

    def path(self, stem: str) -> Path:
        """The file that has the masks of a picture of that name without its ending."""
        ...

    def picture_path(self, file_name: str) -> Path:
        """Where the picture itself goes, if it is wanted there."""
        ...

    def add(self, record: Record) -> tuple[Note, ...]:
        """Take a record; what its format cannot keep."""
        ...

    def finish(self) -> tuple[Note, ...]:
        """Write what is common to all records."""
        ...

    def close(self) -> None:
        """Forget what waits for `finish`."""
        ...


@runtime_checkable
class PackedWriter(SetWriter, Protocol):
    """One file that has the pictures in it too: `add` takes them from their records."""

    def member(self, stem: str) -> str:
        """What a picture's masks are called inside; two pictures must not share it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a set is read.

    Attributes
    ----------
    strict
        What would be cut or left out is an error.
    images
        The folder of pictures, None for the usual places.
    """

    strict: bool = False
    images: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a set is written.

    Attributes
    ----------
    strict
        What the format cannot keep is an error.
    categories
        Those that the source lists, with its numbers.
    polygons
        Polygons where the format has a choice.
    """

    strict: bool = False
    categories: tuple[Category, ...] = ()
    polygons: bool = False


@dataclass(frozen=True, slots=True)
class Loss(Note):
    """A note of something that is cut or left out."""


class Remarks:
    """What is said of one record while it is read or written.

    Parameters
    ----------
    where
        Set and file, for errors.
    strict
        A loss is an error.
    """

    def __init__(self, where: str, strict: bool = False) -> None:
        self.where, self.strict = where, strict
        self.notes: list[Note] = []

    def lost(self, code: str, text: str, *, at: str = "") -> None:
        """Something is cut or left out.

        Raises
        ------
        DataError
            It may not be.
        """
        if self.strict:
            where = f"{self.where}: {at}" if at else self.where
            raise DataError(code, text, where=where, hint="mend it, or leave strict out")
        self.dropped(code, text, at=at)

    def dropped(self, code: str, text: str, *, at: str = "") -> None:
        """Something goes that no file of the format has a place for; no error if strict."""
        self.notes.append(Loss(code, f"{at}: {text}" if at else text))

    def say(self, code: str, text: str) -> None:
        """Something is written in another way, and nothing lost."""
        self.notes.append(Note(code, text))


def measured(
    id: int | str,
    rle: Rle,
    *,
    category: str | None = None,
    category_id: int | None = None,
    iscrowd: bool = False,
) -> Annotation:
    """A mask with its box and area measured; run lengths must be sound."""
    return Annotation(
        id=id,
        rle=rle,
        bbox=bbox_of(rle),
        area=float(area_of(runs_of(rle))),
        category=category,
        category_id=category_id,
        iscrowd=iscrowd,
    )


def bbox_of(rle: Rle) -> Box:
    """Tight (x, y, width, height), px, edge to edge; zeros for an empty mask."""
    x0, y0, x1, y1 = box_of(runs_of(rle), rle["size"][0])
    return float(x0), float(y0), float(x1 - x0), float(y1 - y0)


def of_generated(masks: GeneratedMasks, file_name: str, image_id: str) -> Record:
    """The masks of everything mode as a record; ids count from 1."""
    facts = zip(
        masks.rles,
        masks.boxes.tolist(),
        masks.areas.tolist(),
        masks.scores,
        masks.stability,
        masks.points.tolist(),
        masks.crop_boxes.tolist(),
        masks.labels or [None] * len(masks),
        strict=True,
    )
    return Record(
        image_id=image_id,
        file_name=file_name,
        size=masks.size,
        where=file_name,
        annotations=tuple(
            Annotation(
                id=i,
                rle=rle,
                bbox=(x0, y0, x1 - x0, y1 - y0),
                area=float(area),
                category=label,
                predicted_iou=_shortest(score),
                stability_score=_shortest(stability),
                points=((x, y),),
                crop_box=(float(crop[0]), float(crop[1]), float(crop[2]), float(crop[3])),
            )
            for i, (
                rle,
                (x0, y0, x1, y1),
                area,
                score,
                stability,
                (x, y),
                crop,
                label,
            ) in enumerate(facts, start=1)
        ),
    )


def _shortest(value: np.float32) -> float | None:
    """The shortest decimal number that is this float32; JSON has none for what is not finite."""
    return float(str(np.float32(value))) if np.isfinite(value) else None
