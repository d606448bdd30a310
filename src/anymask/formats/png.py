"""Masks as pictures: the mask itself, the object cut out, and the overlay that people look at.

All three are PNG. They are packed for speed: a photo of 12 megapixels takes a third of a second.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

from anymask.errors import OutputError
from anymask.formats.result import Asked, Result

Color = tuple[int, int, int]  # red, green, blue

COLORS: tuple[Color, ...] = (
    (10, 132, 255),
    (255, 149, 0),
    (191, 90, 242),
    (0, 199, 190),
    (255, 55, 95),
    (255, 214, 10),
    (94, 92, 230),
    (172, 142, 104),
)  # told apart side by side, also by most colour-blind eyes; none is the green or red of a click
_POSITIVE, _NEGATIVE, _WHITE, _SHADE = (40, 190, 80), (235, 45, 50), (255, 255, 255), (0, 0, 0)
_DIM = 0.55  # brightness of what is not the object
_TINT = 0.33  # share of the colour in the object
_SHIFT = 4  # binary digits after the point of coordinates that OpenCV draws
_EDGE_ALPHA = 128  # smallest opacity of a pixel of the object


def mask_png(mask: Bool[np.ndarray, "H W"]) -> bytes:
    """Greyscale of 8 bits: 255 on the object, 0 elsewhere."""
    return encode_png(mask.view(np.uint8) * np.uint8(255))


def cutout(
    pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "h w 4"]:
    """The object alone as RGBA, cut to its box; one clear pixel for an empty mask.

    The edge is softened inwards: pixels off the object are clear, those at its edge half to
    nearly opaque, all others opaque. So nothing of the background shows, and the pixels that are
    not clear are exactly the mask.
    """
    box = _box(mask)
    if box is None:
        return np.zeros((1, 1, 4), np.uint8)
    y0, y1, x0, x1 = box
    top, left = max(0, y0 - 1), max(0, x0 - 1)  # one pixel more: the edge is where it goes on
    wide = mask[top : y1 + 1, left : x1 + 1].view(np.uint8) * np.uint8(255)
    soft = cv2.blur(wide, (3, 3), borderType=cv2.BORDER_REPLICATE)
    cut = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    inside = np.ascontiguousarray(wide[cut])
    alpha = np.minimum(np.maximum(np.asarray(soft)[cut], _EDGE_ALPHA), inside)
    opaque = cv2.cvtColor(pixels[y0:y1, x0:x1], cv2.COLOR_RGB2RGBA)
    rgba = cv2.copyTo(opaque, inside, np.zeros_like(opaque))
    cv2.insertChannel(alpha, rgba, 3)
    return np.asarray(rgba)


def overlay(
    pixels: UInt8[np.ndarray, "H W 3"],
    masks: Iterable[Bool[np.ndarray, "H W"]],
    asked: Sequence[Asked] = (),
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with its objects tinted and outlined, the rest dimmed, clicks and boxes drawn.

    Line widths go with the size of the picture. Each object has a colour of its own.
    """
    drawn = cv2.LUT(pixels, (np.arange(256) * _DIM + 0.5).astype(np.uint8))
    width = line_width(pixels.shape[:2])
    outlines = []
    for i, mask in enumerate(masks):
        color = COLORS[i % len(COLORS)]
        box = _box(mask)
        if box is None:
            continue
        y0, y1, x0, x1 = box
        bits = np.ascontiguousarray(mask[y0:y1, x0:x1]).view(np.uint8)
        _tint(drawn[y0:y1, x0:x1], pixels[y0:y1, x0:x1], bits, color)
        outlines.append((smooth_outlines(bits, (x0, y0), width), color))
    for lines, color in outlines:  # above all tints
        cv2.polylines(drawn, lines, True, _SHADE, width + width // 3 + 1, cv2.LINE_AA, _SHIFT)
        cv2.polylines(drawn, lines, True, color, width, cv2.LINE_AA, _SHIFT)
    _draw_asked(drawn, asked, width)
    return np.asarray(drawn)


def line_width(size: tuple[int, ...]) -> int:
    """Width of outlines, px: 2 in a small picture, 8 in one of 12 megapixels."""
    return max(2, round(max(size[:2]) / 500))


def encode_png(
    pixels: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W C"], *, own: bool = False
) -> bytes:
    """Grey, RGB or RGBA as PNG, packed for speed.

    Parameters
    ----------
    own
        The array is no longer needed, and may be written to: a large picture is not copied.

    Raises
    ------
    OutputError
        ``png-failed``: the picture is too large for the format's writer.
    """
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    try:
        if pixels.ndim == 3:
            order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
            pixels = np.asarray(cv2.cvtColor(pixels, order, pixels if own else None))
            # measured on photos: half the time of the defaults, and no larger
            options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
            if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # from OpenCV 4.12 on
                options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
        done, data = cv2.imencode(".png", pixels, options)
    except cv2.error as error:
        raise _unpacked(pixels) from error
    if not done:
        raise _unpacked(pixels)
    return data.tobytes()


def _unpacked(pixels: UInt8[np.ndarray, "..."]) -> OutputError:
    return OutputError(
        "png-failed", "the picture cannot be packed as PNG", given=pixels.shape, hint="scale it"
    )


def mask_file(result: Result, index: int | None) -> bytes:
    """One mask of a result as a file."""
    return mask_png(result.masks[index or 0])


def cutout_file(result: Result, index: int | None) -> bytes:
    """One object of a result, cut out, as a file."""
    return encode_png(cutout(result.pixels, result.masks[index or 0]), own=True)


def overlay_file(result: Result, index: int | None) -> bytes:
    """All masks of a result over their picture, or one of them, as a file."""
    rows = range(len(result.masks)) if index is None else [index]
    asked = [result.asked[i] for i in rows]
    masks = (result.masks[i] for i in rows)  # bits of one mask at a time
    return encode_png(overlay(result.pixels, masks, asked), own=True)


def _box(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int, int, int] | None:
    """First and last row and column of a mask as slices y0, y1, x0, x1."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    return (y, y + h, x, x + w) if w else None


def _tint(
    drawn: UInt8[np.ndarray, "h w 3"],
    pixels: UInt8[np.ndarray, "h w 3"],
    bits: UInt8[np.ndarray, "h w"],
    color: Color,
) -> None:
    """Lay a colour over the object's own pixels; `drawn` is written to."""
    table = np.arange(256)[:, None] * (1 - _TINT) + np.array(color) * _TINT
    tinted = cv2.LUT(pixels, (table[:, None] + 0.5).astype(np.uint8))
    cv2.copyTo(tinted, bits, drawn)


def smooth_outlines(
    bits: UInt8[np.ndarray, "h w"], corner: tuple[int, int], width: int
) -> list[Int[np.ndarray, "N 1 2"]]:
    """Smooth outlines of a mask and its holes as OpenCV draws them, in fixed point."""
    padded = cv2.copyMakeBorder(bits, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    found, _ = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = []
    for contour in found:
        xy = _smooth(contour[:, 0].astype(np.float32), width) + (np.array(corner) - 1)
        lines.append(np.round(xy * (1 << _SHIFT)).astype(np.int32)[:, None])
    return lines


def _smooth(xy: np.ndarray, width: int) -> np.ndarray:
    """A closed line averaged over about its own width: pixels' steps go, the shape stays."""
    window = 2 * width + 1
    if len(xy) < 4 * window:
        return xy
    ring = np.concatenate([xy[-width:], xy, xy[:width]])
    sums = np.cumsum(np.concatenate([np.zeros((1, 2)), ring]), axis=0)
    return np.asarray((sums[window:] - sums[:-window]) / window)


def _draw_asked(drawn: UInt8[np.ndarray, "H W 3"], asked: Sequence[Asked], width: int) -> None:
    """Boxes as thin lines, clicks as discs with a white ring; `drawn` is written to."""
    for i, each in enumerate(asked):
        if each.box is not None:
            x0, y0, x1, y1 = each.box
            color = _WHITE if len(asked) == 1 else COLORS[i % len(COLORS)]
            first, last = _fixed(x0 - 0.5, y0 - 0.5), _fixed(x1 - 0.5, y1 - 0.5)
            cv2.rectangle(drawn, first, last, color, max(1, width // 2), cv2.LINE_AA, _SHIFT)
    for i, each in enumerate(asked):
        if each.text is not None and each.box is not None:
            _draw_label(drawn, each.text, each.box, COLORS[i % len(COLORS)], width)
    for each in asked:
        for (x, y), label in zip(each.points, each.labels, strict=True):
            _draw_click(drawn, x, y, label == 1, width)


def _draw_label(
    drawn: UInt8[np.ndarray, "H W 3"],
    text: str,
    box: tuple[float, float, float, float],
    color: Color,
    width: int,
) -> None:
    """A word on a plate of the object's colour, at its box's upper corner and in the picture."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.2 * width + 0.05  # OpenCV's letters are ASCII
    shown = text.encode("ascii", "replace").decode()[:40]
    thick = max(1, round(0.5 * width))
    (w, h), base = cv2.getTextSize(shown, font, size, thick)
    x = max(0, min(round(box[0]), drawn.shape[1] - w - 2 * width))
    y = max(0, min(round(box[1]), drawn.shape[0] - h - base - 2 * width))
    dark = sum(color) < 384
    corner = x + w + 2 * width, y + h + base + 2 * width
    cv2.rectangle(drawn, (x, y), corner, color, -1)
    ink = _WHITE if dark else _SHADE
    cv2.putText(drawn, shown, (x + width, y + h + width), font, size, ink, thick, cv2.LINE_AA)


def _draw_click(
    drawn: UInt8[np.ndarray, "H W 3"], x: float, y: float, on: bool, width: int
) -> None:
    """A green disc with a plus, or a red one with a minus: the sign helps where colours do not."""
    radius = 2.5 * width + 2
    for size, color in (
        (radius + width, _SHADE),
        (radius + 0.6 * width, _WHITE),
        (radius - 0.2 * width, _POSITIVE if on else _NEGATIVE),
    ):
        circle = round(size * (1 << _SHIFT))
        cv2.circle(drawn, _fixed(x, y), circle, color, -1, cv2.LINE_AA, _SHIFT)
    arm, thick = 0.55 * radius, max(1, round(0.6 * width))
    for dx, dy in ((arm, 0.0), (0.0, arm))[: 1 + on]:
        ends = _fixed(x - dx, y - dy), _fixed(x + dx, y + dy)
        cv2.line(drawn, *ends, _WHITE, thick, cv2.LINE_AA, _SHIFT)


def _fixed(x: float, y: float) -> tuple[int, int]:
    """A point in OpenCV's fixed-point coordinates."""
    return round(x * (1 << _SHIFT)), round(y * (1 << _SHIFT))
