"""Animated GIF, WebP and PNG by Pillow: each frame as it is seen, delays as times."""

from array import array
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import BinaryIO

from PIL import Image

from anymask.errors import ImageError, Note, VideoError
from anymask.frames_source import EndOfFrames, FrameFacts, Pixels
from anymask.image_arrays import Options
from anymask.image_color import picture_to_rgb
from anymask.image_decode import quiet

_MS = 1000  # delays are milliseconds
_KINDS = ("GIF", "WEBP", "PNG")


class Animation:
    """A source of frames; see `anymask.frames_source.FrameSource`.

    All frames are decoded once when it is opened: only then it is known how many are whole. Going
    on is cheap; going back decodes from the start, as each frame is drawn over the last.
    """

    rereads = True
    names: Sequence[str] | None = None
    time_base: Fraction | None = Fraction(1, _MS)

    def __init__(self, opener: Callable[[], BinaryIO], options: Options, where: str | None) -> None:
        self.where, self._opener, self._options = where, opener, options
        self.notes: dict[str, Note] = {}
        self._file: BinaryIO | None = None
        self._starts = array("q", [0])  # ms at which frames begin, and where the last ends
        try:
            self._total, self._whole = self._look()
        except BaseException:
            self.close()
            raise
        self.count: int | None = self._whole
        self.expected: int | None = self._total
        end = self._starts[-1]
        self.rate = self._whole * _MS / end if end and self._whole > 1 else None

    def get(self, index: int) -> Pixels:
        if index >= self._whole:
            raise EndOfFrames if self._whole == self._total else self._cut()
        self._load(index)
        return picture_to_rgb(self._picture, self._options, self.notes, where=self.where)

    def facts(self, index: int) -> FrameFacts | None:
        if index >= self._whole:
            return None
        start = self._starts[index]
        return FrameFacts(index=index, pts=start, time_s=start / _MS)

    def count_to(self, limit: int | None) -> int:
        if self._whole < self._total and (limit is None or limit > self._whole):
            raise self._cut()
        return self._whole if limit is None else min(limit, self._whole)

    def close(self) -> None:
        if self._file is not None:
            self._picture.close()
            self._file.close()
            self._file = None

    def _look(self) -> tuple[int, int]:
        """How many frames there are, and how many of the first ones are whole."""
        try:
            self._open()
            kind, size = self._picture.format, self._picture.size
            self._options.check_size(size[1], size[0], self.where)
            with quiet():
                count = int(getattr(self._picture, "n_frames", 1))
        except (VideoError, ImageError):
            raise
        except Exception as error:  # on damaged files Pillow's readers raise almost anything
            raise VideoError(
                "video-broken", "the file cannot be read", where=self.where, hint="fetch it again"
            ) from error
        if count == 1 and kind != "GIF":
            raise VideoError(
                "video-not",
                f"this is a single picture ({kind})",
                where=self.where,
                hint="give a video, or a list of pictures",
            )
        self._open()  # what counting left behind must not change what is seen
        for index in range(count):
            try:
                self._load(index)
                delay = max(0, round(float(self._picture.info.get("duration", 0) or 0)))
            except Exception:  # as above
                self._open()  # where it stopped it is of no more use
                return count, index
            self._starts.append(self._starts[-1] + delay)
        return count, count

    def _open(self) -> None:
        self.close()
        file = self._opener()
        try:
            with quiet():
                self._picture = Image.open(file, formats=_KINDS)
        except BaseException:
            file.close()
            raise
        self._file, self._at = file, -1  # the frame that is loaded

    def _load(self, index: int) -> None:
        """Decode on to a frame, from the start if it has gone by."""
        if self._at > index:
            self._open()
        with quiet():
            while self._at < index:
                self._picture.seek(self._at + 1)
                self._picture.load()
                self._at += 1

    def _cut(self) -> VideoError:
        return VideoError(
            "video-truncated",
            f"the file is damaged there; {self._whole} frames are good",
            where=f"{self.where or 'animation'}, frame {self._whole}",
            hint="fetch it again, or pass stop= to use what there is",
        )
