"""Frames to a video file that everything plays: MP4, H.264, 4:2:0; written as they come.

The file appears whole under its name when it is finished, or not at all. The frames keep the times
of their source, whose first is 0 here: a variable rate stays variable. Where this FFmpeg has no
encoder for H.264, MPEG-4 part 2 is written, with a note. Sides are even in such files: an odd one
gets one more row or column, the copy of its neighbour, with a note.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import cv2
import numpy as np
from jaxtyping import UInt8

from anymask.errors import Note, OutputError
from anymask.formats.atomic import atomic_file, naming
from anymask.frames_decoder import need_av

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_RATE = 25.0  # frames a second of a source that knows none
_BT709, _LIMITED = 1, 1  # matrix, primaries and curve; range, as FFmpeg numbers them
_ENCODERS = (
    # no frames that need later ones: times need no shift then, and any player seeks well
    ("libx264", {"crf": "18", "preset": "veryfast", "bf": "0"}),
    ("libopenh264", {"qmin": "10", "qmax": "24"}),
    ("mpeg4", {"qmin": "2", "qmax": "5", "bf": "0"}),
)
_MPEG4_MOST = 60_000  # its largest unit of time is 1 / 65535 s
_SIDE_BITS = 30  # of a unit of time, as MP4 holds it


class Mp4Writer:
    """A video file that grows; use it in ``with``, which finishes it, or drops it on an error.

    Parameters
    ----------
    path
        The file.
    rate
        Frames a second where frames have no times; 25 if None.
    time_base
        Seconds in a unit of the times that are given with frames.
    overwrite
        Replace a file that is there.
    encoder
        FFmpeg's name of one of those in `_ENCODERS`; the first that there is if None.

    Attributes
    ----------
    count
        Frames so far.
    notes
        By code: what was not kept.

    Raises
    ------
    OutputError
        ``file-exists``, ``disk-full``, ``folder-read-only`` and others of
        `anymask.formats.atomic.write_atomic`, before the first frame.
    MissingExtraError
        ``missing-video``.
    """

    def __init__(
        self,
        path: Path,
        *,
        rate: float | None = None,
        time_base: Fraction | None = None,
        overwrite: bool = False,
        encoder: str | None = None,
    ) -> None:
        self._av = need_av(str(path))
        self.path, self.count = path, 0
        self.notes: dict[str, Note] = {}
        self._encoder = encoder or self._first_encoder()
        self._rate = Fraction(rate or _RATE).limit_denominator(100_000)
        self._unit = self._unit_for(time_base or 1 / self._rate)
        self._given_unit = time_base or self._unit
        self._step = max(1, round(1 / self._rate / self._unit))
        self._first: int | None = None  # time of the first frame, in units given
        self._last = -1  # time of the last frame, in units of the file
        self._size: tuple[int, int] | None = None
        self._stack = contextlib.ExitStack()
        self._file = _Watched(self._stack.enter_context(atomic_file(path, overwrite=overwrite)))
        self._out: Any = None
        self._stream: VideoStream | None = None

    def add(self, pixels: UInt8[np.ndarray, "H W 3"], pts: int | None = None) -> None:
        """One frame more.

        Parameters
        ----------
        pixels
            RGB, of the first frame's size.
        pts
            Its time in units of the source's time base. Where it is missing, or not after the
            frame before, the frame follows that one.

        Raises
        ------
        OutputError
            ``frame-size``; ``video-encoder``: FFmpeg refuses; ``disk-full`` and others.
        """
        if self._size is None:
            self._begin(pixels.shape[0], pixels.shape[1])
        if pixels.shape[:2] != self._size:
            raise OutputError(
                "frame-size",
                f"the frames of this video are {self._size} (height x width)",
                given=pixels.shape[:2],
                where=str(self.path),
            )
        frame = self._av.VideoFrame.from_ndarray(_even(pixels), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED, threads=1
        )
        frame.pts, frame.time_base = self._time(pts), self._unit
        with self._failing():
            self._mux(self._stream_of().encode(frame))
        self.count += 1

    def finish(self) -> tuple[Note, ...]:
        """Put the file in place; what was not kept. Without a frame there is no file."""
        if self._out is None:
            self.discard()
            return tuple(self.notes.values())
        with self._failing():
            self._mux(self._stream_of().encode(None))
            self._out.close()
        self._out = None
        self._stack.close()
        return tuple(self.notes.values())

    def discard(self) -> None:
        """Forget what was written."""
        if self._out is not None:
            with contextlib.suppress(self._av.error.FFmpegError, OSError):
                self._out.close()
            self._out = None
        with contextlib.suppress(_Discarded):
            self._stack.__exit__(_Discarded, _Discarded(), None)

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.discard()

    def _begin(self, height: int, width: int) -> None:
        self._size = height, width
        if height % 2 or width % 2:
            self.notes["video-padded"] = Note(
                "video-padded",
                f"{width}x{height} px became {width + width % 2}x{height + height % 2}: "
                "sides are even in such a file",
            )
        with self._failing():
            self._out = self._av.open(self._file, "w", format="mp4")
            stream = self._out.add_stream(
                self._encoder, rate=self._rate, options=dict(_ENCODERS)[self._encoder]
            )
            stream.height, stream.width = height + height % 2, width + width % 2
            stream.pix_fmt = "yuv420p"
            context = stream.codec_context
            context.time_base = self._unit
            context.thread_count = min(4, os.cpu_count() or 1)
            context.color_range = _LIMITED
            context.colorspace = context.color_primaries = context.color_trc = _BT709
        self._stream = stream
        if self._encoder == "mpeg4":
            self.notes["video-mpeg4"] = Note(
                "video-mpeg4", "there is no encoder for H.264: MPEG-4, which browsers do not play"
            )

    def _time(self, pts: int | None) -> int:
        """A frame's time in the file: rising, whatever the source says."""
        if pts is not None:
            self._first = pts if self._first is None else self._first
            at = round((pts - self._first) * self._given_unit / self._unit)
            if at <= self._last:
                pts = None
        if pts is None:
            at = self._last + self._step if self._last >= 0 else 0
            if self._first is not None:
                self.notes["video-times"] = Note(
                    "video-times", "times were missing or went back: those frames follow each other"
                )
        self._last = at
        return at

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = packet.duration or self._step
            self._out.mux(packet)

    def _stream_of(self) -> "VideoStream":
        assert self._stream is not None
        return self._stream

    def _unit_for(self, unit: Fraction) -> Fraction:
        """The file's unit of time: one part of a second, in which all given times are whole."""
        most = _MPEG4_MOST if self._encoder == "mpeg4" else 1 << _SIDE_BITS
        parts = unit.denominator
        return Fraction(1, parts if parts <= most else most)

    def _first_encoder(self) -> str:
        for name, _ in _ENCODERS:
            with contextlib.suppress(self._av.error.FFmpegError, ValueError):
                self._av.codec.Codec(name, "w")
                return name
        raise OutputError(
            "video-encoder", "this FFmpeg can write no MP4 video", hint="pip install 'av>=17'"
        )

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """FFmpeg's errors and the file's as ours; after one nothing is left of the file."""
        try:
            with naming(self.path):
                try:
                    yield
                except self._av.error.FFmpegError as error:
                    self._file.check()
                    raise OutputError(
                        "video-encoder",
                        f"FFmpeg cannot write this ({error.strerror})",
                        given=self._size,
                        where=str(self.path),
                    ) from error
                self._file.check()
        except BaseException:
            self.discard()
            raise


class _Watched:
    """A file for FFmpeg, which passes over errors of writing: the first is kept."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._fault: OSError | None = None

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self._fault is not None:
            raise self._fault

    def write(self, data: bytes) -> int:
        return self._kept(lambda: self._file.write(data))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._kept(lambda: self._file.seek(offset, whence))

    def tell(self) -> int:
        return self._kept(self._file.tell)

    def _kept(self, action: Callable[[], int]) -> int:
        self.check()
        try:
            return action()
        except OSError as error:
            self._fault = error
            raise


class _Discarded(Exception):  # noqa: N818 - tells the open file that it is not wanted
    """The video is dropped."""


def _even(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """With even sides: the last row or column twice."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.asarray(
            cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        )
    return np.ascontiguousarray(pixels)
