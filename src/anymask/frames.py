"""Frames of a video from anything that has them: RGB uint8 (H, W, 3), by index or one by one.

    frames_source      what a source offers
    frames_open        which source it is
    frames_sniff       what a video file is, by its first bytes
    frames_video       a video file: any frame by its index, exactly
    frames_decoder     the pass through a file below it
    frames_color       a decoded frame -> upright RGB
    frames_hdr         wide gamut and high dynamic range -> sRGB
    frames_pictures    pictures in a folder, a tar, a list or an array
    frames_animation   animated GIF, WebP and PNG
    frames_stream      what comes once, of a generator
    frames_camera      a camera

Sources are never changed. Memory is that of a few frames, however long the video is.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import UInt8

from anymask.errors import Note, VideoError
from anymask.frames_open import open_source
from anymask.frames_source import EndOfFrames, FrameFacts, FrameSource
from anymask.image import MAX_PIXELS
from anymask.image_arrays import Options

__all__ = ["FrameFacts", "Frames", "open_frames"]

_KEPT = 4  # frames that were read last: those that a user goes back and forth between


class Frames:
    """Frames of one size; made by `open_frames`.

    `read` may be called from several threads; one reads at a time. Close it, or use it in ``with``.
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        letterbox: bool = False,
        start: int = 0,
        stop: int | None = None,
        step: int = 1,
    ) -> None:
        self._source, self._letterbox = source, letterbox
        self._start, self._stop, self._step = start, stop, step
        self._lock = threading.RLock()
        self._kept: OrderedDict[int, UInt8[np.ndarray, "H W 3"]] = OrderedDict()
        self._next = 0  # after the last that was read
        self._notes: dict[str, Note] = {}
        self._closed = False
        self._size: tuple[int, int] | None = None
        try:
            self._size = self._get(0).shape[:2]
        except EndOfFrames as error:
            raise VideoError(
                "video-empty",
                "there is no frame" if not start else f"there is no frame {start}",
                where=source.where,
                hint="check the file, start= and stop=",
            ) from error

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame, px."""
        assert self._size is not None
        return self._size

    @property
    def count(self) -> int | None:
        """Number of frames where that is known for certain; see `counted`.

        For video files it is known once the end was seen: what a file says of itself is not taken
        for it.
        """
        return self._of_ours(self._source.count)

    @property
    def expected(self) -> int | None:
        """`count`, or what the file says of itself: for bars of progress."""
        known = self._source.count
        return self._of_ours(self._source.expected if known is None else known)

    @property
    def rate(self) -> float | None:
        """Mean frames a second; None where time means nothing."""
        return None if self._source.rate is None else self._source.rate / self._step

    @property
    def time_base(self) -> Fraction | None:
        """Seconds in a unit of `FrameFacts.pts`."""
        return self._source.time_base

    @property
    def names(self) -> Sequence[str] | None:
        """File names of the frames, in their order; None for a video file."""
        names = self._source.names
        return None if names is None else names[self._start : self._stop : self._step]

    @property
    def rereads(self) -> bool:
        """Whether earlier frames can be read again; not so for generators and cameras."""
        return self._source.rereads

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was converted or passed over so far; one of each kind."""
        return tuple({**self._source.notes, **self._notes}.values())

    def counted(self) -> int:
        """Number of frames, found by decoding all of them where it is not known.

        Raises
        ------
        VideoError
            As `read`; ``frames-once``: looking would use them up.
        """
        with self._lock:
            if self._source.count is None and not self.rereads:
                raise VideoError(
                    "frames-once",
                    "these frames come once, so they cannot be counted beforehand",
                    where=self._source.where,
                )
            return len(range(self._start, self._source.count_to(self._stop), self._step))

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """A frame as RGB; read-only.

        Raises
        ------
        VideoError
            ``frame-missing``: there is none of this index; ``frames-once``: it has gone by;
            ``frames-closed``; ``video-truncated``, ``video-damaged``, ``video-size``,
            ``camera-lost``: the frames before it are good.
        """
        try:
            return self._get(index)
        except EndOfFrames as error:
            count = self.count
            raise VideoError(
                "frame-missing",
                f"there are {count} frames" if count is not None else "there is no such frame",
                given=index,
                where=self._source.where,
            ) from error

    def facts(self, index: int) -> FrameFacts:
        """Time, name and state of a frame; it is read where that was not done yet.

        Errors as in `read`.
        """
        with self._lock:
            at = self._at(index)
            found = self._source.facts(at)
            if found is None:
                self.read(index)
                found = self._source.facts(at)
            assert found is not None
            return replace(found, index=index)

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """All frames from the first, or from where a source that comes once has got to."""
        index = 0 if self.rereads else self._next
        while True:
            try:
                frame = self._get(index)
            except EndOfFrames:
                return
            yield frame
            index += 1

    def close(self) -> None:
        """Let go of the file, the camera and all memory; more than once does no harm."""
        with self._lock:
            self._closed = True
            self._kept.clear()
            self._source.close()

    def __enter__(self) -> "Frames":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _of_ours(self, count: int | None) -> int | None:
        """Of so many frames of the source, how many are taken."""
        if count is None:
            return None
        stop = count if self._stop is None else min(count, self._stop)
        return len(range(self._start, stop, self._step))

    def _at(self, index: int) -> int:
        """The source's index of a frame."""
        at = self._start + index * self._step
        if index < 0 or (self._stop is not None and at >= self._stop):
            raise EndOfFrames
        return at

    def _get(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        with self._lock:
            if self._closed:
                raise VideoError("frames-closed", "the frames were closed", given=index)
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
            pixels = self._fitted(self._source.get(self._at(index)), index)
            pixels.flags.writeable = False
            self._kept[index] = pixels
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            self._next = index if self._size is None else index + 1
            return pixels

    def _fitted(self, pixels: UInt8[np.ndarray, "h w 3"], index: int) -> UInt8[np.ndarray, "H W 3"]:
        """A frame in the size of the first, its own shape kept."""
        found = pixels.shape[:2]
        if self._size is None or found == self._size:
            return pixels
        (h, w), (height, width) = found, self._size
        if not self._letterbox:
            raise VideoError(
                "video-size",
                f"the size changes from {width}x{height} to {w}x{h} (width x height)",
                where=f"{self._source.where or 'frames'}, frame {index}",
                hint="cut the video there, or pass letterbox=True",
            )
        self._notes["frame-letterbox"] = Note(
            "frame-letterbox", f"frames of other sizes were fitted into {width}x{height}"
        )
        scale = min(height / h, width / w)
        inner = max(1, min(width, round(w * scale))), max(1, min(height, round(h * scale)))
        small = cv2.resize(pixels, inner, interpolation=cv2.INTER_AREA if scale < 1 else 1)
        boxed = np.zeros((height, width, 3), np.uint8)
        top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
        boxed[top : top + inner[1], left : left + inner[0]] = small
        return boxed


def open_frames(
    source: object,
    *,
    letterbox: bool = False,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    rate: float | None = None,
    range: tuple[float, float] | None = None,
    max_pixels: int = MAX_PIXELS,
    threads: int = 1,
) -> Frames:
    """Frames of a video.

    Parameters
    ----------
    source
        A path: of a video file, of an animated GIF, WebP or PNG, of a folder of pictures, of a
        folder or tar with ``JPEGImages/``, or of a camera's device. The bytes of a video file, or
        a binary file. A list of pictures (all that `anymask.image.read_image` takes), an array
        (T, H, W, 3). An iterator of pictures, which is read once. The number of a camera.
        Addresses and playlists are refused.
    letterbox
        Fit frames of another size into the size of the first, with black bars. Without it they
        are an error.
    start, stop, step
        Take frames start, start + step ... below `stop`; all indices count these.
    rate
        Frames a second of sources that know none: pictures and arrays.
    range
        For pictures of more than 8 bits a channel; see `anymask.image.load_image`.
    max_pixels
        A frame above this is refused before it is decoded.
    threads
        That decode a video file. Frames are the same for any number, but for damaged ones.

    Raises
    ------
    VideoError
        ``video-missing``, ``-url``, ``-special``, ``-locked``, ``-kind``: nothing to read.
        ``video-empty``, ``-not``, ``-no-picture``, ``-unfinished``, ``-broken``, ``-several``,
        ``-colours``, ``-codec``: a source that cannot be used. ``camera-lost``.
        ``video-option``: an argument.
    ImageError
        ``image-too-large`` and others of `anymask.image.load_image`, where frames are pictures.
    MissingExtraError
        ``missing-video``: a video file, and the package that reads it is not installed.

    Examples
    --------
    >>> frames = open_frames(np.zeros((5, 4, 6, 3), np.uint8))
    >>> frames.count, frames.size, frames.read(4).shape
    (5, (4, 6), (4, 6, 3))
    """
    for name, value, low in (("start", start, 0), ("step", step, 1), ("threads", threads, 1)):
        if value < low:
            raise VideoError("video-option", f"{name}= is at least {low}", given=value, where=name)
    if rate is not None and not 0 < rate < float("inf"):
        raise VideoError("video-option", "rate= is above 0", given=rate, where="rate")
    options = Options(range=range, max_pixels=max_pixels)
    opened = open_source(source, options, rate=rate, threads=threads)
    try:
        return Frames(opened, letterbox=letterbox, start=start, stop=stop, step=step)
    except BaseException:
        opened.close()
        raise
