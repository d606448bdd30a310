"""Which of masks that were found without being asked for are what words name."""

import numpy as np
from jaxtyping import Float32, Int64

from anymask.masks import Masks
from anymask.text_boxes import TextBoxes

_LEAST = 0.5  # IoU of a detector's box with the box of a mask


def matching(
    masks: Masks, found: TextBoxes, least: float = _LEAST
) -> tuple[Int64[np.ndarray, " K"], Int64[np.ndarray, " K"]]:
    """Indices, rising, of the masks whose boxes fit a detector's boxes, and the phrase of each.

    Each of the detector's boxes takes the mask whose box overlaps it most, the first of equal
    ones, if their IoU is `least` or more. A mask that several take answers the phrase of the one
    with the highest score.
    """
    if not len(masks) or not len(found):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ious = _ious(found.boxes, masks.boxes)
    best = ious.argmax(1)
    rows = np.flatnonzero(ious[np.arange(len(best)), best] >= least)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    taken, first = np.unique(best[rows], return_index=True)
    return taken.astype(np.int64), found.phrases[rows[first]]


def _ious(
    a: Float32[np.ndarray, "K 4"], b: Float32[np.ndarray, "M 4"]
) -> Float32[np.ndarray, "K M"]:
    """IoU of every pair of boxes; 0 for a box without area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1) for x in (a, b)]
    either = areas[0][:, None] + areas[1][None] - both
    shares: np.ndarray = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return shares
