"""Objects followed from frame to frame: prompts in, memories out; no pixels, no masks of images.

Every way into a video comes through here: passes over a file in both directions, frames as they
come from a camera, and the official names.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from anymask.predict.video_keep import Ledger
from anymask.predict.video_recall import memories, passed, pointers
from anymask.predict.video_step import FrameMemory, Recall
from anymask.predict.video_tracks import Following, Lane, Track, Waiting
from anymask.predict.video_work import Points, Shape, Work

Tell = Callable[[int, int, FrameMemory | None], None]
Told = Callable[[int, int], bool]
Key = tuple[int, bool, int]  # object, going back, frame

_RECORD = 2048  # bytes that a memory takes beside the numbers in it


class Engine:
    """Follows objects.

    Parameters
    ----------
    work
        The network and the frames.
    how
        Rules.
    tell
        Called with an object's id, a frame and the memory of it whenever that is new; or with None
        where nothing is known any more.
    told
        Whether what was told of an object and a frame is still known.
    count
        Frames of the video, None where nobody knows.
    keep_bytes
        Bound of memories that attention will not use again unless somebody goes back; they are
        found again by following once more where they are missed. None keeps all.
    at_once
        Objects that are followed together at most.
    """

    def __init__(
        self,
        work: Work,
        how: Following,
        tell: Tell,
        told: Told,
        *,
        count: int | None = None,
        keep_bytes: int | None = None,
        at_once: int = 16,
    ) -> None:
        self.work = work
        self.how = how
        self.count = count
        self.tracks: dict[int, Track] = {}
        self._tell, self._told = tell, told
        self._at_once = at_once
        self._ledger: Ledger[Key] = Ledger(keep_bytes, self._shrink)

    def track(self, object_id: int) -> Track:
        """An object, new where there was none of that id."""
        if object_id not in self.tracks:
            self.tracks[object_id] = Track(object_id, causal=self.how.causal)
        return self.tracks[object_id]

    def prompt(self, object_id: int, frame: int, asked: Points | Shape) -> None:
        """Answer a prompt; the next pass takes the answer up."""
        known = object_id in self.tracks
        try:
            memory, prompted = self._asked(self.track(object_id), frame, asked)
        except BaseException:  # a frame that cannot be read makes no object
            if not known:
                del self.tracks[object_id]
            raise
        track = self.tracks[object_id]
        track.waiting[frame] = Waiting(memory=memory, prompted=prompted)
        track.edited(frame)
        self._tell(object_id, frame, memory)

    def _asked(self, track: Track, frame: int, asked: Points | Shape) -> tuple[FrameMemory, bool]:
        """The answer to a prompt, and whether its frame becomes a prompted one."""
        causal = self.how.causal
        correction = track.follows(frame)
        reverse = correction and frame in track.back
        if causal:
            if any(at != frame for at in track.waiting):
                self._take_up(track)
            correction = correction and self._reached(track, frame, reverse)
            if correction and not self._whole(track.memory(frame)):
                self._follow(frame, reverse, [track])  # what its maker sees
        before, recall = None, None
        if isinstance(asked, Points):
            shown = correction or frame in track.waiting or frame in track.prompted
            known = track.memory(frame) if shown or not causal else None
            before = None if known is None else known.logits
            if correction:
                self._restore(frame, reverse, [track], stale=True)
                recall = self._recall(track, frame, reverse)
        maps = self.work.maps(frame)
        if recall is not None and not recall.spatial:
            recall = None
        answer = self.work.prompt(maps, asked, before, recall)
        if self.how.mend is not None:
            answer = replace(answer, logits=self.how.mend(answer.logits))
        (memory,) = self.work.memorise(maps, [answer], frame, prompted=True, binary=self.how.binary)
        return memory, not correction or self.how.corrections == "prompted"

    def clear(self, object_id: int, frame: int) -> None:
        """Forget the prompts of an object on a frame.

        Under official rules the frame stays as a followed one; else what memory gives takes the
        place of the prompt's answer, where the frame had been followed and there is a prompt behind
        it.
        """
        track = self.tracks[object_id]
        track.waiting.pop(frame, None)
        memory = track.prompted.pop(frame, None)
        track.fixed.discard(frame)
        track.edited(frame)
        if not self.how.causal:
            if memory is not None:
                reverse = frame in track.back
                lane = track.lane(reverse)
                lane.memories[frame] = memory
                lane.followed.drop(frame)
            return
        self._take_up(track)
        reverse = frame in track.back
        known = track.follows(frame) and self._reached(track, frame, reverse)
        for gone in track.unreached():
            self._tell(object_id, gone, None)
        if known:
            self._follow(frame, reverse, [track])
        else:
            self._tell(object_id, frame, None)

    def remove(self, object_id: int) -> None:
        """Forget an object."""
        del self.tracks[object_id]
        self._ledger.drop_where(lambda key: key[0] == object_id)

    def take_up(self) -> None:
        """Make the answers to prompts part of what is attended to; each pass begins so."""
        for track in self.tracks.values():
            self._take_up(track)

    def pass_over(self, frame: int, *, reverse: bool) -> None:
        """Bring all objects up to date on a frame."""
        ways: dict[bool, list[Track]] = {reverse: [], not reverse: []}
        for track in self.tracks.values():
            if frame in track.prompted or frame in track.fixed:
                track.passed(frame, reverse)
                self._tell(track.object_id, frame, track.memory(frame))
            elif not self.how.causal or self._to_follow(track, frame, reverse):
                ways[reverse].append(track)
            elif not self._reached(track, frame, reverse) and self._to_follow(
                track, frame, not reverse, again=True
            ):
                ways[not reverse].append(track)
        for way, tracks in ways.items():
            self._follow(frame, way, tracks)

    def hold(self, object_id: int, memory: FrameMemory, *, reverse: bool) -> None:
        """Keep the memory of a followed frame that was found by an earlier session."""
        self.track(object_id).lane(reverse).memories[memory.frame] = memory
        self._ledger.put((object_id, reverse, memory.frame), _bytes(memory))

    def _to_follow(self, track: Track, frame: int, reverse: bool, *, again: bool = False) -> bool:
        """Whether an object is to be followed onto a frame that was not pointed at.

        ``again`` is for those that were: not where that is still to be done.
        """
        lane = track.lane(reverse)
        if frame in lane.fresh:
            if self._told(track.object_id, frame):
                return False
            memory = lane.memories.get(frame)
            if self._whole(memory):
                self._tell(track.object_id, frame, memory)
                return False
            return True
        return not again and self._reached(track, frame, reverse)

    def forget_prompted(self, most: int) -> None:
        """Let go of all but the last prompted frames of each object: nobody goes back."""
        for track in self.tracks.values():
            for frame in sorted(track.prompted)[:-most]:
                del track.prompted[frame]

    def forget(self) -> None:
        """Let go of all objects, and of the maps of frames."""
        self.work.forget()
        self.tracks.clear()
        self._ledger.drop_where(lambda key: True)

    def _take_up(self, track: Track) -> None:
        track.take_up(self.how.corrections)

    @staticmethod
    def _reached(track: Track, frame: int, reverse: bool) -> bool:
        """Whether a prompt lies behind a frame."""
        return any(_behind(p, frame, reverse) for p in track.prompted)

    def _recall(self, track: Track, frame: int, reverse: bool) -> Recall:
        """What one object may attend to on one frame."""
        lane, rules = track.lane(reverse), self.how.rules
        prompted = [p for p in track.prompted if not self.how.causal or _behind(p, frame, reverse)]
        around = (frame, prompted, lane.memories, rules)
        seen = memories(*around, reverse=reverse)
        told = pointers(*around, reverse=reverse, count=self.count)
        return Recall(
            spatial=tuple((_found(track, lane, s.frame), s.row) for s in seen),
            pointers=tuple(
                (_found(track, lane, p.frame), rules.share(p.gap, self.count)) for p in told
            ),
        )

    def _follow(self, frame: int, reverse: bool, tracks: Sequence[Track]) -> None:
        """Follow objects onto a frame by what they recall."""
        if not tracks:
            return
        self._restore(frame, reverse, tracks)
        maps = self.work.maps(frame)
        for first in range(0, len(tracks), self._at_once):
            some = tracks[first : first + self._at_once]
            answers = self.work.track(maps, [self._recall(t, frame, reverse) for t in some])
            found = self.work.memorise(maps, answers, frame, prompted=False, binary=False)
            for track, memory in zip(some, found, strict=True):
                self._note(track, memory, reverse)
        self._ledger.settle()

    def _note(self, track: Track, memory: FrameMemory, reverse: bool) -> None:
        """Keep what was found of an object on a frame."""
        frame = memory.frame
        if self.how.mend is not None:
            memory = replace(memory, logits=self.how.mend(memory.logits))
        lane = track.lane(reverse)
        lane.memories[frame] = memory
        lane.fresh.drop_beyond(frame, reverse=reverse)
        track.lane(not reverse).fresh.drop(frame)
        lane.fresh.add(frame)
        track.passed(frame, reverse)
        self._ledger.put((track.object_id, reverse, frame), _bytes(memory))
        self._tell(track.object_id, frame, memory)

    def _restore(
        self, frame: int, reverse: bool, tracks: Sequence[Track], *, stale: bool = False
    ) -> None:
        """Follow again where memories that a frame attends to were let go of.

        So it is where an edit came before them, unless `stale` ones will do: for a correction,
        which is made of what its maker sees.
        """
        if not self.how.causal:
            return
        step = -1 if reverse else 1
        firsts = {t.object_id: self._missing(t, frame, reverse, stale) for t in tracks}
        far = [first for first in firsts.values() if first is not None]
        if not far:
            return
        start = max(far) if reverse else min(far)
        for at in range(start, frame, step):
            some = []
            for track in tracks:
                first = firsts[track.object_id]
                begun = first is not None and (first == at or _behind(first, at, reverse))
                if begun and at in track.lane(reverse).followed and at not in track.prompted:
                    some.append(track)
            self._follow(at, reverse, some)

    def _missing(self, track: Track, frame: int, reverse: bool, stale: bool) -> int | None:
        """The frame from which an object must be followed again to know what a frame attends to."""
        lane, first = track.lane(reverse), None
        at = frame
        while True:
            lost = [
                f
                for f in self._attended(at, reverse)
                if f in lane.followed
                and f not in track.prompted
                and not (self._kept(lane, f, at) and (stale or f in lane.fresh))
            ]
            if not lost:
                return first
            first = at = max(lost) if reverse else min(lost)

    def _attended(self, frame: int, reverse: bool) -> Iterable[int]:
        """Followed frames that a frame attends to, by memory or pointer."""
        rules, step = self.how.rules, -1 if reverse else 1
        last = {at for at, _ in passed(frame, rules, reverse)}
        return last | {frame - gap * step for gap in range(1, rules.reach(self.count) + 1)}

    def _kept(self, lane: Lane, frame: int, at: int) -> bool:
        """Whether a lane holds what another frame attends to of a frame."""
        memory = lane.memories.get(frame)
        near = abs(frame - at) <= self.how.rules.window
        return memory is not None and (not near or self._whole(memory))

    @staticmethod
    def _whole(memory: FrameMemory | None) -> bool:
        """Whether a memory is there with all its parts."""
        return memory is not None and memory.spatial.numel() > 0

    def _shrink(self, key: Key) -> int:
        """Make what is kept of a frame smaller, as far as nothing attends to it soon."""
        object_id, reverse, frame = key
        track = self.tracks.get(object_id)
        lane = None if track is None else track.lane(reverse)
        if lane is None or frame not in lane.memories:
            return 0
        memory, rules = lane.memories[frame], self.how.rules
        away = 0 if lane.last is None else (lane.last - frame) * (-1 if reverse else 1) + 1
        # what the last frame attended to is needed too: somebody may correct it
        if 0 < away <= rules.window + 1:
            return _bytes(memory)
        if 0 < away <= rules.reach(self.count) + 1:
            if self._whole(memory):
                memory = replace(
                    memory,
                    spatial=memory.spatial.new_empty((0, memory.spatial.shape[-1])),
                    logits=memory.logits.new_empty((0, 0)),
                )
                lane.memories[frame] = memory
            return _bytes(memory)
        del lane.memories[frame]
        return 0


def _behind(one: int, frame: int, reverse: bool) -> bool:
    """Whether a frame lies behind another in a direction of travel."""
    return one > frame if reverse else one < frame


def _found(track: Track, lane: Lane, frame: int) -> FrameMemory:
    """The memory of a frame that is attended to."""
    memory = lane.memories.get(frame)
    return track.prompted[frame] if memory is None else memory


def _bytes(memory: FrameMemory) -> int:
    """Room that a memory takes."""
    parts = (memory.spatial, memory.pointer, memory.logits)
    return sum(part.numel() * part.element_size() for part in parts) + _RECORD
