"""What is known of one object of a video, frame by frame: prompts taken up, frames followed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from anymask.predict.video_recall import RecallRules
from anymask.predict.video_spans import Spans
from anymask.predict.video_step import FrameMemory

Corrections = Literal["prompted", "tracked", "lost"]
Mend = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """How objects are followed.

    Attributes
    ----------
    rules
        How much is attended to.
    causal
        What is found on a frame follows from the prompts behind it in the direction of travel, and
        from nothing else: edits leave the frames before them as they are, each direction has its
        own memories, and frames that no edit touched are not followed again. False gives what
        SAM 2's published code does: prompts still to come are attended to, frames followed in the
        other direction too, and each pass follows all its frames again.
    corrections
        What becomes of a prompt on a frame that was followed before: ``"prompted"``, it counts as
        any other prompt; ``"tracked"``, its answer stays, as that of a followed frame; ``"lost"``,
        it does until the frame is followed again.
    binary
        Masks of prompted frames are made 0 or 1 before they are remembered.
    mend
        What is done to low-resolution logits (h, w) before they are shown, or nothing.
    """

    rules: RecallRules = field(default_factory=RecallRules)
    causal: bool = True
    corrections: Corrections = "prompted"
    binary: bool = True
    mend: Mend | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waiting:
    """The answer to a prompt, to be taken up when the next pass begins.

    Attributes
    ----------
    memory
        Of the frame.
    prompted
        The frame becomes a prompted one, or a followed one with a better mask.
    """

    memory: FrameMemory
    prompted: bool


class Lane:
    """What was found in one direction of travel.

    Attributes
    ----------
    memories
        Of frames that were followed, where they are still kept.
    followed
        All frames that were.
    fresh
        Those that no later edit concerns.
    last
        The one that was followed last, or None.
    """

    def __init__(self) -> None:
        self.memories: dict[int, FrameMemory] = {}
        self.followed = Spans()
        self.fresh = Spans()
        self.last: int | None = None


class Track:
    """One object.

    Attributes
    ----------
    object_id
        Its name.
    prompted
        Memories of prompted frames, in the order in which they were taken up.
    waiting
        Answers to prompts that the next pass takes up.
    fixed
        Followed frames that keep a correction.
    back
        Frames that were followed last going back.
    """

    def __init__(self, object_id: int, *, causal: bool) -> None:
        self.object_id = object_id
        self.prompted: dict[int, FrameMemory] = {}
        self.waiting: dict[int, Waiting] = {}
        self.fixed: set[int] = set()
        self.back = Spans()
        forward = Lane()
        self._lanes = (forward, Lane() if causal else forward)

    @property
    def lanes(self) -> tuple[Lane, Lane]:
        """Going forward and going back; one and the same where they share their memories."""
        return self._lanes

    def lane(self, reverse: bool) -> Lane:
        """That of a direction."""
        return self._lanes[reverse]

    def follows(self, frame: int) -> bool:
        """Whether it was followed on a frame, in whatever direction."""
        return any(frame in lane.followed for lane in self._lanes)

    def passed(self, frame: int, reverse: bool) -> None:
        """Note that a pass went over a frame."""
        lane = self.lane(reverse)
        lane.followed.add(frame)
        lane.last = frame
        if reverse:
            self.back.add(frame)
        else:
            self.back.drop(frame)

    def edited(self, frame: int) -> None:
        """Note that a prompt changed: from that frame on nothing is fresh."""
        for reverse, lane in enumerate(self._lanes):
            lane.fresh.drop_beyond(frame, reverse=bool(reverse))

    def unreached(self) -> list[int]:
        """Forget what was found where no prompt lies behind any more; these frames."""
        gone: set[int] = set()
        for reverse, lane in enumerate(self._lanes):
            ends = (min, max)[reverse](self.prompted, default=None)
            lost = [f for f in lane.followed if ends is None or (f > ends if reverse else f < ends)]
            for frame in lost:
                lane.memories.pop(frame, None)
                lane.followed.drop(frame)
                lane.fresh.drop(frame)
            gone.update(lost)
        return sorted(f for f in gone if not self.follows(f) and f not in self.prompted)

    def memory(self, frame: int) -> FrameMemory | None:
        """What is kept of a frame: the newest answer to a prompt, else of what was followed."""
        if frame in self.waiting:
            return self.waiting[frame].memory
        if frame in self.prompted:
            return self.prompted[frame]
        reverse = frame in self.back
        for lane in (self.lane(reverse), self.lane(not reverse)):
            if frame in lane.memories:
                return lane.memories[frame]
        return None

    def take_up(self, corrections: Corrections) -> None:
        """Make answers that wait part of what is attended to."""
        for frame, one in self.waiting.items():
            if not one.prompted:
                self.lane(frame in self.back).memories[frame] = one.memory
                if corrections == "tracked":
                    self.fixed.add(frame)
        for frame, one in self.waiting.items():
            if one.prompted:
                self.prompted[frame] = one.memory
        for frame in self.prompted:
            self.fixed.discard(frame)
            for lane in self._lanes:
                lane.memories.pop(frame, None)
        self.waiting.clear()
