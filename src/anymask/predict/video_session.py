"""A session: one video, the objects in it, and the edits that say what they are."""

import os
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from anymask.errors import PromptError, VideoError
from anymask.frame_masks import FrameMasks
from anymask.frames import Frames
from anymask.image import Source, load_image
from anymask.model import Model
from anymask.predict.video_asked import parse_asked
from anymask.predict.video_core import Core
from anymask.predict.video_edits import Cleared, Edit, Passed, Prompted, Removed, SavedEdits
from anymask.predict.video_source import FileReader, Pushed

Progress = Callable[[int, int], None]


@runtime_checkable  # tests check types while they run
class Begin(Protocol):
    """Makes what a session knows, once its frames can be read."""

    def __call__(self, reader: FileReader, count: int | None, *, stream: bool) -> Core: ...


class VideoSession:
    """Objects of one video; made by `VideoPredictor.start`. Close it, or use it in ``with``.

    Its state is a list of edits (`edits`): what was pointed at, taken back, given up and followed.
    Prompts are answered at once; `propagate` and `step` carry objects to other frames. What is
    found on a frame follows from the prompts behind it in the direction of travel: an edit changes
    no frame before it, and no other object.

    Attributes
    ----------
    model
        The model.
    count
        Number of frames, None where that is not known.
    """

    def __init__(
        self,
        model: Model,
        begin: Begin,
        *,
        count: int | None,
        reader: FileReader | None,
        letterbox: bool,
    ) -> None:
        self.model = model
        self.count = count
        self._begin = begin
        self._reader = reader
        self._letterbox = letterbox
        self._pushed = Pushed() if reader is None else None
        self._core = None if reader is None else begin(reader, count, stream=False)
        self._closed = False

    @property
    def edits(self) -> tuple[Edit, ...]:
        """All that was done, in order."""
        return () if self._core is None else tuple(self._core.edits)

    @property
    def core(self) -> Core:
        """What it knows; for siblings that save it.

        Raises
        ------
        VideoError
            ``no-frame``, ``session-closed``.
        """
        return self._known()

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects, in the order in which they were first pointed at."""
        return () if self._core is None else self._core.object_ids

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the frames, px.

        Raises
        ------
        VideoError
            ``no-frame``: none was handed in so far; ``session-closed``.
        """
        return self._known().frame.image

    def prompt(
        self,
        frame: int,
        object_id: int | None = None,
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        add: bool = False,
        clip: bool = False,
    ) -> FrameMasks:
        """Point at an object on a frame, new or to be corrected; at any time.

        Parameters
        ----------
        frame
            Its index.
        object_id
            A number of yours, 0 or more, that no object was removed under; None takes a new one,
            the last of the result's ``object_ids``.
        points, labels
            (N, 2) px and (N,) 1 on, 0 off the object.
        boxes
            x0, y0, x1, y1 px: one box.
        masks
            The object as it stands, (H, W) of the frames' size; nothing set says that it is not
            to be seen here.
        add
            Add points to those given on this frame before, instead of replacing them. In both cases
            the mask there is refined.
        clip
            Move points outside onto the border.

        Returns
        -------
        FrameMasks
            All objects on this frame.

        Raises
        ------
        PromptError
            The prompt is wrong; ``object-id``, ``object-removed``.
        VideoError
            There is no such frame, or it cannot be read.
        """
        core = self._known()
        self._check_frame(frame)
        number = core.id_of(object_id)
        asked = parse_asked(
            frame,
            number,
            core.frame.image,
            points=points,
            labels=labels,
            boxes=boxes,
            masks=masks,
            clip=clip,
            earlier=core.prompts.get((number, frame)) if add else None,
            refines=core.knows(number, frame),
        )
        self._aim(None)
        core.prompt(asked)
        return core.masks(frame)

    def clear(self, frame: int, object_id: int) -> FrameMasks:
        """Take back what was pointed at on a frame.

        An object without any prompt stays, and is nowhere.

        Raises
        ------
        PromptError
            ``object-unknown``.
        VideoError
            ``frame-missing``; ``frame-gone``: of a stream only what was pointed at on the newest
            frame can be taken back.
        """
        core = self._known()
        self._check_frame(frame)
        if self._pushed is not None:
            self._pushed.get(frame)
        self._aim(None)
        core.clear(Cleared(frame=frame, object_id=core.known(object_id)))
        return core.masks(frame)

    def remove(self, object_id: int) -> None:
        """Give an object up; others stay as they are, and its id is not used again.

        Raises
        ------
        PromptError
            ``object-unknown``.
        """
        core = self._known()
        core.remove(Removed(object_id=core.known(object_id)))

    def masks(self, frame: int) -> FrameMasks:
        """What is known of a frame now; nothing is computed.

        Objects not followed there yet have empty masks, and so do those whose result was let go of.
        """
        return self._known().masks(frame)

    def propagate(
        self, start: int | None = None, stop: int | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[int, FrameMasks]]:
        """Follow the objects from frame to frame.

        Frames that no edit touched since they were followed are given again as they were. Between
        two frames the session may be edited; the pass goes on with what is true then.

        Parameters
        ----------
        start
            The first frame; None begins at the first prompted one, or going back at the last.
        stop
            The frame before which it ends; None goes to the end, or going back to frame 0.
        reverse
            Go back in time.

        Yields
        ------
        tuple
            Index of the frame, and the masks of all objects on it.

        Raises
        ------
        PromptError
            ``no-prompt``: nothing was pointed at so far.
        VideoError
            ``frame-missing``: `start` is no frame; a frame cannot be read; those before are good.
        """
        prompted = sorted({frame for _, frame in self._known().prompts})
        if not prompted:
            raise PromptError(
                "no-prompt", "nothing was pointed at in this video", hint="call prompt() first"
            )
        if start is None:
            start = prompted[-1] if reverse else prompted[0]
        self._check_frame(start)
        return self._pass(start, stop, reverse)

    def step(self, frame: Source) -> FrameMasks:
        """Take the next frame of a stream in, and follow all objects onto it.

        What comes out is what `propagate` gives for a file of the same frames. Point at objects on
        the newest frame: its index is that of the result.

        Raises
        ------
        VideoError
            ``not-a-stream``: the session has a source of its own; ``video-size``: the frame's size
            is not that of the first.
        """
        if self._pushed is None:
            raise VideoError(
                "not-a-stream",
                "frames are read from the source here, not handed in",
                hint="start() without a source takes frames one by one",
            )
        pushed = self._pushed
        pushed.push(_pixels(frame))
        index = pushed.given - 1
        try:
            if self._reader is None:
                frames = Frames(pushed, letterbox=self._letterbox, start=0, stop=None, step=1)
                self._reader = FileReader(frames)
                self._core = self._begin(self._reader, self.count, stream=True)
            self._reader.read(index)  # its size is looked at even where nothing is followed
        except VideoError:
            pushed.given -= 1  # as if it had not come
            raise
        return self._known().go(index, reverse=False)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the edits to a JSON file; `VideoPredictor.resume` does them again.

        Raises
        ------
        OutputError
            ``file-exists``: the file is there and `overwrite` is off; ``write-failed``.
        """
        SavedEdits(
            variant=self.model.variant.name,
            fingerprint=self.model.fingerprint,
            size=self.size,
            count=self.count,
            edits=self.edits,
        ).write(path, overwrite=overwrite)

    def replay(self, edits: Iterable[Edit], progress: Progress | None = None) -> None:
        """Do edits of another session of the same video.

        Parameters
        ----------
        edits
            In their order.
        progress
            Called with how many are done, and how many there are.
        """
        core, rows = self._known(), tuple(edits)
        for done, edit in enumerate(rows):
            match edit:
                case Prompted():
                    self._check_frame(edit.frame)
                    core.id_of(edit.object_id)
                    core.prompt(edit)
                case Cleared():
                    core.known(edit.object_id)
                    core.clear(edit)
                case Removed():
                    core.known(edit.object_id)
                    core.remove(edit)
                case Passed():
                    step = -1 if edit.reverse else 1
                    self._aim(step)
                    for frame in range(edit.first, edit.last + step, step):
                        self._check_frame(frame)
                        core.go(frame, reverse=edit.reverse)
            if progress is not None:
                progress(done + 1, len(rows))

    def close(self) -> None:
        """Let go of the source, the thread that reads it and all memory."""
        if self._core is not None:
            self._core.close()
        if self._reader is not None:
            self._reader.close()
        self._closed = True

    def __enter__(self) -> "VideoSession":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _known(self) -> Core:
        if self._closed:
            raise VideoError("session-closed", "the session was closed")
        if self._core is None:
            raise VideoError(
                "no-frame", "no frame was handed in so far", hint="call step(frame) first"
            )
        return self._core

    def _aim(self, step: int | None) -> None:
        """Tell the reader where the frames go."""
        if self._reader is not None:
            self._reader.towards(None if self._pushed is not None else step)

    def _check_frame(self, frame: int) -> None:
        """Refuse what is no index of a frame.

        Raises
        ------
        VideoError
            ``frame-missing``.
        """
        whole = isinstance(frame, int | np.integer) and not isinstance(frame, bool)
        count = self._reader.frames.count if self._reader is not None else None
        count = self._pushed.given if self._pushed is not None else count
        if not whole or frame < 0 or (count is not None and frame >= count):
            raise VideoError(
                "frame-missing",
                f"there are {count} frames" if count is not None else "there is no such frame",
                given=frame,
            )

    def _pass(
        self, start: int, stop: int | None, reverse: bool
    ) -> Iterator[tuple[int, FrameMasks]]:
        step = -1 if reverse else 1
        frame = start
        while stop is None or (frame > stop if reverse else frame < stop):
            core = self._known()
            self._aim(step)  # an edit in between may have looked elsewhere
            if frame < 0 or not self._has(frame):
                return
            yield frame, core.go(frame, reverse=reverse)
            frame += step

    def _has(self, frame: int) -> bool:
        """Whether there is such a frame."""
        if self._pushed is not None:
            return frame < self._pushed.given
        return self._reader is not None and self._reader.has(frame)


def _pixels(frame: Source) -> UInt8[np.ndarray, "H W 3"]:
    """A frame as RGB; a caller may write to his own later."""
    plain = (
        isinstance(frame, np.ndarray)
        and frame.dtype == np.uint8
        and frame.ndim == 3
        and frame.shape[2] == 3
    )
    return np.array(frame if plain else load_image(frame).pixels)
