"""Small holes and sprinkles of masks, as SAM 2's predictor removes them: on low-resolution logits.

The official code needs a CUDA extension for this and leaves masks as they are without it; here it
works everywhere. Components are 8-connected, and one that touches the border counts.
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anymask.mask_geometry import remove_small_regions

_SURE = 10.0  # logits above or below the threshold, for what is changed
_BARELY = 0.1  # the logit that holes get in videos


def fill_small(
    logits: Float[Tensor, "*M h w"], threshold: float, hole_area: float, sprinkle_area: float
) -> Float[Tensor, "*M h w"]:
    """Logits whose small holes are object, and whose small sprinkles are not.

    Parameters
    ----------
    logits
        At low resolution.
    threshold
        Above it is the object.
    hole_area, sprinkle_area
        Largest area, cells, that is changed; 0 changes nothing.
    """
    if hole_area <= 0 and sprinkle_area <= 0:
        return logits
    found = logits.clone()
    on = (logits > threshold).reshape(-1, *logits.shape[-2:])
    for mask, one in zip(on.cpu().numpy(), found.view(on.shape), strict=True):
        if hole_area > 0:
            one[_places(~mask, hole_area, one)] = threshold + _SURE
        if sprinkle_area > 0:
            one[_places(mask, sprinkle_area, one)] = threshold - _SURE
    return found


def fill_holes(logits: Float[Tensor, "h w"], area: float) -> Float[Tensor, "h w"]:
    """Logits of one object on a frame of a video, whose holes up to an area, cells, are object."""
    hole = _places((logits <= 0).cpu().numpy(), area, logits)
    return torch.where(hole, _BARELY, logits)


def _places(bits: Bool[np.ndarray, "h w"], area: float, like: Tensor) -> Bool[Tensor, "h w"]:
    """Where the components of an area up to a limit are."""
    filled, _ = remove_small_regions(~bits, math.floor(area) + 1, "holes")
    return torch.from_numpy(filled & bits).to(like.device)
