"""Masks as prompts: 0/1, probabilities or logits, of the image's size or low resolution.

A network was trained to refine its own logits. Other masks are turned into what it knows: a
binary mask into logits of moderate size, with its box and its innermost point beside them; a
probability into its logit.
"""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float32

from anymask.errors import PromptError

MaskKind = Literal["binary", "probability", "logits"]

SURE = 6.0  # logit of a pixel that a 0/1 mask states; measured, see docs/LOG.md
_EDGE = 1e-3  # probabilities nearer to 0 or 1 than this are cut, so that logits stay finite


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParsedMasks:
    """Masks in the form that networks take.

    Attributes
    ----------
    logits
        At low resolution.
    binary
        They were 0/1 masks; then `boxes` (xyxy) and `points` (xy) describe them, in image px.
    single
        One was given without a leading axis.
    """

    logits: Float32[np.ndarray, "P h w"]
    binary: bool
    boxes: Float32[np.ndarray, "P 4"]
    points: Float32[np.ndarray, "P 2"]
    single: bool


def parse_masks(
    value: Any,
    size: tuple[int, int],
    low: tuple[int, int],
    resized: tuple[int, int],
    padded: tuple[int, int],
    kind: MaskKind | None,
) -> ParsedMasks | None:
    """Check masks and bring them to low-resolution logits.

    Parameters
    ----------
    size
        (H, W) of the image.
    low
        (h, w) of the network's logits.
    resized, padded
        (h, w) of the network's input before and after padding, px.

    Raises
    ------
    PromptError
        ``mask-shape``, ``mask-size``, ``mask-values``, ``mask-empty``, ``not-finite``.
    """
    if value is None:
        return None
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "buif":
        raise PromptError("mask-values", "numbers are wanted", given=str(array.dtype))
    single = array.ndim == 2 or (array.ndim == 3 and array.shape[0] == 1)
    if array.ndim == 2:
        array = array[None]
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3:
        raise PromptError(
            "mask-shape", "masks are (h, w), (P, h, w) or (P, 1, h, w)", given=array.shape
        )
    if array.shape[1:] not in (size, low):
        raise PromptError(
            "mask-size",
            f"the mask has {array.shape[1]}x{array.shape[2]} (height x width); the image has "
            f"{size[0]}x{size[1]} and logits have {low[0]}x{low[1]}",
            hint="resize it to one of the two; was it turned?",
        )
    if not np.isfinite(array).all():
        raise PromptError("not-finite", "a mask has values that are not finite", where="masks")
    kind = kind or _kind_of(array)
    masks = array.astype(np.float32)
    at_image = array.shape[1:] == size and size != low
    boxes = np.zeros((len(masks), 4), np.float32)
    points = np.zeros((len(masks), 2), np.float32)
    if kind == "binary":
        masks = (masks > 0).astype(np.float32)
        scale = np.ones(2) if array.shape[1:] == size else _cell(size, low, resized, padded)
        for i, mask in enumerate(masks):
            boxes[i], points[i] = _describe(mask, scale, size, i)
    if at_image:
        if kind == "logits":
            masks = np.stack([_to_low(m, low, resized, padded, -SURE) for m in masks])
        else:
            masks = np.stack([_to_low(m, low, resized, padded, 0.0) for m in masks])
    if kind == "probability":
        masks = np.clip(masks, _EDGE, 1 - _EDGE)
        masks = np.log(masks / (1 - masks))
    elif kind == "binary":
        masks = (2 * masks - 1) * SURE
    return ParsedMasks(
        logits=masks.astype(np.float32),
        binary=kind == "binary",
        boxes=boxes,
        points=points,
        single=single,
    )


def _kind_of(array: np.ndarray) -> MaskKind:
    """Two values are a binary mask, 0..1 a probability, anything else logits."""
    if array.dtype == bool:
        return "binary"
    low, high = array.min(initial=0), array.max(initial=0)
    if low == 0 and bool(np.isin(array, (0, high)).all()):
        return "binary"
    return "probability" if low >= 0 and high <= 1 else "logits"


def _to_low(
    mask: np.ndarray,
    low: tuple[int, int],
    resized: tuple[int, int],
    padded: tuple[int, int],
    fill: float,
) -> np.ndarray:
    """Image-sized values to low resolution, padded as the image is; averages where it shrinks."""
    # cells that the image covers, at least one
    rows = max(1, round(low[0] * resized[0] / padded[0]))
    columns = max(1, round(low[1] * resized[1] / padded[1]))
    smaller = mask.shape[0] >= rows and mask.shape[1] >= columns
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    out = np.full(low, fill, np.float32)
    out[:rows, :columns] = cv2.resize(mask, (columns, rows), interpolation=how)
    return out


def _cell(
    size: tuple[int, int], low: tuple[int, int], resized: tuple[int, int], padded: tuple[int, int]
) -> np.ndarray:
    """Image px (x, y) a low-resolution cell."""
    return np.array([padded[a] / low[a] * size[a] / resized[a] for a in (1, 0)])


def _describe(
    mask: np.ndarray, scale: np.ndarray, size: tuple[int, int], index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tight box and innermost point of a 0/1 mask, in image px."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        raise PromptError("mask-empty", "the mask is empty", where=f"masks[{index}]")
    limit = np.array([size[1], size[0], size[1], size[0]])
    box = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]) * np.tile(scale, 2)
    distance = cv2.distanceTransform(
        np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )[1:-1, 1:-1]
    y, x = divmod(int(distance.argmax()), mask.shape[1])
    point = (np.array([x, y]) + 0.5) * scale - 0.5
    return np.minimum(box, limit), np.clip(point, 0, limit[:2] - 1)
