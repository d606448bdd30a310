"""The masks of one frame of a video: who is where, and whether they are there at all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int

from anymask.errors import DataError
from anymask.masks import Masks


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameMasks(Masks):
    """N objects on one frame; ``scores`` are predicted IoUs.

    An object that is not to be seen, or not yet followed here, has an empty mask.

    Attributes
    ----------
    frame
        Index of the frame, from 0.
    object_ids
        Which object each mask is of, in the order in which they were first pointed at.
    presence
        How sure it is that the object is there, 0..1; its mask is empty where it is not above 0.5.
    """

    frame: int
    object_ids: tuple[int, ...]
    presence: Float32[np.ndarray, " N"]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("object_ids", "presence"):
            found = len(getattr(self, name))
            if found != len(self.rles):
                problem = f"there are {len(self.rles)} masks"
                raise DataError("facts-count", problem, given=found, where=name)

    def keep(self, index: Sequence[int] | Int[np.ndarray, " K"]) -> "FrameMasks":
        """Some of the objects, in the order given."""
        rows = np.asarray(index, np.int64).reshape(-1)
        return FrameMasks(
            size=self.size,
            rles=tuple(self.rles[i] for i in rows),
            scores=self.scores[rows],
            frame=self.frame,
            object_ids=tuple(self.object_ids[i] for i in rows),
            presence=self.presence[rows],
        )

    def of(self, object_id: int) -> Bool[np.ndarray, "H W"]:
        """The mask of one object.

        Raises
        ------
        DataError
            ``object-unknown``: there is no such object.
        """
        if object_id not in self.object_ids:
            known = ", ".join(map(str, self.object_ids)) or "none"
            raise DataError(
                "object-unknown", f"the objects of this frame are {known}", given=object_id
            )
        return self[self.object_ids.index(object_id)]
