"""What all detectors have in common."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from anymask.detectors import DetectorRow
from anymask.errors import Note, PromptError
from anymask.text_boxes import TextBoxes


@runtime_checkable
class Detector(Protocol):
    """Turns phrases into boxes; holds no state of an image."""

    @property
    def row(self) -> DetectorRow:
        """Its row of the table."""
        ...

    def check(self, phrases: Sequence[str]) -> tuple[Note, ...]:
        """Refuse phrases that it cannot take, before any image is looked at; say what it drops.

        Raises
        ------
        PromptError
            ``text-tokens``: a phrase is too long.
        """
        ...

    def detect(
        self, pixels: UInt8[np.ndarray, "H W 3"], phrases: Sequence[str], least: float
    ) -> TextBoxes:
        """Boxes of a score of `least` or more; near doubles are still among them.

        Each phrase gets the boxes that it would get alone.
        """
        ...


def too_long(row: DetectorRow, phrase: str, index: int, tokens: int, unit: str) -> PromptError:
    """The error of a phrase that would have to be cut."""
    return PromptError(
        "text-tokens",
        f"the phrase has {tokens} {unit}, {row.name} takes {row.most_tokens}",
        given=phrase,
        where=f"text[{index}]",
        hint="name the thing in fewer words; nothing is cut off silently",
    )
