"""Objects of one view pasted into another, at other sizes and places, with masks cut where hidden.

Ghiasi et al. 2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
Segmentation" (arXiv:2012.07177): random objects, large scale jitter, no blending. What lies behind
a pasted object loses those pixels from its mask, and its place in the view if too little is left.
"""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from anymask.train.augment import Augment
from anymask.train.samples import FEWEST_CELLS, SEEN, View


def paste_objects(
    view: View, other: View, most: int, augment: Augment, rng: np.random.Generator
) -> View:
    """The view with some objects of the other; the pasted ones come first among its masks.

    At most `most` masks are kept. An object that would be hidden by more than a share of
    itself, by later ones or the border, is left out.
    """
    count = int(rng.integers(1, augment.paste_most + 1))
    pixels = view.pixels.copy()
    masks = list(view.masks)
    sizes = [int(mask.sum()) for mask in masks]
    pasted: list[np.ndarray] = []
    for row in rng.permutation(len(other.masks))[:count]:
        placed = _placed(other, other.masks[row], view.size, augment, rng)
        if placed is None:
            continue
        patch, mask = placed
        pixels[mask] = patch[mask]
        pasted = [earlier & ~mask for earlier in pasted]
        masks = [mask_ & ~mask for mask_ in masks]
        pasted.append(mask)
    least = FEWEST_CELLS * 16
    seen = [m for m, size in zip(masks, sizes, strict=True) if m.sum() >= max(least, SEEN * size)]
    kept = [m for m in reversed(pasted) if m.sum() >= least] + seen
    if not pasted or not kept:
        return view
    return View(pixels=pixels, masks=np.stack(kept[:most]), size=view.size)


def _placed(
    other: View,
    mask: Bool[np.ndarray, "S S"],
    size: tuple[int, int],
    augment: Augment,
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "S S 3"], Bool[np.ndarray, "S S"]] | None:
    """An object of another view scaled and moved, wholly inside of `size`; None if too small."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    low, high = augment.paste_scale
    scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    scale = min(scale, size[0] / (y1 - y0), size[1] / (x1 - x0))
    height = min(size[0], max(1, round((y1 - y0) * scale)))
    width = min(size[1], max(1, round((x1 - x0) * scale)))
    smaller = height < y1 - y0
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    cut = np.ascontiguousarray(mask[y0:y1, x0:x1]).view(np.uint8) * np.uint8(255)
    shape = cv2.resize(cut, (width, height), interpolation=how) > 127
    if shape.sum() < FEWEST_CELLS * 16:
        return None
    part = np.ascontiguousarray(other.pixels[y0:y1, x0:x1])
    top = int(rng.integers(size[0] - height + 1))
    left = int(rng.integers(size[1] - width + 1))
    patch = np.zeros_like(other.pixels)
    bits = np.zeros_like(mask)
    patch[top : top + height, left : left + width] = cv2.resize(
        part, (width, height), interpolation=how
    )
    bits[top : top + height, left : left + width] = shape
    return patch, bits
