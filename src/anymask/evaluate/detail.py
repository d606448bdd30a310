"""What is known of one mask's answers beside their IoU: scores, borders, and what went wrong.

``fault`` names the first click's answer (the mask that the model scored highest), from IoUs with
the truth and with the photo's other true masks:

- ``right``: IoU of at least 0.75;
- ``other output``: another of the click's masks reaches 0.75: the model had it and chose another;
- ``other level``: it fits (0.75) another true mask which holds the click too: a right answer to the
  click, of another granularity than was meant;
- ``other object``: it fits another true mask that the click is not on;
- ``too large`` holds at least 0.8 of the object, ``too small`` lies in it with at least 0.8;
- ``partly``: half of the object or of the mask is in the other; ``elsewhere``: the rest.

Wrong granularity is what "other output" and "other level" prove. "too large" and "too small" may be
of that kind too, where nobody drew the whole or the part; wrong objects are "other object" and
"elsewhere".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco

from anymask.evaluate.boundary import border, boundary_score, tolerance_px
from anymask.evaluate.rounds import Target
from anymask.mask_rle import Rle, decode_rle, encode_rle, packed

FITS = 0.75  # IoU from which on a mask shows what was meant
MOST = 0.8  # share of a mask that counts as nearly all of it
FAULTS = (
    "right",
    "other output",
    "other level",
    "other object",
    "too large",
    "too small",
    "partly",
    "elsewhere",
)
SIZES = MappingProxyType(  # COCO's, px of the photo: from, below
    {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 2**62)}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One mask's answers, looked at closely.

    Attributes
    ----------
    pixels
        Area of the truth, px.
    after
        IoU after each click, from the first to the last that was reported.
    clicks
        Clicks until each IoU of `anymask.evaluate.noc.GOALS`, None for never; empty where nobody
        clicked so often.
    predicted_box, predicted
        Predicted IoU of the box's answer, and after each click.
    f_box, f
        Boundary F of the box's answer, and after each click.
    near
        Share of the box's wrong pixels that lie within the tolerance of boundary F of the true
        border; NaN where none is wrong.
    fault
        One of `FAULTS`.
    box_mask, click_mask
        The answers to the box and to the first click.
    """

    pixels: int
    after: tuple[float, ...]
    clicks: tuple[int | None, ...]
    predicted_box: float
    predicted: tuple[float, ...]
    f_box: float
    f: tuple[float, ...]
    near: float
    fault: str
    box_mask: Rle
    click_mask: Rle

    @property
    def size(self) -> str:
        """``small``, ``medium`` or ``large``, as COCO has it, in px of the photo as it is."""
        return next(name for name, (low, high) in SIZES.items() if low <= self.pixels < high)


def border_f(target: Target, found: Bool[np.ndarray, "H W"]) -> float:
    """Boundary F of an answer."""
    return boundary_score(target.truth, found, target.ignore).f


def near_border(target: Target, found: Bool[np.ndarray, "H W"]) -> float:
    """Share of the wrong pixels that are near the true border; NaN where none is wrong."""
    wrong = target.truth ^ found
    if target.ignore is not None:
        wrong &= ~target.ignore
    if not wrong.any():
        return math.nan
    edge = border(target.truth)
    if not edge.any():
        return 0.0
    away = cv2.distanceTransform((~edge).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((away[wrong] <= tolerance_px(*found.shape)).mean())


def fault_of(
    target: Target,
    found: Bool[np.ndarray, "H W"],
    best: float,
    others: Sequence[Rle],
) -> str:
    """What the first click's answer is; see above.

    Parameters
    ----------
    found
        The mask that the model scored highest.
    best
        Highest IoU among the click's masks.
    others
        The photo's other true masks, compared with all their pixels.
    """
    if target.iou(found) >= FITS:
        return "right"
    if best >= FITS:
        return "other output"
    fitting = _fitting(encode_rle(found), others)
    if fitting:
        x, y = target.first_click()
        return "other level" if any(decode_rle(one)[y, x] for one in fitting) else "other object"
    counted = np.ones_like(found) if target.ignore is None else ~target.ignore
    shared = int((target.truth & found & counted).sum())
    held = shared / max(1, int((target.truth & counted).sum()))
    inside = shared / max(1, int((found & counted).sum()))
    if held >= MOST:
        return "too large"
    if inside >= MOST:
        return "too small"
    return "partly" if max(held, inside) >= 0.5 else "elsewhere"


def _fitting(found: Rle, others: Sequence[Rle]) -> list[Rle]:
    """The masks that one fits, none of them decoded."""
    if not others:
        return []
    ious = np.asarray(coco.iou([packed(found)], [packed(one) for one in others], [0] * len(others)))
    return [others[i] for i in np.flatnonzero(ious[0] >= FITS).tolist()]
