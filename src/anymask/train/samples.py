"""Photos with masks to training views: a square crop, its masks, chosen and scaled at random.

A view is the photo or a part of it, its longest side scaled to the network's side, with up to a
given number of its masks. Three kinds are mixed: the whole photo; a part of it; and a close look
at one object, as the zoom at inference takes it.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from anymask.errors import DataError, Note
from anymask.formats.records import Annotation, Box, Record, RecordSet
from anymask.formats.sa1b import split_of
from anymask.train.augment import Augment, change_colours
from anymask.train.sources import DataSpec, LeftOut, Source, open_sources
from anymask.train.sources import expand as expand
from anymask.variant_specs import keep_aspect

_SMALLEST, _LARGEST = 0.001, 0.9  # area of a mask over area of the photo
SEEN = 0.4  # share of a mask that the crop must show
FEWEST_CELLS = 6  # of 4 x 4 px that a mask must fill in a view
MOST_MASKS = 8  # of a photo count when it is weighed against others

Fit = Callable[[tuple[int, int], int], tuple[int, int]]  # (H, W), side -> (H, W); see `InputSpec`


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """Where one photo lies and how often it is drawn.

    Attributes
    ----------
    folder
        Its set.
    image_id
        Its name there.
    masks
        How many usable masks it has; 0 for a negative sample, in which any answer is wrong.
    most
        How many of them count.
    factor
        Its set's share in the mix.
    set
        Name of the set, as people know it.
    digest
        SHA-256 (16 hex digits) over picture and masks.
    """

    folder: RecordSet
    image_id: str
    masks: int
    most: int = MOST_MASKS
    factor: float = 1.0
    set: str = ""
    digest: str = ""

    @property
    def weight(self) -> float:
        """Between photos alike and masks alike; one without masks counts like one with one."""
        return float(max(1, min(self.masks, self.most)) ** 0.6) * self.factor

    def __str__(self) -> str:
        return f"{self.set}/{self.image_id}" if self.set else self.image_id


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """One crop with its masks, both square and padded right and bottom.

    Attributes
    ----------
    pixels
        RGB, padded with mid grey.
    masks
        Its masks at full resolution.
    size
        (H, W) of the part that is not padding, px.
    """

    pixels: UInt8[np.ndarray, "S S 3"]
    masks: Bool[np.ndarray, "K S S"]
    size: tuple[int, int]


def usable(record: Record) -> list[Annotation]:
    """Masks of single objects that are neither specks nor nearly the whole photo."""
    area = record.size[0] * record.size[1]
    return [a for a in record.annotations if not a.iscrowd and fitting_size(a.area, area)]


def fitting_size(area: float, photo: float) -> bool:
    """Whether a mask of `area` px is neither a speck nor nearly all of a photo of `photo` px."""
    return _SMALLEST * photo <= area <= _LARGEST * photo


def find_photos(
    specs: Sequence[str | Path | DataSpec],
    *,
    split: str = "train",
    strict: bool = False,
    most: int = MOST_MASKS,
    balance: float = 0.0,
) -> tuple[Photo, ...]:
    """`look_through` for sets that are not open yet, without what was left out."""
    sources = open_sources(specs, strict=strict)
    return look_through(sources, split=split, strict=strict, most=most, balance=balance)[0]


def look_through(
    sources: Sequence[Source],
    *,
    split: str = "train",
    strict: bool = False,
    most: int = MOST_MASKS,
    balance: float = 0.0,
    negatives: float = 0.0,
) -> tuple[tuple[Photo, ...], LeftOut]:
    """All photos of a split that have a usable mask; every record is read once.

    Their order is by names of set and photo, wherever the sets lie.

    Parameters
    ----------
    sources
        Opened sets.
    split
        ``"train"``, ``"val"`` or ``"all"``; see `anymask.formats.sa1b.split_of`.
    strict
        A photo without a usable mask, or without its picture, is an error.
    most
        So many masks of a photo count when it is weighed against others.
    balance
        0 draws photos by their weights, 1 all sets alike, between them a power of their size.
    negatives
        How often a photo without any annotation is drawn, relative to one with a mask; 0 leaves
        such photos out.

    Raises
    ------
    DataError
        ``no-photos``: nothing with a mask is left; if strict ``no-masks``, ``picture-missing``;
        and what the formats raise for a broken record.
    """
    left_out = LeftOut.nothing()
    photos: list[Photo] = []
    for source in sources:
        left_out.add(source.data.notes, source.name)
        for image_id in source.data.ids:
            if split != "all" and split_of(image_id) != split:
                continue
            record = source.data.read(image_id)
            left_out.add(record.notes, record.where)
            count = len(usable(record))
            negative = negatives > 0 and not record.annotations and not record.notes
            note = _reason(record, count, negative)
            if note is None:
                photos.append(
                    Photo(
                        folder=source.data,
                        image_id=image_id,
                        masks=count,
                        most=most,
                        factor=source.weight * (1.0 if count else negatives),
                        set=source.name,
                        digest=_digest(record),
                    )
                )
            elif strict:
                raise DataError(note.code, note.text, where=record.where, hint="leave strict out")
            else:
                left_out.add([note], record.where)
    if not any(photo.masks for photo in photos):
        raise DataError(
            "no-photos",
            "no photo with a usable mask",
            given=[source.name for source in sources],
            hint=f"masks must fill {_SMALLEST:.1%} to {_LARGEST:.0%} of their photo",
        )
    photos.sort(key=lambda photo: (f"{photo.set}.", photo.image_id))
    return _balanced(photos, balance), left_out


def _reason(record: Record, masks: int, negative: bool) -> Note | None:
    """Why a photo is left out, or None."""
    if not record.has_picture:
        return Note("picture-missing", "the picture is not there: the photo is left out")
    if not masks and not negative:
        return Note("no-masks", "no usable mask: the photo is left out")
    return None


def _digest(record: Record) -> str:
    digest = hashlib.sha256(record.image_bytes())
    for each in record.annotations:
        digest.update(f"{each.rle['counts']} {each.iscrowd:d}".encode())
    return digest.hexdigest()[:16]


def _balanced(photos: Sequence[Photo], balance: float) -> tuple[Photo, ...]:
    """Factors so that a set's share is its weight times a power of what its photos weigh."""
    if not balance:
        return tuple(photos)
    sums: Counter[str] = Counter()
    for photo in photos:
        sums[photo.set] += photo.weight / photo.factor  # type: ignore[assignment]
    return tuple(replace(p, factor=p.factor * float(sums[p.set]) ** -balance) for p in photos)


def draw_view(
    photo: Photo,
    side: int,
    most: int,
    rng: np.random.Generator,
    *,
    fit: Fit = keep_aspect,
    augment: Augment | None = None,
) -> View | None:
    """A random view of a photo, or None where no mask survives the crop.

    A photo without masks gives one that is empty.

    Parameters
    ----------
    photo
        What is looked at.
    side
        Of the view, px.
    most
        Masks.
    rng
        Decides everything.
    fit
        How crops are scaled; see `anymask.variants.InputSpec`.
    augment
        What is changed by chance.
    """
    augment = augment or Augment()
    record = photo.folder.read(photo.image_id)
    chosen = usable(record)
    pixels = record.pixels()
    height, width = record.size
    focus = chosen[rng.integers(len(chosen))] if chosen else None
    box = _anywhere((height, width), rng) if focus is None else focus.bbox
    x0, y0, x1, y1 = _window(box, (height, width), augment, rng)
    order = [a for a in rng.permutation(np.array(chosen, object)) if a is not focus]
    if focus is not None:
        order.insert(0, focus)
    size = fit((y1 - y0, x1 - x0), side)
    flip = rng.random() < augment.flip
    kept: list[np.ndarray] = []
    for annotation in order[: 3 * most]:
        whole = annotation.mask()
        part = whole[y0:y1, x0:x1]
        if part.sum() < SEEN * whole.sum():
            continue  # a sliver at the border is nobody's object
        mask = fitted(part.view(np.uint8) * np.uint8(255), size, side, flip, 0) > 127
        if FEWEST_CELLS * 16 <= mask.sum() <= 0.92 * size[0] * size[1]:
            kept.append(mask)
        if len(kept) == most:
            break
    if not photo.masks:
        kept.append(np.zeros((side, side), bool))
    if not kept:
        return None
    image = fitted(pixels[y0:y1, x0:x1], size, side, flip, 127)
    if augment.colour:
        image = change_colours(image, rng)
        image[size[0] :] = 127
        image[:, size[1] :] = 127
    return View(pixels=image, masks=np.stack(kept), size=size)


def fitted(part: np.ndarray, size: tuple[int, int], side: int, flip: bool, fill: int) -> np.ndarray:
    """Scale to `size`, mirror if asked, pad right and bottom to a square of `side`."""
    smaller = part.shape[0] > size[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    scaled = cv2.resize(np.ascontiguousarray(part), size[::-1], interpolation=how)
    if flip:
        scaled = scaled[:, ::-1]
    out = np.full((side, side, *part.shape[2:]), fill, np.uint8)
    out[: size[0], : size[1]] = scaled
    return out


def _window(
    box: Box, size: tuple[int, int], augment: Augment, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Crop (x0, y0, x1, y1) in px: the whole photo, a part of it, or a close look at `box`."""
    height, width = size
    kind = rng.random()
    if kind < augment.whole:
        return 0, 0, width, height
    x, y, w, h = box
    if kind < augment.whole + augment.part:
        length = max(height, width) * rng.uniform(0.4, 0.95)
    else:
        length = max(w, h) * rng.uniform(1.3, 3.0)
    length = max(length, 64.0, 1.05 * max(w, h))
    across, down = min(length, width), min(length, height)
    # the object may lie anywhere in the crop, wholly inside where it fits
    x0 = _place(x, w, across, width, rng)
    y0 = _place(y, h, down, height, rng)
    return round(x0), round(y0), round(x0 + across), round(y0 + down)


def _anywhere(size: tuple[int, int], rng: np.random.Generator) -> Box:
    """A part (x, y, width, height) of a photo in which there is nothing to look at."""
    height, width = size
    w, h = width * rng.uniform(0.05, 0.5), height * rng.uniform(0.05, 0.5)
    return float(rng.uniform(0, width - w)), float(rng.uniform(0, height - h)), float(w), float(h)


def _place(
    start: float, extent: float, length: float, limit: float, rng: np.random.Generator
) -> float:
    low, high = max(0.0, start + extent - length), min(start, limit - length)
    if low > high:
        low, high = high, low
    return float(np.clip(rng.uniform(low, high), 0, limit - length))
