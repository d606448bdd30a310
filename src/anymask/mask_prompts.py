"""Masks as prompts: 0/1, probabilities or logits, of the image's size or low resolution.

A network was trained to refine its own logits. Other masks are turned into what it knows: a
binary mask into logits of moderate size, with its box and its innermost point beside them; a
probability into its logit.
"""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Shaped

from anymask.errors import Note, PromptError
from anymask.frame import Frame

MaskKind = Literal["binary", "probability", "logits"]

SURE = 6.0  # logit of a pixel that a 0/1 mask states; measured with benchmarks/mask_prompts.py
_EDGE = 1e-3  # probabilities nearer to 0 or 1 than this are cut, so that logits stay finite


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParsedMasks:
    """Masks in the form that networks take.

    Attributes
    ----------
    logits
        At low resolution.
    boxes, points
        Tight box (xyxy) and innermost point (xy) of each binary mask, in image px; None for
        other kinds.
    single
        One was given without an axis of prompts, or with one of length 1.
    """

    logits: Float32[np.ndarray, "P h w"]
    boxes: Float32[np.ndarray, "P 4"] | None
    points: Float32[np.ndarray, "P 2"] | None
    single: bool


def parse_masks(
    value: Any, frame: Frame, kind: MaskKind | None, notes: list[Note]
) -> ParsedMasks | None:
    """Check masks and bring them to low-resolution logits.

    Parameters
    ----------
    value
        (h, w), (P, h, w) or (P, 1, h, w), of the image's size or of the network's logits.
    kind
        What the numbers are. None tells by their values: two of them are a binary mask, all
        within 0..1 (or 8-bit integers) a probability, anything else logits.

    Raises
    ------
    PromptError
        ``mask-kind``, ``mask-shape``, ``mask-size``, ``mask-values``, ``mask-empty``,
        ``not-finite``.
    """
    if value is None:
        return None
    array, single = _checked(value, frame)
    small = array.shape[1:] == frame.logits
    kind = kind or _kind_of(array)
    boxes = points = None
    if kind == "binary":
        bits = array > 0
        described = [_describe(bits[p], frame, f"masks[{p}]") for p in range(len(bits))]
        boxes = np.array([box for box, _ in described], np.float32).reshape(-1, 4)
        points = np.array([point for _, point in described], np.float32).reshape(-1, 2)
        masks, fill = bits.astype(np.float32), 0.0
        notes.append(Note("mask-binary", "a mask of two values was taken as logits"))
    elif kind == "probability":
        masks, fill = array.astype(np.float32), 0.0
        if array.dtype == np.uint8 and array.max(initial=0) > 1:
            masks = masks / np.float32(255)
        notes.append(Note("mask-probability", "a mask within 0..1 was taken as probabilities"))
    elif kind == "logits":
        masks, fill = array.astype(np.float32), -SURE
    else:
        raise PromptError(
            "mask-kind",
            "there is no such kind of mask",
            given=kind,
            hint="binary, probability or logits",
        )
    if not small:
        rows = [_to_low(mask, frame, fill) for mask in masks]
        masks = np.stack(rows) if rows else np.zeros((0, *frame.logits), np.float32)
        notes.append(Note("mask-resized", "a mask of the image's size was scaled to the network's"))
    if kind == "binary":
        masks = (2 * masks - 1) * np.float32(SURE)
    elif kind == "probability":
        masks = np.clip(masks, _EDGE, 1 - _EDGE)
        masks = np.log(masks / (1 - masks))
    return ParsedMasks(logits=masks.astype(np.float32), boxes=boxes, points=points, single=single)


def _checked(value: Any, frame: Frame) -> tuple[Shaped[np.ndarray, "P h w"], bool]:
    """An array of finite numbers of one of the two sizes, and whether it may be a single mask."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise PromptError("mask-shape", "masks of one call have one shape", given=value) from error
    if array.dtype.kind not in "buif":
        raise PromptError("mask-values", "a mask holds numbers", given=str(array.dtype))
    single = array.ndim == 2 or (array.ndim == 3 and array.shape[0] == 1)
    if array.ndim == 2:
        array = array[None]
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3:
        raise PromptError(
            "mask-shape",
            "masks are (h, w), (P, h, w) or (P, 1, h, w)",
            given=array.shape,
            hint="for one prompt give one mask, such as logits[best]",
        )
    if array.shape[1:] not in (frame.image, frame.logits):
        sizes = [f"{h}x{w}" for h, w in (array.shape[1:], frame.image, frame.logits)]
        turned = array.shape[:0:-1] in (frame.image, frame.logits)
        raise PromptError(
            "mask-size",
            f"the mask has {sizes[0]} (height x width), the image has {sizes[1]} and logits "
            f"have {sizes[2]}",
            hint="it fits if swapped: transpose it" if turned else "scale it to one of the two",
        )
    strange = np.argwhere(~np.isfinite(array))
    if len(strange):
        at = "".join(f"[{i}]" for i in strange[0])
        raise PromptError("not-finite", "a mask holds numbers not finite", where=f"masks{at}")
    return array, single


def _kind_of(array: Shaped[np.ndarray, "P h w"]) -> MaskKind:
    """Two values around 0 are a binary mask, all within 0..1 a probability, others logits."""
    if array.dtype == bool or array.size == 0:
        return "binary"
    low, high = array.min(), array.max()
    two = bool(((array == low) | (array == high)).all())
    if two and (low <= 0 < high or (low == high and low in (0, 1, 255))):
        return "binary"
    return "probability" if low >= 0 and (high <= 1 or array.dtype == np.uint8) else "logits"


def _to_low(
    mask: Float32[np.ndarray, "H W"], frame: Frame, fill: float
) -> Float32[np.ndarray, "h w"]:
    """Scaled and padded as the image is, then averaged over the cells of the logits."""
    height, width = frame.resized
    smaller = height <= mask.shape[0] and width <= mask.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    full = np.full(frame.padded, fill, np.float32)
    full[:height, :width] = cv2.resize(mask, (width, height), interpolation=how)
    (h, w), stride = frame.logits, frame.mask_stride
    return np.asarray(full.reshape(h, stride, w, stride).mean((1, 3)))


def _describe(
    bits: Bool[np.ndarray, "h w"], frame: Frame, where: str
) -> tuple[Float32[np.ndarray, "4"], Float32[np.ndarray, "2"]]:
    """Tight box and innermost point, in image px; cells of padding do not count."""
    scale = np.ones(2)
    if bits.shape != frame.image:
        scale = np.array(frame.cell)
        bits = bits[: frame.covered[0], : frame.covered[1]]
    ys, xs = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    if not len(ys):
        raise PromptError(
            "mask-empty",
            "a mask given as a prompt shows no object",
            where=where,
            hint="give a point or a box instead, or kind='logits' for raw logits",
        )
    limit = np.array(frame.image[::-1])
    box = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]) * np.tile(scale, 2)
    distance = cv2.distanceTransform(
        np.pad(bits.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )[1:-1, 1:-1]
    y, x = divmod(int(distance.argmax()), bits.shape[1])
    point = (np.array([x, y]) + 0.5) * scale - 0.5
    box = np.minimum(box, np.tile(limit, 2))
    return box.astype(np.float32), np.clip(point, 0, limit - 1).astype(np.float32)
