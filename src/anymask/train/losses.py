"""What a good answer is, as numbers to minimise.

    mask loss  = f focal + d dice
    total      = w0 L0 + w1 min(alternatives) + r mean(alternatives) + s MSE(predicted IoU, IoU)

where w0 and w1 depend on whether the prompt is clear or a single click, which may mean several
things. `LOSSES` has two records: that of SAM (arXiv:2304.02643: focal to dice 20 : 1, one clear
answer or the best of three), and that of nano, whose focal loss is normalised by the sum of its
weights as in RITM (arXiv:2102.06583). Focal after Lin et al. 2017 (arXiv:1708.02002), dice after
Milletari et al. 2016 (arXiv:1606.04797).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from anymask.variants import Outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Weights and shapes of the parts; the defaults are nano's.

    Attributes
    ----------
    focal, dice
        Weights of the two mask losses.
    power
        Of the focal loss's weights, its gamma.
    normalised
        Focal is a mean by these weights; else a plain mean over cells.
    balance
        Weight of object cells, that of others is 1 less it; 0 takes both alike.
    squares
        Dice adds squares of probabilities, not probabilities.
    smooth
        Added above and below in dice, cells; keeps tiny masks from dominating.
    clear, unclear
        Weights (of the output for clear prompts, of the best alternative) for each kind of prompt.
    rest
        Weight of the mean of all alternatives.
    score
        Weight of the error of predicted IoU.
    all_scores
        Predicted IoU of all outputs are taught; else of those that answer the kind of prompt.
    """

    focal: float = 0.5
    dice: float = 1.0
    power: float = 1.5
    normalised: bool = True
    balance: float = 0.0
    squares: bool = True
    smooth: float = 4.0
    clear: tuple[float, ...] = (1.0, 0.3)
    unclear: tuple[float, ...] = (0.5, 1.0)
    rest: float = 0.05
    score: float = 1.0
    all_scores: bool = True


NANO = Losses()
SAM = Losses(
    focal=20.0,
    power=2.0,
    normalised=False,
    balance=0.25,
    squares=False,
    smooth=1.0,
    clear=(1.0, 0.0),
    unclear=(0.0, 1.0),
    rest=0.0,
    all_scores=False,
)
LOSSES: Mapping[str, Losses] = MappingProxyType({"nano": NANO, "sam": SAM})
_PLAIN_OUTPUTS = Outputs()


def mask_losses(
    logits: Float[Tensor, "Q M h w"], truth: Float[Tensor, "Q h w"], losses: Losses = NANO
) -> Float[Tensor, "Q M"]:
    """Loss of each output; truth is the share of object in each cell, 0..1."""
    target = truth[:, None].expand_as(logits)
    prob = logits.sigmoid()
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = (prob.detach() - target if losses.normalised else prob - target).abs()
    weight = weight.pow(losses.power)
    if losses.balance:
        weight = weight * (losses.balance * target + (1 - losses.balance) * (1 - target))
    if losses.normalised:
        weight = weight + 1e-3
        focal = (weight * bce).sum((-2, -1)) / weight.sum((-2, -1))
    else:
        focal = (weight * bce).mean((-2, -1))
    both = (prob * target).sum((-2, -1))
    if losses.squares:
        either = prob.square().sum((-2, -1)) + target.square().sum((-2, -1))
    else:
        either = prob.sum((-2, -1)) + target.sum((-2, -1))
    dice = 1 - (2 * both + losses.smooth) / (either + losses.smooth)
    return losses.focal * focal + losses.dice * dice


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
    losses: Losses = NANO,
    outputs: Outputs = _PLAIN_OUTPUTS,
) -> tuple[Float[Tensor, ""], Float[Tensor, "Q 4"]]:
    """Mean loss over prompts, and the IoU of each output.

    Parameters
    ----------
    logits, scores
        All four answers to each prompt and their predicted IoU.
    truth
        Share of object in each cell, 0..1.
    ambiguous
        1 for a single click, where the best alternative counts most; 0 for a clear prompt.
    losses
        Weights.
    outputs
        Which of the four answer what; see `anymask.variants.Outputs`.
    """
    each = mask_losses(logits, truth, losses)
    others = outputs.of(True)
    alternatives = each[:, others]
    first, best = (
        clear + (unclear - clear) * ambiguous
        for clear, unclear in zip(losses.clear, losses.unclear, strict=True)
    )
    found = first * each[:, outputs.clear] + best * alternatives.amin(1)
    with torch.no_grad():
        iou = soft_iou(logits, truth)
    error = (scores - iou).square()
    if losses.all_scores:
        known = error.sum(1)
    else:
        known = torch.where(ambiguous > 0, error[:, others].mean(1), error[:, outputs.clear])
    total = found + losses.rest * alternatives.mean(1) + losses.score * known
    return total.mean(), iou
