"""Masks that overlap to a map in which every pixel has one mask at most.

Of the masks that cover a pixel the uppermost has it, as `anymask.mask_layers` ranks them: the
smaller one, unless its score is much lower.
"""

from dataclasses import dataclass, replace
from typing import Generic, TypeVar, cast

import cv2
import numpy as np
from jaxtyping import Bool, Int32, Int64

from anymask.errors import PromptError
from anymask.mask_layers import top_first
from anymask.mask_windows import decode_window, encode_window
from anymask.masks import Masks

_SMALLEST = 0.0002  # of the image: about one cell of a network's own grid
MIN_VISIBLE = 0.4

Kind = TypeVar("Kind", bound=Masks)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panoptic(Generic[Kind]):
    """A label map and the masks it is made of.

    Attributes
    ----------
    labels
        0 where there is no mask, k + 1 where mask k of `masks` is.
    masks
        What is left of each mask, without overlaps, in the order in which they were given.
    kept
        Which of the given masks they are.
    """

    labels: Int32[np.ndarray, "H W"]
    masks: Kind
    kept: Int64[np.ndarray, " K"]


def panoptic(
    masks: Kind, *, min_area: int | None = None, min_visible: float = MIN_VISIBLE
) -> Panoptic[Kind]:
    """Give every pixel to one of the masks that cover it; the uppermost.

    What is left of a mask must be worth showing: else it is dropped, and the masks below show.
    Crumbs (pieces of a mask beside a larger one, holes between masks) go to what is nearest.
    Memory is that of about four label maps, however many masks there are.

    Parameters
    ----------
    masks
        From `anymask.MaskGenerator.generate`, or any others.
    min_area
        Smallest piece of a mask, and smallest hole, px; None takes 0.02 % of the image.
    min_visible
        A mask of which a smaller share stays visible is dropped, 0..1.

    Raises
    ------
    PromptError
        ``setting``: `min_area` is negative, or `min_visible` not in 0..1.
    """
    height, width = masks.size
    least = round(_SMALLEST * height * width) if min_area is None else min_area
    if least < 0:
        raise PromptError("setting", "min_area is at least 0", given=min_area)
    if not 0 <= min_visible <= 1:
        raise PromptError("setting", "min_visible is from 0 to 1", given=min_visible)
    labels = _layered(masks, max(1, least), min_visible)
    if least > 1:
        _sweep(labels, least)
    kept = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(masks) + 1)[1:])
    renumber = np.zeros(len(masks) + 1, np.int32)
    renumber[kept + 1] = np.arange(1, len(kept) + 1)
    labels = renumber[labels]
    left = tuple(
        encode_window(labels[at] == k, (at[1].start, at[0].start), masks.size)
        for k, at in enumerate(_windows(labels, len(kept)), 1)
    )
    own = cast(Kind, replace(masks.keep(kept), rles=left))
    return Panoptic(labels=labels, masks=own, kept=kept)


def _layered(masks: Masks, min_area: int, min_visible: float) -> Int32[np.ndarray, "H W"]:
    """Labels k + 1 of the masks given, the uppermost laid first; each mask is decoded once."""
    labels = np.zeros(masks.size, np.int32)
    for k in top_first(masks):
        bits, (x, y) = decode_window(masks.rles[k])
        part = labels[y : y + bits.shape[0], x : x + bits.shape[1]]
        visible = bits & (part == 0)
        if np.count_nonzero(visible) >= max(min_area, min_visible * masks.areas[k]):
            part[visible] = k + 1
    return labels


def _sweep(labels: Int32[np.ndarray, "H W"], min_area: int) -> None:
    """Give crumbs to the nearest label, in place; the largest piece of a mask is never one."""
    crumbs = _small(labels == 0, min_area, spare_largest=False)
    for k, at in enumerate(_windows(labels, int(labels.max(initial=0))), 1):
        if at[0].stop:
            crumbs[at] |= _small(labels[at] == k, min_area, spare_largest=True)
    if not crumbs.any() or crumbs.all():
        return
    # of each crumb's pixels the nearest that is none, as a number; numbers run by rows
    _, nearest = cv2.distanceTransformWithLabels(
        crumbs.view(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels[crumbs] = labels[~crumbs][np.asarray(nearest)[crumbs] - 1]


def _small(
    bits: Bool[np.ndarray, "h w"], min_area: int, *, spare_largest: bool
) -> Bool[np.ndarray, "h w"]:
    """Pieces (4-connected) below an area."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(bits.view(np.uint8), connectivity=4)
    sizes = stats[:, cv2.CC_STAT_AREA]
    small = sizes < min_area
    small[0] = False
    if spare_largest and len(sizes) > 1:
        small[1 + sizes[1:].argmax()] = False
    return np.asarray(small[pieces])


def _windows(labels: Int32[np.ndarray, "H W"], count: int) -> list[tuple[slice, slice]]:
    """The tight box of each label from 1 on, as slices; empty ones for a label that is nowhere."""
    height, width = labels.shape
    bounds = np.tile(np.array([height, 0, width, 0]), (count + 1, 1))  # y0, y1, x0, x1
    for y in range(height):  # row by row: little memory
        found = np.unique(labels[y])
        bounds[found, 0] = np.minimum(bounds[found, 0], y)
        bounds[found, 1] = y + 1
    for x in range(width):
        found = np.unique(labels[:, x])
        bounds[found, 2] = np.minimum(bounds[found, 2], x)
        bounds[found, 3] = x + 1
    bounds[bounds[:, 1] == 0] = 0
    return [(slice(y0, y1), slice(x0, x1)) for y0, y1, x0, x1 in bounds[1:].tolist()]
