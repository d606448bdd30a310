"""SAM's image encoder: image (B, 3, S, S) -> embedding (B, 256, S/16, S/16).

    patches 16 x 16 + position table -> blocks (windows of 14; a few see everything) -> neck

A plain vision transformer with window attention (Li et al. 2022, ViTDet, arXiv:2203.16527; Kirillov
et al. 2023, arXiv:2304.02643). A windowed block is computed strip by strip, a block that sees
everything line by line, so that no intermediate of a whole map's four-fold width exists. Results
are those of the plain formula.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.attention import RelativeAttention
from anymask.nn.layers import LayerNorm2d

_LINES_AT_ONCE = 14  # of a map through the MLP together


class Block(nn.Module):
    """Attention and MLP, each with its norm before and its residual after."""

    def __init__(self, dim: int, heads: int, side: int, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = RelativeAttention(dim, heads, window or side)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.lin1 = nn.Linear(dim, 4 * dim)
        self.lin2 = nn.Linear(4 * dim, dim)

    def mlp(self, x: Float[Tensor, "r w C"]) -> Float[Tensor, "r w C"]:
        """x plus its MLP."""
        out: Tensor = x + self.lin2(F.gelu(self.lin1(self.norm2(x))))
        return out

    def forward(self, x: Float[Tensor, "h w C"]) -> Float[Tensor, "h w C"]:
        lines = self.window or _LINES_AT_ONCE
        if self.window is None:
            x = x + self.attn.everywhere(self.norm1(x))
            return torch.cat([self.mlp(part) for part in torch.split(x, lines)])
        strips = []
        for part in torch.split(x, lines):
            strips.append(self.mlp(part + self.attn.strip(self.norm1(part), self.window)))
        return torch.cat(strips)


class ViTEncoder(nn.Module):
    """Patches, blocks, neck."""

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        heads: int,
        global_blocks: Sequence[int],
        side: int = 1024,
        patch: int = 16,
        window: int = 14,
        out_dim: int = 256,
    ) -> None:
        super().__init__()
        cells = side // patch
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, cells, cells, dim))
        self.blocks = nn.ModuleList(
            Block(dim, heads, cells, None if i in global_blocks else window) for i in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(dim, out_dim, 1, bias=False),
            LayerNorm2d(out_dim),
            nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False),
            LayerNorm2d(out_dim),
        )

    def forward(self, x: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D h w"]:
        maps = self.patch_embed(x).permute(0, 2, 3, 1) + self.pos_embed
        outs = []
        for one in maps:  # image by image: no intermediate is larger for a larger batch
            for block in self.blocks:
                one = block(one)
            outs.append(one)
        embedding: Tensor = self.neck(torch.stack(outs).permute(0, 3, 1, 2))
        return embedding
