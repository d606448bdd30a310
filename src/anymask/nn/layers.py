"""Small layers that several networks share."""

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Callable[[Tensor], Tensor]


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of a map (B, C, H, W), eps 1e-6."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        rows = x.permute(0, 2, 3, 1)
        shape = self.weight.shape
        return F.layer_norm(rows, shape, self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class Thirds(nn.Linear):
    """A linear layer whose outputs are wanted in three parts: queries, keys, values."""

    def thirds(self, x: Float[Tensor, "*N C"]) -> tuple[Tensor, Tensor, Tensor]:
        """Each part a tensor of its own: a head of one is a matrix without a copy."""
        parts = zip(self.weight.chunk(3), self.bias.chunk(3), strict=True)
        q, k, v = (F.linear(x, w, b) for w, b in parts)
        return q, k, v


class Mlp(nn.Module):
    """Linear layers with an activation between them: width -> hidden ... -> output."""

    def __init__(
        self, width: int, hidden: int, output: int, depth: int, activation: Activation = F.relu
    ) -> None:
        super().__init__()
        sizes = [width, *[hidden] * (depth - 1), output]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.activation = activation

    def forward(self, x: Float[Tensor, "*N C"]) -> Float[Tensor, "*N D"]:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        out: Tensor = self.layers[-1](x)
        return out
