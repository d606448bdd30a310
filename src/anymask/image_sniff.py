"""What a file is, by its first bytes: format, claimed size, whether it is cut off.

No name is looked at and nothing is decoded, so these answers are safe to ask of any bytes.
"""

import contextlib
import re
import struct
from collections.abc import Callable
from typing import Protocol, runtime_checkable

HEAD = 1024  # bytes that the patterns look at
UNKNOWN = "something unknown"

_PICTURES = (  # start of a file -> format
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"RIFF....WEBP", "WEBP"),
    (rb"II[*+]\x00|MM\x00[*+]", "TIFF"),
    (rb"BM.{4}\x00\x00\x00\x00", "BMP"),
    (rb"GIF8[79]a", "GIF"),
    (rb"P[1-6fF]\s", "PPM"),
    (rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (rb"....ftyp(avi[fs]|(mif1|msf1)....(....)*?avi[fs])", "AVIF"),
    (rb"....ftyp(hei[cmxs]|hev[cmxs]|mif1|msf1)", "HEIF"),
    (rb"8BPS", "PSD"),
    (rb"\x00\x00\x01\x00[^\x00]\x00", "ICO"),
)
_RAW = (
    rb"FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\x00|II\*\x00....CR|....ftypcrx |FOVb|\x00MRM"
    rb"|II\x1a\x00\x00\x00HEAPCCDR"
)
_OTHERS = (  # start of a file that is no picture -> what it is
    (rb"%PDF", "a PDF document"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (rb"\s*(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE svg[^>]*>|\s)*<svg", "an SVG drawing"),
    (rb"\s*<(!doctype\s+)?html", "an HTML page"),
    (rb"\s*<\?xml", "XML text"),
    (rb"version https://git-lfs", "a Git LFS pointer, the file itself was not fetched"),
    (rb"\s*[{\[]\s*[\"{\[\]}0-9-]", "JSON text"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf", "a compressed file"),
    (rb"\x93NUMPY", "a NumPy array (pass what numpy.load gives)"),
    (rb"\x89HDF", "an HDF5 file (pass an array of it)"),
    (rb".{128}DICM", "a DICOM file (pass its pixels as an array)"),
    (rb"....(ftyp|moov)|\x1aE\xdf\xa3|RIFF....AVI |OggS|\x00\x00\x01\xba|FLV\x01", "a video"),
    (rb"ID3|RIFF....WAVE|fLaC", "a sound file"),
    (rb"\x7fELF|MZ", "a program"),
)
_SUFFIXES = {  # what a name promises
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png .apng",
    "WEBP": ".webp",
    "TIFF": ".tif .tiff",
    "BMP": ".bmp .dib",
    "GIF": ".gif",
    "PPM": ".ppm .pgm .pbm .pnm .pfm",
    "JPEG2000": ".jp2 .j2k .j2c .jpc .jpf .jpx",
    "AVIF": ".avif .avifs",
    "HEIF": ".heic .heif .heics .heifs .hif",
    "PSD": ".psd",
    "ICO": ".ico",
    "raw": ".3fr .arw .cr2 .cr3 .crw .dng .erf .nef .nrw .orf .pef .raf .rw2 .srw",
}
SUFFIXES = {suffix: kind for kind, line in _SUFFIXES.items() for suffix in line.split()}
# reading, or going, to where a forged length leads
_PAST_THE_END = (struct.error, IndexError, ValueError, OverflowError, OSError)
_TIFF_TYPES = {  # type -> bytes, how one number is written
    **{1: (1, "B"), 2: (1, ""), 3: (2, "H"), 4: (4, "L"), 5: (8, ""), 6: (1, "b"), 7: (1, "")},
    **{8: (2, "h"), 9: (4, "l"), 10: (8, ""), 11: (4, ""), 12: (8, ""), 13: (4, "L")},
    **{16: (8, "Q"), 17: (8, "q"), 18: (8, "Q")},
}


@runtime_checkable
class BinaryFile(Protocol):
    """What is read from: a file that can go back."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...


def picture_kind(head: bytes) -> str | None:
    """The format that the first `HEAD` bytes announce, ``"raw"`` for a camera's, else None.

    >>> picture_kind(b"GIF89a")
    'GIF'
    """
    if _starts(head, _RAW):
        return "raw"
    return next((kind for start, kind in _PICTURES if _starts(head, start)), None)


def other_kind(head: bytes) -> str:
    """What a file is that is no picture, in words.

    >>> other_kind(b"%PDF-1.7")
    'a PDF document'
    """
    found = next((what for start, what in _OTHERS if _starts(head, start)), None)
    if found is None:
        whole = head[:-4] if len(head) == HEAD else head  # a character may be cut in two
        with contextlib.suppress(UnicodeDecodeError):
            found = "text" if "\x00" not in whole.decode() else None
    return found or UNKNOWN


def _starts(head: bytes, pattern: bytes) -> bool:
    return re.match(pattern, head, re.DOTALL | re.IGNORECASE) is not None


def is_raw_tiff(file: BinaryFile) -> bool:
    """A TIFF of a camera's sensor, or whose first picture is but the thumbnail of such a one."""
    try:
        tags = {tag: value for tag, (value, _) in _first_directory(file).items()}
    except _PAST_THE_END:
        return False
    version, thumbnail, others, meaning = (tags.get(t) for t in (0xC612, 0xFE, 0x14A, 0x106))
    sensor = meaning in (32803, 34892)  # a colour filter array, linear raw
    return version is not None or sensor or bool((thumbnail or 0) & 1 and others is not None)


def _first_directory(file: BinaryFile) -> dict[int, tuple[int, int]]:
    """A TIFF's tags: the number, or where its data lie, and where data outside the tag end."""

    def read(form: str, at: int) -> tuple[int, ...]:
        file.seek(at)
        return struct.unpack(order + form, file.read(struct.calcsize(order + form)))

    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    big = read("H", 2) == (43,)
    word, room, width = ("Q", 8, 20) if big else ("L", 4, 12)
    (start,) = read(word, 8 if big else 4)
    (count,) = read("Q" if big else "H", start)
    start += 8 if big else 2
    tags = {}
    for at in range(start, start + width * min(count, 4096), width):
        tag, kind, number = read("HH" + word, at)
        size, form = _TIFF_TYPES.get(kind, (0, ""))
        outside = size * number > room
        (value,) = read(word if outside or not form else form, at + width - room)
        tags[tag] = (value, value + size * number if outside else 0)
    return tags


def claimed_size(file: BinaryFile, head: bytes, kind: str) -> tuple[int, int] | None:
    """(width, height) for formats whose readers allocate, or give up, before they tell."""
    with contextlib.suppress(*_PAST_THE_END):
        if kind == "GIF":
            return _gif_size(head)
        if kind == "WEBP" and head[12:16] == b"VP8X":
            width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
            return width, height
        if kind == "ICO":
            sizes = [_icon_size(file, head, index) for index in range(min(head[4], 30))]
            return max(sizes, key=lambda size: size[0] * size[1])
    return None


def _gif_size(head: bytes) -> tuple[int, int]:
    """The canvas, stretched to hold the first image, as Pillow does."""
    width, height = struct.unpack_from("<HH", head, 6)
    at = 13 + (3 << (head[10] & 7) + 1 if head[10] & 128 else 0)
    while head[at : at + 1] == b"!":  # an extension: its kind, then blocks up to an empty one
        at += 2
        while head[at]:
            at += 1 + head[at]
        at += 1
    if head[at : at + 1] == b"," and len(head) >= at + 9:
        left, top, wide, high = struct.unpack_from("<4H", head, at + 1)
        width, height = max(width, left + wide), max(height, top + high)
    return width, height


def _icon_size(file: BinaryFile, head: bytes, index: int) -> tuple[int, int]:
    file.seek(struct.unpack_from("<L", head, 18 + 16 * index)[0])
    start = file.read(24)
    if start.startswith(b"\x89PNG"):
        width, height = struct.unpack_from(">LL", start, 16)
        return width, height
    width, height = struct.unpack_from("<LL", start, 4)
    return width, height // 2  # colours and mask lie one above the other


def ends_early(file: BinaryFile, kind: str, size: int, strips: list[tuple[int, int]]) -> bool:
    """Whether a file of `size` bytes is shorter than its own lengths say.

    `strips` are the (offset, bytes) of a TIFF's pixel data where they are known.
    """

    def number(form: str, at: int) -> int:
        file.seek(at)
        return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])

    def boxes() -> bool:  # ISO media and JPEG 2000: length, name, content, one after the other
        at = 0
        while at < size:
            length = number(">L", at)
            number(">L", at + 4)
            at += number(">Q", at + 8) if length == 1 else length or size - at
            if length not in (0, 1) and length < 8:
                return False
        return at > size

    def sections() -> bool:  # PSD: header, then three parts with their lengths
        at = 26
        for _ in range(3):
            at += 4 + number(">L", at)
        return at > size

    def jpeg() -> bool:
        file.seek(max(0, size - 2**16))
        return b"\xff\xd9" not in file.read(2**16)  # bytes may follow the end marker

    def tiff() -> bool:
        ends = [end for _, end in _first_directory(file).values()]
        return max(ends + [offset + length for offset, length in strips], default=0) > size

    def icons() -> bool:
        return any(
            number("<L", 14 + 16 * i) + number("<L", 18 + 16 * i) > size
            for i in range(number("<H", 4))
        )

    def gif() -> bool:
        file.seek(size - 1)
        return file.read(1) != b";"

    lengths: dict[str, Callable[[], bool]] = {
        "GIF": gif,
        "JPEG": jpeg,
        "TIFF": tiff,
        "WEBP": lambda: number("<L", 4) + 8 > size,
        "AVIF": boxes,
        "HEIF": boxes,
        "JPEG2000": boxes,
        "PSD": sections,
        "ICO": icons,
    }
    try:
        return lengths[kind]() if kind in lengths else False
    except _PAST_THE_END:
        return True  # even the lengths are cut off
