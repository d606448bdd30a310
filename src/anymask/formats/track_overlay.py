"""A frame of a video with its objects marked: for people to look at.

Each object has one colour throughout, that of its number; names stand at the objects, and those of
objects that are out of sight in the frame's lower left corner.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from anymask.formats.everything_pictures import COLORS
from anymask.formats.png import Color, line_width, smooth_outlines
from anymask.frame_masks import FrameMasks
from anymask.mask_layers import top_first
from anymask.mask_windows import decode_window

_TINT = 0.4  # share of the colour in an object
_DIM = 0.7  # brightness of what is no object
_SHIFT = 4  # binary digits after the point of coordinates that OpenCV draws
_WHITE, _SHADE = (255, 255, 255), (0, 0, 0)
_LONGEST = 40  # characters of a name
_DARK = 384  # sum of a colour's parts below which white is read better on it


def draw_objects(
    pixels: UInt8[np.ndarray, "H W 3"], masks: FrameMasks, names: Sequence[str] = ()
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame with its objects tinted, outlined and named, the rest dimmed.

    Parameters
    ----------
    pixels
        RGB.
    masks
        The objects, of the frame's size.
    names
        One for each object, or none.
    """
    drawn = cv2.LUT(pixels, (np.arange(256) * _DIM + 0.5).astype(np.uint8))
    width = line_width(pixels.shape[:2])
    line = max(1, width - 1)
    seen = [int(k) for k in reversed(top_first(masks)) if masks.areas[k]]
    outlines = []
    for k in seen:
        bits, (x, y) = decode_window(masks.rles[k])
        at = np.s_[y : y + bits.shape[0], x : x + bits.shape[1]]
        color = color_of(masks.object_ids[k])
        table = np.arange(256)[:, None] * (1 - _TINT) + np.array(color) * _TINT
        tinted = cv2.LUT(pixels[at], (table[:, None] + 0.5).astype(np.uint8))
        cv2.copyTo(tinted, bits.view(np.uint8), drawn[at])
        outlines.append((smooth_outlines(bits.view(np.uint8), (x, y), line), color))
    for lines, color in outlines:  # above all tints
        cv2.polylines(drawn, lines, True, _SHADE, line + 1, cv2.LINE_AA, _SHIFT)
        cv2.polylines(drawn, lines, True, color, line, cv2.LINE_AA, _SHIFT)
    if names:
        for k in seen:
            x, y = round(float(masks.boxes[k, 0])), round(float(masks.boxes[k, 1]))
            _plate(drawn, names[k], (x, y), color_of(masks.object_ids[k]), width)
        _lost(drawn, masks, names, width)
    return np.asarray(drawn)


def color_of(object_id: int) -> Color:
    """The colour of an object."""
    return COLORS[(object_id - 1) % len(COLORS)]


def _lost(
    drawn: UInt8[np.ndarray, "H W 3"], masks: FrameMasks, names: Sequence[str], width: int
) -> None:
    """Names of objects that are out of sight, above each other; `drawn` is written to."""
    bottom = drawn.shape[0]
    for k in np.flatnonzero(masks.areas == 0):
        color = color_of(masks.object_ids[int(k)])
        height = _size(names[int(k)], width)[1]
        bottom -= height
        if bottom < 0:
            return
        _plate(drawn, f"{names[int(k)]}: lost", (0, bottom), color, width)


def _plate(
    drawn: UInt8[np.ndarray, "H W 3"], text: str, at: tuple[int, int], color: Color, width: int
) -> None:
    """A word on a plate of a colour, kept inside the frame; `drawn` is written to."""
    w, h = _size(text, width)
    x = max(0, min(at[0], drawn.shape[1] - w))
    y = max(0, min(at[1], drawn.shape[0] - h))
    cv2.rectangle(drawn, (x, y), (x + w - 1, y + h - 1), color, -1)
    ink = _WHITE if sum(color) < _DARK else _SHADE
    font, scale, thick = _font(width)
    (_, letters), _ = cv2.getTextSize(_ascii(text), font, scale, thick)
    place = (x + width, y + letters + width)
    cv2.putText(drawn, _ascii(text), place, font, scale, ink, thick, cv2.LINE_AA)


def _size(text: str, width: int) -> tuple[int, int]:
    """Width and height of a plate, px."""
    font, scale, thick = _font(width)
    (w, h), base = cv2.getTextSize(_ascii(text), font, scale, thick)
    return w + 2 * width, h + base + 2 * width


def _font(width: int) -> tuple[int, float, int]:
    return cv2.FONT_HERSHEY_SIMPLEX, 0.2 * width + 0.05, max(1, round(0.5 * width))


def _ascii(text: str) -> str:
    """OpenCV's letters are ASCII."""
    return text.encode("ascii", "replace").decode()[:_LONGEST]
