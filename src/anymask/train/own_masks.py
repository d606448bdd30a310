"""More to learn from: a model's own confident masks of the training photos.

    grid of points -> masks that score high and are stable
                   -> found again in the mirrored photo and in a smaller one, from the same point
                   -> majority of the three, unless people drew that mask already

The automatic round of SAM's data engine (arXiv:2304.02643, section 4), with agreement under change
as a third test of confidence (Radosavovic et al. 2018, "Data Distillation", arXiv:1712.04440, whose
majority of views it takes too). The result is a set in SA-1B's layout beside the one that people
drew: a config names both, and `DataSpec.weight` says how much it counts.
"""

import hashlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from anymask.errors import DataError, ImageError
from anymask.evaluate.rounds import iou
from anymask.formats.atomic import exists, write_atomic
from anymask.formats.names import check_clashes
from anymask.formats.records import Annotation, Record, measured
from anymask.formats.sa1b import record_json
from anymask.generated import GeneratedMasks
from anymask.mask_rle import decode_rle, encode_rle
from anymask.model import Model
from anymask.predict.everything import MaskGenerator
from anymask.predict.image import ImagePredictor
from anymask.train.config import TrainConfig
from anymask.train.loop import never
from anymask.train.pack import pair_names
from anymask.train.samples import Photo, fitting_size, look_through, usable
from anymask.train.sources import open_sources

_log = logging.getLogger(__name__)

_SMALLER = 5 / 6  # of its size in the network's eyes, in the third look
_GREY = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Confident:
    """What a mask must be to be learnt from.

    Attributes
    ----------
    points_per_side
        Of the grid that finds masks.
    score
        Predicted IoU at least.
    stability
        At least; see `anymask.GeneratedMasks`.
    agree
        IoU with what the same point gives in the mirrored and in the smaller photo, at least.
    known
        IoU with a mask that people drew, at most: theirs is better.
    most
        Masks of a photo, those that agree best.
    """

    points_per_side: int = 16
    score: float = 0.65
    stability: float = 0.85
    agree: float = 0.85
    known: float = 0.5
    most: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMasks:
    """What a slice of the work has made.

    Attributes
    ----------
    photos
        That are done, in this slice and in those before.
    of
        That there are.
    masks
        That were kept in this slice.
    """

    photos: int
    of: int
    masks: int


class ConfidentMasks:
    """Finds masks of a photo that a model is sure of.

    Parameters
    ----------
    model
        From `anymask.load`.
    bar
        When it is sure.
    """

    def __init__(self, model: Model, bar: Confident | None = None) -> None:
        self.bar = bar or Confident()
        self._generator = MaskGenerator(
            model,
            points_per_side=self.bar.points_per_side,
            pred_iou_thresh=self.bar.score,
            stability_score_thresh=self.bar.stability,
        )
        self._predictor = ImagePredictor(model, zoom=False)

    def of(self, record: Record) -> tuple[Annotation, ...]:
        """Confident masks of a photo that are none of its own."""
        pixels = record.pixels()
        found = self._generator.generate(pixels)
        drawn = [each.mask() for each in usable(record)]
        area = float(np.prod(record.size))
        fresh = [
            row
            for row, rle in enumerate(found.rles)
            if fitting_size(float(found.areas[row]), area)
            and all(iou(decode_rle(rle), mask) <= self.bar.known for mask in drawn)
        ]
        return self._agreed(pixels, found.keep(fresh)) if fresh else ()

    def _agreed(
        self, pixels: UInt8[np.ndarray, "H W 3"], found: GeneratedMasks
    ) -> tuple[Annotation, ...]:
        height, width = pixels.shape[:2]
        predictor = self._predictor
        mirrored = predictor.encode(np.ascontiguousarray(pixels[:, ::-1]))
        smaller = predictor.encode(_surrounded(pixels))
        there = found.points * np.array([-1.0, 1.0]) + np.array([width, 0.0])
        kept: list[tuple[float, Annotation]] = []
        for row, rle in enumerate(found.rles):
            mask = decode_rle(rle)
            turned = predictor.predict(mirrored, points=there[row : row + 1]).masks[:, :, ::-1]
            less = predictor.predict(smaller, points=found.points[row : row + 1]).masks
            one, other = _closest(mask, turned), _closest(mask, less[:, :height, :width])
            agreement = min(iou(mask, one), iou(mask, other))
            if agreement < self.bar.agree:
                continue
            most = mask.astype(np.uint8) + one + other >= 2
            annotation = replace(
                measured(row + 1, encode_rle(most)),
                predicted_iou=float(found.scores[row]),
                stability_score=float(found.stability[row]),
                points=((float(found.points[row, 0]), float(found.points[row, 1])),),
            )
            kept.append((agreement, annotation))
        kept.sort(key=lambda pair: -pair[0])
        return tuple(annotation for _, annotation in kept[: self.bar.most])


def make_own_masks(
    config: TrainConfig,
    folder: Path,
    model: Model,
    *,
    minutes: float | None = None,
    bar: Confident | None = None,
    stop: Callable[[], int] = never,
    progress: Callable[[OwnMasks], None] | None = None,
) -> OwnMasks:
    """Write a set of a model's confident masks of a config's training photos.

    Photos come in the order of their names' digests, so that any part of the work is a fair
    sample; those that are done are passed over. A photo without a confident mask is there too, with
    none.

    Parameters
    ----------
    config
        Names the photos.
    folder
        Where pictures and JSONs go, under their own names: so they stay in their split.
    model
        From `anymask.load`.
    minutes
        Of this slice.
    bar
        When a mask is confident.
    stop
        Asked after each photo; what is not 0 ends the slice.
    progress
        Told after each photo.

    Raises
    ------
    DataError
        ``own-names``: photos of two sets have one name; and what `open_sources` and the formats
        raise.
    OutputError
        ``file-exists``: another picture has a photo's name in the folder; see also `check_clashes`
        and `anymask.formats.atomic.write_atomic`.
    """
    photos = _in_order(config)
    finder = ConfidentMasks(model, bar)
    begun, masks, done = time.monotonic(), 0, 0
    for photo in photos:
        if stop() or (minutes is not None and time.monotonic() - begun > minutes * 60):
            break
        record = photo.folder.read(photo.image_id)
        table, picture = pair_names(record)
        if not (folder / table).exists():
            try:
                own = finder.of(record)
            except (DataError, ImageError) as error:  # one broken picture ends no long run
                _log.warning("%s is passed over: %s", photo, error)
                continue
            named = replace(record, file_name=picture, annotations=own)
            _copy(record.image_bytes(), folder / picture)
            write_atomic(folder / table, record_json(named))  # last: it says that both are there
            masks += len(own)
        done += 1
        if progress:
            progress(OwnMasks(photos=done, of=len(photos), masks=masks))
    return OwnMasks(photos=done, of=len(photos), masks=masks)


def _in_order(config: TrainConfig) -> tuple[Photo, ...]:
    sources = open_sources(config.data, strict=config.strict)
    photos, _ = look_through(sources, strict=config.strict, most=config.most_masks)
    twice = [name for name, n in Counter(p.image_id for p in photos).items() if n > 1]
    if twice:
        raise DataError(
            "own-names",
            "photos of two sets have one name",
            given=twice[:3],
            hint="make masks of one set after the other, each in a folder of its own",
        )
    check_clashes(photo.image_id for photo in photos)
    return tuple(sorted(photos, key=lambda p: _digest(p.image_id)))


def _digest(image_id: str) -> bytes:
    return hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()


def _copy(picture: bytes, place: Path) -> None:
    """Write a picture, unless it is there; a slice may have ended just after it."""
    if not place.exists():
        write_atomic(place, picture)
    elif place.read_bytes() != picture:
        raise exists(place)


def _surrounded(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    """The photo with grey right and below, so that a network sees it smaller."""
    height, width = pixels.shape[:2]
    larger = math.ceil(height / _SMALLER), math.ceil(width / _SMALLER)
    around = np.full((*larger, 3), _GREY, np.uint8)
    around[:height, :width] = pixels
    return around


def _closest(
    mask: Bool[np.ndarray, "H W"], masks: Bool[np.ndarray, "M H W"]
) -> Bool[np.ndarray, "H W"]:
    """The one of several answers that is most like the mask."""
    best: Bool[np.ndarray, "H W"] = max(masks, key=lambda answer: iou(mask, answer))
    return best
