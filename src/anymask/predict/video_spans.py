"""A set of frame numbers that takes little room: runs of consecutive ones."""

from bisect import bisect_right
from collections.abc import Iterator


class Spans:
    """Frame numbers as runs, first and last; a video that was passed once is a single run.

    >>> spans = Spans()
    >>> for frame in (3, 4, 5, 9):
    ...     spans.add(frame)
    >>> spans.drop_from(5)
    >>> list(spans)
    [3, 4]
    """

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __contains__(self, frame: object) -> bool:
        if not isinstance(frame, int):
            return False
        at = bisect_right(self._firsts, frame) - 1
        return at >= 0 and frame <= self._lasts[at]

    def __iter__(self) -> Iterator[int]:
        for first, last in zip(self._firsts, self._lasts, strict=True):
            yield from range(first, last + 1)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def add(self, frame: int) -> None:
        """Take a frame in."""
        if frame in self:
            return
        at = bisect_right(self._firsts, frame)
        joins_before = at > 0 and self._lasts[at - 1] == frame - 1
        joins_after = at < len(self._firsts) and self._firsts[at] == frame + 1
        if joins_before and joins_after:
            self._lasts[at - 1] = self._lasts.pop(at)
            del self._firsts[at]
        elif joins_before:
            self._lasts[at - 1] = frame
        elif joins_after:
            self._firsts[at] = frame
        else:
            self._firsts.insert(at, frame)
            self._lasts.insert(at, frame)

    def drop(self, frame: int) -> None:
        """Leave a frame out."""
        if frame not in self:
            return
        at = bisect_right(self._firsts, frame) - 1
        first, last = self._firsts[at], self._lasts[at]
        parts = [(a, b) for a, b in ((first, frame - 1), (frame + 1, last)) if a <= b]
        self._firsts[at : at + 1] = [a for a, _ in parts]
        self._lasts[at : at + 1] = [b for _, b in parts]

    def drop_from(self, frame: int) -> None:
        """Leave out this frame and all after it."""
        while self._lasts and self._lasts[-1] >= frame:
            if self._firsts[-1] >= frame:
                self._firsts.pop()
                self._lasts.pop()
            else:
                self._lasts[-1] = frame - 1

    def drop_to(self, frame: int) -> None:
        """Leave out this frame and all before it."""
        while self._firsts and self._firsts[0] <= frame:
            if self._lasts[0] <= frame:
                del self._firsts[0], self._lasts[0]
            else:
                self._firsts[0] = frame + 1

    def drop_beyond(self, frame: int, *, reverse: bool) -> None:
        """Leave out this frame and all that lie further in a direction of travel."""
        if reverse:
            self.drop_to(frame)
        else:
            self.drop_from(frame)
