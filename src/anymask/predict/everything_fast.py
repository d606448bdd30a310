"""Everything mode, nearly the same masks in a fraction of the time.

Three savings, none of them exact. The grid is decoded from coarse to fine, a share of it in all:
points come first whose decoded neighbours scored highest, and those that many accepted masks cover
are left out. Stability is measured at low resolution. Duplicates are dropped at low resolution, so
that only the masks that stay are enlarged.

What it loses against exact mode is in ``docs/LOG.md``.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from anymask.frame import Frame
from anymask.mask_geometry import nms, tight_boxes
from anymask.model import Model
from anymask.predict.candidates import Collector, Scored, points_at_once, score_points
from anymask.predict.everything_settings import Settings
from anymask.predict.parallel import in_parallel

_SHARE = 0.38  # of the grid's points that are decoded in all
_SHARE_OF_ROUND = 0.75  # of a round's points at most: something is left for the finest one
_COVERED = 8  # accepted masks on a point that make it needless
_STEPS = (4, 2, 1)  # of the grid, from round to round


@dataclass(slots=True, kw_only=True, eq=False)
class _Held:
    """Masks at low resolution that wait for being enlarged."""

    logits: list[Float[Tensor, "h w"]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    boxes: list[Int64[np.ndarray, " 4"]] = field(default_factory=list)
    points: list[Float64[np.ndarray, " 2"]] = field(default_factory=list)

    def thin_out(self, threshold: float) -> None:
        """Drop duplicates."""
        if not self.scores:
            return
        kept = nms(np.array(self.boxes, np.float64), np.array(self.scores), threshold)
        self.logits = [self.logits[i] for i in kept]
        self.scores = [self.scores[i] for i in kept]
        self.boxes = [self.boxes[i] for i in kept]
        self.points = [self.points[i] for i in kept]


def find_candidates_fast(
    model: Model,
    features: tuple[Tensor, ...],
    frame: Frame,
    points: Float64[np.ndarray, "P 2"],
    cells: Int64[np.ndarray, "P 2"],
    settings: Settings,
    collector: Collector,
) -> None:
    """Collect most of what `find_candidates` would.

    Parameters
    ----------
    points
        px of the crop.
    cells
        (column, row) of each point in its grid.
    """
    held = _Held()
    at_once = points_at_once(frame, settings)
    most = max(at_once, settings.memory_mb * 10**6 // 2 // (4 * frame.logits[0] * frame.logits[1]))
    best = np.full(len(points), np.nan, np.float32)
    covers = np.zeros(len(points), np.int64)
    spots = _low_cells(points, frame)
    for step, chosen in rounds(cells):
        left = chosen[wanted(chosen, cells, best, covers, step)]

        def decoded(some: Int64[np.ndarray, " _"]) -> tuple[Int64[np.ndarray, " _"], Scored]:
            return some, score_points(model, features, frame, points[some], settings)

        batches = (left[i : i + at_once] for i in range(0, len(left), at_once))
        for some, found in in_parallel(decoded, batches, model.device):
            best[some] = found.best
            stable, bits = _stable(found.logits, frame, settings)
            for k in np.flatnonzero(stable):
                covers += bits[k][spots[:, 1], spots[:, 0]]
                held.logits.append(found.logits[k].clone())
                held.scores.append(float(found.scores[k]))
                box = tight_boxes(bits[k])
                held.boxes.append(box + np.array([0, 0, 1, 1]))
                held.points.append(points[some[found.rows[k]]])
            if len(held.scores) > most:
                held.thin_out(settings.box_nms_thresh)
    held.thin_out(settings.box_nms_thresh)
    waiting = zip(held.logits, held.scores, held.points, strict=True)
    collector.add(in_parallel(lambda one: collector.look(*one), waiting, model.device))


def rounds(cells: Int64[np.ndarray, "P 2"]) -> list[tuple[int, Int64[np.ndarray, " _"]]]:
    """Steps of the grid, from coarse to fine, with the points that each adds."""
    found, before = [], np.zeros(len(cells), bool)
    for step in _STEPS:
        on = (cells % step == min(1, step - 1)).all(1) & ~before
        before |= on
        found.append((step, np.flatnonzero(on)))
    return found


def wanted(
    chosen: Int64[np.ndarray, " C"],
    cells: Int64[np.ndarray, "P 2"],
    best: Float[np.ndarray, " P"],
    covers: Int64[np.ndarray, " P"],
    step: int,
) -> Int64[np.ndarray, " W"]:
    """Which of the chosen points are worth decoding: their places among the chosen, in order.

    Parameters
    ----------
    best
        Highest score of each point that was decoded, else NaN.
    covers
        Accepted masks on each point.
    step
        Decoded points at most so many cells away are neighbours.
    """
    done = np.flatnonzero(~np.isnan(best))
    if not len(done):
        return np.arange(len(chosen))
    near = np.abs(cells[chosen][:, None] - cells[done][None]).max(-1) <= step
    # no neighbour at all (a region with few points): nothing speaks against it
    mean = np.where(near, best[done], 0).sum(1) / np.maximum(near.sum(1), 1)
    promise = np.where(near.any(1), mean, np.inf)
    left = max(0, int(_SHARE * len(cells)) - len(done))
    most = left if step == _STEPS[-1] else min(left, int(_SHARE_OF_ROUND * len(chosen)))
    order = np.argsort(-promise, kind="stable")
    return np.sort(order[covers[chosen][order] < _COVERED][:most])


def _low_cells(points: Float64[np.ndarray, "P 2"], frame: Frame) -> Int64[np.ndarray, "P 2"]:
    """The low-resolution cell (x, y) that each point lies in."""
    height, width = frame.covered
    at = (points / np.array(frame.cell)).astype(np.int64)
    return np.asarray(np.minimum(at, np.array([width - 1, height - 1])))


def _stable(
    logits: Float[Tensor, "K h w"], frame: Frame, settings: Settings
) -> tuple[Bool[np.ndarray, " K"], Bool[np.ndarray, "K th tw"]]:
    """Which masks are stable at low resolution, and their bits where the image is."""
    height, width = frame.covered
    shown = logits[:, :height, :width]
    threshold, offset = settings.mask_threshold, settings.stability_score_offset
    high = (shown > threshold + offset).sum((1, 2))
    low = (shown > threshold - offset).sum((1, 2))
    stable = (low > 0) & (high >= settings.stability_score_thresh * low)
    return stable.numpy(), (shown > threshold).numpy()
