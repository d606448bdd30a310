"""Which frames an object may attend to, as numbers: no tensors, no model.

Around a frame there are prompted frames, on which somebody pointed at the object, and tracked
frames, on which it was followed. Attended to are memories of

- the prompted frames, or under a limit the nearest of them,
- the last tracked frames: those just passed, which lie behind going forward and ahead going back;

and pointers (a vector a frame that says what the object is) of prompted frames that were passed,
then of the last tracked frames. The rules are those of SAM 2 (Ravi et al. 2024, arXiv:2408.00714)
as its published code has them, and `tests/predict/test_video_recall.py` holds them to recorded
runs of it.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallRules:
    """How much is attended to.

    Attributes
    ----------
    memories
        Rows of the temporal table: memories of tracked frames, and one row for all prompted ones.
    stride
        Tracked frames but the last are taken at multiples of this.
    max_prompted
        Prompted frames attended to at most; None takes all.
    pointers
        Pointers of tracked frames reach less than this many frames back.
    past_pointers
        Pointers of prompted frames that are still to come are left out.
    """

    memories: int = 7
    stride: int = 1
    max_prompted: int | None = None
    pointers: int = 16
    past_pointers: bool = True

    def reach(self, count: int | None) -> int:
        """How many frames pointers of tracked frames reach back.

        ``count`` is the number of frames of the video, None where nobody knows.
        """
        return (self.pointers if count is None else min(count, self.pointers)) - 1

    def share(self, gap: int, count: int | None) -> float:
        """A distance in time over the longest that pointers reach."""
        return gap / max(1, self.reach(count))

    @property
    def window(self) -> int:
        """How far away a tracked frame may be whose memory is attended to, frames."""
        return max(1, (self.memories - 2) * self.stride + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A frame whose memory is attended to.

    Attributes
    ----------
    frame
        Its index.
    row
        Of the temporal table: 0 is just before, the last one belongs to prompted frames.
    """

    frame: int
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointed:
    """A frame whose pointer is attended to.

    Attributes
    ----------
    frame
        Its index.
    gap
        How many frames ago it was passed; below 0 where it is still to come.
    """

    frame: int
    gap: int


def nearest(frame: int, prompted: Sequence[int], most: int | None) -> tuple[int, ...]:
    """Prompted frames that are attended to from a frame.

    All in the order given where they are few enough; else the last before, the first not before,
    then the others by distance.

    >>> nearest(10, [0, 4, 12, 30], 3)
    (4, 12, 0)
    """
    if most is None or len(prompted) <= most:
        return tuple(prompted)
    before = [p for p in prompted if p < frame]
    after = [p for p in prompted if p >= frame]
    first = [max(before)] if before else []
    first += [min(after)] if after else []
    others = sorted((p for p in prompted if p not in first), key=lambda p: abs(p - frame))
    return tuple([*first, *others][:most])


def passed(frame: int, rules: RecallRules, reverse: bool) -> list[tuple[int, int]]:
    """(frame, row) of the tracked frames that a memory may be taken from, the farthest first."""
    step = -1 if reverse else 1
    found = []
    for back in range(rules.memories - 1, 0, -1):
        if back == 1:
            at = frame - step
        elif reverse:
            at = -(-(frame + 2) // rules.stride) * rules.stride + (back - 2) * rules.stride
        else:
            at = ((frame - 2) // rules.stride) * rules.stride - (back - 2) * rules.stride
        found.append((at, back - 1))
    return found


def memories(
    frame: int,
    prompted: Sequence[int],
    tracked: Container[int],
    rules: RecallRules,
    *,
    reverse: bool = False,
) -> tuple[Seen, ...]:
    """Frames whose memories are attended to, in order.

    Parameters
    ----------
    frame
        The one that is looked at.
    prompted
        Frames on which the object was pointed at, in the order in which that was taken up.
    tracked
        Frames on which it was followed.

    Prompted frames that a limit leaves out count as tracked ones.
    """
    chosen = nearest(frame, prompted, rules.max_prompted)
    left = set(prompted) - set(chosen)
    found = [Seen(frame=p, row=rules.memories - 1) for p in chosen]
    for at, row in passed(frame, rules, reverse):
        if at in tracked or at in left:
            found.append(Seen(frame=at, row=row))
    return tuple(found)


def pointers(
    frame: int,
    prompted: Sequence[int],
    tracked: Container[int],
    rules: RecallRules,
    *,
    reverse: bool = False,
    count: int | None = None,
) -> tuple[Pointed, ...]:
    """Frames whose pointers are attended to, in order; arguments as of `memories`.

    ``count`` is the number of frames of the video, None where nobody knows.
    """
    step = -1 if reverse else 1
    chosen = nearest(frame, prompted, rules.max_prompted)
    left = set(prompted) - set(chosen)
    found = [
        Pointed(frame=p, gap=(frame - p) * step)
        for p in chosen
        if not rules.past_pointers or (frame - p) * step >= 0
    ]
    for gap in range(1, rules.reach(count) + 1):
        at = frame - gap * step
        if at < 0 or (count is not None and at >= count):
            break
        if at in tracked or at in left:
            found.append(Pointed(frame=at, gap=gap))
    return tuple(found)
