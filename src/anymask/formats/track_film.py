"""The overlay of a tracked video: drawn while frames are done, put in place as a whole.

Frames that an earlier run has done are drawn from its lines before the first new one. Frames that
were tracked back in time are all drawn at the end, in the order in which they are to be seen.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from anymask.errors import Note
from anymask.formats.mp4 import Mp4Writer
from anymask.formats.track_folder import OVERLAY, TrackFolder
from anymask.formats.track_overlay import draw_objects
from anymask.frame_masks import FrameMasks
from anymask.frames import Frames


class Film:
    """An overlay that is being drawn; use it in ``with``, and `finish` it.

    Parameters
    ----------
    frames
        Those that are tracked.
    folder
        Of the run.
    index
        From a frame's number in the video to its index among `frames`.
    label
        What people read for an object, by its number and its name.
    reverse
        Frames come back in time.

    Raises
    ------
    MissingExtraError
        ``missing-video``.
    """

    def __init__(
        self,
        frames: Frames,
        folder: TrackFolder,
        index: Callable[[int], int],
        label: Callable[[int, str | None], str],
        *,
        reverse: bool = False,
    ) -> None:
        self._frames, self._folder = frames, folder
        self._index, self._label, self._reverse = index, label, reverse
        self._at = folder.part(OVERLAY)
        self._writer = Mp4Writer(
            self._at, rate=frames.rate, time_base=frames.time_base, overwrite=True
        )
        self._begun = False

    def add(self, number: int, masks: FrameMasks, labels: Sequence[str]) -> None:
        """One frame more, by its number in the video, and what people read for each object."""
        if self._reverse:
            return
        if not self._begun:
            self._catch_up(number)
        self._draw(self._index(number), masks, labels)

    def finish(self) -> tuple[Path, tuple[Note, ...]]:
        """Where the film lies now, and what was not kept."""
        if not self._begun:
            self._catch_up(None)
        notes = self._writer.finish()
        return self._at, notes

    def __enter__(self) -> "Film":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.discard()

    def _catch_up(self, number: int | None) -> None:
        """Draw frames that were done before, up to one."""
        self._begun = True
        for line in self._folder.lines(back=self._reverse):
            if number is not None and line.frame >= number:
                return
            labels = [self._label(one.id, one.name) for one in line.objects]
            self._draw(self._index(line.frame), line.masks(), labels)

    def _draw(self, index: int, masks: FrameMasks, labels: Sequence[str]) -> None:
        pixels = self._frames.read(index)
        lone = len(labels) == 1 and labels[0].isdigit() and masks.areas.all()
        drawn = draw_objects(pixels, masks, () if lone else labels)  # a lone "1" says nothing
        self._writer.add(drawn, self._frames.facts(index).pts)
