"""Figures of details: scores against the truth, borders, sizes, clicks needed, what went wrong.

Where a mean has no mask it is None.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from anymask.evaluate import noc
from anymask.evaluate.detail import FAULTS, SIZES, Detail

_ROUNDING = 1e-9  # a mean that falls by less is no lower


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A mask's detail beside what its score says.

    Attributes
    ----------
    box, click
        IoU of the answers to the box and to the first click.
    """

    detail: Detail
    box: float

    @property
    def click(self) -> float:
        return self.detail.after[0]


def figures_of(masks: Sequence[Judged]) -> dict[str, object]:
    """All figures of some masks, for JSON.

    ``mean_after``: mean IoU after each click; ``more_clicks_never_worse``: whether it never falls,
    and the clicks after which it does. ``boundary_f``: of box and clicks. ``pearson``: correlation
    of predicted with true IoU over masks. ``noc``: clicks needed, where they were counted.
    ``sizes``: by COCO's sizes. ``near_border``: mean share of the box's wrong pixels that lie near
    the true border. ``faults``: of the first click, with their share of all lost IoU.
    """
    after = mean_after(masks)
    falls = [
        count for count, (one, other) in enumerate(pairwise(after), 2) if other < one - _ROUNDING
    ]
    return {
        "masks": len(masks),
        "mean_after": after,
        "more_clicks_never_worse": {"holds": not falls, "falls_at": falls},
        "boundary_f": {
            "box": _mean([one.detail.f_box for one in masks]),
            "click1": _mean([one.detail.f[0] for one in masks]),
            f"click{len(after)}": _mean([one.detail.f[-1] for one in masks]),
        },
        "near_border": _mean([one.detail.near for one in masks]),
        "pearson": pearsons(masks),
        "noc": _noc(masks),
        "sizes": {name: _size([m for m in masks if m.detail.size == name]) for name in SIZES},
        "faults": _faults(masks),
    }


def mean_after(masks: Sequence[Judged]) -> list[float]:
    """Mean IoU after each click."""
    if not masks:
        return []
    return [float(v) for v in np.mean([one.detail.after for one in masks], axis=0)]


def pearsons(masks: Sequence[Judged]) -> dict[str, float | None]:
    """Correlation of predicted with true IoU: of boxes, of the first and of the last click."""
    if not masks:
        return {}
    last = len(masks[0].detail.after)
    pairs = {"box": [(one.detail.predicted_box, one.box) for one in masks]}
    for count in (1, last):
        pairs[f"click{count}"] = [
            (one.detail.predicted[count - 1], one.detail.after[count - 1]) for one in masks
        ]
    return {name: pearson(*zip(*values, strict=True)) for name, values in pairs.items()}


def pearson(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Correlation of two rows of numbers; None where one does not vary.

    >>> pearson([1, 2, 3], [2, 4, 6])
    1.0
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    x, y = x - x.mean(), y - y.mean()
    spread = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return round(float((x * y).sum()) / spread, 12) if spread > 0 else None


def _noc(masks: Sequence[Judged]) -> dict[str, float | None]:
    """``noc85``, ``never85`` and so on; empty where clicks were not counted."""
    counted = [one.detail.clicks for one in masks if one.detail.clicks]
    found: dict[str, float | None] = {}
    if counted:
        for goal, clicks in zip(noc.GOALS, zip(*counted, strict=True), strict=True):
            found[f"noc{goal * 100:.0f}"] = noc.mean_clicks(clicks)
            found[f"never{goal * 100:.0f}"] = noc.never(clicks)
    return found


def _size(masks: Sequence[Judged]) -> dict[str, object]:
    return {
        "masks": len(masks),
        "box": _mean([one.box for one in masks]),
        "click1": _mean([one.click for one in masks]),
        "boundary_f_box": _mean([one.detail.f_box for one in masks]),
        "near_border": _mean([one.detail.near for one in masks]),
    }


def _faults(masks: Sequence[Judged]) -> dict[str, object]:
    lost = sum(1 - one.click for one in masks)
    found: dict[str, object] = {}
    for fault in FAULTS:
        own = [one for one in masks if one.detail.fault == fault]
        found[fault] = {
            "masks": len(own),
            "share": len(own) / len(masks) if masks else None,
            "of_lost_iou": sum(1 - one.click for one in own) / lost if lost else None,
        }
    return found


def _mean(values: Sequence[float]) -> float | None:
    """Of those that are numbers."""
    known = [one for one in values if not math.isnan(one)]
    return float(np.mean(known)) if known else None
