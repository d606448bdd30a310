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

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

from anymask.errors import DataError
from anymask.evaluate.answers import Wanted, answers_of
from anymask.evaluate.baselines import filled_box, grabcut_box
from anymask.evaluate.photos import Progress, chosen_photos, digest, walk
from anymask.evaluate.photos import chosen_ids as chosen_ids
from anymask.evaluate.report import MaskScore, Report
from anymask.evaluate.rounds import Predictor as Predictor
from anymask.evaluate.rounds import Target as Target
from anymask.evaluate.rounds import click_rounds as click_rounds
from anymask.evaluate.rounds import iou as iou
from anymask.evaluate.rounds import tight_box as tight_box
from anymask.formats.records import Annotation, Record, RecordSet
from anymask.mask_rle import decode_rle

SMALLEST, LARGEST = 0.002, 0.85  # shares of the photo
MASKS_A_PHOTO = 8
_BYTES_AT_ONCE = 2**26  # of masks in one prediction: a large photo goes prompt by prompt


def evaluate_interactive(
    predictor: Predictor,
    sets: Sequence[RecordSet],
    *,
    split: str = "val",
    clicks: Sequence[int] = (1, 3, 5),
    limit: int | None = None,
    baselines: bool = True,
    details: bool = False,
    noc: bool = False,
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
    details
        Look at each answer closely: `anymask.evaluate.detail`.
    noc
        Click on, up to 20 times, until a mask is good enough; with details.
    progress
        Called with (photos done, photos in all).

    Raises
    ------
    DataError
        ``split-unknown``, ``clicks-wrong``, ``set-twice``, or a broken record (see
        `anymask.formats.records.RecordSet.read`).
    """
    photos = chosen_photos(sets, split, limit)
    wanted = Wanted(clicks=_checked(clicks), details=details or noc, noc=noc)
    scores: list[MaskScore] = []
    # GrabCut keeps one thread busy beside the network, whose own threads seldom fill two cores.
    with ThreadPoolExecutor(1, "baselines") as beside:
        for data, record in walk(photos, progress):
            scores.extend(_score_photo(predictor, data.name, record, wanted, baselines, beside))
    return Report(
        sets=tuple(data.name for data in sets),
        measures=_measures(wanted.clicks),
        scores=tuple(scores),
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
    seed = int.from_bytes(digest(record.image_id)[:8], "big")
    # The order of plain random numbers: NumPy keeps those stable, unlike its ways of choosing.
    order = np.random.default_rng(seed).random(len(fit)).argsort(kind="stable")
    return tuple(fit[i] for i in sorted(order[:MASKS_A_PHOTO]))


def _score_photo(
    predictor: Predictor,
    name: str,
    record: Record,
    wanted: Wanted,
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
        prompted = answers_of(predictor, embedding, targets, wanted, record)
        for target, answers, without in zip(targets, prompted, unprompted, strict=True):
            yield MaskScore(
                set=name,
                image_id=record.image_id,
                annotation=target.annotation.id,
                area_unit=target.annotation.pixels / area,
                ious=(*answers.ious, *without.result()),
                detail=answers.detail,
            )


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


def _checked(clicks: Sequence[int]) -> tuple[int, ...]:
    if not clicks or min(clicks) < 1:
        raise DataError("clicks-wrong", "numbers of clicks start at 1", given=list(clicks))
    return tuple(sorted(set(clicks)))
