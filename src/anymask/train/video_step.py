"""A sample's loss: frames are followed one after another, from memories of what was predicted.

loss of a frame = mask loss (answer) + 1/2 mask loss (guess) + 1/5 cross-entropy (in sight)
"""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn import functional as F

from anymask.model import Model
from anymask.nn.nano_video import NanoVideo
from anymask.train.losses import mask_losses, soft_iou
from anymask.train.video_samples import Sample

_STRIDE = 4
_LEAST = 0.25  # cells of object below which it counts as out of sight


def sample_loss(
    model: Model, sample: Sample, rough: bool, rng: np.random.Generator, drift: float = 0.0
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Mean loss over the frames that follow the first, and what was reached on them.

    Parameters
    ----------
    rough
        The first mask is not exact.
    drift
        Share of memories that are damaged, as those of a long clip are.
    """
    network = model.network
    assert isinstance(network, NanoVideo)  # the run built it so
    memory = network.memory
    with torch.no_grad():
        every = model.encode(torch.from_numpy(sample.frames))
    truth = shares(sample.masks)
    first = sample.masks[0]
    given = shares(np.stack([roughened(m, rng) for m in first])[None])[0] if rough else truth[0]
    last_row = memory.sharp.shape[0] - 1
    kept = [memory.remember(_frame(every, 0), given[:, None])]
    n = len(first)
    points, labels = torch.zeros(n, 1, 2), torch.full((n, 1), -1)
    losses: list[Tensor] = []
    figures: list[Tensor] = []
    for t in range(1, len(sample.frames)):
        maps = _frame(every, t)
        recent = range(max(1, t - last_row), t)
        rows = torch.tensor([last_row, *(t - 1 - r for r in recent)])
        spatial = torch.stack([kept[0], *(kept[r] for r in recent)], dim=1)
        recalled = memory.recall_together(maps, spatial, rows)
        logits, *_ = network.answer(network.moved(maps, recalled), points, labels, None)
        answer, guess = logits[:, :1], recalled.guess
        here = (truth[t].sum((1, 2)) > _LEAST).float()
        sight = F.binary_cross_entropy_with_logits(recalled.present, here)
        mask = mask_losses(answer, truth[t]).mean() + 0.5 * mask_losses(guess, truth[t]).mean()
        losses.append(mask + 0.2 * sight)
        with torch.no_grad():
            seen = (recalled.present > 0).float()
            iou = soft_iou(answer, truth[t])[:, 0] * here
            rough_iou = soft_iou(guess, truth[t])[:, 0] * here
            right = (seen == here).float()
            figures.append(torch.stack([iou.sum(), rough_iou.sum(), here.sum(), right.mean()]))
        # what was predicted is not taught by later frames, but the code that is made of it is
        shown = answer.detach().sigmoid() * seen[:, None, None, None]
        for i in np.flatnonzero(rng.random(n) < drift):
            shown[i, 0] = torch.from_numpy(drifted(shown[i, 0].numpy(), rng))
        kept.append(memory.remember(maps, shown))
    best, guessed, count, known = torch.stack(figures).sum(0).tolist()
    told: dict[str, float] = {"right": known / len(figures)}
    if count:
        told |= {"iou": best / count, "guess": guessed / count}
    return torch.stack(losses).mean(), told


def shares(masks: Bool[np.ndarray, "T N H W"]) -> Float[Tensor, "T N h w"]:
    """Share of object in each cell of stride 4."""
    return F.avg_pool2d(torch.from_numpy(masks).float(), _STRIDE)


def roughened(mask: Bool[np.ndarray, "H W"], rng: np.random.Generator) -> Bool[np.ndarray, "H W"]:
    """A mask as a click gives it: too large or too small, with a lump missing or added."""
    size = int(rng.integers(1, 4)) * 2 + 1
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    out = change(mask.astype(np.uint8), np.ones((size, size), np.uint8))
    ys, xs = np.nonzero(mask)
    if len(ys) and rng.random() < 0.5:
        at = int(rng.integers(len(ys)))
        radius = max(2, int(rng.uniform(0.05, 0.2) * len(ys) ** 0.5))
        cv2.circle(out, (int(xs[at]), int(ys[at])), radius, int(rng.integers(2)), -1)
    changed: np.ndarray = out.astype(bool)
    return changed if changed.any() else mask


def drifted(
    shown: Float32[np.ndarray, "h w"], rng: np.random.Generator
) -> Float32[np.ndarray, "h w"]:
    """A remembered mask as a long clip spoils it: moved, a lump too many or too few, all gone."""
    out = shown.copy()
    ys, xs = np.nonzero(shown > 0.5)
    kind = rng.random()
    if not len(ys) or kind < 0.08:
        return np.zeros_like(out)
    side = len(ys) ** 0.5
    if kind < 0.35:
        dx, dy = rng.normal(size=2) * (1 + 0.1 * side)
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        moved: np.ndarray = cv2.warpAffine(out, move, shown.shape[::-1])
        return moved
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(ys)))
        away = rng.normal(size=2) * 0.5 * side
        x, y = int(xs[at] + away[0]), int(ys[at] + away[1])
        cv2.circle(
            out, (x, y), max(1, round(rng.uniform(0.1, 0.45) * side)), float(rng.random() < 0.6), -1
        )
    return out


def _frame(every: tuple[Tensor, ...], t: int) -> tuple[Tensor, ...]:
    return tuple(part[t : t + 1] for part in every)
