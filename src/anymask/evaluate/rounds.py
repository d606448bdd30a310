"""A user who clicks on one object after the other until the model has them: the rounds of clicks.

The first click is the innermost point of the truth, each later one the correction of
`clicks.next_click`; the logits of the round before are fed back, if the model takes masks. After
the first click the model gives three masks, of which the one that it scores highest goes on; later
clicks ask for a single mask. All IoUs are taken at the photo's size.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from anymask.evaluate.baselines import Box
from anymask.evaluate.clicks import innermost_point, next_click
from anymask.formats.records import Annotation
from anymask.mask_prompts import MaskKind
from anymask.mask_rle import decode_rle


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
        kind: MaskKind | None = None,
    ) -> Predicted: ...


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
    iou
        Of the mask.
    score
        Predicted IoU of the mask.
    best
        Highest IoU among the masks that the last click gave.
    """

    points: tuple[tuple[int, int], ...]
    labels: tuple[int, ...]
    mask: Bool[np.ndarray, "H W"]
    logits: Float32[np.ndarray, "h w"]
    iou: float
    score: float
    best: float


def click_rounds(
    predictor: Predictor,
    embedding: Any,
    targets: Sequence[Target],
    most: int,
    *,
    enough: float = math.inf,
    after: int = 0,
) -> Iterator[tuple[Round, ...]]:
    """Click on all targets of one photo at once; after each click, the state of every target.

    A target without any error left is clicked no more and keeps its state.

    Parameters
    ----------
    most
        Number of clicks.
    enough, after
        A target whose IoU is at least `enough` after `after` clicks or more is clicked no more,
        either.
    """
    points = np.array([[target.first_click()] for target in targets], np.float32)
    labels = np.ones((len(targets), 1), np.int64)
    first = predictor.predict(embedding, points=points, labels=labels, multimask=True)
    chosen = first.scores.argmax(1)  # the first of equal ones
    rounds = tuple(
        _first_round(target, first, row, int(best))
        for row, (target, best) in enumerate(zip(targets, chosen, strict=True))
    )
    yield rounds
    for count in range(1, most):
        goal = enough if count >= after else math.inf
        rounds = _click_again(predictor, embedding, targets, rounds, goal)
        yield rounds


def _first_round(target: Target, first: Predicted, row: int, chosen: int) -> Round:
    ious = [target.iou(mask) for mask in first.masks[row]]
    return Round(
        points=(target.first_click(),),
        labels=(1,),
        mask=first.masks[row, chosen],
        logits=first.logits[row, chosen],
        iou=ious[chosen],
        score=float(first.scores[row, chosen]),
        best=max(ious),
    )


def _click_again(
    predictor: Predictor,
    embedding: Any,
    targets: Sequence[Target],
    rounds: tuple[Round, ...],
    goal: float,
) -> tuple[Round, ...]:
    clicks = [
        None if state.iou >= goal else next_click(target.truth, state.mask, target.ignore)
        for target, state in zip(targets, rounds, strict=True)
    ]
    # All targets that are still clicked have the same number of clicks: one batch.
    wrong = [(i, click) for i, click in enumerate(clicks) if click is not None]
    if not wrong:
        return rounds
    points = [(*rounds[i].points, (x, y)) for i, (x, y, _) in wrong]
    labels = [(*rounds[i].labels, label) for i, (_, _, label) in wrong]
    fed_back: dict[str, Any] = {}
    if predictor.takes_masks:  # said to be logits: some lie wholly in 0..1
        fed_back = {"masks": np.stack([rounds[i].logits for i, _ in wrong]), "kind": "logits"}
    result = predictor.predict(
        embedding,
        points=np.array(points, np.float32),
        labels=np.array(labels, np.int64),
        multimask=False,
        **fed_back,
    )
    after = list(rounds)
    for row, (i, _) in enumerate(wrong):
        mask = result.masks[row, 0]
        known = targets[i].iou(mask)
        after[i] = Round(
            points=points[row],
            labels=labels[row],
            mask=mask,
            logits=result.logits[row, 0],
            iou=known,
            score=float(result.scores[row, 0]),
            best=known,
        )
    return tuple(after)
