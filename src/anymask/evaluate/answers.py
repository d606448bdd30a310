"""One photo's masks as a model answers to their boxes and clicks: IoUs, and details if wanted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool

from anymask.evaluate import noc
from anymask.evaluate.detail import Detail, border_f, fault_of, near_border
from anymask.evaluate.rounds import Predictor, Round, Target, click_rounds
from anymask.formats.records import Record
from anymask.mask_rle import Rle, encode_rle


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of each mask.

    Attributes
    ----------
    clicks
        Numbers of clicks to report, rising.
    details
        A `Detail` too.
    noc
        Clicks up to `anymask.evaluate.noc.MOST`.
    """

    clicks: tuple[int, ...]
    details: bool = False
    noc: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Of one mask: IoUs of box, clicks and (after the first click) the best mask, and details."""

    ious: tuple[float, ...]
    detail: Detail | None


@dataclass(slots=True, kw_only=True, eq=False)
class _Seen:
    """What was seen of one target so far."""

    target: Target
    box_mask: Bool[np.ndarray, "H W"]
    box_score: float
    after: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    f: list[float] = field(default_factory=list)
    first: Round | None = None


def answers_of(
    predictor: Predictor,
    embedding: Any,
    targets: Sequence[Target],
    wanted: Wanted,
    record: Record,
) -> list[Answers]:
    """Ask for the boxes of all targets, then click on all of them."""
    boxes = np.array([target.box for target in targets], np.float32)
    boxed = predictor.predict(embedding, boxes=boxes, multimask=False)
    seen = [
        _Seen(target=target, box_mask=boxed.masks[i, 0], box_score=float(boxed.scores[i, 0]))
        for i, target in enumerate(targets)
    ]
    last = max(wanted.clicks)
    most = max(last, noc.MOST) if wanted.noc else last
    rounds = click_rounds(predictor, embedding, targets, most, enough=max(noc.GOALS), after=last)
    for count, states in enumerate(rounds, 1):
        for one, state in zip(seen, states, strict=True):
            one.after.append(state.iou)
            if count == 1:
                one.first = state
            if count <= last and wanted.details:
                one.scores.append(state.score)
                one.f.append(border_f(one.target, state.mask))
    others = [a for a in record.annotations if not a.iscrowd] if wanted.details else []
    return [
        Answers(
            ious=_ious(one, wanted.clicks),
            detail=_detail(
                one, last, wanted.noc, [a.rle for a in others if a is not one.target.annotation]
            )
            if wanted.details
            else None,
        )
        for one in seen
    ]


def _ious(seen: _Seen, clicks: tuple[int, ...]) -> tuple[float, ...]:
    found = [seen.target.iou(seen.box_mask)]
    for count in clicks:
        found.append(seen.after[count - 1])
        if count == 1 and seen.first is not None:
            found.append(seen.first.best)
    return tuple(found)


def _detail(seen: _Seen, last: int, clicked_on: bool, others: Sequence[Rle]) -> Detail:
    assert seen.first is not None  # there is a first click always
    ious = seen.after[: noc.MOST]
    return Detail(
        pixels=seen.target.annotation.pixels,
        after=tuple(seen.after[:last]),
        clicks=tuple(noc.reached(ious, goal) for goal in noc.GOALS) if clicked_on else (),
        predicted_box=seen.box_score,
        predicted=tuple(seen.scores),
        f_box=border_f(seen.target, seen.box_mask),
        f=tuple(seen.f),
        near=near_border(seen.target, seen.box_mask),
        fault=fault_of(seen.target, seen.first.mask, seen.first.best, others),
        box_mask=encode_rle(seen.box_mask),
        click_mask=encode_rle(seen.first.mask),
    )
