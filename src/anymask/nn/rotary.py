"""Rotary positions of a grid: pairs of channels turn by an angle that grows with x or with y.

    (a, b) -> (a cos p - b sin p, a sin p + b cos p);   p = x f_i or y f_i,  f_i = 10000^(-4 i / C)

The product of two vectors turned so depends on where they are from each other (Su et al. 2021,
RoFormer, arXiv:2104.09864; for two axes Heo et al. 2024, arXiv:2403.13298). The first half of the
pairs turns with x, the second with y. Weights have the two channels of a pair side by side; here
all first ones come before all second ones, in queries and keys alike, so that their products are
the same and nothing is picked apart channel by channel.

Letters: K cells, C channels.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Turns(NamedTuple):
    """Cosines and sines of the angles by which each cell's pairs turn."""

    cos: Float[Tensor, "K pairs"]
    sin: Float[Tensor, "K pairs"]

    @classmethod
    def of_grid(cls, height: int, width: int, dim: int, like: Tensor) -> "Turns":
        """Of a grid's cells, row by row, for vectors of ``dim`` channels."""
        powers = torch.arange(0, dim, 4, device=like.device, dtype=like.dtype) / dim
        speeds = 1 / 10000**powers
        y, x = (
            torch.arange(cells, device=like.device, dtype=like.dtype)[:, None] * speeds
            for cells in (height, width)
        )
        columns = x[None].expand(height, -1, -1)
        rows = y[:, None].expand(-1, width, -1)
        angles = torch.cat([columns, rows], dim=2).flatten(0, 1)
        return cls(angles.cos(), angles.sin())

    def after(self, still: int) -> "Turns":
        """The same behind cells that do not turn."""
        return Turns(
            F.pad(self.cos, (0, 0, still, 0), value=1.0), F.pad(self.sin, (0, 0, still, 0))
        )


def apart(x: Float[Tensor, "*N C"]) -> Float[Tensor, "*N C"]:
    """The first channels of all pairs, then the second ones."""
    return torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1)


def turned(x: Float[Tensor, "*N K C"], turns: Turns) -> Float[Tensor, "*N K C"]:
    """Vectors whose channels are `apart`, turned."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = turns
    return torch.cat(
        [
            torch.addcmul(first * cos, second, sin, value=-1),
            torch.addcmul(first * sin, second, cos),
        ],
        dim=-1,
    )


def projected_apart(layer: nn.Linear, x: Float[Tensor, "*N D"]) -> Float[Tensor, "*N C"]:
    """What a linear layer makes of vectors, with the channels of its output `apart`."""
    return F.linear(x, apart(layer.weight.t()).t(), apart(layer.bias))
