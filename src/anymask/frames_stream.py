"""Frames that come once: those of a generator."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from anymask.errors import Note, VideoError
from anymask.frames_source import EndOfFrames, FrameFacts, Pixels
from anymask.image import load_image
from anymask.image_arrays import Options


class OnceFrames:
    """A source of frames; see `anymask.frames_source.FrameSource`.

    What an iterator gives is read by `anymask.image.load_image`, in its order, once.
    """

    rereads = False
    names: Sequence[str] | None = None
    expected: int | None = None

    def __init__(
        self,
        frames: Iterator[object],
        options: Options,
        *,
        rate: float | None = None,
        where: str | None = None,
    ) -> None:
        self.where, self.rate, self._frames, self._options = where, rate, frames, options
        self.time_base = None if rate is None else 1 / Fraction(rate).limit_denominator(100_000)
        self.count: int | None = None
        self.notes: dict[str, Note] = {}
        self._next = 0

    def get(self, index: int) -> Pixels:
        if index < self._next:
            raise VideoError(
                "frames-once",
                f"these frames come once, and {self._next} of them have gone by",
                given=index,
                where=self.where,
                hint="keep what is needed again, or give a list or a file",
            )
        while True:
            try:
                item = next(self._frames)
            except StopIteration:
                self.count = self._next
                raise EndOfFrames from None
            self._next += 1
            if self._next > index:
                return self._pixels(item)

    def facts(self, index: int) -> FrameFacts | None:
        if index >= self._next:
            return None
        base = self.time_base
        return FrameFacts(
            index=index,
            pts=None if base is None else index,
            time_s=None if base is None else float(index * base),
        )

    def count_to(self, limit: int | None) -> int:
        return self._next if self.count is None else self.count

    def close(self) -> None:
        close = getattr(self._frames, "close", None)
        if callable(close):
            close()

    def _pixels(self, item: object) -> Pixels:
        options = self._options
        picture = load_image(item, range=options.range, max_pixels=options.max_pixels)
        self.notes.update({note.code: note for note in picture.notes})
        return picture.pixels
