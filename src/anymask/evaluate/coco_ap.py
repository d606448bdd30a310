"""COCO's average precision of masks, by COCO's own code (pycocotools).

AP is the mean over IoU thresholds 0.5, 0.55 ... 0.95, over classes, and over 101 recalls, of the
precision there; AP50 and AP75 are those of one threshold; small, medium and large true masks
(below 32^2 px, below 96^2 px, above) have their own. At most the 100 masks of the highest scores of
a class and a photo count. Lin et al. 2014 (arXiv:1405.0312).
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from anymask.mask_rle import Rle, area_of, packed, runs_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One mask, true or found.

    Attributes
    ----------
    photo
        Which photo it is in.
    category
        Its class.
    rle
        The mask.
    score
        How sure the model is; without meaning for a true one.
    crowd
        A true mask of a group: it is not to be found, and what lies in it is not wrong.
    """

    photo: int
    category: str
    rle: Rle
    score: float = 0.0
    crowd: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ap:
    """Average precision, 0..1; NaN where no true mask is of the kind."""

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float


AP_NAMES = tuple(one.name for one in fields(Ap))


def average_precision(truths: Sequence[Shown], found: Sequence[Shown]) -> Ap:
    """AP of all masks together; of equal scores the earlier comes first."""
    if not truths:
        return Ap(**dict.fromkeys(AP_NAMES, float("nan")))
    # what is found of a class that nothing true has is not judged, as COCO does it
    names = sorted({one.category for one in truths})
    photos = sorted({one.photo for one in (*truths, *found)})
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        judge = COCOeval(
            _Table(_rows(truths, names), names, photos), _Table(_rows(found, names), names, photos),
            "segm",
        )  # fmt: skip
        judge.evaluate()
        judge.accumulate()
    # thresholds, recalls, classes, sizes, most masks; -1 where a class has no true mask of a size
    precision = judge.eval["precision"][..., -1]
    return Ap(
        ap=_mean(precision[..., 0]),
        ap50=_mean(precision[0, ..., 0]),
        ap75=_mean(precision[5, ..., 0]),
        small=_mean(precision[..., 1]),
        medium=_mean(precision[..., 2]),
        large=_mean(precision[..., 3]),
    )


class _Table:
    """What `COCOeval` asks of COCO's table of annotations, without its files and drawings."""

    def __init__(
        self, rows: list[dict[str, Any]], names: Sequence[str], photos: Sequence[int]
    ) -> None:
        self.rows, self.names, self.photos = rows, names, photos

    def getImgIds(self) -> list[int]:  # noqa: N802 - COCO's names
        return list(self.photos)

    def getCatIds(self) -> list[int]:  # noqa: N802
        return list(range(len(self.names)))

    def getAnnIds(self, **_: object) -> list[int]:  # noqa: N802 - all photos and classes
        return list(range(len(self.rows)))

    def loadAnns(self, ids: Sequence[int]) -> list[dict[str, Any]]:  # noqa: N802
        return [self.rows[i] for i in ids]

    def annToRLE(self, row: dict[str, Any]) -> Any:  # noqa: N802
        return row["segmentation"]


def _rows(masks: Sequence[Shown], names: Sequence[str]) -> list[dict[str, Any]]:
    number = {name: i for i, name in enumerate(names)}
    return [
        {
            "id": i,
            "image_id": one.photo,
            "category_id": number[one.category],
            "segmentation": packed(one.rle),
            "area": area_of(runs_of(one.rle)),
            "iscrowd": int(one.crowd),
            "score": one.score,
        }
        for i, one in enumerate((m for m in masks if m.category in number), 1)
    ]


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]  # COCO adds a tiny number where it divides: a perfect AP is not 1
    return round(float(known.mean()), 12) if known.size else float("nan")
