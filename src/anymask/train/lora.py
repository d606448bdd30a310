"""Low-rank adapters: a layer's weight W becomes W + B A while it learns, and W again when saved.

    W (out, in * window) + B (out, r) @ A (r, in * window),   B = 0 at the start

Hu et al. 2021, "LoRA" (arXiv:2106.09685), for linear layers; a convolution's window is taken as
part of its input. The sum is made whenever the layer runs, so that every way in which a network
uses its weight sees it, and merging is leaving the sum in place.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

RANK = 8


class LowRank(nn.Module):
    """W + B A, for a weight of any shape whose first axis is the output."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        out, inner = weight.shape[0], weight[0].numel()
        self.down = nn.Parameter(weight.new_empty(rank, inner))
        self.up = nn.Parameter(weight.new_zeros(out, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view(weight.shape)


def adaptable(module: nn.Module, rank: int) -> bool:
    """Whether adapters of that rank are smaller than the layer: linear, or an undivided conv."""
    if isinstance(module, nn.Linear):
        out, inner = module.weight.shape
    elif isinstance(module, nn.Conv2d) and module.groups == 1:
        out, inner = module.weight.shape[0], module.weight[0].numel()
    else:
        return False
    return rank * (out + inner) < out * inner


def add_adapters(network: nn.Module, rank: int = RANK, *, seed: int = 0) -> list[nn.Parameter]:
    """Give every layer that can have them adapters, and nothing else a gradient; the adapters.

    The network computes what it did until they learn.
    """
    network.requires_grad_(False)
    layers = [module for module in network.modules() if adaptable(module, rank)]
    added: list[nn.Parameter] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in layers:
            assert isinstance(layer.weight, Tensor)  # `adaptable` looked
            pair = LowRank(layer.weight, rank)
            parametrize.register_parametrization(layer, "weight", pair)
            added += [pair.down, pair.up]
    return added


def merge_adapters(network: nn.Module) -> None:
    """Make the sums plain weights again: names and shapes are what they were."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
