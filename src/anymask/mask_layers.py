"""Which of several masks lies on top where they overlap: the one of the highest

    score / area ** 0.1

Where scores are alike the smaller mask lies on top: a part on the whole that it is part of, a thing
on what is behind it. But a mask ten times smaller must have 0.79 of the larger one's score: a
doubtful scrap does not cut up what was found well. If two rank equally the smaller lies on top,
then the better scored, then the earlier.

Measured on photos with known regions: by area alone the scraps of a small model tear everything
apart, by score alone parts vanish in wholes (benchmarks/everything_photos.py --layouts).
"""

import numpy as np
from jaxtyping import Float64, Int64

from anymask.masks import Masks

_SIZE_WEIGHT = 0.1  # exponent of the area


def ranks(masks: Masks) -> Float64[np.ndarray, " N"]:
    """How high each mask lies; logarithms. Scores are above 0."""
    tiny = np.finfo(np.float64).tiny
    sizes = np.log(masks.areas.astype(np.float64).clip(1))
    return np.asarray(np.log(masks.scores.astype(np.float64).clip(tiny)) - _SIZE_WEIGHT * sizes)


def top_first(masks: Masks) -> Int64[np.ndarray, " N"]:
    """Indices of the masks from the uppermost to the lowest."""
    order = np.lexsort((-masks.scores, masks.areas, -ranks(masks)))
    return np.asarray(order, np.int64)
