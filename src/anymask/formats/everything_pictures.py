"""Pictures of everything mode: all masks over their photo, and a sheet of many photos.

Masks are decoded one by one, each in its own window: a thousand masks of a large photo take the
memory of one.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import cv2
import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont

from anymask.errors import DataError
from anymask.formats.png import Color, smooth_outlines
from anymask.mask_layers import top_first
from anymask.mask_windows import decode_window
from anymask.masks import Masks

# Bright enough to show on a dimmed photo, in an order in which neighbours differ much.
COLORS: tuple[Color, ...] = (
    (255, 82, 82),
    (64, 156, 255),
    (255, 214, 10),
    (48, 209, 88),
    (191, 90, 242),
    (255, 149, 0),
    (90, 220, 230),
    (255, 105, 180),
    (160, 230, 60),
    (120, 110, 255),
    (214, 150, 90),
    (0, 180, 150),
    (235, 70, 200),
    (200, 200, 120),
    (130, 180, 255),
    (255, 170, 150),
)
_TINT = 0.38  # share of the colour in a mask
_LIGHT = 0.35  # share of white in an outline
_HIDDEN, _FAINT = 0.4, 0.45  # share of a mask that is seen below which its outline is faint
_BARE = 0.6  # brightness of what no mask covers
_SHIFT = 4  # binary digits after the point of coordinates that OpenCV draws
_NEAR = 0.02  # of the longer side: masks that are no further apart get different colours

_TILE, _COLUMNS, _ROWS = 480, 4, 6  # px; a sheet is 2000 x 3200 px at most
_GAP, _TEXT = 12, 18  # px
_PAPER, _INK = (24, 24, 27), (228, 228, 231)


def overlay_everything(
    pixels: UInt8[np.ndarray, "H W 3"], masks: Masks
) -> UInt8[np.ndarray, "H W 3"]:
    """The photo with each mask in a colour of its own, the uppermost above the others.

    `anymask.mask_layers` says which lies on top: mostly the smaller one. Masks that are hidden for
    the most part have a faint outline. Colours of masks that touch or overlap differ as far as
    there are enough; the same masks give the same colours. What no mask covers is dimmed. Outlines
    go with the size of the photo.

    Raises
    ------
    DataError
        ``picture-size``: the masks are those of a picture of another size.
    """
    if pixels.shape[:2] != masks.size:
        raise DataError(
            "picture-size",
            f"the masks are of a picture of {masks.size[0]}x{masks.size[1]} (height x width)",
            given=pixels.shape[:2],
        )
    order = [int(k) for k in top_first(masks) if masks.areas[k]]
    picked = _coloring(masks.boxes[order], max(masks.size))
    colors = {k: COLORS[c] for k, c in zip(order, picked, strict=True)}
    drawn = cv2.LUT(pixels, (np.arange(256) * _BARE + 0.5).astype(np.uint8))
    upper = np.zeros(masks.size, np.int32)
    for k in reversed(order):
        bits, (x, y) = decode_window(masks.rles[k])
        at = np.s_[y : y + bits.shape[0], x : x + bits.shape[1]]
        table = np.arange(256)[:, None] * (1 - _TINT) + np.array(colors[k]) * _TINT
        tinted = cv2.LUT(pixels[at], (table[:, None] + 0.5).astype(np.uint8))
        cv2.copyTo(tinted, bits.view(np.uint8), drawn[at])
        upper[at][bits] = k + 1
    shares = np.bincount(upper.ravel(), minlength=len(masks) + 1)[1:] / masks.areas.clip(1)
    faint = np.array(drawn)
    _outline(faint, masks, [k for k in reversed(order) if shares[k] < _HIDDEN], colors)
    drawn = cv2.addWeighted(faint, _FAINT, drawn, 1 - _FAINT, 0)
    _outline(drawn, masks, [k for k in reversed(order) if shares[k] >= _HIDDEN], colors)
    return np.asarray(drawn)


def _outline(
    drawn: UInt8[np.ndarray, "H W 3"], masks: Masks, order: list[int], colors: dict[int, Color]
) -> None:
    """Draw outlines of some masks, in place."""
    width = max(1, round(max(masks.size) / 900))
    for k in order:
        bits, corner = decode_window(masks.rles[k])
        lines = smooth_outlines(bits.view(np.uint8), corner, width)
        cv2.polylines(drawn, lines, True, _lighter(colors[k]), width, cv2.LINE_AA, _SHIFT)


def _lighter(color: Color) -> Color:
    """Of an outline: it shows on its own tint, and on that of the mask beside it."""
    r, g, b = (round(v + (255 - v) * _LIGHT) for v in color)
    return r, g, b


def _coloring(boxes: Float32[np.ndarray, "N 4"], side: int) -> Int64[np.ndarray, " N"]:
    """A colour for each mask in turn: the one whose use is farthest away, then the least used."""
    colors = np.zeros(len(boxes), np.int64)
    used = np.zeros(len(COLORS), np.int64)
    unlike = _differences()
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        others = boxes[:i]
        gap = np.maximum(
            np.maximum(others[:, 0] - x1, x0 - others[:, 2]),
            np.maximum(others[:, 1] - y1, y0 - others[:, 3]),
        )
        near = colors[:i][gap <= _NEAR * side]
        worst = unlike[near].min(0, initial=1000.0)
        # how unlike the neighbours it is counts most; how seldom it was used breaks what is close
        colors[i] = np.lexsort((np.arange(len(COLORS)), used, -np.round(worst / 25)))[0]
        used[colors[i]] += 1
    return colors


def _differences() -> Float32[np.ndarray, "C C"]:
    """How unlike two colours are to the eye (distance in CIELAB)."""
    rgb = np.array([COLORS], np.float32) / 255
    lab = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB))[0]
    return np.asarray(np.linalg.norm(lab[:, None] - lab[None], axis=-1), np.float32)


def contact_sheets(
    pictures: Iterable[tuple[str, UInt8[np.ndarray, "_ _ 3"]]],
    *,
    columns: int = _COLUMNS,
    rows: int = _ROWS,
    tile: int = _TILE,
) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
    """Pictures side by side with their names below, as many sheets as are needed.

    Pictures are taken one by one as sheets are asked for, so any number of them takes the memory
    of one sheet. The last sheet is as high as it needs to be.

    Parameters
    ----------
    pictures
        (name, picture); pictures are scaled down to fit a tile, never up.
    columns, rows
        Of a full sheet.
    tile
        Longest side of a picture on the sheet, px.
    """
    waiting = iter(pictures)
    while some := [(name, _fit(p, tile)) for name, p in islice(waiting, columns * rows)]:
        yield _sheet(some, columns, tile)


def contact_sheet(
    pictures: Iterable[tuple[str, UInt8[np.ndarray, "_ _ 3"]]],
    *,
    columns: int = _COLUMNS,
    tile: int = _TILE,
) -> UInt8[np.ndarray, "H W 3"]:
    """All pictures on one sheet: for a few of them; see `contact_sheets`."""
    return _sheet([(name, _fit(picture, tile)) for name, picture in pictures], columns, tile)


def _sheet(
    tiles: list[tuple[str, UInt8[np.ndarray, "_ _ 3"]]], columns: int, tile: int
) -> UInt8[np.ndarray, "H W 3"]:
    """Rows are as high as their highest picture."""
    across = min(columns, max(1, len(tiles)))
    lines = [tiles[i : i + across] for i in range(0, len(tiles), across)]
    heights = [max(picture.shape[0] for _, picture in line) + _TEXT + 2 * _GAP for line in lines]
    sheet = np.empty((sum(heights) + _GAP, across * (tile + _GAP) + _GAP, 3), np.uint8)
    sheet[:] = _PAPER
    top = _GAP
    for line, height in zip(lines, heights, strict=True):
        low = top + height - _TEXT - 2 * _GAP
        for i, (name, picture) in enumerate(line):
            h, w = picture.shape[:2]
            left = _GAP + i * (tile + _GAP)
            x, y = left + (tile - w) // 2, low - h
            sheet[y : y + h, x : x + w] = picture
            sheet[low + 4 : low + 4 + _TEXT + 4, left : left + tile] = _label(name, tile)
        top += height
    return sheet


def _fit(picture: UInt8[np.ndarray, "_ _ 3"], tile: int) -> UInt8[np.ndarray, "_ _ 3"]:
    scale = min(1.0, tile / max(picture.shape[:2]))
    if scale == 1:
        return picture
    size = tuple(max(1, round(side * scale)) for side in (picture.shape[1], picture.shape[0]))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _label(name: str, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A name in the middle of a strip, its middle left out where it is too long."""
    font = ImageFont.load_default(_TEXT - 4)
    strip = Image.new("RGB", (width, _TEXT + 4), _PAPER)
    # the font has Latin letters; what else a name holds is written as its code
    shown = name.encode("latin-1", "backslashreplace").decode("latin-1")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    text, kept = shown, len(shown)
    while font.getlength(text) > width - 8 and kept > 2:
        kept -= 1
        text = f"{shown[: (kept + 1) // 2]}...{shown[len(shown) - kept // 2 :]}"
    left = (width - font.getlength(text)) / 2
    ImageDraw.Draw(strip).text((left, 2), text, fill=_INK, font=font)
    return np.asarray(strip)
