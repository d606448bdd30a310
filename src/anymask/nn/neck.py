"""SAM 2's neck: maps of four stages -> embedding (B, C, h, w) and two finer maps.

    embedding = conv(stage 2) + conv(stage 3) enlarged to its size
    fine 0 (B, C/8, 4 h, 4 w), fine 1 (B, C/4, 2 h, 2 w) = conv(conv(stage 0, 1))

A feature pyramid (Lin et al. 2017, arXiv:1612.03144) whose sums stop at the embedding. The official
code makes fine maps of C channels first, and the decoder's own convolutions narrow them; nothing is
between the two convolutions of one cell, so here they are one (`test_sam2_parity` compares both
forms with recorded maps).
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Maps = Sequence[Float[Tensor, "B _ _ _"]]  # channels last, the finest first


class Neck(nn.Module):
    """Convolutions of single cells.

    Parameters
    ----------
    dims
        Channels of the stages, the finest first.
    dim
        Channels of the embedding.
    """

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, dim, 1) for width in dims)
        self.fine = nn.ModuleList(nn.Conv2d(dim, dim // part, 1) for part in (8, 4))

    def forward(
        self, maps: Maps
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B D y x"], Float[Tensor, "B E v u"]]:
        embedding, fine0, fine1 = self.embedding(maps), self.finer(maps, 0), self.finer(maps, 1)
        return embedding, fine0, fine1

    def embedding(self, maps: Maps) -> Float[Tensor, "B C h w"]:
        """The map that prompts meet, of the two coarsest stages."""
        fine, coarse = self.level(maps, 2), self.level(maps, 3)
        return fine + F.interpolate(coarse, size=fine.shape[2:], mode="nearest")

    def level(self, maps: Maps, stage: int) -> Float[Tensor, "B C y x"]:
        """One stage in the embedding's channels."""
        conv = cast(nn.Conv2d, self.convs[stage])
        return F.linear(maps[stage], conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)

    def finer(self, maps: Maps, stage: int) -> Float[Tensor, "B D y x"]:
        """One of the fine maps: both convolutions as one."""
        first, second = (cast(nn.Conv2d, convs[stage]) for convs in (self.convs, self.fine))
        narrow = second.weight.flatten(1)
        weight = narrow @ first.weight.flatten(1)
        bias = torch.mv(narrow, cast(Tensor, first.bias)) + cast(Tensor, second.bias)
        return F.linear(maps[stage], weight, bias).permute(0, 3, 1, 2)
