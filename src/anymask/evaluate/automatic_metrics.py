"""How good masks are that nobody asked for one by one: figures of one photo, from run lengths.

Truth and result are never decoded all at once; photos and runs of a thousand masks are cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from pycocotools import mask as coco

from anymask.formats.records import Annotation
from anymask.mask_rle import Rle, decode_rle
from anymask.masks import Masks

# as COCO has them, but not spoiled by adding up: an IoU of exactly 0.7 counts at 0.7
THRESHOLDS: tuple[float, ...] = tuple(t / 100 for t in range(50, 100, 5))
MOST = 1000  # masks of a photo that count, those of the highest scores: the 1000 of AR@1000
DUPLICATE = 0.8  # IoU from which on two masks of a run show the same thing
COMPLETE = 0.95  # of the photo's pixels: where truth covers more, a mask without truth is wrong
_CROWDED = 0.5  # of a mask's pixels in a crowd: it is neither right nor wrong
_PAIRS = 2**22  # of which IoUs are held at once

_Packed = dict[str, object]  # run lengths as pycocotools takes them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhotoScore:
    """Figures of one photo, ready to be pooled with others.

    Attributes
    ----------
    set, image_id
        Which photo it is.
    areas_unit
        Share of the photo that each true mask covers, 0..1.
    best
        The best IoU of any mask with each true one.
    pixels
        Pixels of each true mask.
    rank
        The place, by falling score from 0 on, of the mask that each true one is matched with at
        each of `THRESHOLDS`, one to one; -1 for none.
    masks
        Number of masks, `MOST` at most.
    judged
        How many of them precision is taken over; 0 where the truth is not complete.
    right
        How many of those have a true mask at each of `THRESHOLDS`.
    coverage
        Share of the photo's pixels in a mask, 0..1.
    duplicates
        How many masks show what one of a higher score shows.
    """

    set: str
    image_id: str
    areas_unit: Float64[np.ndarray, " T"]
    best: Float64[np.ndarray, " T"]
    pixels: Int64[np.ndarray, " T"]
    rank: Int64[np.ndarray, "T K"]
    masks: int
    judged: int
    right: Int64[np.ndarray, " K"]
    coverage: float
    duplicates: int

    def found(self, most: int = MOST) -> Bool[np.ndarray, "T K"]:
        """Whether each true mask is matched where the best `most` masks alone count.

        A mask of a lower score never changes what those above it were matched with.
        """
        return (self.rank >= 0) & (self.rank < most)


def score_photo(
    masks: Masks, annotations: Sequence[Annotation], *, name: str = "", image_id: str = ""
) -> PhotoScore:
    """Masks of one photo against its true ones.

    Crowds are not to be found, and masks that lie in a crowd by half are not judged. Pixels that
    an annotation ignores do not count in its IoUs. `name` is that of the set.
    """
    masks = best_scored(masks)
    truths = [one for one in annotations if not one.iscrowd and one.pixels > 0]
    ious = overlaps(masks, truths)
    pixels = max(1, masks.size[0] * masks.size[1])
    complete = _covered([_truth(one) for one in annotations]) >= COMPLETE * pixels
    free = ~_in_crowds(masks, annotations)
    right = np.array([((ious.max(1, initial=0) >= t) & free).sum() for t in THRESHOLDS], np.int64)
    return PhotoScore(
        set=name,
        image_id=image_id,
        areas_unit=np.array([one.pixels / pixels for one in truths], np.float64),
        best=ious.max(0, initial=0),
        pixels=np.array([one.pixels for one in truths], np.int64),
        rank=np.stack([match(ious, t) for t in THRESHOLDS], axis=1),
        masks=len(masks),
        judged=int(free.sum()) if complete else 0,
        right=right if complete else np.zeros_like(right),
        coverage=coverage(masks),
        duplicates=duplicates(masks),
    )


def best_scored(masks: Masks, most: int = MOST) -> Masks:
    """The masks by falling score, equal ones in their order, `most` at most."""
    return masks.keep(np.argsort(-masks.scores, kind="stable")[:most])


def match(ious: Float[np.ndarray, "N T"], threshold: float) -> Int64[np.ndarray, " T"]:
    """Which mask each true one is matched with at a threshold, -1 for none; COCO's greedy way.

    The masks, by falling score, take in turn the free true mask that they overlap most, if the
    IoU reaches the threshold; of equal ones the last.

    >>> match(np.array([[0.6, 0.7], [0.9, 0.8]]), 0.5)  # the first mask chooses first
    array([1, 0])
    """
    taken = np.full(ious.shape[1], -1, np.int64)
    # rows that reach nothing are the many
    for row in np.flatnonzero((ious >= threshold).any(1)) if ious.size else ():
        open_ious = np.where(taken < 0, ious[row], -1.0)
        chosen = len(open_ious) - 1 - int(open_ious[::-1].argmax())
        if open_ious[chosen] >= threshold:
            taken[chosen] = row
    return taken


def overlaps(masks: Masks, truths: Sequence[Annotation]) -> Float64[np.ndarray, "N T"]:
    """IoU of every mask with every true one, without the pixels that the true one ignores."""
    found = np.zeros((len(masks), len(truths)))
    if not found.size:
        return found
    own = _packed(masks)
    found[:] = coco.iou(own, [_truth(one) for one in truths], [0] * len(truths))
    for column, truth in enumerate(truths):
        if truth.ignore is None:
            continue
        counted = coco.encode(np.asfortranarray(~decode_rle(truth.ignore), np.uint8))
        kept = [coco.merge([one, counted], intersect=True) for one in (_truth(truth), *own)]
        found[:, column] = coco.iou(kept[1:], kept[:1], [0])[:, 0]
    return found


def coverage(masks: Masks) -> float:
    """Share of the image's pixels that at least one mask covers, 0..1."""
    pixels = masks.size[0] * masks.size[1]
    return _covered(_packed(masks)) / pixels if pixels else 0.0


def duplicates(masks: Masks, threshold: float = DUPLICATE) -> int:
    """How many masks one of a higher score overlaps by an IoU of at least `threshold`."""
    packed = _packed(best_scored(masks, len(masks)))
    step = max(1, _PAIRS // max(1, len(packed)))
    count = 0
    for first in range(1, len(packed), step):
        rows = packed[first : first + step]
        ious = np.asarray(coco.iou(rows, packed[: first + len(rows)], [0] * (first + len(rows))))
        earlier = np.tri(len(rows), first + len(rows), first - 1, dtype=bool)
        count += int(((ious >= threshold) & earlier).any(1).sum())
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two runs on one image: how many masks of the one are in the other.

    Attributes
    ----------
    masks, reference
        How many each has.
    found
        Masks of the reference that a mask of the run overlaps enough.
    right
        Masks of the run that a mask of the reference overlaps enough.
    """

    masks: int
    reference: int
    found: int
    right: int

    @property
    def recall(self) -> float:
        """Share of the reference's masks that the run has too; 1 where it has none."""
        return self.found / self.reference if self.reference else 1.0

    @property
    def precision(self) -> float:
        """Share of the run's masks that the reference has too; 1 where there are none."""
        return self.right / self.masks if self.masks else 1.0

    def __add__(self, other: "Agreement") -> "Agreement":
        """Both images pooled."""
        return Agreement(
            masks=self.masks + other.masks,
            reference=self.reference + other.reference,
            found=self.found + other.found,
            right=self.right + other.right,
        )


def agreement(masks: Masks, reference: Masks, threshold: float = 0.9) -> Agreement:
    """How far a run agrees with another one on the same image, such as fast with exact mode.

    A mask is found where one of the other run has an IoU of at least `threshold` with it.
    """
    found = right = 0
    if len(masks) and len(reference):
        ious = np.asarray(coco.iou(_packed(masks), _packed(reference), [0] * len(reference)))
        found, right = ((ious.max(axis) >= threshold).sum() for axis in (0, 1))
    return Agreement(masks=len(masks), reference=len(reference), found=int(found), right=int(right))


def _packed(masks: Masks) -> list[_Packed]:
    return [_bytes(rle) for rle in masks.rles]


def _truth(annotation: Annotation) -> _Packed:
    return _bytes(annotation.rle)


def _bytes(rle: Rle) -> _Packed:
    return {"size": rle["size"], "counts": rle["counts"].encode()}


def _covered(packed: Sequence[_Packed]) -> int:
    """Pixels of the union."""
    return int(coco.area(coco.merge(list(packed)))) if packed else 0


def _in_crowds(masks: Masks, annotations: Sequence[Annotation]) -> Bool[np.ndarray, " N"]:
    """Which masks have half their pixels in a crowd."""
    crowds = [_truth(one) for one in annotations if one.iscrowd]
    if not crowds or not len(masks):
        return np.zeros(len(masks), bool)
    shares = np.asarray(coco.iou(_packed(masks), crowds, [1] * len(crowds)))  # of the mask's area
    return np.asarray(shares.max(1) >= _CROWDED)
