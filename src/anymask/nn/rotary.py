"""Rotary positions of a grid: pairs of channels turn by an angle that grows with x or with y.

    (a, b) -> (a cos p - b sin p, a sin p + b cos p);   p = x f_i or y f_i,  f_i = 10000^(-4 i / C)

The product of two vectors turned so depends on where they are from each other (Su et al. 2021,
RoFormer, arXiv:2104.09864; for two axes Heo et al. 2024, arXiv:2403.13298). The first half of the
pairs turns with x, the second with y. Weights have the two channels of a pair side by side; here,
in each half, all first ones come before all second ones, in queries and keys alike, so that their
products are the same and nothing is picked apart channel by channel.

Letters: h w cells, C channels.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Axis(NamedTuple):
    """Cosines and sines of the angles by which each line's pairs turn."""

    cos: Float[Tensor, "*lines pairs"]
    sin: Float[Tensor, "*lines pairs"]

    @classmethod
    def of_lines(cls, count: int, dim: int, like: Tensor) -> "Axis":
        """Of so many lines, for vectors of ``dim`` channels, half of which turn with this axis."""
        powers = torch.arange(0, dim, 4, device=like.device, dtype=like.dtype) / dim
        at = torch.arange(count, device=like.device, dtype=like.dtype)
        angles = at[:, None] * (1 / 10000**powers)
        return cls(angles.cos(), angles.sin())

    def across(self) -> "Axis":
        """For rows of a grid, where the lines themselves are columns."""
        return Axis(self.cos[:, None], self.sin[:, None])

    def turned(self, x: Float[Tensor, "*N half"]) -> Float[Tensor, "*N half"]:
        """Vectors, first channels before second ones, turned."""
        first, second = x.chunk(2, dim=-1)
        turned = (
            torch.addcmul(first * self.cos, second, self.sin, value=-1),
            torch.addcmul(first * self.sin, second, self.cos),
        )
        return torch.cat(turned, dim=-1)


class Turns(NamedTuple):
    """How the cells of a grid turn."""

    x: Axis
    y: Axis

    @classmethod
    def of_grid(cls, height: int, width: int, dim: int, like: Tensor) -> "Turns":
        """Of a grid's cells, for vectors of ``dim`` channels."""
        return cls(Axis.of_lines(width, dim, like), Axis.of_lines(height, dim, like))

    def turned(self, x: Float[Tensor, "*N h w C"]) -> Float[Tensor, "*N h w C"]:
        """Vectors whose channels are `apart`, turned."""
        with_x, with_y = x.chunk(2, dim=-1)
        return torch.cat([self.x.turned(with_x), self.y.across().turned(with_y)], dim=-1)


def apart(x: Float[Tensor, "*N C"]) -> Float[Tensor, "*N C"]:
    """In each half of the channels the first ones of all pairs, then the second ones."""
    return torch.unflatten(x, -1, (2, -1, 2)).transpose(-1, -2).flatten(-3)


class ApartLinear(NamedTuple):
    """A linear layer whose output has its channels `apart`."""

    weight: Float[Tensor, "C D"]
    bias: Float[Tensor, " C"]

    @classmethod
    def of(cls, layer: nn.Linear) -> "ApartLinear":
        """That of a layer."""
        return cls(apart(layer.weight.t()).t(), apart(layer.bias))

    def halves(self) -> tuple["ApartLinear", "ApartLinear"]:
        """Those that make what turns with x, and what turns with y."""
        (of_x, of_y), (bias_x, bias_y) = self.weight.chunk(2), self.bias.chunk(2)
        return ApartLinear(of_x, bias_x), ApartLinear(of_y, bias_y)

    def __call__(self, x: Float[Tensor, "*N D"]) -> Float[Tensor, "*N C"]:
        return F.linear(x, self.weight, self.bias)
