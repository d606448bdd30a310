"""How good the masks of clicks and boxes are, measured with a simulated user.

For each mask: one box (the tight box of the truth), and a series of clicks. The first click is the
innermost point of the truth, each later one the correction of `clicks.next_click`; the logits of
the round before are fed back, if the model takes masks. After the first click the model gives
three masks: ``click1`` is the IoU of the one it scores highest, whose logits are fed back,
``click1_best`` that of the best of the three. Boxes and later clicks ask for a single mask. All
IoUs are taken at the photo's size.

Masks of 0.2 % to 85 % of the photo take part, crowds do not, at most 8 a photo, drawn by a
generator that the photo's id seeds: the same masks in every run on every machine.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from anymask.errors import DataError
from anymask.evaluate.baselines import Box, filled_box, grabcut_box
from anymask.evaluate.clicks import innermost_point, next_click
from anymask.evaluate.report import MaskScore, Report
from anymask.formats.records import Annotation, Record, RecordSet
from anymask.formats.sa1b import split_of
from anymask.mask_rle import decode_rle

SMALLEST, LARGEST = 0.002, 0.85  # shares of the photo
MASKS_A_PHOTO = 8
_BYTES_AT_ONCE = 2**26  # of masks in one prediction: a large photo goes prompt by prompt

Progress = Callable[[int, int | None], None]


@runtime_checkable
class Predicted(Protocol):
    """What a predictor answers for P prompts."""

    @property
    def masks(self) -> Bool[np.ndarray, "P M H W"]: ...

    @property
    def scores(self) -> Float32[np.ndarray, "P M"]: ...

    @property
    def logits(self) -> Float32[np.ndarray, "P M h w"]: ...


@runtime_checkable
class Predictor(Protocol):
    """What is judged: `anymask.ImagePredictor`, or anything that behaves like it."""

    @property
    def takes_masks(self) -> bool: ...

    def encode(self, image: Any) -> Any: ...

    def predict(
        self,
        embedding: Any,
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        multimask: bool = True,
    ) -> Predicted: ...


def evaluate_interactive(
    predictor: Predictor,
    sets: Sequence[RecordSet],
    *,
    split: str = "val",
    clicks: Sequence[int] = (1, 3, 5),
    limit: int | None = None,
    baselines: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Score every mask of the sets; the same input gives the same report.

    Parameters
    ----------
    predictor
        Encodes each photo once and answers prompts in batches.
    sets
        What to judge on; their names must differ.
    split
        ``"val"`` for the photos kept out of training (`anymask.formats.sa1b.split_of`), or
        ``"all"``.
    clicks
        Numbers of clicks to report.
    limit
        At most so many photos of each set, those with the lowest SHA-256 of their ids.
    baselines
        Also run GrabCut, the slowest part; the filled box is always there.
    progress
        Called with (photos done, photos in all).

    Raises
    ------
    DataError
        ``split-unknown``, ``clicks-wrong``, ``set-twice``, or a broken record (see
        `anymask.formats.records.RecordSet.read`).
    """
    check_sets(sets, split)
    clicks = _checked(clicks)
    photos = [(data, image_id) for data in sets for image_id in chosen_ids(data, split, limit)]
    scores: list[MaskScore] = []
    # GrabCut keeps one thread busy beside the network, whose own threads seldom fill two cores.
    with ThreadPoolExecutor(1, "baselines") as beside:
        for done, (data, image_id) in enumerate(photos):
            if progress is not None:
                progress(done, len(photos))
            record = data.read(image_id)
            scores.extend(_score_photo(predictor, data.name, record, clicks, baselines, beside))
    if progress is not None:
        progress(len(photos), len(photos))
    return Report(
        sets=tuple(data.name for data in sets), measures=_measures(clicks), scores=tuple(scores)
    )


def masks_of_record(record: Record) -> tuple[Annotation, ...]:
    """The masks of a photo that take part, in the order of the file.

    Crowds are left out, masks below 0.2 % or above 85 % of the photo, and masks of which every
    pixel is ignored; of more than 8, 8 are drawn by a generator seeded from the photo's id.
    """
    pixels = record.size[0] * record.size[1]
    fit = [
        annotation
        for annotation in record.annotations
        if not annotation.iscrowd
        and SMALLEST * pixels <= annotation.pixels <= LARGEST * pixels
        and (
            annotation.ignore is None or (annotation.mask() & ~decode_rle(annotation.ignore)).any()
        )
    ]
    if len(fit) <= MASKS_A_PHOTO:
        return tuple(fit)
    seed = int.from_bytes(_digest(record.image_id)[:8], "big")
    # The order of plain random numbers: NumPy keeps those stable, unlike its ways of choosing.
    order = np.random.default_rng(seed).random(len(fit)).argsort(kind="stable")
    return tuple(fit[i] for i in sorted(order[:MASKS_A_PHOTO]))


def iou(
    truth: Bool[np.ndarray, "H W"],
    predicted: Bool[np.ndarray, "H W"],
    ignore: Bool[np.ndarray, "H W"] | None = None,
) -> float:
    """Intersection over union without the ignored pixels, 0..1; two empty masks score 1.

    >>> row = np.array([[True, True, False, False]])
    >>> iou(row, np.roll(row, 1, 1), ignore=row & ~np.roll(row, 1, 1))
    0.5
    """
    both, either = truth & predicted, truth | predicted
    if ignore is not None:
        both, either = both & ~ignore, either & ~ignore
    union = int(np.count_nonzero(either))
    return int(np.count_nonzero(both)) / union if union else 1.0


def tight_box(mask: Bool[np.ndarray, "H W"]) -> Box:
    """The smallest box (x0, y0, x1, y1) around the pixels of a mask, in continuous edges, px.

    >>> tight_box(np.eye(3, dtype=bool))
    (0.0, 0.0, 3.0, 3.0)
    """
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return (float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """One mask to be found, as bits."""

    annotation: Annotation
    truth: Bool[np.ndarray, "H W"]
    ignore: Bool[np.ndarray, "H W"] | None
    box: Box

    @classmethod
    def of(cls, annotation: Annotation) -> "Target":
        """From an annotation; the box is the whole mask's, ignored pixels or not."""
        truth = annotation.mask()
        ignore = None if annotation.ignore is None else decode_rle(annotation.ignore)
        return cls(annotation=annotation, truth=truth, ignore=ignore, box=tight_box(truth))

    def iou(self, predicted: Bool[np.ndarray, "H W"]) -> float:
        """IoU with a prediction, without the ignored pixels."""
        return iou(self.truth, predicted, self.ignore)

    def first_click(self) -> tuple[int, int]:
        """The innermost point (x, y) of what counts."""
        return innermost_point(self.truth if self.ignore is None else self.truth & ~self.ignore)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """The state of one target after a click.

    Attributes
    ----------
    points, labels
        All clicks so far, (x, y) px and 0 or 1.
    mask
        The mask after the last click.
    logits
        What is fed back.
    best
        Highest IoU among the masks that the last click gave.
    """

    points: tuple[tuple[int, int], ...]
    labels: tuple[int, ...]
    mask: Bool[np.ndarray, "H W"]
    logits: Float32[np.ndarray, "h w"]
    best: float


def click_rounds(
    predictor: Predictor, embedding: Any, targets: Sequence[Target], most: int
) -> Iterator[tuple[Round, ...]]:
    """Click on all targets of one photo at once; after each click, the state of every target.

    A target without any error left is clicked no more and keeps its state.
    """
    points = np.array([[target.first_click()] for target in targets], np.float32)
    labels = np.ones((len(targets), 1), np.int64)
    first = predictor.predict(embedding, points=points, labels=labels, multimask=True)
    chosen = first.scores.argmax(1)  # the first of equal ones
    rounds = tuple(
        Round(
            points=(target.first_click(),),
            labels=(1,),
            mask=first.masks[i, chosen[i]],
            logits=first.logits[i, chosen[i]],
            best=max(target.iou(mask) for mask in first.masks[i]),
        )
        for i, target in enumerate(targets)
    )
    yield rounds
    for _ in range(1, most):
        rounds = _click_again(predictor, embedding, targets, rounds)
        yield rounds


def _click_again(
    predictor: Predictor, embedding: Any, targets: Sequence[Target], rounds: tuple[Round, ...]
) -> tuple[Round, ...]:
    clicks = [
        next_click(target.truth, state.mask, target.ignore)
        for target, state in zip(targets, rounds, strict=True)
    ]
    # All targets that are still clicked have the same number of clicks: one batch.
    wrong = [(i, click) for i, click in enumerate(clicks) if click is not None]
    if not wrong:
        return rounds
    points = [(*rounds[i].points, (x, y)) for i, (x, y, _) in wrong]
    labels = [(*rounds[i].labels, label) for i, (_, _, label) in wrong]
    result = predictor.predict(
        embedding,
        points=np.array(points, np.float32),
        labels=np.array(labels, np.int64),
        masks=np.stack([rounds[i].logits for i, _ in wrong]) if predictor.takes_masks else None,
        multimask=False,
    )
    after = list(rounds)
    for row, (i, _) in enumerate(wrong):
        mask = result.masks[row, 0]
        after[i] = Round(
            points=points[row],
            labels=labels[row],
            mask=mask,
            logits=result.logits[row, 0],
            best=targets[i].iou(mask),
        )
    return tuple(after)


def _score_photo(
    predictor: Predictor,
    name: str,
    record: Record,
    clicks: tuple[int, ...],
    grabcut: bool,
    beside: Executor,
) -> Iterator[MaskScore]:
    annotations = masks_of_record(record)
    if not annotations:
        return
    pixels = record.pixels()
    embedding = predictor.encode(pixels)
    area = record.size[0] * record.size[1]
    at_once = max(1, _BYTES_AT_ONCE // (3 * area))
    for start in range(0, len(annotations), at_once):
        targets = [Target.of(annotation) for annotation in annotations[start : start + at_once]]
        unprompted = [beside.submit(_unprompted, pixels, target, grabcut) for target in targets]
        prompted = _prompted(predictor, embedding, targets, clicks)
        for target, with_prompts, without in zip(targets, prompted, unprompted, strict=True):
            yield MaskScore(
                set=name,
                image_id=record.image_id,
                annotation=target.annotation.id,
                area_unit=target.annotation.pixels / area,
                ious=(*with_prompts, *without.result()),
            )


def _prompted(
    predictor: Predictor, embedding: Any, targets: Sequence[Target], clicks: tuple[int, ...]
) -> list[tuple[float, ...]]:
    """IoUs of box and clicks for each target, in the order of `_measures`."""
    boxes = np.array([target.box for target in targets], np.float32)
    boxed = predictor.predict(embedding, boxes=boxes, multimask=False)
    ious = [[target.iou(boxed.masks[i, 0])] for i, target in enumerate(targets)]
    for count, rounds in enumerate(click_rounds(predictor, embedding, targets, max(clicks)), 1):
        if count not in clicks:
            continue
        for row, target, state in zip(ious, targets, rounds, strict=True):
            row.append(target.iou(state.mask))
            if count == 1:
                row.append(state.best)
    return [tuple(row) for row in ious]


def _unprompted(
    pixels: UInt8[np.ndarray, "H W 3"], target: Target, grabcut: bool
) -> tuple[float, float]:
    height, width = target.truth.shape
    return (
        target.iou(filled_box((height, width), target.box)),
        target.iou(grabcut_box(pixels, target.box)) if grabcut else math.nan,
    )


def _measures(clicks: tuple[int, ...]) -> tuple[str, ...]:
    names = ["box"]
    for count in clicks:
        names += [f"click{count}"] + ["click1_best"] * (count == 1)
    return (*names, "filled_box", "grabcut_box")


def chosen_ids(data: RecordSet, split: str, limit: int | None) -> list[str]:
    """Ids of the photos that take part, sorted; of more than `limit` the lowest by SHA-256."""
    ids = [image_id for image_id in data.ids if split == "all" or split_of(image_id) == split]
    return ids if limit is None else sorted(sorted(ids, key=_digest)[:limit])


def _digest(image_id: str) -> bytes:
    return hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()


def check_sets(sets: Sequence[RecordSet], split: str) -> None:
    """Refuse a split that there is not, and sets that a report could not tell apart.

    Raises
    ------
    DataError
        ``split-unknown``, ``set-twice``.
    """
    if split not in ("val", "all"):
        raise DataError(
            "split-unknown", "there is no such split", given=split, hint="val or all is there"
        )
    names = [data.name for data in sets]
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                "set-twice",
                "two sets have one name, which is that of their folder or tar",
                given=name,
                hint="rename one",
            )


def _checked(clicks: Sequence[int]) -> tuple[int, ...]:
    if not clicks or min(clicks) < 1:
        raise DataError("clicks-wrong", "numbers of clicks start at 1", given=list(clicks))
    return tuple(sorted(set(clicks)))
