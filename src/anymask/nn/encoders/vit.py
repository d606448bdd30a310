"""SAM's image encoder: image (B, 3, S, S) -> embedding (B, 256, S/16, S/16).

    patches 16 x 16 + position table -> blocks (windows of 14; a few see everything) -> neck

A plain vision transformer with window attention (Li et al. 2022, ViTDet, arXiv:2203.16527; Kirillov
et al. 2023, arXiv:2304.02643). Images are taken one by one, and the wide half of a block's MLP for
some tokens at a time, so that memory does not grow with them; results are those of the plain
formula. Without gradients, all blocks write their biases to the same memory.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.attention import AttentionEverywhere, AttentionInWindows
from anymask.nn.layers import LayerNorm2d

# Through an MLP together: 25 MB of hidden values in ViT-B. The C library keeps blocks below 32 MB
# for reuse; larger ones come fresh from the system each time, page by page.
_TOKENS_AT_ONCE = 2048


class Block(nn.Module):
    """Attention and MLP, each with its norm before and its residual after."""

    def __init__(self, dim: int, attn: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.lin1 = nn.Linear(dim, 4 * dim)
        self.lin2 = nn.Linear(4 * dim, dim)

    def forward(
        self, x: Float[Tensor, "h w C"], room: Float[Tensor, " R"] | None = None
    ) -> Float[Tensor, "h w C"]:
        x = x + self.attn(self.norm1(x), room)
        tokens = torch.split(x.flatten(0, 1), _TOKENS_AT_ONCE)
        return torch.cat([t + self.mlp(t) for t in tokens]).view(x.shape)

    def mlp(self, tokens: Float[Tensor, "T C"]) -> Float[Tensor, "T C"]:
        """Norm and MLP of some tokens."""
        out: Tensor = self.lin2(F.gelu(self.lin1(self.norm2(tokens))))
        return out


def neck(dim: int, out_dim: int) -> nn.Sequential:
    """A map's channels to those of the embedding, then a look at the cells around."""
    return nn.Sequential(
        nn.Conv2d(dim, out_dim, 1, bias=False),
        LayerNorm2d(out_dim),
        nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False),
        LayerNorm2d(out_dim),
    )


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
        attentions = [
            AttentionEverywhere(dim, heads, cells)
            if i in global_blocks
            else AttentionInWindows(dim, heads, window)
            for i in range(depth)
        ]
        self.first = min(global_blocks, default=depth - 1)  # that sees everything
        self.biases = max((attn.biases(cells, cells) for attn in attentions), default=0)
        self.blocks = nn.ModuleList(Block(dim, attn) for attn in attentions)
        self.neck = neck(dim, out_dim)

    def forward(self, x: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D h w"]:
        return self.finish([late for _, late in self.images(x)])

    def levels(
        self, x: Float[Tensor, "B 3 S S"]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B D h w"]]:
        """What the first block that sees everything gives, and the embedding."""
        early, late = zip(*self.images(x), strict=True)
        return torch.stack(early).permute(0, 3, 1, 2), self.finish(late)

    def images(
        self, x: Float[Tensor, "B 3 S S"]
    ) -> list[tuple[Float[Tensor, "h w C"], Float[Tensor, "h w C"]]]:
        """What the first block that sees everything gives, and the last one, of each image."""
        maps = self.patch_embed(x).permute(0, 2, 3, 1) + self.pos_embed
        room = None if torch.is_grad_enabled() else maps.new_empty(self.biases)
        outs = []
        for one in maps:
            early = one
            for i, block in enumerate(self.blocks):
                one = block(one, room)
                early = one if i == self.first else early
            outs.append((early, one))
        return outs

    def finish(self, maps: Sequence[Float[Tensor, "h w C"]]) -> Float[Tensor, "B D h w"]:
        """The neck."""
        embedding: Tensor = self.neck(torch.stack(list(maps)).permute(0, 3, 1, 2))
        return embedding
