"""A camera as a source of frames: each is waited for in another thread, never for ever.

A driver that hangs cannot be stopped, but it can be left: after `wait_s` without a frame the camera
is opened anew, three times, then it is given up. What was tracked until then is the caller's.
"""

import threading
import time
from array import array
from collections.abc import Callable, Sequence
from fractions import Fraction
from queue import Empty, SimpleQueue
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from anymask.errors import Note, VideoError
from anymask.frames_source import EndOfFrames, FrameFacts, Pixels

_WAIT_S = 5.0  # for a frame
_TRIES = 3  # to open it again
_MS = 1000


@runtime_checkable
class Capture(Protocol):
    """What OpenCV's `VideoCapture` offers."""

    def read(self) -> tuple[bool, np.ndarray]: ...

    def release(self) -> None: ...


class Camera:
    """A source of frames; see `anymask.frames_source.FrameSource`.

    Frames are those that the camera has when they are asked for: a slow reader misses some, and
    the times tell. Sizes may change when it was opened again.

    Parameters
    ----------
    connect
        Opens the camera.
    where
        Its number or name.
    wait_s
        For a frame before the camera is taken for lost, s.
    """

    rereads = False
    names: Sequence[str] | None = None
    expected: int | None = None
    rate: float | None = None
    time_base: Fraction | None = Fraction(1, _MS)

    def __init__(
        self, connect: Callable[[], Capture], where: str, *, wait_s: float = _WAIT_S
    ) -> None:
        self.where: str | None = where
        self.count: int | None = None
        self.notes: dict[str, Note] = {}
        self._connect, self._wait_s = connect, wait_s
        self._reader: _Reader | None = None
        self._times = array("q")  # ms since the first frame
        self._begin = 0.0
        self._closed = False

    def get(self, index: int) -> Pixels:
        if self._closed:
            raise EndOfFrames
        if index < len(self._times):
            raise VideoError(
                "frames-once",
                f"a camera's frames come once, and {len(self._times)} have gone by",
                given=index,
                where=self.where,
            )
        pixels = self._next()
        while len(self._times) <= index:
            pixels = self._next()
        return pixels

    def facts(self, index: int) -> FrameFacts | None:
        if index >= len(self._times):
            return None
        return FrameFacts(index=index, pts=self._times[index], time_s=self._times[index] / _MS)

    def count_to(self, limit: int | None) -> int:
        return len(self._times)

    def close(self) -> None:
        self._closed = True
        if self._reader is not None:
            self._reader.leave()
            self._reader = None

    def _next(self) -> Pixels:
        """The next frame, from a camera that may have to be opened again."""
        for attempt in range(1 + _TRIES):
            if self._reader is None:
                self._reader = _Reader(self._connect)
            pixels = self._reader.frame(self._wait_s)
            if pixels is not None:
                now = time.monotonic()
                self._begin = self._begin if self._times else now
                self._times.append(round((now - self._begin) * _MS))
                return pixels
            self._reader.leave()
            self._reader = None
            if attempt < _TRIES:
                self.notes["camera-reopened"] = Note(
                    "camera-reopened", f"the camera gave no frame {len(self._times)}: opened again"
                )
        raise VideoError(
            "camera-lost",
            f"the camera gave no frame within {self._wait_s:g} s, nor after {_TRIES} more tries",
            where=f"{self.where}, frame {len(self._times)}",
            hint="is it plugged in, and used by no other program? The frames before are good",
        )


class _Reader:
    """Opens a camera and reads it in a thread of its own, a frame at a time when asked."""

    def __init__(self, connect: Callable[[], Capture]) -> None:
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._given: SimpleQueue[Pixels | None] = SimpleQueue()
        thread = threading.Thread(
            target=self._work, args=(connect,), name="anymask-camera", daemon=True
        )
        thread.start()

    def frame(self, wait_s: float) -> Pixels | None:
        """The next frame, None where there is none in time."""
        self._asked.put(True)
        try:
            return self._given.get(timeout=wait_s)
        except Empty:
            return None

    def leave(self) -> None:
        """Let the camera go, as soon as its driver answers."""
        self._asked.put(False)

    def _work(self, connect: Callable[[], Capture]) -> None:
        try:
            capture = connect()
        except Exception:
            self._given.put(None)
            return
        try:
            while self._asked.get():
                good, pixels = capture.read()
                self._given.put(_rgb(pixels) if good else None)
        except Exception:  # a driver may raise anything; the asker tries again
            self._given.put(None)
        finally:
            capture.release()


def _rgb(pixels: np.ndarray) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def open_camera(device: int | str) -> Camera:
    """The camera of a number, or of a device file such as ``/dev/video0``."""

    def connect() -> Capture:
        capture: Capture = cv2.VideoCapture(device)
        return capture

    return Camera(connect, f"camera {device}")
