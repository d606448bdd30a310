"""One run of `anymask track`, or of `anymask everything` on a video: frames in, files out."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymask.cli.common import SOME_FAILED, JsonList, Progress, Stop, describe, line_of, say
from anymask.cli.everything_report import Pace
from anymask.errors import Note, VideoError, shown_text

if TYPE_CHECKING:
    from anymask.formats.track_film import Film
    from anymask.formats.track_folder import TrackFolder
    from anymask.formats.track_lines import TrackLine
    from anymask.frames import Frames
    from anymask.predict.video_follow import Follower
    from anymask.predict.video_found import FoundMasks

_SAVED_EVERY_S = 10.0  # what a kill costs at most, s


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Which frames of a video are taken, and in which direction.

    Attributes
    ----------
    start, stop
        The first one, and the one before which it ends; None is the end.
    every
        Every so many.
    reverse
        Back in time.
    """

    start: int = 0
    stop: int | None = None
    every: int = 1
    reverse: bool = False

    def number(self, index: int) -> int:
        """The number in the whole video of a frame among those that are taken."""
        return self.start + self.every * index

    def index(self, number: int) -> int:
        """The place of a taken frame among those."""
        return (number - self.start) // self.every

    @property
    def settings(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "start": self.start,
            "stop": self.stop,
            "every": self.every,
            "reverse": self.reverse,
        }


@dataclass(kw_only=True)
class TrackRun:
    """One run: what is asked, where results go, and what came of it so far.

    Attributes
    ----------
    video
        Path of the video.
    folder
        From the frames to the folder of the results, not yet entered; None: there is none.
    taken
        Which frames.
    check
        Refuses prompts that do not fit the frames, before the model is loaded.
    follow
        Loads the model and gives who follows; the slow part.
    label
        What people read for an object, by its number and its name.
    overlay
        The overlay is wanted.
    as_json
        Lines go to stdout, too.
    """

    video: str
    folder: "Callable[[], TrackFolder] | None"
    taken: Taken
    check: "Callable[[Frames], object]"
    follow: "Callable[[Frames, ExitStack], Follower]"
    label: Callable[[int, str | None], str]
    overlay: bool = True
    as_json: bool = False
    _noted: set[str] = field(default_factory=set, init=False)
    _objects: dict[int, "_Tally"] = field(default_factory=dict, init=False)
    _count: int = field(default=0, init=False)  # frames that are done

    def all(self) -> int:
        """All frames; the exit code."""
        from anymask.frames import open_frames

        taken = self.taken
        with ExitStack() as stack:
            frames = stack.enter_context(
                open_frames(self.video, start=taken.start, stop=taken.stop, step=taken.every)
            )
            self.check(frames)
            folder = None if self.folder is None else stack.enter_context(self.folder())
            out = stack.enter_context(JsonList("frames")) if self.as_json else None
            if folder is None:
                return self._frames(frames, None, self.follow(frames, stack), out)
            for line in folder.lines():  # of an earlier run
                _mend(folder, line)
                self._add_up(line, out)
            if folder.complete:
                say("note: skipped: all frames were done before")
                self._tell(folder, out)
                return 0
            film = self._film(frames, folder, stack)
            return self._frames(frames, folder, self.follow(frames, stack), out, film)

    def _frames(
        self,
        frames: "Frames",
        folder: "TrackFolder | None",
        follower: "Follower",
        out: JsonList | None,
        film: "Film | None" = None,
    ) -> int:
        """Frame after frame."""
        before = self._count
        state = None if folder is None or not before else folder.load_state()
        if state is not None:
            follower.restore(state)
            say(f"going on after {before} frames")
        elif before:
            say(f"{before} frames are done; they are tracked again, and kept as they are")
        done = set() if folder is None else set(folder.frames)
        pace, saved, error = Pace(), time.monotonic(), None
        total = follower.span(frames.expected)
        with Progress("frames", bar=out is None) as bar, Stop("frame") as stop:
            try:
                for found in follower.results():
                    number = self.taken.number(found.frame)
                    if film is not None:
                        film.add(number, found, self._labels(found))
                    if number not in done:
                        self._keep(folder, number, found, frames, out)
                    pace.tick()
                    bar.show(self._count, total, self._told(found, pace, total))
                    if stop.asked:
                        break
                    if folder is not None and time.monotonic() - saved >= _SAVED_EVERY_S:
                        folder.save_state(follower.save())
                        saved = time.monotonic()
            except VideoError as problem:  # the frames before it are good, and stay
                if not self._count:
                    raise
                error = problem
            for note in frames.notes:
                self._note(note)
            whole = not stop.asked and error is None
            if folder is not None:
                if not whole and self._count > before:
                    folder.save_state(follower.save())
                self._finish(folder, film, whole)
        if stop.asked:
            self._stopped(folder, total)
        self._tell(folder, out)
        if error is None:
            return stop.asked
        say(line_of(error))
        if out is not None:
            out.error = describe(error)
        return SOME_FAILED

    def _keep(
        self,
        folder: "TrackFolder | None",
        number: int,
        found: "FoundMasks",
        frames: "Frames",
        out: JsonList | None,
    ) -> None:
        """Write one frame's results."""
        from anymask.formats.track_lines import track_line

        names = [name or None for name in found.names]
        line = track_line(found, names, frames.facts(found.frame))
        line = replace(line, frame=number)
        if folder is not None:
            folder.add(line, _png(line))
        for note in found.notes:
            self._note(note)
        self._add_up(line, out)

    def _labels(self, found: "FoundMasks") -> list[str]:
        """What people read for each object of a frame."""
        return [
            self.label(one, name) for one, name in zip(found.object_ids, found.names, strict=True)
        ]

    def _add_up(self, line: "TrackLine", out: JsonList | None) -> None:
        """Count a frame that is done, and print it where that is wanted."""
        from anymask.formats.track_lines import line_table

        self._count += 1
        for one in line.objects:
            tally = self._objects.setdefault(one.id, _Tally(name=self.label(one.id, one.name)))
            tally.frames += 1
            tally.lost += one.lost
        if out is not None:
            out.add(line_table(line))

    def _film(self, frames: "Frames", folder: "TrackFolder", stack: ExitStack) -> "Film | None":
        """The overlay, where one is wanted; its place is looked at before the work."""
        if not self.overlay:
            return None
        from anymask.formats.track_film import Film
        from anymask.formats.track_folder import OVERLAY

        folder.check_final(OVERLAY)
        reverse = self.taken.reverse
        return stack.enter_context(
            Film(frames, folder, self.taken.index, self.label, reverse=reverse)
        )

    def _finish(self, folder: "TrackFolder", film: "Film | None", whole: bool) -> None:
        """Put the overlay in place; of frames that go back in time when all are there."""
        from anymask.formats.track_folder import OVERLAY

        if film is None or not self._count or (self.taken.reverse and not whole):
            if whole:
                folder.finish()
            return
        at, notes = film.finish()
        folder.final(OVERLAY, at, complete=whole)
        for note in notes:
            self._note(note)

    def _stopped(self, folder: "TrackFolder | None", total: int | None) -> None:
        """What a user may do after Ctrl-C."""
        of = f" of {total}" if total is not None else ""
        hint = "; the same command goes on from here" if folder is not None else ""
        say(f"stopped: {self._count}{of} frames are done{hint}")

    def _told(self, found: "FoundMasks", pace: Pace, total: int | None) -> str:
        """What stands beside the number of frames."""
        parts = []
        rate = pace.rate
        if rate is not None:
            parts.append(f"{rate:.1f} fps")
            if total is not None and total > self._count:
                parts.append(f"{pace.left(total - self._count)} left")
        if found.lost:
            labels = dict(zip(found.object_ids, self._labels(found), strict=True))
            parts.append("lost: " + ", ".join(labels[one] for one in found.lost))
        return shown_text(", ".join(parts))

    def _tell(self, folder: "TrackFolder | None", out: JsonList | None) -> None:
        """What was found of each object, and where the files are."""
        for tally in self._objects.values():
            lost = f", lost on {tally.lost}" if tally.lost else ""
            say(f"{shown_text(tally.name)}: on {tally.frames - tally.lost} frames{lost}")
        if folder is None or out is not None:
            return
        from anymask.formats.track_folder import LINES, MASKS, OVERLAY

        for name in (OVERLAY, MASKS, LINES):
            if (folder.root / name).exists():
                print(shown_text(str(folder.root / name)), flush=True)

    def _note(self, note: Note) -> None:
        """A note, once for each kind."""
        if note.code not in self._noted:
            self._noted.add(note.code)
            say(f"note: {note.code}: {shown_text(note.text)}")


@dataclass(slots=True, kw_only=True)
class _Tally:
    """How often an object was seen."""

    name: str
    frames: int = 0
    lost: int = 0


def _mend(folder: "TrackFolder", line: "TrackLine") -> None:
    """Make the label map of a frame from its line, where there is none."""
    if not folder.mask_path(line.frame).exists():
        folder.add_mask(line.frame, _png(line))


def _png(line: "TrackLine") -> bytes:
    """The label map of a frame."""
    from anymask.formats.davis import davis_png, labels_of

    return davis_png(labels_of(line.masks()))


def content_of(video: Path) -> str | None:
    """A hash of a video: of its file, or of the names and contents of a folder's pictures."""
    import hashlib

    from anymask.formats.run_files import content_hash

    if not video.is_dir():
        return content_hash(video)
    whole, inside = hashlib.sha256(), video / "JPEGImages"
    folder = inside if inside.is_dir() else video  # folders in it may hold our results
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        whole.update(f"{path.name}\0{content_hash(path)}\n".encode())
    return whole.hexdigest()
