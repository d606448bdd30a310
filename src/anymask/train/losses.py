"""What a good answer is, as numbers to minimise.

    mask loss  = 1/2 focal (normalised) + dice
    total      = w0 L0 + w1 min(L1, L2, L3) + 0.05 mean(L1..L3) + MSE(predicted IoU, IoU)

Focal after Lin et al. 2017 (arXiv:1708.02002), normalised by the sum of its weights as in RITM
(arXiv:2102.06583); dice after Milletari et al. 2016 (arXiv:1606.04797); the loss of the best of
several outputs as in SAM (arXiv:2304.02643).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_SMOOTH = 4.0  # cells; keeps tiny masks from dominating


def mask_losses(
    logits: Float[Tensor, "Q M h w"], truth: Float[Tensor, "Q h w"]
) -> Float[Tensor, "Q M"]:
    """Loss of each output; truth is the share of object in each cell, 0..1."""
    target = truth[:, None].expand_as(logits)
    prob = logits.sigmoid()
    weight = (prob.detach() - target).abs().pow(1.5) + 1e-3
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (weight * bce).sum((-2, -1)) / weight.sum((-2, -1))
    both = (prob * target).sum((-2, -1))
    either = prob.square().sum((-2, -1)) + target.square().sum((-2, -1))
    dice = 1 - (2 * both + _SMOOTH) / (either + _SMOOTH)
    return 0.5 * focal + dice


def soft_iou(
    logits: Float[Tensor, "Q M h w"], truth: Float[Tensor, "Q h w"]
) -> Float[Tensor, "Q M"]:
    """IoU of the thresholded outputs with the truth, cells counted by their share of object."""
    hard = (logits > 0).to(truth.dtype)
    target = truth[:, None]
    both = (hard * target).sum((-2, -1))
    return both / (hard.sum((-2, -1)) + target.sum((-2, -1)) - both).clamp_min(1)


def total_loss(
    logits: Float[Tensor, "Q 4 h w"],
    scores: Float[Tensor, "Q 4"],
    truth: Float[Tensor, "Q h w"],
    ambiguous: Float[Tensor, " Q"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "Q 4"]]:
    """Mean loss over prompts, and the IoU of each output.

    ``ambiguous`` is 1 for a single click: there the best of outputs 1..3 counts most; else
    output 0 does.
    """
    losses = mask_losses(logits, truth)
    alternatives = losses[:, 1:]
    first = (1 - 0.5 * ambiguous) * losses[:, 0]
    best = (0.3 + 0.7 * ambiguous) * alternatives.amin(1)
    with torch.no_grad():
        iou = soft_iou(logits, truth)
    known = (scores - iou).square().sum(1)
    return (first + best + 0.05 * alternatives.mean(1) + known).mean(), iou
