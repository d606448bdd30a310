"""A model and the frames of a video behind the seam that following objects asks for."""

from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from anymask.frame import Frame
from anymask.model import Model
from anymask.predict import video_step
from anymask.predict.video_source import Reader
from anymask.predict.video_step import Answer, FrameMemory, Recall
from anymask.predict.video_work import Maps, Points, Shape

_FRAMES = 4  # that somebody may go back and forth between, as many as `anymask.frames.Frames` keeps


class ModelWork:
    """What `anymask.predict.video_work.Work` asks for.

    Parameters
    ----------
    model
        The model.
    reader
        The frames.
    frame
        Their way into the network.
    maps_bytes
        Bound of the maps that are kept of the few frames looked at last; those of one always are.
    """

    def __init__(self, model: Model, reader: Reader, frame: Frame, maps_bytes: int) -> None:
        self.model, self.reader, self.frame = model, reader, frame
        self.maps_bytes = maps_bytes
        self._maps: OrderedDict[int, Maps] = OrderedDict()

    def maps(self, frame: int) -> Maps:
        """The maps of a frame, before any memory; batch 1."""
        if frame in self._maps:
            self._maps.move_to_end(frame)
            return self._maps[frame]
        found = video_step.maps(self.model, self.reader.read(frame), self.frame)
        self._maps[frame] = found
        while len(self._maps) > _FRAMES or (
            len(self._maps) > 1 and sum(map(_bytes, self._maps.values())) > self.maps_bytes
        ):
            self._maps.popitem(last=False)
        return found

    def track(self, maps: Maps, recalls: Sequence[Recall]) -> list[Answer]:
        """Follow objects onto a frame, each by what it recalls."""
        return video_step.track(self.model, maps, recalls)

    def prompt(
        self,
        maps: Maps,
        asked: Points | Shape,
        before: Float[Tensor, "h w"] | None,
        recall: Recall | None,
    ) -> Answer:
        """Answer a prompt on one object."""
        if isinstance(asked, Shape):
            return video_step.prompt_mask(self.model, maps, asked.bits[None])[0]
        return video_step.prompt(
            self.model,
            maps,
            asked.points,
            asked.labels,
            clear=asked.clear,
            before=before,
            recall=recall,
        )

    def memorise(
        self, maps: Maps, answers: Sequence[Answer], frame: int, *, prompted: bool, binary: bool
    ) -> list[FrameMemory]:
        """Memories of answers."""
        return video_step.memorise(
            self.model, maps, answers, frame, prompted=prompted, binary=binary
        )

    def forget(self) -> None:
        """Let go of all maps."""
        self._maps.clear()


def _bytes(maps: Maps) -> int:
    return sum(part.numel() * part.element_size() for part in maps)
