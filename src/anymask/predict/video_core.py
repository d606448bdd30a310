"""Edits done on one video: each changes what is known, and is noted."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anymask.errors import PromptError
from anymask.frame import Frame
from anymask.frame_masks import FrameMasks
from anymask.predict.steps import fill_masks
from anymask.predict.video_asked import for_network
from anymask.predict.video_edits import Cleared, Edit, Passed, Prompted, Removed
from anymask.predict.video_engine import Engine
from anymask.predict.video_results import Results
from anymask.predict.video_step import FrameMemory
from anymask.predict.video_tracks import Following
from anymask.predict.video_work import Work
from anymask.variants import InputSpec


class Core:
    """What a session knows.

    Parameters
    ----------
    work
        The network and the frames.
    how
        How objects are followed.
    spec
        How prompts become network input.
    size
        (H, W) of the frames, px.
    count
        Number of frames, None where that is not known.
    keep_bytes
        Bound of what is kept only to save time, see `VideoPredictor`.
    stream
        Nobody goes back.
    at_once
        Objects that are followed together at most.

    Attributes
    ----------
    edits
        All that was done, in order.
    prompts
        What is pointed at now, by object and frame.
    """

    def __init__(
        self,
        work: Work,
        how: Following,
        spec: InputSpec,
        size: tuple[int, int],
        *,
        count: int | None,
        keep_bytes: int,
        stream: bool,
        at_once: int,
    ) -> None:
        self.frame = Frame.fit(size, spec)
        self.edits: list[Edit] = []
        self.prompts: dict[tuple[int, int], Prompted] = {}
        self._spec = spec
        self._gone: set[int] = set()
        self._newest = -1  # id
        self._most = how.rules.max_prompted if stream else None
        self._results = Results(size, keep_bytes // 4)
        self._engine = Engine(
            work,
            how,
            self._tell,
            self._results.has,
            count=count,
            keep_bytes=keep_bytes,
            at_once=at_once,
        )

    @property
    def engine(self) -> Engine:
        """Who follows its objects."""
        return self._engine

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects, in the order in which they were first pointed at."""
        return tuple(self._engine.tracks)

    def masks(self, frame: int) -> FrameMasks:
        """What is known of a frame."""
        return self._results.masks(frame, self.object_ids)

    def knows(self, object_id: int, frame: int) -> bool:
        """Whether an object was pointed at or followed on a frame."""
        track = self._engine.tracks.get(object_id)
        return track is not None and (
            track.follows(frame) or frame in track.prompted or frame in track.waiting
        )

    def id_of(self, object_id: int | None) -> int:
        """An id that may be pointed at: a known one, or a new one that was never used.

        Raises
        ------
        PromptError
            ``object-id``, ``object-removed``.
        """
        if object_id is None:
            return self._newest + 1
        whole = isinstance(object_id, int | np.integer) and not isinstance(object_id, bool)
        if not whole or object_id < 0:
            raise PromptError("object-id", "an object's id is a whole number", given=object_id)
        if object_id in self._gone:
            raise PromptError(
                "object-removed",
                "the object of this id was removed, and ids are not used again",
                given=int(object_id),
                where="object_id",
                hint=f"take another, such as {self._newest + 1}",
            )
        return int(object_id)

    def known(self, object_id: int) -> int:
        """An id that an object has.

        Raises
        ------
        PromptError
            ``object-unknown``.
        """
        if object_id not in self._engine.tracks:
            ids = ", ".join(map(str, self.object_ids)) or "none"
            raise PromptError(
                "object-unknown", f"the objects are {ids}", given=object_id, where="object_id"
            )
        return int(object_id)

    def prompt(self, asked: Prompted) -> None:
        """Answer a prompt."""
        where = (asked.object_id, asked.frame)
        self._engine.prompt(*where, for_network(asked, self.frame, self._spec))
        self._newest = max(self._newest, asked.object_id)
        self.prompts[where] = asked
        self.edits.append(asked)

    def clear(self, edit: Cleared) -> None:
        """Take a prompt back."""
        self._engine.clear(edit.object_id, edit.frame)
        self.prompts.pop((edit.object_id, edit.frame), None)
        self.edits.append(edit)

    def remove(self, edit: Removed) -> None:
        """Give an object up."""
        one = edit.object_id
        self._engine.remove(one)
        self._results.drop_object(one)
        self.prompts = {key: value for key, value in self.prompts.items() if key[0] != one}
        self._gone.add(one)
        self.edits.append(edit)

    def adopt(self, edit: Edit) -> None:
        """Note an edit without doing it: what came of it is put in place by others."""
        self.edits.append(edit)
        match edit:
            case Prompted():
                self.prompts[edit.object_id, edit.frame] = edit
                self._newest = max(self._newest, edit.object_id)
            case Cleared():
                self.prompts.pop((edit.object_id, edit.frame), None)
            case Removed():
                gone = edit.object_id
                self.prompts = {key: one for key, one in self.prompts.items() if key[0] != gone}
                self._gone.add(gone)
            case Passed():
                pass

    def go(self, frame: int, *, reverse: bool) -> FrameMasks:
        """Bring all objects up to date on a frame."""
        self._engine.take_up()
        if self._most is not None:
            self._engine.forget_prompted(self._most)
        self._engine.pass_over(frame, reverse=reverse)
        self._note_passed(frame, reverse)
        return self.masks(frame)

    def close(self) -> None:
        """Forget all that was found; the edits stay."""
        for one in self.object_ids:
            self._results.drop_object(one)
        self._engine.forget()

    def _note_passed(self, frame: int, reverse: bool) -> None:
        """A pass that goes on is one edit."""
        step, last = -1 if reverse else 1, self.edits[-1] if self.edits else None
        goes_on = isinstance(last, Passed) and last.reverse == reverse and last.last + step == frame
        if goes_on and isinstance(last, Passed):
            self.edits[-1] = Passed(first=last.first, last=frame, reverse=reverse)
        else:
            self.edits.append(Passed(first=frame, last=frame, reverse=reverse))

    def _tell(self, object_id: int, frame: int, memory: FrameMemory | None) -> None:
        """Note what was found of an object on a frame, or that nothing is known there any more."""
        if memory is None:
            self._results.drop(object_id, frame)
            return
        there = torch.sigmoid(torch.tensor(memory.present, dtype=torch.float64)).item()
        mask = self._full(memory.logits) if memory.present > 0 else None
        self._results.put(object_id, frame, mask, memory.score, there)

    def _full(self, logits: Float[Tensor, "h w"]) -> np.ndarray:
        """A mask at the frame's size."""
        masks = np.empty((1, *self.frame.image), bool)
        fill_masks(masks, logits[None], self.frame)
        found: np.ndarray = masks[0]
        return found
