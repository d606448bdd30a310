"""Masks as pictures: mask PNG, cut-out with transparency, overlay."""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from anymask.prompt_checks import NEGATIVE
from anymask.prompts import Prompts

_TINTS = (
    (30, 144, 255),
    (255, 140, 0),
    (50, 205, 50),
    (220, 60, 200),
    (0, 200, 200),
    (250, 210, 0),
)
_SHARE = 0.42  # of the tint over the photo
_DIM = 0.62  # of the photo's brightness beside the objects
_GREEN, _RED, _WHITE = (20, 180, 60), (225, 45, 45), (255, 255, 255)
_COMPRESSION = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # quick; files are a few per cent larger


def to_png(pixels: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W C"]) -> bytes:
    """A PNG file of grey, RGB or RGBA pixels."""
    if pixels.ndim == 3:
        order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(pixels, order)
    good, data = cv2.imencode(".png", pixels, _COMPRESSION)
    if not good:
        raise RuntimeError("OpenCV could not encode a PNG")
    return data.tobytes()


def mask_picture(mask: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """255 on the object, 0 elsewhere."""
    return mask.view(np.uint8) * np.uint8(255)


def cut_out(
    pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "h w 4"]:
    """The object alone, cut to its box, transparent elsewhere; edges as hard as the mask.

    An empty mask gives one transparent pixel: a PNG cannot have none.
    """
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return np.zeros((1, 1, 4), np.uint8)
    place = slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1)
    return np.dstack([pixels[place], mask_picture(np.ascontiguousarray(mask[place]))])


def overlay(
    pixels: UInt8[np.ndarray, "H W 3"],
    masks: Bool[np.ndarray, "N H W"],
    prompts: Prompts | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """The photo, its objects tinted and outlined, the rest dimmed, the prompts drawn.

    Lines and discs grow with the picture, so that they look alike at any size.
    """
    out = cv2.convertScaleAbs(pixels, alpha=_DIM)
    width = max(1.0, max(pixels.shape[:2]) / 420)
    for i, mask in enumerate(masks):
        _tint(out, pixels, mask, np.array(_TINTS[i % len(_TINTS)], np.float32), width)
    if prompts is not None:
        _draw_prompts(out, prompts, width)
    return out


def _tint(
    out: UInt8[np.ndarray, "H W 3"],
    pixels: UInt8[np.ndarray, "H W 3"],
    mask: Bool[np.ndarray, "H W"],
    colour: np.ndarray,
    width: float,
) -> None:
    """Tint one object, in its box alone: a large photo with a small object is quick."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return
    reach = int(3 * width) + 2
    place = (
        slice(max(0, int(ys[0]) - reach), int(ys[-1]) + 1 + reach),
        slice(max(0, int(xs[0]) - reach), int(xs[-1]) + 1 + reach),
    )
    inside = mask[place]
    part = pixels[place]
    flat = np.empty_like(part)
    flat[:] = colour
    tinted = cv2.addWeighted(part, 1 - _SHARE, flat, _SHARE, 0)
    out[place][inside] = tinted[inside]
    contours, _ = cv2.findContours(
        inside.view(np.uint8) if inside.flags.c_contiguous else inside.astype(np.uint8),
        cv2.RETR_CCOMP,
        cv2.CHAIN_APPROX_SIMPLE,
    )
    line = np.ascontiguousarray(out[place])
    thick = round(width)
    cv2.drawContours(line, contours, -1, _WHITE, thick + 2, cv2.LINE_AA)
    cv2.drawContours(line, contours, -1, tuple(int(v) for v in colour), thick, cv2.LINE_AA)
    out[place] = line


def _draw_prompts(out: UInt8[np.ndarray, "H W 3"], prompts: Prompts, width: float) -> None:
    radius = max(3, round(3.2 * width))
    if prompts.boxes is not None:
        for x0, y0, x1, y1 in prompts.boxes.round().astype(int).tolist():
            corners = (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1))
            cv2.rectangle(out, *corners, _WHITE, round(width) + 2, cv2.LINE_AA)
            cv2.rectangle(out, *corners, _GREEN, round(width), cv2.LINE_AA)
    for points, labels in zip(prompts.points, prompts.labels, strict=True):
        for (x, y), label in zip(points.round().astype(int).tolist(), labels, strict=True):
            colour = _RED if label == NEGATIVE else _GREEN
            cv2.circle(out, (x, y), radius + max(1, round(width)), _WHITE, -1, cv2.LINE_AA)
            cv2.circle(out, (x, y), radius, colour, -1, cv2.LINE_AA)
