"""Words in a video: what they name is found on the first and every n-th frame, and tracked.

On such a frame each mask that the words found is compared with the tracked masks of its phrase:

- IoU of a half or more: it is that object;
- it holds most of a single tracked mask: it is that object, of which only a part is left; the
  tracked one gets the whole mask;
- at least half of it is free: it is a new object;
- else it is a part of something tracked, and nothing happens.

Nothing found is no error: what is tracked goes on, and the next look may find something.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from anymask.frame_masks import FrameMasks
from anymask.predict.video_found import Sighting, free_share, union
from anymask.text_masks import TextMasks

_SAME = 0.5  # IoU
_WITHIN = 0.7  # of a tracked mask's pixels in a found one, which is the whole of it then
_FREE = 0.5  # of a new one's pixels


@runtime_checkable
class Words(Protocol):
    """Masks for words: `anymask.TextPredictor`."""

    def predict(self, image: Any, text: Any) -> TextMasks: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLooker:
    """Finds what words name.

    Attributes
    ----------
    words
        Finds the masks of a frame.
    phrases
        What to look for.
    """

    words: Words
    phrases: tuple[str, ...]

    def look(
        self, pixels: UInt8[np.ndarray, "H W 3"], tracked: FrameMasks, names: Sequence[str]
    ) -> list[Sighting]:
        """What is new, or tracked only in part; by phrase and falling score."""
        found = self.words.predict(pixels, list(self.phrases))
        seen: list[Sighting] = []
        for phrase, name in enumerate(found.phrases):
            own = [i for i, each in enumerate(names) if each == name]
            seen += compare(found.of(phrase), tracked.keep(own), name)
        return seen


def compare(found: TextMasks, tracked: FrameMasks, name: str) -> list[Sighting]:
    """What of one phrase's masks, by falling score, is new or should be mended."""
    ious = found.iou(tracked)
    taken = union(tracked)
    known = {i for i in range(len(tracked)) if (ious[:, i] >= _SAME).any()}
    seen = []
    for k in range(len(found)):
        mask = found[k]
        if not mask.any() or (ious[k] >= _SAME).any():
            continue
        within = [i for i in range(len(tracked)) if _share_within(tracked[i], mask) >= _WITHIN]
        if len(within) == 1 and within[0] not in known:
            known.add(within[0])
            seen.append(Sighting(mask=mask, name=name, object_id=tracked.object_ids[within[0]]))
        elif not within and free_share(mask, taken) >= _FREE:
            seen.append(Sighting(mask=mask, name=name))
        taken |= mask
    return seen


def _share_within(part: Bool[np.ndarray, "H W"], whole: Bool[np.ndarray, "H W"]) -> float:
    """Share of a mask's pixels inside another; 0 of an empty one."""
    area = int(part.sum())
    return int((part & whole).sum()) / area if area else 0.0
