"""What a video file is, by its first bytes; and whether it is cut off.

Only the readers in `_DEMUXERS` are ever asked for, by name: a playlist or a script that names
other files, whatever its own name is, never gets to a reader that would open them.
"""

import re
import struct
from typing import BinaryIO

from anymask.image_sniff import HEAD, other_kind, picture_kind

_DEMUXERS = (  # start of a file -> FFmpeg's reader
    (rb"....(ftyp|moov|mdat|wide|free|skip|pnot)", "mov"),
    (rb"\x1aE\xdf\xa3", "matroska"),
    (rb"RIFF....AVI ", "avi"),
    (rb"OggS", "ogg"),
    (rb"FLV\x01", "flv"),
    (rb"\x00\x00\x01\xba", "mpeg"),
    (rb"\x00\x00\x01\xb3", "mpegvideo"),
    (rb"\x47.{187}\x47.{187}\x47|.{4}\x47.{191}\x47.{191}\x47", "mpegts"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (rb"YUV4MPEG2 ", "yuv4mpegpipe"),
    (rb"DKIF\x00\x00", "ivf"),
    (rb"\x06\x0e\x2b\x34\x02\x05\x01\x01", "mxf"),
    (rb"\x00?\x00\x00\x01[\x67\x27\x47]", "h264"),
    (rb"\x00?\x00\x00\x01\x40\x01", "hevc"),
)
ANIMATED = ("GIF", "WEBP", "PNG")  # pictures that may move


def demuxer_of(head: bytes) -> str | None:
    """FFmpeg's name of the reader for a file with this start, else None.

    >>> demuxer_of(b"#EXTM3U")
    """
    for start, name in _DEMUXERS:
        if re.match(start, head, re.DOTALL):
            return name
    return None


def what_it_is(head: bytes) -> str:
    """What a file is that is no video, in words."""
    if head.lstrip().startswith((b"#EXTM3U", b"ffconcat", b"<MPD", b"[playlist]")):
        return "a playlist that names other files"
    kind = picture_kind(head)
    return f"a single picture ({kind})" if kind else other_kind(head)


def head_of(file: BinaryIO) -> bytes:
    """The first bytes; the file is at its start again."""
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    return head


def boxes_of(file: BinaryIO, size: int) -> list[tuple[bytes, int, int]]:
    """Name, start and end of the outermost boxes of an MP4; the last may end beyond the file."""
    found: list[tuple[bytes, int, int]] = []
    at = 0
    while at + 8 <= size and len(found) < 100_000:
        file.seek(at)
        length, name = struct.unpack(">L4s", file.read(8))
        if length == 1:
            large = file.read(8)
            length = struct.unpack(">Q", large)[0] if len(large) == 8 else size
        elif length == 0:
            length = size - at
        if length < 8:
            break
        found.append((name, at, at + length))
        at += length
    return found


def ends_early(file: BinaryIO, demuxer: str, size: int) -> bool:
    """Whether a file of `size` bytes is shorter than its own lengths say; read from anywhere."""
    file.seek(0)
    head = file.read(HEAD)
    if demuxer == "mov":
        boxes = boxes_of(file, size)
        return bool(boxes) and boxes[-1][2] > size
    if demuxer == "avi":
        return len(head) >= 8 and int.from_bytes(head[4:8], "little") + 8 > size
    if demuxer == "matroska":
        return _segment_end(head) > size
    return False


def _segment_end(head: bytes) -> int:
    """Where a Matroska's segment says that it ends; 0 where it does not say."""
    at = head.find(b"\x18\x53\x80\x67")
    if at < 0 or at + 12 > len(head):
        return 0
    first = head[at + 4]
    length = 8 - first.bit_length() + 1 if first else 9
    if length > 8:
        return 0
    value = int.from_bytes(head[at + 4 : at + 4 + length], "big") & ((1 << 7 * length) - 1)
    unknown = value == (1 << 7 * length) - 1
    return 0 if unknown else at + 4 + length + value
