"""Follow objects through videos: point at them on any frame, correct them on any other."""

import os
from typing import Any

from anymask.errors import DataError, VideoError
from anymask.frame import Frame
from anymask.frame_masks import FrameMasks as FrameMasks
from anymask.frames import Frames, open_frames
from anymask.model import Model
from anymask.model_memory import with_memory
from anymask.model_video import video_spec
from anymask.predict.video_core import Core
from anymask.predict.video_edits import SavedEdits
from anymask.predict.video_network import ModelWork
from anymask.predict.video_recall import RecallRules
from anymask.predict.video_session import Progress
from anymask.predict.video_session import VideoSession as VideoSession
from anymask.predict.video_source import FileReader
from anymask.predict.video_tracks import Following


class VideoPredictor:
    """Masks of objects in videos, from files, pictures, cameras.

    It holds no state of a video: sessions do, and one predictor may have any number of them.

    Parameters
    ----------
    model
        From `anymask.load`; one that has a memory, such as ``sam2.1-tiny``.
    max_prompted
        Prompted frames that are attended to at most, the nearest ones; None takes all.
    stride
        Take memories at multiples of this many frames, which reaches farther back.
    keep_bytes
        Bound of what a session keeps only to save time: results, a quarter of it, and memories that
        would be needed again if somebody corrected a frame long gone by. What was let go of is
        found by following the objects once more.
    maps_bytes
        Bound of the network's maps of the frames looked at last, for prompts on them.
    at_once
        Objects that are followed together at most.

    >>> predictor = VideoPredictor(load("sam2.1-tiny"))  # doctest: +SKIP
    >>> with predictor.start("clip.mp4") as session:  # doctest: +SKIP
    ...     session.prompt(0, 1, points=[[500, 375]])
    ...     for frame, masks in session.propagate():
    ...         print(frame, masks.areas)
    """

    def __init__(
        self,
        model: Model,
        *,
        max_prompted: int | None = None,
        stride: int = 1,
        keep_bytes: int = 3 * 2**23,
        maps_bytes: int = 2**26,
        at_once: int = 16,
    ) -> None:
        spec = video_spec(model.variant)
        lows = {"max_prompted": 1, "stride": 1, "keep_bytes": 0, "maps_bytes": 0, "at_once": 1}
        values = {
            "max_prompted": 1 if max_prompted is None else max_prompted,
            "stride": stride,
            "keep_bytes": keep_bytes,
            "maps_bytes": maps_bytes,
            "at_once": at_once,
        }
        for name, low in lows.items():
            if values[name] < low:
                raise VideoError("setting", f"it is at least {low}", given=values[name], where=name)
        self.model = with_memory(model)
        self.keep_bytes, self.maps_bytes, self.at_once = keep_bytes, maps_bytes, at_once
        self._how = Following(
            rules=RecallRules(
                memories=spec.memories,
                stride=stride,
                max_prompted=max_prompted,
                pointers=spec.pointers,
            )
        )

    def start(
        self, source: Any = None, *, count: int | None = None, letterbox: bool = False
    ) -> VideoSession:
        """A session of one video.

        Parameters
        ----------
        source
            What `anymask.frames.open_frames` takes, or what it gave, which is closed with the
            session; None for a stream, whose frames are handed to `VideoSession.step`.
        count
            Number of frames of a stream, if known. It matters in streams of fewer frames than
            pointers reach, which else give a little other masks than a file of the same frames.
        letterbox
            Fit frames of another size into that of the first, instead of refusing them.

        Raises
        ------
        VideoError
            The source cannot be read, or has no frame.
        """
        if source is None:
            return self._session(None, count, letterbox)
        reader = _reader(source, letterbox)
        return self._session(reader, reader.frames.count, letterbox)

    def resume(
        self,
        source: Any,
        path: str | os.PathLike[str],
        *,
        letterbox: bool = False,
        progress: Progress | None = None,
    ) -> VideoSession:
        """A session whose saved edits are done again, frames that were followed included.

        Parameters
        ----------
        source
            The video, as for `start`.
        path
            What `VideoSession.save` wrote.
        letterbox
            As for `start`.
        progress
            Called with how many edits are done, and how many there are.

        Raises
        ------
        DataError
            ``edits-missing``, ``edits-broken``; ``edits-other-model``, ``edits-other-video``.
        VideoError
            The source cannot be read.
        """
        saved, model = SavedEdits.read(path), self.model
        if (saved.variant, saved.fingerprint) != (model.variant.name, model.fingerprint):
            raise DataError(
                "edits-other-model",
                f"the edits were made with {saved.variant} ({saved.fingerprint[:8]}), "
                f"this is {model.variant.name} ({model.fingerprint[:8]})",
                where=str(path),
            )
        session = self._session(_reader(source, letterbox), saved.count, letterbox)
        try:
            if session.size != saved.size:
                height, width = session.size
                raise DataError(
                    "edits-other-video",
                    f"the edits are of frames of {saved.size[0]}x{saved.size[1]} "
                    f"(height x width), these have {height}x{width}",
                    where=str(path),
                )
            session.replay(saved.edits, progress)
        except BaseException:
            session.close()
            raise
        return session

    def _session(
        self, reader: FileReader | None, count: int | None, letterbox: bool
    ) -> VideoSession:
        return VideoSession(
            self.model, self._begin, count=count, reader=reader, letterbox=letterbox
        )

    def _begin(self, reader: FileReader, count: int | None, *, stream: bool) -> Core:
        """What a session knows, at its beginning."""
        size, spec = reader.frames.size, self.model.variant.spec
        work = ModelWork(self.model, reader, Frame.fit(size, spec), self.maps_bytes)
        return Core(
            work,
            self._how,
            spec,
            size,
            count=count,
            keep_bytes=0 if stream else self.keep_bytes,
            stream=stream,
            at_once=self.at_once,
        )


def _reader(source: Any, letterbox: bool) -> FileReader:
    """The frames of a source, which may be open already."""
    given = isinstance(source, Frames)
    return FileReader(source if given else open_frames(source, letterbox=letterbox))
