"""Followers: objects that were pointed at, or that somebody finds, through a video frame by frame.

Both give the same results and can be stopped anywhere: what they must know to go on is saved as
bytes (`anymask.predict.video_snapshot`), and going on gives what going through would have given.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from anymask.errors import VideoError
from anymask.frame_masks import FrameMasks
from anymask.frames import Frames
from anymask.predict.video_found import FoundMasks, FoundSettings, FoundTracker, Looker
from anymask.predict.video_session import VideoSession
from anymask.predict.video_snapshot import load_session, save_session


@runtime_checkable
class Follower(Protocol):
    """Follows objects through one video."""

    def results(self) -> Iterator[FoundMasks]:
        """Frame after frame, from the first one or from where `restore` says."""
        ...

    def span(self, count: int | None) -> int | None:
        """How many frames it will follow, of a video of so many."""
        ...

    def save(self) -> bytes:
        """What it must know to go on after the last result."""
        ...

    def restore(self, data: bytes) -> None:
        """Go on from there; before `results`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PointedAt:
    """One object to be followed.

    Attributes
    ----------
    object_id
        Its number, from 1.
    name
        For people.
    prompts
        What points at it: index of a frame, and what `VideoSession.prompt` takes; several of one
        frame come after each other.
    """

    object_id: int
    name: str
    prompts: tuple[tuple[int, Mapping[str, Any]], ...]


class PointedFollower:
    """Follows what was pointed at, from the first prompt on, or going back from the last.

    Parameters
    ----------
    session
        A new session of the video.
    objects
        What to follow.
    reverse
        Go back in time.
    """

    def __init__(
        self, session: VideoSession, objects: Sequence[PointedAt], *, reverse: bool = False
    ) -> None:
        self.session, self.objects, self.reverse = session, tuple(objects), reverse
        self._names = {one.object_id: one.name for one in objects}
        sign = -1 if reverse else 1
        self._begins = {  # the frame from which each is followed, in the direction of travel
            one.object_id: min(sign * frame for frame, _ in one.prompts) for one in objects
        }
        self._after: int | None = None

    def results(self) -> Iterator[FoundMasks]:
        """Masks of the objects on frame after frame; each from its first prompt on."""
        start = None
        if self._after is None:
            for one in self.objects:
                for frame, given in one.prompts:
                    self.session.prompt(frame, one.object_id, **given)
        else:
            start = self._after + (-1 if self.reverse else 1)
        for frame, masks in self._pass(start):
            self._after = frame
            now = -frame if self.reverse else frame
            begun = [k for k, one in enumerate(masks.object_ids) if self._begins[one] <= now]
            yield FoundMasks.of_frame(masks.keep(begun), self._names)

    def span(self, count: int | None) -> int | None:
        """From the first prompt to the end, or from the last one back to the beginning."""
        prompted = [frame for one in self.objects for frame, _ in one.prompts]
        if self.reverse:
            return max(prompted) + 1
        return None if count is None else max(1, count - min(prompted))

    def _pass(self, start: int | None) -> Iterator[tuple[int, FrameMasks]]:
        """A pass from a frame on; none where the video has ended before it."""
        if start is not None and start < 0:
            return iter(())
        try:
            return self.session.propagate(start, reverse=self.reverse)
        except VideoError as error:
            if error.code != "frame-missing" or start is None:
                raise
            return iter(())

    def save(self) -> bytes:
        return save_session(self.session, {"after": self._after})

    def restore(self, data: bytes) -> None:
        self._after = load_session(self.session, data)["after"]


class FoundFollower:
    """Follows what a looker finds, from the first frame on.

    Parameters
    ----------
    session
        A new session of the video.
    frames
        Its frames, for the looker.
    looker
        Finds objects.
    settings
        How often, how many.
    """

    def __init__(
        self,
        session: VideoSession,
        frames: Frames,
        looker: Looker,
        settings: FoundSettings | None = None,
    ) -> None:
        self.session, self.frames = session, frames
        self.tracker = FoundTracker(_Passing(session, frames.size), looker, settings)

    def results(self) -> Iterator[FoundMasks]:
        """Masks of all objects on frame after frame."""
        while True:
            index = self.tracker.frame
            try:
                pixels = self.frames.read(index)
            except VideoError as error:
                if error.code == "frame-missing" and index > 0:
                    return
                raise
            yield self.tracker.step(pixels)

    def span(self, count: int | None) -> int | None:
        """All of them."""
        return count

    def save(self) -> bytes:
        return save_session(self.session, self.tracker.state())

    def restore(self, data: bytes) -> None:
        self.tracker.adopt(load_session(self.session, data))


class _Passing:
    """A session with frames of its own, asked for one after the other."""

    def __init__(self, session: VideoSession, size: tuple[int, int]) -> None:
        self._session, self._size = session, size
        self._pass: Iterator[tuple[int, FrameMasks]] | None = None

    def step(self, frame: int, pixels: Any) -> FrameMasks:
        if not self._session.object_ids:
            return _nothing(frame, self._size)
        if self._pass is None:
            self._pass = self._session.propagate(frame)
        _, masks = next(self._pass)
        return masks

    def prompt(self, frame: int, object_id: int, *, masks: Any) -> FrameMasks:
        return self._session.prompt(frame, object_id, masks=masks)

    def remove(self, object_id: int) -> None:
        self._session.remove(object_id)
        if not self._session.object_ids:
            self._pass = None


def _nothing(frame: int, size: tuple[int, int]) -> FrameMasks:
    none = np.zeros(0, np.float32)
    return FrameMasks(size=size, rles=(), scores=none, frame=frame, object_ids=(), presence=none)
