"""Photos with masks to training views: a square crop, its masks, chosen and scaled at random.

A view is the photo or a part of it, its longest side scaled to the network's side, with up to a
given number of its masks. Three kinds are mixed: the whole photo; a part of it; and a close look
at one object, as the zoom at inference takes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from anymask.errors import DataError
from anymask.formats.records import Annotation, Record
from anymask.formats.sa1b import Sa1bSet, open_sa1b, split_of
from anymask.train.augment import change_colours

_SMALLEST, _LARGEST = 0.001, 0.9  # area of a mask over area of the photo
_SEEN = 0.4  # share of a mask that the crop must show
_FEWEST_CELLS = 6  # of 4 x 4 px that a mask must fill in a view


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """Where one photo lies and how often it is drawn."""

    folder: Sa1bSet
    image_id: str
    masks: int

    @property
    def weight(self) -> float:
        """Between photos alike and masks alike."""
        return float(min(self.masks, 8) ** 0.6)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """One crop with its masks, both square and padded right and bottom.

    Attributes
    ----------
    pixels
        RGB, padded with mid grey (zero after normalisation).
    masks
        Its masks at full resolution.
    """

    pixels: UInt8[np.ndarray, "S S 3"]
    masks: Bool[np.ndarray, "K S S"]


def usable(record: Record) -> list[Annotation]:
    """Masks that are neither specks nor nearly the whole photo."""
    area = record.size[0] * record.size[1]
    return [a for a in record.annotations if _SMALLEST * area <= a.area <= _LARGEST * area]


def find_photos(paths: Sequence[Path], *, split: str = "train") -> tuple[Photo, ...]:
    """All photos of the sets at `paths` that belong to the split and have a usable mask.

    Raises
    ------
    DataError
        ``no-photos``: nothing is left.
    """
    photos = []
    for path in expand(paths):
        folder = open_sa1b(path)
        for image_id in folder.ids:
            if split_of(image_id) == split:
                count = len(usable(folder.read(image_id)))
                if count:
                    photos.append(Photo(folder=folder, image_id=image_id, masks=count))
    if not photos:
        raise DataError(
            "no-photos",
            "no photo with a usable mask",
            given=[str(p) for p in paths],
            hint=f"masks must fill {_SMALLEST:.1%} to {_LARGEST:.0%} of their photo",
        )
    return tuple(photos)


def expand(paths: Sequence[Path]) -> list[Path]:
    """Sets at the paths: a folder of tars stands for its tars."""
    found: list[Path] = []
    for path in paths:
        tars = sorted(path.glob("*.tar")) if path.is_dir() else []
        found += tars or [path]
    return found


def draw_view(photo: Photo, side: int, most: int, rng: np.random.Generator) -> View | None:
    """A random view of a photo, or None where no mask survives the crop."""
    record = photo.folder.read(photo.image_id)
    chosen = usable(record)
    pixels = record.pixels()
    height, width = record.size
    focus = chosen[rng.integers(len(chosen))]
    x0, y0, x1, y1 = _window(focus, (height, width), rng)
    order = [focus, *(a for a in rng.permutation(np.array(chosen, object)) if a is not focus)]
    scale = side / max(x1 - x0, y1 - y0)
    size = max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale))
    flip = rng.random() < 0.5
    kept: list[np.ndarray] = []
    for annotation in order[: 3 * most]:
        whole = annotation.mask()
        part = whole[y0:y1, x0:x1]
        if part.sum() < _SEEN * whole.sum():
            continue  # a sliver at the border is nobody's object
        mask = fit(part.view(np.uint8) * np.uint8(255), size, side, flip, 0) > 127
        if _FEWEST_CELLS * 16 <= mask.sum() <= 0.92 * size[0] * size[1]:
            kept.append(mask)
        if len(kept) == most:
            break
    if not kept:
        return None
    image = change_colours(fit(pixels[y0:y1, x0:x1], size, side, flip, 127), rng)
    image[size[0] :] = 127  # the padding stays what inference pads with
    image[:, size[1] :] = 127
    return View(pixels=image, masks=np.stack(kept))


def fit(part: np.ndarray, size: tuple[int, int], side: int, flip: bool, fill: int) -> np.ndarray:
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
    focus: Annotation, size: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Crop (x0, y0, x1, y1) in px: the whole photo, a part of it, or a close look at `focus`."""
    height, width = size
    kind = rng.random()
    if kind < 0.3:
        return 0, 0, width, height
    x, y, w, h = focus.bbox
    if kind < 0.7:
        length = max(height, width) * rng.uniform(0.4, 0.95)
    else:
        length = max(w, h) * rng.uniform(1.3, 3.0)
    length = max(length, 64.0, 1.05 * max(w, h))
    across, down = min(length, width), min(length, height)
    # the object may lie anywhere in the crop, wholly inside where it fits
    x0 = _place(x, w, across, width, rng)
    y0 = _place(y, h, down, height, rng)
    return round(x0), round(y0), round(x0 + across), round(y0 + down)


def _place(
    start: float, extent: float, length: float, limit: float, rng: np.random.Generator
) -> float:
    low, high = max(0.0, start + extent - length), min(start, limit - length)
    if low > high:
        low, high = high, low
    return float(np.clip(rng.uniform(low, high), 0, limit - length))
