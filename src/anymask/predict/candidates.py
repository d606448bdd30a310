"""Points on an encoded image to the masks that are good enough, as run lengths.

The steps of SAM's generator in the order that costs least: the score first, then the mask at low
resolution, then its enlarged window, from which stability and run lengths come. A full bitmap of
one mask at a time exists, never more.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from anymask.frame import Frame
from anymask.mask_rle import Rle
from anymask.mask_windows import box_of_bits, encode_window
from anymask.model import Model
from anymask.predict.enlarge import Enlarger
from anymask.prompts import Prompts, network_points

if TYPE_CHECKING:
    from anymask.predict.everything import Settings

_BYTES_A_CELL = 500  # of the decoder, a prompt and a low-resolution cell
_MOST_POINTS = 64  # in a batch; more gain nothing on any device
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


def find_candidates(
    model: Model,
    features: tuple[Tensor, ...],
    frame: Frame,
    points: Float64[np.ndarray, "P 2"],
    settings: "Settings",
    *,
    place: tuple[int, int],
    size: tuple[int, int],
) -> Candidates:
    """All masks of the points that pass by score and stability, in the order of the points.

    Parameters
    ----------
    points
        px of the crop that `features` show.
    place, size
        (x, y) of the crop in the image, and the image's (H, W), px: run lengths are the image's.
    """
    enlarger = Enlarger.of(frame)
    h, w = frame.logits
    at_once = settings.memory_mb * 10**6 // (h * w * _BYTES_A_CELL)
    at_once = max(1, min(_MOST_POINTS, at_once))
    rles, scores, stability, boxes, origins = [], [], [], [], []
    for first in range(0, len(points), at_once):
        some = points[first : first + at_once]
        rows, known, logits = score_points(model, features, frame, some, settings)
        for row, score, one in zip(rows, known, logits, strict=True):
            got = enlarger.measure(one, settings.mask_threshold, settings.stability_score_offset)
            if not got.stability >= settings.stability_score_thresh:
                continue  # NaN is thrown away, too
            x, y = got.corner
            rles.append(encode_window(got.bits, (x + place[0], y + place[1]), size))
            boxes.append(box_of_bits(got.bits, got.corner))
            scores.append(score)
            stability.append(got.stability)
            origins.append(some[row])
    return Candidates(
        rles=tuple(rles),
        scores=np.array(scores, np.float32),
        stability=np.array(stability, np.float32),
        boxes=np.array(boxes, np.int64).reshape(-1, 4),
        points=np.array(origins, np.float64).reshape(-1, 2),
    )


@torch.inference_mode()
def score_points(
    model: Model,
    features: tuple[Tensor, ...],
    frame: Frame,
    points: Float64[np.ndarray, "P 2"],
    settings: "Settings",
) -> tuple[list[int], list[float], Float[Tensor, "K h w"]]:
    """Of each mask whose score passes: its point, its score, its logits (on the CPU)."""
    prompts = Prompts(
        points=tuple(points.astype(np.float32)[:, None]),
        labels=(np.ones(1, np.int64),) * len(points),
    )
    net, labels = (torch.from_numpy(a) for a in network_points(prompts, frame, model.variant.spec))
    state, scores = model.look(features, net, labels)
    answers = model.variant.outputs
    asked = answers.of(settings.multimask_output)
    scores, shift = scores[:, asked], asked.start
    if settings.use_m2m:
        rows, outputs = torch.nonzero(scores == scores, as_tuple=True)
        logits = model.draw(state, rows, outputs + shift).clamp(-_LOGITS_CLAMP, _LOGITS_CLAMP)
        again = model.look(features, net[rows], labels[rows], logits[:, None])
        del logits
        known = again[1][:, answers.clear]
        passed = torch.nonzero(known > settings.pred_iou_thresh)[:, 0]
        drawn = model.draw(again[0], passed, torch.full_like(passed, answers.clear))
        return rows[passed].tolist(), known[passed].tolist(), drawn.cpu()
    rows, outputs = torch.nonzero(scores > settings.pred_iou_thresh, as_tuple=True)
    drawn = model.draw(state, rows, outputs + shift)
    return rows.tolist(), scores[rows, outputs].tolist(), drawn.cpu()
