"""Instance masks from boxes, judged as COCO judges them: the boxes of the truth, or a detector's.

Every true mask of a photo that is no crowd is asked for by its tight box, and the answer has the
model's predicted IoU as its score: what AP is then lost is the masks' and the scores' alone. Or a
detector's boxes are the prompts, and its scores count (as SAM was tested on ViTDet's boxes,
arXiv:2304.02643, sec. 7.4).

Classes are the truth's own words; where a mask has none it is one of the class ``object``, and
where boxes tell no class all are one class. Sizes are in px of the photo as it is. Pixels that an
annotation ignores count like others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from anymask.evaluate.coco_ap import AP_NAMES, Ap, Shown, average_precision
from anymask.evaluate.photos import Progress, chosen_photos, walk
from anymask.evaluate.plots import Plot, Series
from anymask.evaluate.rounds import Predictor, tight_box
from anymask.evaluate.rows import Row, markdown_table, or_none, terminal_table, text_of
from anymask.formats.detections import Detection, of_picture
from anymask.formats.records import NO_CATEGORY, Annotation, Record, RecordSet
from anymask.mask_rle import encode_rle

_HEADS = ("photos", "true", "boxes", "AP", "AP50", "AP75", "APs", "APm", "APl")
_BYTES_AT_ONCE = 2**26  # of masks in one prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxPhoto:
    """One photo's true masks and answers."""

    set: str
    image_id: str
    truths: tuple[Shown, ...]
    found: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxReport:
    """All figures of an evaluation.

    Attributes
    ----------
    sets
        Names of all sets in the order given, also of those without a photo.
    photos
        Each photo.
    """

    sets: tuple[str, ...]
    photos: tuple[BoxPhoto, ...]

    def figures(self, of: str | None = None) -> Ap:
        """AP of all photos together, or of those of one set."""
        own = self._of(of)
        return average_precision(
            [one for photo in own for one in photo.truths],
            [one for photo in own for one in photo.found],
        )

    def to_dict(self) -> dict[str, object]:
        """``{"pooled": {...}, "sets": {name: {...}}}``, None where nothing was measured."""
        return {
            "pooled": self._part(None),
            "sets": {name: self._part(name) for name in self.sets},
        }

    def table(self) -> Table:
        """For the terminal: a row for each set, and one for all photos."""
        return terminal_table("Masks from boxes", _HEADS, self._rows())

    def markdown(self) -> str:
        """The same as a markdown table."""
        return markdown_table(_HEADS, self._rows())

    def remarks(self) -> str:
        """Nothing that the table does not say."""
        return ""

    def plots(self) -> tuple[Plot, ...]:
        """AP of each kind."""
        known = self.figures()
        values = [getattr(known, name) for name in AP_NAMES]
        if math.isnan(known.ap):
            return ()
        bars = Series(
            label="AP", x=tuple(range(len(values))), y=tuple(map(float, values)), style="bars"
        )
        return (
            Plot(
                name="ap",
                title=f"COCO's AP of masks from boxes, {len(self.photos)} photos",
                x_label="",
                y_label="AP",
                series=(bars,),
                ticks=_HEADS[3:],
            ),
        )

    def _of(self, name: str | None) -> list[BoxPhoto]:
        return [photo for photo in self.photos if name is None or photo.set == name]

    def _part(self, of: str | None) -> dict[str, object]:
        own, known = self._of(of), self.figures(of)
        values = {name: getattr(known, name) for name in AP_NAMES}
        return {
            "photos": len(own),
            "masks": _true(own),
            "boxes": sum(len(photo.found) for photo in own),
            **{name: or_none(value) for name, value in values.items()},
        }

    def _rows(self) -> list[list[Row]]:
        return [
            [(name, self._cells(name)) for name in self.sets],
            [("pooled", self._cells(None))],
        ]

    def _cells(self, of: str | None) -> list[str]:
        own, known = self._of(of), self.figures(of)
        values = [getattr(known, name) for name in AP_NAMES]
        counts = (len(own), _true(own), sum(len(photo.found) for photo in own))
        return [*map(str, counts), *(text_of(v) for v in values)]


def evaluate_boxes(
    predictor: Predictor,
    sets: Sequence[RecordSet],
    *,
    split: str = "val",
    limit: int | None = None,
    detections: Sequence[Detection] | None = None,
    progress: Progress | None = None,
) -> BoxReport:
    """Ask for the mask of every box and judge them; the same input gives the same report.

    Parameters
    ----------
    predictor
        Encodes each photo once and answers boxes in batches.
    sets
        What to judge on; their names must differ.
    split, limit
        As in `anymask.evaluate.interactive.evaluate_interactive`.
    detections
        A detector's boxes, by the ids of the sets; None takes the boxes of the truth.
    progress
        Called with (photos done, photos in all).

    Raises
    ------
    DataError
        ``split-unknown``, ``set-twice``, or a broken record.
    """
    photos = chosen_photos(sets, split, limit)
    boxes: Mapping[str, tuple[Detection, ...]] | None = None
    names: dict[int, str] = {}
    if detections is not None:
        boxes = of_picture(detections, [image_id for _, image_id in photos])
        for data, image_id in photos:  # a class may be found where nothing true is of it
            for one in data.read(image_id).annotations:
                if one.category_id is not None:
                    names[one.category_id] = _class_of(one)
    alike = detections is not None and all(one.category is None for one in detections)
    judged: list[BoxPhoto] = []
    for number, (data, record) in enumerate(walk(photos, progress)):
        annotations = [one for one in record.annotations if one.pixels > 0]
        if boxes is None:
            asked = _of_truth(annotations)
        else:
            asked = _of_detector(boxes.get(record.image_id, ()), names, record.size)
        judged.append(
            BoxPhoto(
                set=data.name,
                image_id=record.image_id,
                truths=tuple(
                    Shown(
                        photo=number,
                        category=NO_CATEGORY if alike else _class_of(one),
                        rle=one.rle,
                        crowd=one.iscrowd,
                    )
                    for one in annotations
                ),
                found=_answers(predictor, record, number, asked) if asked else (),
            )
        )
    return BoxReport(sets=tuple(data.name for data in sets), photos=tuple(judged))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A box, what it shows, and the detector's score if there is one."""

    box: tuple[float, float, float, float]
    category: str
    score: float | None


def _of_truth(annotations: Sequence[Annotation]) -> list[_Asked]:
    return [
        _Asked(box=tight_box(one.mask()), category=_class_of(one), score=None)
        for one in annotations
        if not one.iscrowd
    ]


def _of_detector(
    detections: Sequence[Detection], names: Mapping[int, str], size: tuple[int, int]
) -> list[_Asked]:
    """What of the boxes is in the photo; `names` are the truth's words for classes by number."""
    return [
        _Asked(box=box, category=_name(one.category, names), score=one.score)
        for one in detections
        if (box := _inside(one.box, size)) is not None
    ]


def _answers(
    predictor: Predictor, record: Record, number: int, asked: Sequence[_Asked]
) -> tuple[Shown, ...]:
    embedding: Any = predictor.encode(record.pixels())
    at_once = max(1, _BYTES_AT_ONCE // (record.size[0] * record.size[1]))
    found: list[Shown] = []
    for start in range(0, len(asked), at_once):
        some = asked[start : start + at_once]
        boxes = np.array([one.box for one in some], np.float32)
        answer = predictor.predict(embedding, boxes=boxes, multimask=False)
        for row, one in enumerate(some):
            score = float(answer.scores[row, 0]) if one.score is None else one.score
            rle = encode_rle(answer.masks[row, 0])
            found.append(Shown(photo=number, category=one.category, rle=rle, score=score))
    return tuple(found)


def _class_of(annotation: Annotation) -> str:
    if annotation.category is not None:
        return annotation.category
    return NO_CATEGORY if annotation.category_id is None else str(annotation.category_id)


def _name(category: str | int | None, names: Mapping[int, str]) -> str:
    """The truth's word for a detector's class; a number that nothing true has stays one."""
    if category is None:
        return NO_CATEGORY
    return category if isinstance(category, str) else names.get(category, str(category))


def _inside(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """The part of a box that is in the photo, or None."""
    x0, y0, x1, y1 = box
    height, width = size
    cut = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    return cut if cut[0] < cut[2] and cut[1] < cut[3] else None


def _true(photos: Sequence[BoxPhoto]) -> int:
    return sum(not one.crowd for photo in photos for one in photo.truths)
