"""Animated GIF, WebP and PNG by Pillow: each frame as it is seen, delays as times."""

from array import array
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import BinaryIO

from PIL import Image

from anymask.errors import Note, VideoError
from anymask.frames_source import EndOfFrames, FrameFacts, Pixels
from anymask.image_arrays import Options
from anymask.image_color import picture_to_rgb

_MS = 1000  # delays are milliseconds
_KINDS = ("GIF", "WEBP", "PNG")


class Animation:
    """A source of frames; see `anymask.frames_source.FrameSource`.

    Going on is cheap; going back decodes from the start, as each frame is drawn over the last.
    """

    rereads = True
    names: Sequence[str] | None = None
    time_base: Fraction | None = Fraction(1, _MS)

    def __init__(self, opener: Callable[[], BinaryIO], options: Options, where: str | None) -> None:
        self.where, self._options = where, options
        self.notes: dict[str, Note] = {}
        self._file = opener()
        try:
            self._picture = Image.open(self._file, formats=_KINDS)
            count = int(getattr(self._picture, "n_frames", 1))
        except Exception as error:  # on damaged files Pillow's readers raise almost anything
            self._file.close()
            raise VideoError(
                "video-broken", "the file cannot be read", where=where, hint="fetch it again"
            ) from error
        if count == 1 and self._picture.format != "GIF":
            self.close()
            raise VideoError(
                "video-not",
                f"this is a single picture ({self._picture.format})",
                where=where,
                hint="give a video, or a list of pictures",
            )
        try:
            options.check_size(self._picture.height, self._picture.width, where)
        except BaseException:
            self.close()
            raise
        self.count: int | None = count
        self.expected: int | None = count
        self._total = count
        self._starts = array("q", [0])  # ms at which frames begin, of those that were seen
        self.rate: float | None = None
        if count > 1:
            self.rate = self._mean_rate()

    def get(self, index: int) -> Pixels:
        if index >= self._total:
            raise EndOfFrames
        self._load(index)
        return picture_to_rgb(self._picture, self._options, self.notes, where=self.where)

    def facts(self, index: int) -> FrameFacts | None:
        if index >= self._total:
            return None
        start = self._starts[index]
        return FrameFacts(index=index, pts=start, time_s=start / _MS)

    def count_to(self, limit: int | None) -> int:
        return self._total if limit is None else min(limit, self._total)

    def close(self) -> None:
        self._picture.close()
        self._file.close()

    def _load(self, index: int) -> None:
        try:
            self._picture.seek(index)
            self._picture.load()
        except Exception as error:  # as in __init__
            raise VideoError(
                "video-truncated",
                f"the file cannot be read on; {index} frames are good",
                where=f"{self.where or 'animation'}, frame {index}",
                hint="fetch it again, or pass stop= to use what there is",
            ) from error

    def _mean_rate(self) -> float | None:
        """Reads all delays, which are in the frames' headers; stops where the file is damaged."""
        try:
            for index in range(self._total):
                self._load(index)
                delay = max(0, round(float(self._picture.info.get("duration", 0) or 0)))
                self._starts.append(self._starts[-1] + delay)
        except VideoError:
            while len(self._starts) <= self._total:
                self._starts.append(self._starts[-1])
        return self._total * _MS / self._starts[-1] if self._starts[-1] else None
