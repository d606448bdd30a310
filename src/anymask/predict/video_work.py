"""What following objects needs of a network, as a seam; and what is asked of it.

Whoever follows objects knows frames by their numbers alone. Behind this seam are pixels, maps and
weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from anymask.predict.video_step import Answer, FrameMemory, Recall

Maps = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Points and a box on one object, as networks take them.

    Attributes
    ----------
    points
        With padding and the corners of the box, network px.
    labels
        1 on the object, 0 off it, -1 padding, 2 and 3 corners.
    clear
        Whether they are many enough to mean one thing: anything but a lone point.
    """

    points: Float[Tensor, "M 2"]
    labels: Int[Tensor, " M"]
    clear: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """The mask of one object, at the size of the network's input.

    Attributes
    ----------
    bits
        True on the object; nothing is True where it is not to be seen.
    """

    bits: Bool[Tensor, "S T"]


@runtime_checkable  # tests check types while they run
class Work(Protocol):
    """A network and the frames of one video."""

    def maps(self, frame: int) -> Maps:
        """The maps of a frame, before any memory; batch 1."""
        ...

    def track(self, maps: Maps, recalls: Sequence[Recall]) -> list[Answer]:
        """Follow objects onto a frame, each by what it recalls."""
        ...

    def prompt(
        self, maps: Maps, asked: Points | Shape, before: Tensor | None, recall: Recall | None
    ) -> Answer:
        """Answer a prompt on one object.

        Parameters
        ----------
        before
            Logits (h, w) of the answer that it refines, or None.
        recall
            What is recalled of the object, or None where nothing is.
        """
        ...

    def memorise(
        self, maps: Maps, answers: Sequence[Answer], frame: int, *, prompted: bool, binary: bool
    ) -> list[FrameMemory]:
        """Memories of answers; those of prompted frames can be of masks of 0 and 1."""
        ...

    def forget(self) -> None:
        """Let go of all maps."""
        ...
