"""Objects of a video that nobody points at: a look now and then, and what is new is tracked.

    frame -> session.step -> masks of what is tracked
          -> every n frames: look(frame, masks) -> sightings -> session.prompt

Who looks decides what is new: `anymask.predict.video_everything` and `anymask.predict.video_text`.
Here they are given numbers and names, and their count is kept in bounds: an object that has been
out of sight for longer than from look to look makes room for a new one when room is needed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from anymask.errors import Note, PromptError
from anymask.frame_masks import FrameMasks

MOST_IDS = 254  # of a whole video: values of a label map, without nothing and void


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSettings:
    """How often somebody looks, and how many objects there may be.

    Attributes
    ----------
    every
        Frames from one look to the next.
    most
        Objects that are tracked at once.
    """

    every: int = 30
    most: int = 16

    def __post_init__(self) -> None:
        for name in ("every", "most"):
            if getattr(self, name) < 1:
                raise PromptError(
                    "setting", "it is at least 1", given=getattr(self, name), where=name
                )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sighting:
    """Something that was seen on a frame.

    Attributes
    ----------
    mask
        Where it is.
    name
        What it is, "" where nobody knows.
    object_id
        The tracked object that it is and whose mask it should have; None for a new one.
    """

    mask: Bool[np.ndarray, "H W"]
    name: str = ""
    object_id: int | None = None


@runtime_checkable
class Looker(Protocol):
    """Who finds objects on a frame."""

    def look(
        self, pixels: UInt8[np.ndarray, "H W 3"], tracked: FrameMasks, names: Sequence[str]
    ) -> Sequence[Sighting]:
        """What is not tracked yet, or not well; the most important first.

        Parameters
        ----------
        tracked
            What is known of the frame already.
        names
            Of each of the tracked objects.
        """
        ...


@runtime_checkable
class Steps(Protocol):
    """What of a video session is used; `Handing` makes it of a stream's session."""

    def step(self, frame: int, pixels: Any) -> FrameMasks: ...

    def prompt(self, frame: int, object_id: int, *, masks: Any) -> FrameMasks: ...

    def remove(self, object_id: int) -> Any: ...


class Handing:
    """A session that frames are handed to, as `FoundTracker` takes it."""

    def __init__(self, session: Any) -> None:
        self.prompt, self.remove, self._session = session.prompt, session.remove, session

    def step(self, frame: int, pixels: Any) -> FrameMasks:
        """The next frame."""
        masks: FrameMasks = self._session.step(pixels)
        return masks


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundMasks(FrameMasks):
    """Objects on one frame, with names.

    Attributes
    ----------
    names
        Of each object, "" where nobody knows.
    started
        Objects that are tracked from this frame on.
    notes
        What could not be done.
    """

    names: tuple[str, ...]
    started: tuple[int, ...] = ()
    notes: tuple[Note, ...] = ()

    @classmethod
    def of_frame(cls, masks: FrameMasks, names: Mapping[int, str]) -> "FoundMasks":
        """The same objects with the names of their numbers."""
        return cls(
            size=masks.size,
            rles=masks.rles,
            scores=masks.scores,
            frame=masks.frame,
            object_ids=masks.object_ids,
            presence=masks.presence,
            names=tuple(names[one] for one in masks.object_ids),
        )

    @property
    def lost(self) -> tuple[int, ...]:
        """Objects that are out of sight."""
        return tuple(one for one, area in zip(self.object_ids, self.areas, strict=True) if not area)


class FoundTracker:
    """One video: give it frames one by one.

    Parameters
    ----------
    session
        A new session of a video.
    looker
        Who finds objects.
    settings
        How often, how many.
    """

    def __init__(
        self, session: Steps, looker: Looker, settings: FoundSettings | None = None
    ) -> None:
        self.session, self.looker = session, looker
        self.settings = settings or FoundSettings()
        self._names: dict[int, str] = {}  # of what is tracked
        self._seen: dict[int, int] = {}  # when it was seen last
        self._next = 1
        self.frame = 0  # index of the next one

    def step(self, pixels: UInt8[np.ndarray, "H W 3"]) -> FoundMasks:
        """The objects on the next frame; errors as those of the session and the looker."""
        frame, masks = self.frame, self.session.step(self.frame, pixels)
        self._note_seen(frame, masks)
        started: list[int] = []
        missed = 0
        if frame % self.settings.every == 0:
            names = [self._names[one] for one in masks.object_ids]
            for sighting in self.looker.look(pixels, masks, names):
                if sighting.object_id is None and not self._room(frame):
                    missed += 1
                    continue
                own = sighting.object_id
                if own is None:
                    own = self._new(sighting.name, frame)
                    started.append(own)
                masks = self.session.prompt(frame, own, masks=sighting.mask)
        self.frame += 1
        notes = () if not missed else (self._crowded(missed),)
        return self._named(masks, tuple(started), notes)

    def follow(self, frames: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Iterator[FoundMasks]:
        """Frame after frame."""
        return (self.step(pixels) for pixels in frames)

    def state(self) -> dict[str, Any]:
        """What it knows beside the session; JSON."""
        return {
            "frame": self.frame,
            "next": self._next,
            "objects": [[one, self._names[one], self._seen[one]] for one in self._names],
        }

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.frame, self._next = int(state["frame"]), int(state["next"])
        self._names = {int(one): str(name) for one, name, _ in state["objects"]}
        self._seen = {int(one): int(seen) for one, _, seen in state["objects"]}

    def _named(
        self, masks: FrameMasks, started: tuple[int, ...], notes: tuple[Note, ...]
    ) -> FoundMasks:
        kept = [i for i, one in enumerate(masks.object_ids) if one in self._names]
        masks = masks if len(kept) == len(masks) else masks.keep(kept)
        return replace(FoundMasks.of_frame(masks, self._names), started=started, notes=notes)

    def _new(self, name: str, frame: int) -> int:
        own, self._next = self._next, self._next + 1
        self._names[own], self._seen[own] = name, frame
        return own

    def _note_seen(self, frame: int, masks: FrameMasks) -> None:
        for one, area in zip(masks.object_ids, masks.areas, strict=True):
            if area:
                self._seen[one] = frame

    def _room(self, frame: int) -> bool:
        """Whether one more object can be tracked; the one lost longest makes room."""
        if self._next > MOST_IDS:
            return False
        if len(self._names) < self.settings.most:
            return True
        longest = min(self._names, key=lambda one: self._seen[one])
        if frame - self._seen[longest] <= self.settings.every:
            return False
        self.session.remove(longest)
        del self._names[longest], self._seen[longest]
        return True

    def _crowded(self, missed: int) -> Note:
        whole = f"{MOST_IDS} in a whole video" if self._next > MOST_IDS else "at once"
        limit = "" if self._next > MOST_IDS else f"{self.settings.most} "
        return Note(
            "objects-many",
            f"{missed} more objects were found than are tracked: {limit}{whole} are the most",
        )


def free_share(mask: Bool[np.ndarray, "H W"], taken: Bool[np.ndarray, "H W"]) -> float:
    """Share of a mask's pixels that nobody has; 0 of an empty one.

    >>> free_share(np.array([[True, True, False]]), np.array([[True, False, False]]))
    0.5
    """
    area = int(mask.sum())
    return int((mask & ~taken).sum()) / area if area else 0.0


def union(masks: FrameMasks, index: Iterable[int] | None = None) -> Bool[np.ndarray, "H W"]:
    """Pixels of any of the masks, or of some of them."""
    whole = np.zeros(masks.size, bool)
    for i in range(len(masks)) if index is None else index:
        whole |= masks[i]
    return whole
