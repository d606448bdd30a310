"""What was found on each frame, as run lengths under a bound: masks for those who ask."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from anymask.frame_masks import FrameMasks
from anymask.mask_rle import Rle, encode_rle
from anymask.predict.video_keep import Ledger

_RECORD = 1000  # bytes that a result takes beside its text


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One object on one frame.

    Attributes
    ----------
    rle
        Its mask, at the frame's size.
    score
        Predicted IoU.
    presence
        How sure it is that the object is there, 0..1.
    """

    rle: Rle
    score: float
    presence: float


class Results:
    """Results by object and frame; the longest untouched go first.

    Parameters
    ----------
    size
        (H, W) of the frames, px.
    keep_bytes
        Bound of what is kept.
    """

    def __init__(self, size: tuple[int, int], keep_bytes: int) -> None:
        self.size = size
        self._found: dict[tuple[int, int], Found] = {}
        self._ledger: Ledger[tuple[int, int]] = Ledger(keep_bytes, self._shrink)
        self._nothing = encode_rle(np.zeros(size, bool))
        self._shown = -1  # the frame that was asked for last: it stays

    def put(
        self,
        object_id: int,
        frame: int,
        mask: Bool[np.ndarray, "H W"] | None,
        score: float,
        presence: float,
    ) -> None:
        """A new result; no mask is an empty one."""
        rle = self._nothing if mask is None else encode_rle(mask)
        key = (object_id, frame)
        self._found[key] = Found(rle=rle, score=score, presence=presence)
        self._ledger.put(key, len(rle["counts"]) + _RECORD)

    def has(self, object_id: int, frame: int) -> bool:
        """Whether a result is kept."""
        return (object_id, frame) in self._found

    def drop(self, object_id: int, frame: int) -> None:
        """A result is none any more."""
        self._found.pop((object_id, frame), None)
        self._ledger.drop((object_id, frame))

    def drop_object(self, object_id: int) -> None:
        """An object is none any more."""
        self._found = {key: one for key, one in self._found.items() if key[0] != object_id}
        self._ledger.drop_where(lambda key: key[0] == object_id)

    def masks(self, frame: int, object_ids: Iterable[int]) -> FrameMasks:
        """The masks of a frame; empty for objects of which nothing is known there."""
        ids = tuple(object_ids)
        unknown = Found(rle=self._nothing, score=0.0, presence=0.0)
        rows = [self._found.get((one, frame), unknown) for one in ids]
        self._shown = frame
        masks = FrameMasks(
            size=self.size,
            rles=tuple(row.rle for row in rows),
            scores=_floats([row.score for row in rows]),
            frame=frame,
            object_ids=ids,
            presence=_floats([row.presence for row in rows]),
        )
        self._ledger.settle()
        return masks

    def _shrink(self, key: tuple[int, int]) -> int:
        found = self._found.get(key)
        if found is None:
            return 0
        if key[1] == self._shown:
            return len(found.rle["counts"]) + _RECORD
        del self._found[key]
        return 0


def _floats(values: list[float]) -> Float32[np.ndarray, " N"]:
    return np.array(values, np.float32)
