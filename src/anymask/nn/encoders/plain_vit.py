"""A plain vision transformer: image (B, 3, H, W) -> embedding (B, 256, H/16, W/16).

    patches 16 x 16 + resized position table -> blocks in which all cells see all -> neck

EfficientSAM's image encoder (Xiong et al. 2023, arXiv:2312.00863). The table was learnt for 14 x 14
cells, behind one entry for a class token, which is not used; it is resized to the cells that there
are. So an image may have any size in whole patches.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.encoders.vit import Block, neck


class PlainAttention(nn.Module):
    """Multi-head self-attention over all cells of a map (h, w, C), without positions."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "h w C"], room: Float[Tensor, " R"] | None = None
    ) -> Float[Tensor, "h w C"]:
        """Attend; there are no biases that would need ``room``."""
        heads = self.qkv(x).view(-1, 3, self.heads, x.shape[-1] // self.heads).permute(1, 2, 0, 3)
        # each head's rows side by side: the CPU kernel is 5 % faster then, more than the copy takes
        q, k, v = heads.contiguous()[:, None].unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1)
        out: Tensor = self.proj(mixed.reshape(x.shape))
        return out


class PlainViTEncoder(nn.Module):
    """Patches, blocks, neck.

    Parameters
    ----------
    table
        Rows and columns of the position table.
    """

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        heads: int,
        table: int = 14,
        patch: int = 16,
        out_dim: int = 256,
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, table * table + 1, dim))
        self.blocks = nn.ModuleList(Block(dim, PlainAttention(dim, heads)) for _ in range(depth))
        self.neck = neck(dim, out_dim)

    def positions(self, h: int, w: int) -> Float[Tensor, "1 h w C"]:
        """The table at the size of a map of cells; bicubic, as the weights were trained."""
        side = int((self.pos_embed.shape[1] - 1) ** 0.5)
        table = torch.unflatten(self.pos_embed[:, 1:], 1, (side, side)).permute(0, 3, 1, 2)
        resized = F.interpolate(table, size=(h, w), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1)

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        maps = self.patch_embed(x).permute(0, 2, 3, 1)
        maps = maps + self.positions(*maps.shape[1:3])
        outs = []
        for one in maps:
            for block in self.blocks:
                one = block(one)
            outs.append(one)
        embedding: Tensor = self.neck(torch.stack(outs).permute(0, 3, 1, 2))
        return embedding
