"""Prompts to tokens and a dense map, as SAM does it.

    sparse (P, M, C): code of the place + a vector of the kind (off, on, corner, corner)
    dense  (P, C, h, w): convolutions of the previous logits, or one vector everywhere

Kirillov et al. 2023 (arXiv:2304.02643, app. A). Points are network px with the half-pixel added
already; labels -1 padding, 0 off, 1 on, 2 and 3 box corners. Padding has no place, only a kind.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.layers import LayerNorm2d
from anymask.nn.position import RandomFrequencies


class PromptEncoder(nn.Module):
    """Points, labels and masks to what the mask decoder attends to."""

    def __init__(self, dim: int, side: int, cells: int, mask_channels: int = 16) -> None:
        super().__init__()
        self.side, self.cells = side, cells
        self.position = RandomFrequencies(dim // 2)
        self.kinds = nn.ParameterList(nn.Parameter(torch.zeros(1, dim)) for _ in range(4))
        self.padding = nn.Parameter(torch.zeros(1, dim))
        self.no_mask = nn.Parameter(torch.zeros(1, dim))
        quarter = mask_channels // 4
        self.mask_convs = nn.Sequential(
            nn.Conv2d(1, quarter, 2, 2),
            LayerNorm2d(quarter),
            nn.GELU(),
            nn.Conv2d(quarter, mask_channels, 2, 2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, dim, 1),
        )

    def sparse(
        self, points: Float[Tensor, "P M 2"], labels: Int[Tensor, "P M"]
    ) -> Float[Tensor, "P M C"]:
        """Tokens of points and corners."""
        codes = self.position(points / self.side)
        real = (labels >= 0)[..., None].to(codes.dtype)
        kinds = F.embedding(labels + 1, torch.cat([self.padding, *self.kinds]))
        tokens: Tensor = codes * real + kinds
        return tokens

    def dense(self, masks: Float[Tensor, "P 1 H W"] | None) -> Float[Tensor, "Q C h w"]:
        """Map of the previous logits (Q = P), or of their absence (Q = 1)."""
        if masks is None:
            return self.no_mask[:, :, None, None].expand(-1, -1, self.cells, self.cells)
        out: Tensor = self.mask_convs(masks)
        return out

    def grid(self) -> Float[Tensor, "h w C"]:
        """Codes of the image embedding's cells."""
        return self.position.grid(self.cells, self.cells)
