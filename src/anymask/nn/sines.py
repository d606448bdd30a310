"""Places and distances to vectors by sines and cosines of falling frequencies.

    wave i = u / 10000^(2 floor(i / 2) / n),   i = 0 .. n - 1

Vaswani et al. 2017 (arXiv:1706.03762), for two axes as in Carion et al. 2020, DETR
(arXiv:2005.12872). Nothing here is learned.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def waves(u: Float[Tensor, "*N"], count: int) -> Float[Tensor, "*N count"]:
    """``count`` phases of each number; neighbours share a frequency."""
    powers = torch.arange(count, device=u.device, dtype=u.dtype).div(2, rounding_mode="floor")
    return u[..., None] / 10000 ** (2 * powers / count)


def sines_of_distance(u: Float[Tensor, "*N"], dim: int) -> Float[Tensor, "*N dim"]:
    """All sines, then all cosines."""
    phases = waves(u, dim // 2)
    return torch.cat([phases.sin(), phases.cos()], dim=-1)


def sines_of_grid(height: int, width: int, dim: int, like: Tensor) -> Float[Tensor, "h w dim"]:
    """Codes of a grid's cells: y's half of the channels first, sines and cosines by turns.

    Cells count from 1, and a whole side is 2 pi.
    """

    def of_axis(cells: int) -> Float[Tensor, "cells half"]:
        at = torch.arange(1, cells + 1, device=like.device, dtype=like.dtype)
        phases = waves(at / (cells + 1e-6) * (2 * math.pi), dim // 2)
        return torch.stack([phases[:, 0::2].sin(), phases[:, 1::2].cos()], dim=2).flatten(1)

    y = of_axis(height)[:, None].expand(-1, width, -1)
    x = of_axis(width)[None].expand(height, -1, -1)
    return torch.cat([y, x], dim=2)
