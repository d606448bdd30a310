"""Positions to vectors by random frequencies.

    code(u) = [sin 2 pi W (2u - 1), cos 2 pi W (2u - 1)],   u = xy in 0..1

Tancik et al. 2020 (arXiv:2006.10739). W is random, fixed, and part of the weights.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class RandomFrequencies(nn.Module):
    """xy in 0..1 to 2 F numbers."""

    matrix: Tensor

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.randn(2, frequencies))

    def forward(self, xy_unit: Float[Tensor, "*N 2"]) -> Float[Tensor, "*N D"]:
        # 8 bits of a bfloat16 would move a point by px, and phases go up to 25: not below float32
        kind = torch.promote_types(self.matrix.dtype, torch.float32)
        # -1..1 is the range that W was drawn for; official weights assume it
        phase = 2 * math.pi * ((2 * xy_unit.to(kind) - 1) @ self.matrix.to(kind))
        return torch.cat([phase.sin(), phase.cos()], dim=-1).to(self.matrix.dtype)

    def grid(self, height: int, width: int) -> Float[Tensor, "h w D"]:
        """Codes of the centres of a grid's cells."""
        y = (torch.arange(height, device=self.matrix.device) + 0.5) / height
        x = (torch.arange(width, device=self.matrix.device) + 0.5) / width
        xy = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
        codes: Tensor = self(xy)
        return codes
