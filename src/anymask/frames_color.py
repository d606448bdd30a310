"""A frame as PyAV decoded it to upright RGB of 8 bits.

Matrix and range are those that the video states. Where it states no matrix, BT.709 is taken from
720 lines or 1280 columns up and BT.601 below, as players do. Deeper colours are rounded to 8 bits;
wide gamut and high dynamic range are brought to sRGB by `anymask.frames_hdr`.
"""

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jaxtyping import UInt8

from anymask.errors import VideoError
from anymask.frames_hdr import BT2020, HLG, PQ, to_srgb

if TYPE_CHECKING:
    from av import VideoFrame

_UNKNOWN, _BT709, _BT601 = 2, 1, 5
_RGB = 0  # "matrix" of what is no YUV
_MATRICES = (_RGB, 1, 4, 5, 6, 7, 9)  # those that the conversion knows
_DOLBY = ("dvhe", "dvh1", "dvav", "dva1")  # codecs whose colours need more than their pictures
_HD = (720, 1280)


def to_rgb(
    frame: "VideoFrame", background: tuple[int, int, int], where: str | None
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame's pixels, not yet turned upright.

    Raises
    ------
    VideoError
        ``video-colours``: in colours that cannot be converted rightly.
    """
    space = int(frame.colorspace)
    if space == _UNKNOWN or frame.format.is_rgb:
        space = _BT709 if frame.height >= _HD[0] or frame.width >= _HD[1] else _BT601
    if space not in _MATRICES:
        raise VideoError(
            "video-colours",
            "its colours cannot be converted",
            given=f"matrix {space}",
            where=where,
            hint="convert it to BT.709 with a video tool",
        )
    frame.colorspace = space
    transfer, wide = int(frame.color_trc), int(frame.color_primaries) == BT2020
    if wide or transfer in (PQ, HLG):
        deep = frame.to_ndarray(format="rgb48le", threads=1)
        return to_srgb(deep, transfer=transfer, wide=wide)
    alpha = any(part.is_alpha for part in frame.format.components)
    array = frame.to_ndarray(format="rgba" if alpha else "rgb24", threads=1)
    if not alpha:
        return np.ascontiguousarray(array)
    share = array[..., 3:].astype(np.uint16)
    mixed = array[..., :3] * share + np.array(background, np.uint16) * (255 - share)
    return ((mixed + 127) // 255).astype(np.uint8)


def refuse_dolby(codec_tag: str, frame: "VideoFrame", where: str | None) -> None:
    """Refuse pictures of Dolby Vision that do not stand on their own.

    Raises
    ------
    VideoError
        ``video-colours``.
    """
    if codec_tag in _DOLBY and int(frame.colorspace) == _UNKNOWN:
        raise VideoError(
            "video-colours",
            "its colours are those of Dolby Vision alone",
            given=codec_tag,
            where=where,
            hint="convert it to BT.709 with a video tool",
        )


def is_hdr(frame: "VideoFrame") -> bool:
    """Whether `to_rgb` cuts its highlights off."""
    return int(frame.color_trc) in (PQ, HLG)


def upright(
    pixels: UInt8[np.ndarray, "h w 3"], turn: tuple[bool, bool, bool]
) -> UInt8[np.ndarray, "H W 3"]:
    """Turned as the video says; see `turn_of`."""
    sideways, flip_x, flip_y = turn
    if sideways:
        pixels = np.asarray(cv2.transpose(pixels))
    if flip_x or flip_y:
        pixels = np.asarray(cv2.flip(pixels, -1 if flip_x and flip_y else int(flip_x)))
    return pixels


def turn_of(frame: "VideoFrame") -> tuple[bool, bool, bool]:
    """Whether rows become columns, then what is mirrored: left to right, top to bottom.

    From the display matrix (a, b, u, c, d, v, ...), which takes (x, y) to (ax + cy, bx + dy). An
    angle that is no multiple of 90 degrees is not followed.
    """
    data: Any
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(data), "=i4", 5).tolist()
            if a and d and not b and not c:
                return False, a < 0, d < 0
            if b and c and not a and not d:
                return True, c < 0, b < 0
    return False, False, False
