"""Points on an encoded image to the masks that are good enough, as run lengths.

The steps of SAM's generator in the order that costs least: the score first, then the mask at low
resolution, then its enlarged window, strip by strip, from which stability and run lengths come. A
full bitmap of a mask never exists.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from anymask.frame import Frame
from anymask.mask_rle import Rle
from anymask.model import Model
from anymask.predict.enlarge import Enlarger
from anymask.predict.everything_settings import Settings
from anymask.predict.parallel import in_parallel
from anymask.prompts import Prompts, network_points

_BYTES_A_CELL = 100  # of a look and its masks, a point and a low-resolution cell
_BYTES_A_CELL_AGAIN = 500  # the same where each mask is decoded once more
_MOST_POINTS = 32  # in a batch; more gain nothing, and leave threads without work
_LOGITS_CLAMP = 32.0  # SAM 2 feeds back no larger logits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """N masks of one crop.

    Attributes
    ----------
    rles
        In the whole image.
    boxes
        First and last pixel, x0, y0, x1, y1, px of the crop.
    points
        The point of each mask, px of the crop.
    """

    rles: tuple[Rle, ...]
    scores: Float32[np.ndarray, " N"]
    stability: Float32[np.ndarray, " N"]
    boxes: Int64[np.ndarray, "N 4"]
    points: Float64[np.ndarray, "N 2"]

    @classmethod
    def none(cls) -> "Candidates":
        """No masks."""
        nothing = np.zeros(0, np.float32)
        return cls(
            rles=(),
            scores=nothing,
            stability=nothing,
            boxes=np.zeros((0, 4), np.int64),
            points=np.zeros((0, 2)),
        )

    def __len__(self) -> int:
        return len(self.rles)

    def keep(self, index: Int64[np.ndarray, " K"]) -> "Candidates":
        """Some of them, in the order given."""
        return Candidates(
            rles=tuple(self.rles[i] for i in index),
            scores=self.scores[index],
            stability=self.stability[index],
            boxes=self.boxes[index],
            points=self.points[index],
        )


class Collector:
    """Logits of masks of one crop to run lengths, where they are stable."""

    def __init__(
        self, frame: Frame, settings: Settings, place: tuple[int, int], size: tuple[int, int]
    ) -> None:
        """`place` is the (x, y) of the crop in the image, `size` the image's (H, W), px."""
        self._enlarger = Enlarger.of(frame)
        self._settings, self._place, self._size = settings, place, size
        self._found: list[Candidate] = []

    def look(
        self, logits: Float[Tensor, "h w"], score: float, point: Float64[np.ndarray, " 2"]
    ) -> "Candidate | None":
        """Enlarge a mask; None if it is not stable. For any number of threads."""
        settings = self._settings
        got = self._enlarger.measure(
            logits,
            settings.mask_threshold,
            settings.stability_score_offset,
            place=self._place,
            size=self._size,
        )
        if not got.stability >= settings.stability_score_thresh:
            return None  # NaN, too
        return Candidate(
            rle=got.runs.rle(), score=score, stability=got.stability, box=got.box, point=point
        )

    def add(self, found: "Iterable[Candidate | None]") -> None:
        """Keep what was found, in this order."""
        self._found += [one for one in found if one is not None]

    def candidates(self) -> Candidates:
        """All that were kept."""
        return Candidates(
            rles=tuple(one.rle for one in self._found),
            scores=np.array([one.score for one in self._found], np.float32),
            stability=np.array([one.stability for one in self._found], np.float32),
            boxes=np.array([one.box for one in self._found], np.int64).reshape(-1, 4),
            points=np.array([one.point for one in self._found], np.float64).reshape(-1, 2),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One of `Candidates`."""

    rle: Rle
    score: float
    stability: float
    box: tuple[int, int, int, int]
    point: Float64[np.ndarray, " 2"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """K masks of P points whose scores pass.

    Attributes
    ----------
    best
        Highest score of each point, passed or not.
    rows, scores, logits
        Of each mask: its point, its predicted IoU, its logits (on the CPU).
    """

    best: Float32[np.ndarray, " P"]
    rows: Int64[np.ndarray, " K"]
    scores: Float32[np.ndarray, " K"]
    logits: Float[Tensor, "K h w"]


def points_at_once(frame: Frame, settings: Settings) -> int:
    """How many points are decoded together within the memory that was allowed."""
    h, w = frame.logits
    bytes_a_cell = _BYTES_A_CELL_AGAIN if settings.use_m2m else _BYTES_A_CELL
    together = settings.memory_mb * 10**6 // (h * w * bytes_a_cell * torch.get_num_threads())
    return max(1, min(_MOST_POINTS, together))


def find_candidates(
    model: Model,
    features: tuple[Tensor, ...],
    frame: Frame,
    points: Float64[np.ndarray, "P 2"],
    settings: Settings,
    collector: Collector,
) -> None:
    """Collect all masks of the points (px of the crop) that pass by score and stability."""
    at_once = points_at_once(frame, settings)

    def decoded(some: Float64[np.ndarray, "_ 2"]) -> list[Candidate | None]:
        found = score_points(model, features, frame, some, settings)
        return [
            collector.look(logits, float(score), some[row])
            for row, score, logits in zip(found.rows, found.scores, found.logits, strict=True)
        ]

    batches = (points[i : i + at_once] for i in range(0, len(points), at_once))
    for candidates in in_parallel(decoded, batches, model.device):
        collector.add(candidates)


@torch.inference_mode()
def score_points(
    model: Model,
    features: tuple[Tensor, ...],
    frame: Frame,
    points: Float64[np.ndarray, "P 2"],
    settings: Settings,
) -> Scored:
    """Decode points; draw the masks whose score passes."""
    prompts = Prompts(
        points=tuple(points.astype(np.float32)[:, None]),
        labels=(np.ones(1, np.int64),) * len(points),
    )
    net, labels = (torch.from_numpy(a) for a in network_points(prompts, frame, model.variant.spec))
    state, known = model.look(features, net, labels)
    outputs = model.variant.outputs.of(settings.multimask_output)
    scores = known[:, outputs]
    answers = torch.arange(outputs.start, outputs.stop, device=scores.device).expand(scores.shape)
    if not settings.multimask_output:
        answers, scores = (part[:, None] for part in model.clear(state, known))
    if settings.use_m2m:
        rows, columns = torch.nonzero(torch.ones_like(answers), as_tuple=True)
        logits = model.draw(state, rows, answers[rows, columns])
        logits = logits.clamp(-_LOGITS_CLAMP, _LOGITS_CLAMP)
        state, known = model.look(features, net[rows], labels[rows], logits[:, None])
        del logits
        answer, of_mask = model.clear(state, known)
        passing = torch.nonzero(of_mask > settings.pred_iou_thresh)[:, 0]
        drawn = model.draw(state, passing, answer[passing])
        scores, rows, kept = of_mask.view(len(points), -1), rows[passing], of_mask[passing]
    else:
        rows, columns = torch.nonzero(scores > settings.pred_iou_thresh, as_tuple=True)
        drawn = model.draw(state, rows, answers[rows, columns])
        kept = scores[rows, columns]
    return Scored(
        best=scores.amax(1).cpu().numpy(),
        rows=rows.cpu().numpy(),
        scores=kept.cpu().numpy(),
        logits=drawn.cpu() if settings.mend is None else settings.mend(drawn.cpu()),
    )
