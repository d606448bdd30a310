"""Prompts parsed for a photo of 640x427 and two networks, or refused with one line."""

import pytest

from anymask.errors import PromptError
from anymask.prompts import Frame, Prompts
from anymask.variants import InputSpec, variant

SIZE = (427, 640)  # (H, W)
SAM = variant("sam-vit-b").spec
NANO = InputSpec(
    side=384, multiple=32, mean=(0.0,) * 3, std=(1.0,) * 3, point_shift_px=0.5
)  # a row with rectangles and a shift in image px
FRAME = Frame.fit(SIZE, SAM)


def parse(size=SIZE, frame=FRAME, **given):
    return Prompts.parse(size=size, frame=frame, **given)


def refusal(size=SIZE, frame=FRAME, **given):
    """The error that a wrong prompt raises."""
    one_line = r"\A[^\n]*\Z"  # no assert: those of this module are gone under python -O
    with pytest.raises(PromptError, match=one_line) as caught:
        parse(size, frame, **given)
    return caught.value


def codes(prompts):
    return [note.code for note in prompts.notes]
