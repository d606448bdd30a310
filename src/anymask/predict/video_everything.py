"""Everything in a video: all masks of the first frame, tracked; new ones where nothing is tracked.

Every n frames all masks of the frame are found anew and cut so that no two overlap. One of which
at least half lies where nothing is tracked is a new object, and gets those of its pixels that are
free; any other is tracked already: a mask whose IoU with a tracked one is above a half has less
than half of itself free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from anymask.errors import PromptError
from anymask.frame_masks import FrameMasks
from anymask.generated import GeneratedMasks
from anymask.predict.panoptic import panoptic
from anymask.predict.video_found import Sighting, free_share, union


@runtime_checkable
class Generator(Protocol):
    """All masks of an image: `anymask.MaskGenerator`."""

    def generate(self, image: Any) -> GeneratedMasks: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EverythingLooker:
    """Finds whatever is not tracked.

    Attributes
    ----------
    generator
        Finds the masks of a frame.
    least_share
        The smallest object, share of the frame, 0..1.
    free
        Share of a mask that must be free for it to be new, 0..1; below 0.5 what is tracked may be
        taken for new.
    """

    generator: Generator
    least_share: float = 0.002
    free: float = 0.5

    def __post_init__(self) -> None:
        for name in ("least_share", "free"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise PromptError("setting", "it goes from 0 to 1", given=value, where=name)

    def look(
        self, pixels: UInt8[np.ndarray, "H W 3"], tracked: FrameMasks, names: Sequence[str] = ()
    ) -> list[Sighting]:
        """What is not tracked, the largest first."""
        least = max(1.0, self.least_share * pixels.shape[0] * pixels.shape[1])
        found = panoptic(self.generator.generate(pixels)).masks
        taken = union(tracked)
        seen = []
        for i in np.argsort(-found.areas, kind="stable"):
            mask = found[int(i)]
            left = mask & ~taken
            if free_share(mask, taken) >= self.free and left.sum() >= least:
                seen.append(Sighting(mask=left))
        return seen
