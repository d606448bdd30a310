"""A video file: any frame by its index, exactly.

The index of a frame is its place in the order of decoding, found by decoding: what the file says
of its length, rate or times is not relied on. Of each frame seen its time, a checksum and whether
decoding can begin there are kept, 13 to 21 bytes. To go back, the file is searched for the key
frame before, and what is decoded from there must have the times and checksums that were seen;
where it has not, the file is decoded from its start. So a frame is the same however it was come to.
Not quite so where data are damaged: FFmpeg fills what is missing with what happens to lie in its
memory, up to the next key frame. There times alone are compared.
"""

import zlib
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from anymask.errors import Note, VideoError
from anymask.frames_color import is_hdr, refuse_dolby, to_rgb, turn_of, upright
from anymask.frames_decoder import Decoder, rate_of
from anymask.frames_source import Damage, EndOfFrames, FrameFacts, Pixels
from anymask.image_arrays import Options

if TYPE_CHECKING:
    from av import VideoFrame

_NO_PTS = -(2**63)
_BACKWARDS_BYTES = 256_000_000  # of decoded frames, held when somebody goes back
_CORRUPT, _TAINTED = 1, 2  # its own data are damaged; or those of what it is made from
_B_FRAME = 3  # as FFmpeg numbers kinds of pictures
_FORWARDS = 2  # frames held otherwise
_SLACK = 200  # frames before the key frame that a search may give


class VideoFile:
    """A source of frames; see `anymask.frames_source.FrameSource`.

    Parameters
    ----------
    opener
        Gives the open file.
    demuxer
        FFmpeg's name of its reader.
    cut
        The file ends before its own lengths say.
    size
        Of the file, bytes.
    """

    rereads = True
    names: Sequence[str] | None = None

    def __init__(
        self,
        opener: Callable[[], BinaryIO],
        demuxer: str,
        options: Options,
        *,
        cut: bool,
        size: int,
        threads: int,
        where: str | None,
    ) -> None:
        self.where, self._options, self._cut, self._bytes = where, options, cut, size
        self.count: int | None = None
        self.notes: dict[str, Note] = {}
        self._decoder = Decoder(opener, demuxer, cut=cut, threads=threads, where=where)
        stream = self._decoder.stream
        try:
            options.check_size(stream.height or 1, stream.width or 1, where)
        except BaseException:
            self._decoder.close()
            raise
        self.expected = stream.frames or None
        self.rate = rate_of(stream)
        self.time_base: Fraction | None = stream.time_base
        self._pts, self._sums, self._state = array("q"), array("I"), bytearray()
        self._anchor = -1  # the last frame that is made from earlier ones alone
        self._keys = array("q")  # indices where decoding can begin
        self._damage = Damage(where=where)
        self._lost = 0  # packets without a frame in this pass, when last looked at
        self._from_start = True  # this pass began there
        self._at = 0  # index of what the decoder gives next
        self._seeks = True  # as far as is known
        self._held: deque[tuple[int, VideoFrame]] = deque()
        self._last = -1  # index that was asked for last

    def get(self, index: int) -> Pixels:
        frame = self._find(index)
        if frame is None:
            backwards = index < self._last
            frame = self._go_to(index, hold=backwards)
        self._last = index
        self._remark(frame)
        pixels = to_rgb(frame, self._options.background, self.where)
        return upright(pixels, turn_of(frame))

    def facts(self, index: int) -> FrameFacts | None:
        if index >= len(self._pts):
            return None
        pts = self._pts[index]
        known = pts != _NO_PTS
        base = self.time_base
        return FrameFacts(
            index=index,
            pts=pts if known else None,
            time_s=float(pts * base) if known and base is not None else None,
            corrupt=bool(self._state[index] & _CORRUPT),
        )

    def count_to(self, limit: int | None) -> int:
        try:
            while self.count is None and (limit is None or len(self._pts) < limit):
                self._go_to(len(self._pts), hold=False)
        except EndOfFrames:
            pass
        found = len(self._pts) if self.count is None else self.count
        return found if limit is None else min(found, limit)

    def close(self) -> None:
        self._held.clear()
        self._decoder.close()

    def _find(self, index: int) -> "VideoFrame | None":
        return next((frame for at, frame in self._held if at == index), None)

    def _go_to(self, index: int, *, hold: bool) -> "VideoFrame":
        """The frame, decoded on from where the decoder is or from a key frame before."""
        if self.count is not None and index >= self.count:
            raise self._end()
        known = min(index, len(self._pts) - 1)
        key = self._keys[bisect_right(self._keys, known) - 1] if known >= 0 and self._keys else 0
        if self._at > index or (self._seeks and self._at < key):
            self._held.clear()
            self._jump(key)
        while self._at <= index:
            frame = self._step()
            if frame is None:
                continue  # begun again from the start
            self._held.append((self._at - 1, frame))
            most = _FORWARDS
            if hold:
                each = sum(plane.buffer_size for plane in frame.planes)
                most = max(most, _BACKWARDS_BYTES // each)
            while len(self._held) > most:
                self._held.popleft()
        return self._held[-1][1]

    def _step(self) -> "VideoFrame | None":
        """The decoder's next frame, noted or compared; None where it had to begin again."""
        frame = self._decoder.next()
        at, known = self._at, len(self._pts)
        lost, self._lost = self._decoder.lost - self._lost, self._decoder.lost
        if at < known:
            right = frame is not None and self._is(frame, at)
            if not right and not self._from_start:
                self._give_up_seeking()
                return None
            if frame is None:
                raise VideoError(
                    "video-broken",
                    f"frame {at} was there before",
                    where=self.where,
                    hint="was the file changed meanwhile?",
                )
        else:
            for _ in range(lost):
                self.notes["frame-damaged"] = self._damage.note(at, lost=True)
            if frame is None:
                self.count = known
                self._damage.check(known + self._damage.lost, None, ended=True)
                raise self._end()
            self._register(frame, lost > 0)
        self._at += 1
        return frame

    def _register(self, frame: "VideoFrame", lost: bool) -> None:
        """Note a frame that is seen for the first time, and whether data before it were lost."""
        at = len(self._pts)
        self._options.check_size(frame.height, frame.width, self.where)
        pts = _NO_PTS if frame.pts is None else frame.pts
        if pts == _NO_PTS or (at and pts <= self._pts[-1]):
            self._seeks = False
            self.notes["video-times"] = Note(
                "video-times", "times are missing or go back: frames are in the order of decoding"
            )
        if frame.key_frame:
            self._keys.append(at)
        self._pts.append(pts)
        self._sums.append(_checksum(frame))
        if frame.is_corrupt or lost:  # frames between it and the one before are made from both
            for earlier in range(self._anchor + 1, at):
                self._state[earlier] |= _TAINTED
        if int(frame.pict_type) != _B_FRAME:
            self._anchor = at
        before = self._state[-1] if at else 0
        tainted = frame.is_corrupt or lost or (before & _TAINTED and not frame.key_frame)
        self._state.append(_CORRUPT * frame.is_corrupt | _TAINTED * bool(tainted))
        if frame.is_corrupt:
            self.notes["frame-damaged"] = self._damage.note(at)
        self._damage.check(at + 1, self.expected)

    def _is(self, frame: "VideoFrame", index: int) -> bool:
        """Whether it is the frame that was seen at this index."""
        pts = _NO_PTS if frame.pts is None else frame.pts
        if pts != self._pts[index]:
            return False
        return bool(self._state[index] & _TAINTED) or _checksum(frame) == self._sums[index]

    def _end(self) -> Exception:
        """What says that there are no more frames."""
        whole = self.expected is not None and len(self._pts) >= self.expected
        if not self._cut or whole:
            return EndOfFrames()
        return VideoError(
            "video-truncated",
            f"the file ends after {self._bytes} bytes; {self.count} frames are good",
            where=f"{self.where or 'video'}, frame {self.count}",
            hint="fetch it again, or pass stop= to use what there is",
        )

    def _jump(self, key: int) -> None:
        """Set the decoder to a key frame that was seen, or to the start."""
        if key == 0 or not self._seeks:
            self._begin_again()
            return
        self._decoder.seek(self._pts[key])
        self._from_start, self._lost = False, 0
        for _ in range(_SLACK):
            frame = self._decoder.next()
            if frame is None:
                break
            if frame.pts == self._pts[key]:
                if self._is(frame, key):
                    self._at = key + 1
                    self._held.append((key, frame))
                    self._lost = self._decoder.lost
                    return
                break
        self._give_up_seeking()

    def _begin_again(self) -> None:
        self._held.clear()
        self._decoder.restart()
        self._at, self._lost, self._from_start = 0, 0, True

    def _give_up_seeking(self) -> None:
        self.notes["video-seek"] = Note(
            "video-seek", "its key frames cannot be relied on: going back decodes from the start"
        )
        self._seeks = False
        self._begin_again()

    def _remark(self, frame: "VideoFrame") -> None:
        """Notes of what is not shown as it is meant; an error where it cannot be shown."""
        refuse_dolby(self._decoder.codec_tag, frame, self.where)
        if is_hdr(frame):
            self.notes["video-hdr"] = Note(
                "video-hdr", "high dynamic range: what is brighter than ordinary white became white"
            )
        aspect = self._decoder.stream.sample_aspect_ratio
        if aspect and aspect != 1:
            self.notes["video-aspect"] = Note(
                "video-aspect", f"its pixels are {aspect} as wide as high, and are kept so"
            )
        if frame.interlaced_frame:
            self.notes["video-interlaced"] = Note(
                "video-interlaced", "its frames are interlaced, and are kept so"
            )


def _checksum(frame: "VideoFrame") -> int:
    """CRC-32 of the frame's first plane, without what lies between its rows."""
    plane = frame.planes[0]
    parts = [part for part in frame.format.components if part.plane == 0]
    length = sum(part.width * ((part.bits + 7) // 8) for part in parts)
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return zlib.crc32(rows[: plane.height, : min(length, plane.line_size)].tobytes())
