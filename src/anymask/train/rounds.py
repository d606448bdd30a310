"""One batch to a loss: a simulated user prompts, looks at the answer, and clicks where it is wrong.

As SAM is trained (arXiv:2304.02643, app. A): first a click or a noisy box; then clicks drawn from
the error, with the logits of the answer fed back; in some rounds the logits alone.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from anymask.model import Network
from anymask.train.batches import STRIDE, Batch
from anymask.train.clicks import ClickMix, correction
from anymask.train.decoding import Asked, Features
from anymask.train.losses import Losses, total_loss
from anymask.train.recipes import Recipe
from anymask.variants import InputSpec, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """What does not change from step to step.

    Attributes
    ----------
    row, recipe
        Of the network.
    losses, clicks
        See there.
    halved
        The context that the encoder runs in: autocast, or nothing.
    """

    row: Variant
    recipe: Recipe
    losses: Losses
    clicks: ClickMix
    halved: Callable[[], AbstractContextManager[object]]


def normalised(
    images: UInt8[Tensor, "B S S 3"], sizes: tuple[tuple[int, int], ...], spec: InputSpec
) -> Float[Tensor, "B 3 S S"]:
    """As the row says, zeros right of and below each view; channels-last in memory."""
    mean = torch.tensor(spec.mean, device=images.device)
    std = torch.tensor(spec.std, device=images.device)
    x = (images.float() - mean) / std
    for b, (height, width) in enumerate(sizes):
        x[b, height:] = 0
        x[b, :, width:] = 0
    return x.permute(0, 3, 1, 2)


def encoded(network: nn.Module, batch: Batch, teaching: Teaching) -> Features:
    """What is decoded of a batch's images, float32."""
    device = next(network.parameters()).device
    x = normalised(batch.images.to(device), batch.sizes, teaching.row.spec)
    with teaching.halved():
        features = cast(Network, network).encode(x)
    features = tuple(maps.float() for maps in features)
    kind = batch.kind
    if kind.decoded == kind.side or teaching.recipe.cut is None:
        return features
    return teaching.recipe.cut(features, batch.corners, kind.decoded)


def step_loss(
    network: nn.Module, batch: Batch, rounds: int, teaching: Teaching, rng: np.random.Generator
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Loss of one batch: first prompts, then corrections on the answers fed back.

    The facts are mean IoU: ``top`` and ``best`` of a first click, ``clear`` of other first
    prompts, ``last`` of the last round's answer.
    """
    spec, outputs = teaching.row.spec, teaching.row.outputs
    features = encoded(network, batch, teaching)
    device = features[0].device
    points, labels = batch.points.clone(), batch.labels.clone()
    all_truth = batch.truth.to(device)
    truth = all_truth.flatten(0, 1)
    asked = Asked(points, labels, None)
    closing = rounds > 1 and teaching.clicks.closing > 0
    closes = closing and rng.random() < teaching.clicks.closing
    loss = torch.zeros((), device=device)
    facts: dict[str, float] = {}
    for number in range(rounds):
        logits, scores = teaching.recipe.decode(network, features, asked, spec)
        flat, known = logits.flatten(0, 1).float(), scores.flatten(0, 1).float()
        single = ((labels >= 0).sum(-1) == 1).flatten().to(device, flat.dtype)
        part, iou = total_loss(flat, known, truth, single, teaching.losses, outputs)
        loss = loss + part
        if number == 0:
            facts |= _first_facts(iou, known.detach(), single, teaching)
        chosen = _chosen(known.detach(), single, teaching)
        facts["last"] = float(iou.gather(1, chosen[:, None]).mean())
        if number + 1 < rounds:
            picked = flat.detach()[torch.arange(len(flat), device=device), chosen]
            previous = picked.view(all_truth.shape)
            if not (closes and number + 2 == rounds):
                _correct(points, labels, previous.cpu(), batch.truth, teaching, rng)
            asked = Asked(points, labels, previous if spec.mask_prompts else None)
    return loss / rounds, facts


def _chosen(scores: Tensor, single: Tensor, teaching: Teaching) -> Tensor:
    """Which output a user goes on from: a click's best-scored alternative, else the clear one."""
    outputs = teaching.row.outputs
    others = outputs.of(True)
    return torch.where(single > 0, scores[:, others].argmax(1) + others.start, outputs.clear)


def _first_facts(
    iou: Tensor, scores: Tensor, single: Tensor, teaching: Teaching
) -> dict[str, float]:
    clicked, boxed = single > 0, single == 0
    others = teaching.row.outputs.of(True)
    facts = {}
    if bool(clicked.any()):
        chosen = scores[clicked][:, others].argmax(1, keepdim=True)
        facts["top"] = float(iou[clicked][:, others].gather(1, chosen).mean())
        facts["best"] = float(iou[clicked][:, others].amax(1).mean())
    if bool(boxed.any()):
        facts["clear"] = float(iou[boxed, teaching.row.outputs.clear].mean())
    return facts


def _correct(
    points: Tensor,
    labels: Tensor,
    previous: Tensor,
    truth: Tensor,
    teaching: Teaching,
    rng: np.random.Generator,
) -> None:
    """Add a click where the answer is wrong; now and then none, as when a mask is just refined."""
    most = teaching.row.spec.most_points
    slots = points.shape[2] if most is None else min(most, points.shape[2])
    predicted, true = (previous > 0).numpy(), truth.numpy()
    for b in range(points.shape[0]):
        for p in range(points.shape[1]):
            slot = int((labels[b, p] >= 0).sum())
            if slot >= slots or rng.random() < teaching.clicks.again:
                continue
            click = correction(true[b, p], predicted[b, p], STRIDE, rng)
            if click is not None:
                points[b, p, slot, 0], points[b, p, slot, 1] = click[0], click[1]
                labels[b, p, slot] = click[2]
