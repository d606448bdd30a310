"""Number of clicks until a mask is good enough (NoC), as interactive segmentation reports it.

NoC@85 and NoC@90 are the mean numbers of clicks until IoU reaches 0.85 and 0.90 for the first time;
a mask that does not reach it in 20 clicks counts as 20, and the share of those is told beside.

Sofiiuk et al. 2022 (RITM, arXiv:2102.06583), sec. 5. There, too, each click is the innermost point
of the largest error; there a network gives one mask a click, here the first click gives three, of
which the one that the model scores highest counts.
"""

import math
from collections.abc import Sequence

GOALS = (0.85, 0.90)
MOST = 20


def reached(ious: Sequence[float], goal: float) -> int | None:
    """The click after which IoU is at least `goal` for the first time; None for never.

    >>> reached([0.5, 0.86, 0.84], 0.85)
    2
    """
    return next((count for count, one in enumerate(ious, 1) if one >= goal), None)


def mean_clicks(clicks: Sequence[int | None]) -> float:
    """NoC of masks; NaN of none.

    >>> mean_clicks([1, None, 3])
    8.0
    """
    counted = [MOST if one is None else one for one in clicks]
    return sum(counted) / len(counted) if counted else math.nan


def never(clicks: Sequence[int | None]) -> float:
    """Share of masks that are never good enough, 0..1; NaN of none."""
    return sum(one is None for one in clicks) / len(clicks) if clicks else math.nan
