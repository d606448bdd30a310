"""Pictures with masks to views: what a network sees of them, at sizes as when it is used.

A view is the whole picture, a part of it, or a close look at one object, mirrored or not. It is
planned first, from random numbers and sizes alone, so that a view whose features are on disk needs
its masks but not its pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from anymask.formats.records import Annotation
from anymask.frame import Frame
from anymask.train.augment import change_colours
from anymask.variants import Variant

_WHOLE, _PART = 0.35, 0.6  # chances of a whole picture, and of that or a part
_SEEN = 0.5  # share of a mask that a view must show
_FEWEST_CELLS = 6  # of the logits that a mask must fill
_SMALLEST = 48.0  # px of a side; there is nothing more to see in less


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is seen of a picture, and how.

    Attributes
    ----------
    window
        x0, y0, x1, y1 in whole px; x1 and y1 are not in it.
    side
        Longest side when scaled, px.
    mirrored
        Left and right change places.
    colours
        Seed of a change of colours, or None.
    focus
        Index of the mask that is surely asked for.
    """

    window: tuple[int, int, int, int]
    side: int
    mirrored: bool = False
    colours: int | None = None
    focus: int = 0

    def frame(self, row: Variant) -> Frame:
        """Its way into a network."""
        x0, y0, x1, y1 = self.window
        return Frame.fit((y1 - y0, x1 - x0), row.spec, self.side)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """The masks of a view.

    Attributes
    ----------
    frame
        Its way into the network.
    masks
        In px of the window.
    truth
        Share of object in each cell of the logits, 0..1.
    """

    frame: Frame
    masks: Bool[np.ndarray, "K H W"]
    truth: Float32[np.ndarray, "K h w"]


def plan_whole(size: tuple[int, int], row: Variant) -> Plan:
    """The picture as it is."""
    return Plan(window=(0, 0, size[1], size[0]), side=row.spec.side)


def plan_view(
    size: tuple[int, int], masks: Sequence[Annotation], row: Variant, rng: np.random.Generator
) -> Plan:
    """A view by chance, with one of the masks wholly in it where it fits.

    Parameters
    ----------
    size
        (H, W) of the picture, px.
    masks
        Those that can be asked for.
    row
        Of the model: a close look has the size of its second look at small objects.
    """
    focus = int(rng.integers(len(masks)))
    kind, mirrored, colours = rng.random(), bool(rng.random() < 0.5), int(rng.integers(2**31))
    height, width = size
    x, y, w, h = masks[focus].bbox
    side, length = row.spec.side, float(max(size))
    if kind >= _PART:
        length = max(w, h) * rng.uniform(1.25, 3.0)
        side = side if row.zoom is None else row.zoom.side
    elif kind >= _WHOLE:
        length = max(size) * rng.uniform(0.45, 0.95)
    length = max(length, _SMALLEST, 1.05 * max(w, h))
    across, down = min(length, width), min(length, height)
    x0 = round(_start(x, w, across, width, rng))
    y0 = round(_start(y, h, down, height, rng))
    window = x0, y0, min(width, round(x0 + across)), min(height, round(y0 + down))
    return Plan(window=window, side=side, mirrored=mirrored, colours=colours, focus=focus)


def see_pixels(pixels: UInt8[np.ndarray, "H W 3"], plan: Plan) -> UInt8[np.ndarray, "h w 3"]:
    """The window's pixels, a new array, at the picture's own scale."""
    part = _cut(pixels, plan)
    if plan.colours is None:
        return part
    return change_colours(part, np.random.default_rng(plan.colours))


def see_masks(
    masks: Sequence[Annotation], plan: Plan, row: Variant, most: int, rng: np.random.Generator
) -> View | None:
    """Up to `most` masks that the view shows well, the focus first; None where it shows none."""
    frame = plan.frame(row)
    others = [i for i in rng.permutation(len(masks)).tolist() if i != plan.focus]
    fewest = _FEWEST_CELLS * frame.cell[0] * frame.cell[1]
    kept: list[np.ndarray] = []
    for i in [plan.focus, *others][: 4 * most]:
        whole = masks[i].mask()
        part = _cut(whole, plan)
        seen = int(part.sum())
        if fewest <= seen <= 0.95 * part.size and seen >= _SEEN * int(whole.sum()):
            kept.append(part)
        if len(kept) == most:
            break
    if not kept:
        return None
    found = np.stack(kept)
    return View(frame=frame, masks=found, truth=np.stack([cells(m, frame) for m in found]))


def cells(mask: Bool[np.ndarray, "H W"], frame: Frame) -> Float32[np.ndarray, "h w"]:
    """Share of object in each cell of the logits, 0..1; the padding has none.

    >>> from anymask.variants import variant
    >>> cells(np.ones((384, 192), bool), Frame.fit((384, 192), variant("nano").spec)).sum()
    np.float32(4608.0)
    """
    height, width = frame.resized
    smaller = mask.shape[0] > height
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    padded = np.zeros(frame.padded, np.float32)
    padded[:height, :width] = cv2.resize(
        mask.astype(np.float32), (width, height), interpolation=how
    )
    (h, w), stride = frame.logits, frame.mask_stride
    shares: np.ndarray = padded.reshape(h, stride, w, stride).mean((1, 3))
    return shares


def _cut(array: np.ndarray, plan: Plan) -> np.ndarray:
    """The window of an array (H, W, ...), a new array."""
    x0, y0, x1, y1 = plan.window
    part = array[y0:y1, x0:x1]
    return np.array(part[:, ::-1] if plan.mirrored else part, order="C")


def _start(
    start: float, extent: float, length: float, limit: float, rng: np.random.Generator
) -> float:
    """Where a window of some length begins so that it holds the extent, anywhere in it."""
    low, high = sorted((max(0.0, start + extent - length), min(start, limit - length)))
    return float(np.clip(rng.uniform(low, high), 0, limit - length))
