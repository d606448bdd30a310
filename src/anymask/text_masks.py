"""Masks that words asked for: the result of text prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Int64

from anymask.errors import DataError, Note
from anymask.masks import Masks


@dataclass(frozen=True, kw_only=True, eq=False)
class TextMasks(Masks):
    """N masks of one image for P phrases; ``scores`` are detector score times mask score.

    Attributes
    ----------
    phrases
        All phrases that were asked, in their order, also those that found nothing.
    phrase
        Which of them each mask answers.
    names
        What the detector takes each object for: a class, or the phrase itself.
    found
        The detector's box of each, x0, y0, x1, y1 px; `boxes` are tight around the masks.
    detector_scores
        0..1.
    mask_scores
        The IoU that the mask's model predicts, cut to 0..1.
    best
        For each phrase the highest score that the detector gave any place, taken or not; 0 for
        words that it does not know.
    notes
        How image and words were understood, and what was not found.
    """

    phrases: tuple[str, ...]
    phrase: Int64[np.ndarray, " N"]
    names: tuple[str, ...]
    found: Float32[np.ndarray, "N 4"]
    detector_scores: Float32[np.ndarray, " N"]
    mask_scores: Float32[np.ndarray, " N"]
    best: Float32[np.ndarray, " P"]
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("phrase", "names", "found", "detector_scores", "mask_scores"):
            count = len(getattr(self, name))
            if count != len(self.rles):
                problem = f"there are {len(self.rles)} masks"
                raise DataError("facts-count", problem, given=count, where=name)

    @property
    def labels(self) -> tuple[str, ...]:
        """The phrase that each mask answers."""
        return tuple(self.phrases[i] for i in self.phrase)

    def keep(self, index: Sequence[int] | Int[np.ndarray, " K"]) -> "TextMasks":
        """Some of the masks, in the order given."""
        rows = np.asarray(index, np.int64).reshape(-1)
        return TextMasks(
            size=self.size,
            rles=tuple(self.rles[i] for i in rows),
            scores=self.scores[rows],
            phrases=self.phrases,
            phrase=self.phrase[rows],
            names=tuple(self.names[i] for i in rows),
            found=self.found[rows],
            detector_scores=self.detector_scores[rows],
            mask_scores=self.mask_scores[rows],
            best=self.best,
            notes=self.notes,
        )

    def of(self, phrase: int) -> "TextMasks":
        """The masks of one phrase, by its number."""
        return self.keep(np.flatnonzero(self.phrase == phrase))
