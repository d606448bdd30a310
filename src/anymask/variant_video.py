"""What a row of the table of models says about videos."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSpec:
    """How a model follows objects from frame to frame.

    Attributes
    ----------
    resize
        How frames are resized, where images are resized as `anymask.variants.InputSpec.resize`
        says: the same names, and ``"cubic"``, bicubic with antialias and rounded to bytes again.
    step
        Frames are resized to multiples of this, px.
    memories
        Rows of the temporal table; the last one is that of prompted frames.
    pointers
        Pointers reach less than this many frames back.
    keep
        What memories are rounded to as soon as they are made.
    absent
        The logit of every cell of an object that is not there.
    limit
        Logits of an answer that the next prompt refines are cut to this size.
    sure
        The logit of masks that somebody made, and minus that of what is outside of them.
    """

    resize: Literal["bytes", "smooth", "plain", "cubic"] = "cubic"
    step: int = 32
    memories: int = 7
    pointers: int = 16
    keep: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    absent: float = -1024.0
    limit: float = 32.0
    sure: float = 10.0
