"""Boxes that a detector found for phrases: what stands between words and masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Int64

from anymask.mask_geometry import nms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextBoxes:
    """K boxes on one image for P phrases.

    Attributes
    ----------
    boxes
        x0, y0, x1, y1 with continuous edges, px of the image, inside it.
    scores
        The detector's, 0..1.
    phrases
        Which phrase each box answers.
    kinds
        What the detector takes each for, by number: different kinds may lie over each other.
    names
        The same in words.
    best
        For each phrase the highest score of all places, also of those that were not taken.
    """

    boxes: Float32[np.ndarray, "K 4"]
    scores: Float32[np.ndarray, " K"]
    phrases: Int64[np.ndarray, " K"]
    kinds: Int64[np.ndarray, " K"]
    names: tuple[str, ...]
    best: Float32[np.ndarray, " P"]

    def __len__(self) -> int:
        return len(self.scores)

    def keep(self, index: Sequence[int] | Int[np.ndarray, " M"]) -> "TextBoxes":
        """Some of the boxes, in the order given; `best` stays."""
        rows = np.asarray(index, np.int64).reshape(-1)
        return TextBoxes(
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            phrases=self.phrases[rows],
            kinds=self.kinds[rows],
            names=tuple(self.names[i] for i in rows),
            best=self.best,
        )

    @classmethod
    def none(cls, phrases: int) -> "TextBoxes":
        """No boxes for so many phrases."""
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            phrases=np.zeros(0, np.int64),
            kinds=np.zeros(0, np.int64),
            names=(),
            best=np.zeros(phrases, np.float32),
        )

    @classmethod
    def join(cls, parts: Sequence["TextBoxes"]) -> "TextBoxes":
        """All boxes of several looks at one image for the same phrases."""
        return cls(
            boxes=np.concatenate([part.boxes for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            phrases=np.concatenate([part.phrases for part in parts]),
            kinds=np.concatenate([part.kinds for part in parts]),
            names=tuple(name for part in parts for name in part.names),
            best=np.max([part.best for part in parts], axis=0),
        )


def sure_or_best(found: TextBoxes, least: float) -> TextBoxes:
    """Boxes of a score of `least` or more; for a phrase that has none, its best box."""
    sure = found.scores >= least
    kept = [np.flatnonzero(sure)]
    for phrase in np.unique(found.phrases[~sure]):
        mine = np.flatnonzero(found.phrases == phrase)
        if not sure[mine].any():
            kept.append(mine[found.scores[mine].argmax()][None])
    return found.keep(np.sort(np.concatenate(kept)))


def suppress(found: TextBoxes, overlap: float, groups: Int64[np.ndarray, " K"]) -> TextBoxes:
    """Non-maximum suppression inside each group; what is left by falling score.

    Equal scores keep their order.

    Parameters
    ----------
    overlap
        IoU above which the lower of two boxes of a group is dropped.
    groups
        A number for each box.
    """
    kept = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        kept.append(rows[nms(found.boxes[rows], found.scores[rows], overlap)])
    rows = np.sort(np.concatenate([np.zeros(0, np.int64), *kept]))
    return found.keep(rows[np.argsort(-found.scores[rows], kind="stable")])
