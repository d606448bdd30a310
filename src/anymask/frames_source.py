"""What a source of frames offers, and what is known of one frame of it.

Sources are internal; `anymask.frames.Frames` wraps one. Frames are counted from 0 in the order in
which they are decoded, whatever their times say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from anymask.errors import Note, VideoError

Pixels = UInt8[np.ndarray, "H W 3"]  # RGB; sizes may differ from frame to frame of a source
_TOO_BAD = 0.1  # share of damaged frames above which a video is refused
_FIRST_FEW = 10  # frames before that share is looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """What is known of a frame beside its pixels.

    Attributes
    ----------
    index
        From 0, in the order of decoding.
    pts
        Presentation time in units of the source's time base; None where there is none.
    time_s
        The same in seconds.
    name
        Of its own file; None for frames of a video file.
    corrupt
        Its data were damaged: the pixels are what could be made of them.
    """

    index: int
    pts: int | None = None
    time_s: float | None = None
    name: str | None = None
    corrupt: bool = False


class EndOfFrames(Exception):  # noqa: N818 - no fault: the way in which a source says "no more"
    """There is no frame of this index: the source has fewer."""


@runtime_checkable
class FrameSource(Protocol):
    """Where frames come from.

    Attributes
    ----------
    where
        Its path, or None.
    count
        Number of frames, None while it is not known.
    expected
        What the source says of its number of frames without looking; for progress alone.
    rate
        Mean frames a second, None where time means nothing.
    time_base
        Seconds in a unit of `FrameFacts.pts`, None without times.
    names
        Files of the frames, None for a video.
    rereads
        An earlier frame can be had again.
    notes
        By code: what was converted or passed over so far.
    """

    where: str | None
    count: int | None
    expected: int | None
    rate: float | None
    time_base: Fraction | None
    names: Sequence[str] | None
    rereads: bool
    notes: dict[str, Note]

    def get(self, index: int) -> Pixels:
        """A frame. `EndOfFrames` where there is none; `VideoError` where it cannot be had."""
        ...

    def facts(self, index: int) -> FrameFacts | None:
        """What is known of a frame; None as long as it was not got."""
        ...

    def count_to(self, limit: int | None) -> int:
        """The number of frames; where there are more than `limit`, that. Decodes if it must."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Damage:
    """How many frames were damaged: some are borne, many are an error.

    Attributes
    ----------
    where
        Path of the video.
    bad
        Frames that are damaged, or that are not there at all.
    lost
        Those that are not there.
    """

    where: str | None
    bad: int = 0
    lost: int = 0

    def check(self, seen: int, expected: int | None, *, ended: bool = False) -> None:
        """Refuse a video of which too much is damaged.

        Parameters
        ----------
        seen
            Frames so far.
        expected
            All frames, where that is known; a cluster at the start is borne then.
        ended
            There are no more.

        Raises
        ------
        VideoError
            ``video-damaged``.
        """
        total = seen if ended else max(seen, expected or 0)
        if (ended or seen >= _FIRST_FEW) and self.bad > _TOO_BAD * total:
            raise VideoError(
                "video-damaged",
                f"{self.bad} of {total} frames are damaged, more than {_TOO_BAD:.0%}",
                where=self.where,
                hint="fetch it again, or mend it with a video tool",
            )

    def note(self, index: int, *, lost: bool = False) -> Note:
        """The remark after one more bad frame, at or before an index."""
        self.bad += 1
        self.lost += lost
        gone = f", {self.lost} are missing" if self.lost else ""
        return Note(
            "frame-damaged", f"{self.bad} frames are damaged{gone}, the last at index {index}"
        )
