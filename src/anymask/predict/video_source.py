"""The frames of a session: read ahead in a thread, or handed in one by one."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from anymask.errors import Note, VideoError
from anymask.frames import Frames
from anymask.frames_source import EndOfFrames, FrameFacts

Pixels = UInt8[np.ndarray, "H W 3"]
_AHEAD = 2  # frames that are decoded while one is looked at


@runtime_checkable  # tests check types while they run
class Reader(Protocol):
    """Frames by their numbers."""

    def read(self, index: int) -> Pixels:
        """A frame, RGB, read-only."""
        ...

    def has(self, index: int) -> bool:
        """Whether there is such a frame."""
        ...

    def towards(self, step: int | None) -> None:
        """Tell which frame will be wanted after the next: 1 on, -1 back, None nobody knows."""
        ...

    def close(self) -> None: ...


class FileReader:
    """Frames of what `anymask.frames.open_frames` opens; the next ones are read in a thread.

    The thread reads one frame at a time in the order of travel, so a source that comes once is
    read in its own order.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self._step: int | None = None
        self._coming: dict[int, Future[Pixels]] = {}
        self._thread: ThreadPoolExecutor | None = None

    def read(self, index: int) -> Pixels:
        """A frame; errors as in `anymask.frames.Frames.read`."""
        coming = self._coming.pop(index, None)
        pixels = self.frames.read(index) if coming is None else coming.result()
        if self._step is not None:
            self._read_ahead(index, self._step)
        return pixels

    def has(self, index: int) -> bool:
        """Whether there is such a frame; read where the number of frames is not known."""
        count = self.frames.count
        if count is not None:
            return 0 <= index < count
        try:
            self.read(index)
        except VideoError as error:
            if error.code != "frame-missing":
                raise
            return False
        return True

    def towards(self, step: int | None) -> None:
        """Where the pass goes: the thread reads ahead, or what it read is dropped."""
        if step != self._step:
            self._step = step
            self._drop()

    def close(self) -> None:
        """Stop the thread and let go of the source."""
        self._drop()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        self.frames.close()

    def _read_ahead(self, index: int, step: int) -> None:
        count = self.frames.count
        for at in (index + step * i for i in range(1, _AHEAD + 1)):
            if at < 0 or (count is not None and at >= count) or at in self._coming:
                continue
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="anymask-frames")
            self._coming[at] = self._thread.submit(self.frames.read, at)
        wanted = {index + step * i for i in range(_AHEAD + 1)}
        for at in [at for at in self._coming if at not in wanted]:
            self._coming.pop(at).cancel()

    def _drop(self) -> None:
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()


class Pushed:
    """A source of frames that are handed in; the last ones can be read again.

    It is what `anymask.frames.Frames` takes as its source.
    """

    def __init__(self) -> None:
        self.where: str | None = None
        self.count: int | None = None
        self.expected: int | None = None
        self.rate: float | None = None
        self.time_base: Fraction | None = None
        self.names: Sequence[str] | None = None
        self.rereads = False
        self.notes: dict[str, Note] = {}
        self.given = 0  # frames so far
        self._last: Pixels | None = None

    def push(self, pixels: Pixels) -> None:
        """One frame more."""
        self._last = pixels
        self.given += 1

    def get(self, index: int) -> Pixels:
        """The frame that was handed in last; nobody keeps others but who read them."""
        if index >= self.given:
            raise EndOfFrames
        if index != self.given - 1 or self._last is None:
            raise VideoError(
                "frame-gone",
                f"of frames that are handed in the last ones can be looked at; "
                f"{self.given - 1} is the newest",
                given=index,
                hint="point at an object on the newest frame",
            )
        return self._last

    def facts(self, index: int) -> FrameFacts | None:
        """Nothing but its number."""
        return FrameFacts(index=index) if index < self.given else None

    def count_to(self, limit: int | None) -> int:
        """Frames so far, up to a limit."""
        return self.given if limit is None else min(limit, self.given)

    def close(self) -> None:
        """Forget the last frame."""
        self._last = None
