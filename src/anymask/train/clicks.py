"""Simulated users: first prompts on a true mask, later clicks where the answer is wrong.

Coordinates are network px with the half-pixel inside (the centre of pixel 0 is 0.5), as the
networks take them. Labels: 0 negative, 1 positive, 2 and 3 box corners, -1 padding.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

MOST_POINTS = 14  # a box's two corners and clicks of all rounds
_BOX_MOST = 20.0  # px that a side of a noisy box moves at most


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickMix:
    """How often which prompt comes up; shares of 1.

    Attributes
    ----------
    box
        First prompts that are a box; the others are clicks.
    click_with_box
        Boxes that come with a click.
    innermost
        Clicks at the innermost point; the others lie anywhere.
    several
        Clicks that come with up to three careless ones, on the object and off it.
    box_noise
        Spread of a box's sides over their length (SAM: 0.1, and 20 px at most); 0 mixes exact,
        good and bad boxes.
    again
        Rounds without a new click, in which only the answer is fed back.
    closing
        Series that end with such a round.
    """

    box: float = 0.35
    click_with_box: float = 0.12
    innermost: float = 0.5
    several: float = 0.25
    box_noise: float = 0.0
    again: float = 0.07
    closing: float = 0.0


def depth(mask: Bool[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Distance to the nearest pixel outside; what lies beyond the border is outside."""
    padded = np.pad(mask.view(np.uint8), 1)
    inner: np.ndarray = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.ascontiguousarray(inner)


def point_in(
    mask: Bool[np.ndarray, "H W"], innermost: bool, rng: np.random.Generator
) -> tuple[float, float]:
    """The innermost point, or any point of a random depth; centre of a pixel (x, y)."""
    deep = depth(mask)
    if innermost:
        y, x = divmod(int(deep.argmax()), mask.shape[1])
    else:
        cells = np.flatnonzero(deep >= rng.uniform(0, 0.95) * deep.max())
        y, x = divmod(int(cells[rng.integers(len(cells))]), mask.shape[1])
    return x + 0.5, y + 0.5


def noisy_box(
    mask: Bool[np.ndarray, "H W"], rng: np.random.Generator, noise: float = 0.0
) -> tuple[float, float, float, float]:
    """The tight box with jitter: of one spread, or mostly small and sometimes large."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    sides = np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    if noise:
        jitter = np.clip(rng.normal(size=4) * noise * sides, -_BOX_MOST, _BOX_MOST)
    else:
        kind = rng.random()
        sigma = 0.0 if kind < 0.35 else (0.02 if kind < 0.8 else 0.08)
        jitter = rng.normal(size=4) * sigma * sides
        jitter += rng.uniform(-1, 1, 4) * (kind >= 0.35)
    height, width = mask.shape
    low = np.clip([x0 + jitter[0], y0 + jitter[1]], 0, [width - 2, height - 2])
    high = np.clip([x1 + jitter[2], y1 + jitter[3]], low + 2, [width, height])
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def first_prompt(
    mask: Bool[np.ndarray, "H W"],
    inside: Bool[np.ndarray, "H W"],
    mix: ClickMix,
    rng: np.random.Generator,
) -> tuple[Float32[np.ndarray, "N 2"], Int64[np.ndarray, " N"]]:
    """A box, a click, or several clicks. Clicks fall on `inside`, the part of the mask in view."""
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    boxed = rng.random() < mix.box
    if not boxed or rng.random() < mix.click_with_box:
        points.append(point_in(inside, rng.random() < mix.innermost, rng))
        labels.append(1)
        if not boxed and rng.random() < mix.several:
            for _ in range(rng.integers(1, 4)):
                positive = rng.random() < 0.5
                target = inside if positive else _outside(mask, rng)
                if target.any():
                    points.append(point_in(target, False, rng))
                    labels.append(int(positive))
    if boxed:
        x0, y0, x1, y1 = noisy_box(mask, rng, mix.box_noise)
        points += [(x0, y0), (x1, y1)]
        labels += [2, 3]
    return np.array(points, np.float32), np.array(labels, np.int64)


def prompt_on_nothing(
    area: tuple[float, float, float, float], mix: ClickMix, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "N 2"], Int64[np.ndarray, " N"]]:
    """A click or a box anywhere in an area (x0, y0, x1, y1), px, in which there is no object."""
    low, high = np.array(area[:2], np.float64), np.array(area[2:], np.float64)
    if rng.random() >= mix.box:
        return rng.uniform(low, high)[None].astype(np.float32), np.ones(1, np.int64)
    size = (high - low) * rng.uniform(0.05, 0.7, 2)
    corner = rng.uniform(low, high - size)
    return np.stack([corner, corner + size]).astype(np.float32), np.array([2, 3], np.int64)


def _outside(mask: Bool[np.ndarray, "H W"], rng: np.random.Generator) -> Bool[np.ndarray, "H W"]:
    """Where a careless negative click falls: mostly close to the object."""
    if rng.random() < 0.3:
        return ~mask
    reach = int(rng.integers(9, 40)) | 1
    near = cv2.dilate(mask.view(np.uint8), np.ones((reach, reach), np.uint8)).view(bool)
    outside: np.ndarray = near & ~mask
    return outside


def correction(
    truth: Float[np.ndarray, "h w"],
    predicted: Bool[np.ndarray, "h w"],
    stride: int,
    rng: np.random.Generator,
) -> tuple[float, float, int] | None:
    """Next click (x, y, label) where the largest circle fits into the error; None if all is right.

    ``truth`` is the share of object in each cell, 0..1.
    """
    true = truth > 0.5
    missed, extra = depth(true & ~predicted), depth(predicted & ~true)
    positive = bool(missed.max() >= extra.max())
    deep = missed if positive else extra
    if deep.max() == 0:
        return None
    if rng.random() < 0.6:
        at = int(deep.argmax())
    else:
        cells = np.flatnonzero(deep >= 0.4 * deep.max())
        at = int(cells[rng.integers(len(cells))])
    y, x = divmod(at, truth.shape[1])
    dx, dy = rng.uniform(-0.4, 0.4, 2)
    return (x + 0.5 + dx) * stride, (y + 0.5 + dy) * stride, int(positive)
