"""A frame's map and its mask to a memory: (1, C, h, w), masks (N, 1, 16 h, 16 w) -> (N, D, h, w).

    mask -> four convolutions that halve it -> + conv(map) -> two mixing blocks -> D channels

Ravi et al. 2024, SAM 2 (arXiv:2408.00714); the blocks are ConvNeXt's (Liu et al. 2022,
arXiv:2201.03545). All objects of a frame share its map.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.layers import LayerNorm2d


class Mixer(nn.Module):
    """A ConvNeXt block: depthwise convolution, norm, MLP, scale."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.lin1, self.lin2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        cells = self.norm(self.conv(x)).permute(0, 2, 3, 1)
        added = self.lin2(F.gelu(self.lin1(cells))) * self.scale
        out: Tensor = x + added.permute(0, 3, 1, 2)
        return out


class MemoryEncoder(nn.Module):
    """A frame's map and its mask, brought to the map's size, to a memory."""

    def __init__(self, dim: int, memory_dim: int) -> None:
        super().__init__()
        widths = [4**i for i in range(5)]  # a quarter of the cells, four times the channels
        self.mask_convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        self.mask_norms = nn.ModuleList(LayerNorm2d(b) for b in widths[1:])
        self.mask_out = nn.Conv2d(widths[-1], dim, 1)
        self.frame = nn.Conv2d(dim, dim, 1)
        self.mixers = nn.ModuleList(Mixer(dim) for _ in range(2))
        self.out = nn.Conv2d(dim, memory_dim, 1)

    def forward(
        self, embedding: Float[Tensor, "1 C h w"], masks: Float[Tensor, "N 1 H W"]
    ) -> Float[Tensor, "N D h w"]:
        for conv, norm in zip(self.mask_convs, self.mask_norms, strict=True):
            masks = F.gelu(norm(conv(masks)))
        x = self.frame(embedding) + self.mask_out(masks)
        for mixer in self.mixers:
            x = mixer(x)
        out: Tensor = self.out(x)
        return out
