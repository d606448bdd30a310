"""Two-way transformer: tokens look at the image, the image looks at the tokens.

    per layer: tokens among themselves -> tokens at image -> MLP on tokens -> image at tokens

Kirillov et al. 2023 (arXiv:2304.02643, app. A). Image keys may have a batch of 1 for P prompts
on one image: all work on them is shared until the first look at the tokens makes them differ.
Other families take other blocks and activations.

Letters: P prompts, M tokens, K = h w image cells, C channels.
"""

from collections.abc import Callable
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.layers import Activation


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than the outer one."""

    def __init__(self, dim: int, heads: int, shrink: int = 1) -> None:
        super().__init__()
        inner = dim // shrink
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(
        self, q: Float[Tensor, "P Q C"], k: Float[Tensor, "R K C"], v: Float[Tensor, "R K C"]
    ) -> Float[Tensor, "S Q C"]:
        """Batches of 1 stand for all prompts."""
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        batch = q.shape[0] if k.shape[0] == 1 else k.shape[0]

        def heads(x: Tensor) -> Tensor:
            split = x.view(*x.shape[:2], self.heads, x.shape[-1] // self.heads).transpose(1, 2)
            return split.expand(batch, -1, -1, -1)

        mixed = F.scaled_dot_product_attention(heads(q), heads(k), heads(v))
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class TwoWayBlock(nn.Module):
    """One layer."""

    def __init__(
        self, dim: int, heads: int, hidden: int, first: bool, activation: Activation = F.relu
    ) -> None:
        super().__init__()
        self.first = first
        self.activation = activation
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.token_to_image = Attention(dim, heads, shrink=2)
        self.norm2 = nn.LayerNorm(dim)
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)
        self.norm3 = nn.LayerNorm(dim)
        self.image_to_token = Attention(dim, heads, shrink=2)
        self.norm4 = nn.LayerNorm(dim)

    def among(
        self, tokens: Float[Tensor, "P M C"], tokens_pos: Float[Tensor, "P M C"]
    ) -> Float[Tensor, "P M C"]:
        """Tokens after a look at each other."""
        out: Tensor
        if self.first:  # no positions yet, and no residual
            out = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + tokens_pos
            out = tokens + self.self_attn(placed, placed, tokens)
        return out

    def think(self, tokens: Float[Tensor, "P M C"]) -> Float[Tensor, "P M C"]:
        """Tokens after each has seen the image, by itself."""
        tokens = self.norm2(tokens)
        out: Tensor = self.norm3(tokens + self.lin2(self.activation(self.lin1(tokens))))
        return out

    def forward(
        self,
        tokens: Float[Tensor, "P M C"],
        image: Float[Tensor, "R K C"],
        tokens_pos: Float[Tensor, "P M C"],
        image_pos: Float[Tensor, "1 K C"],
    ) -> tuple[Float[Tensor, "P M C"], Float[Tensor, "P K C"]]:
        tokens = self.norm1(self.among(tokens, tokens_pos))
        image_placed = image + image_pos
        tokens = tokens + self.token_to_image(tokens + tokens_pos, image_placed, image)
        tokens = self.think(tokens)
        image = image + self.image_to_token(image_placed, tokens + tokens_pos, tokens)
        return tokens, self.norm4(image)


class TwoWayTransformer(nn.Module):
    """Layers, then a last look of the tokens at the image."""

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        hidden: int = 2048,
        depth: int = 2,
        block: Callable[..., TwoWayBlock] = TwoWayBlock,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(block(dim, heads, hidden, first=i == 0) for i in range(depth))
        self.final = Attention(dim, heads, shrink=2)
        self.norm = nn.LayerNorm(dim)

    def blocks(self) -> list[TwoWayBlock]:
        """The layers in order."""
        return [cast(TwoWayBlock, layer) for layer in self.layers]

    def forward(
        self,
        image: Float[Tensor, "R K C"],
        image_pos: Float[Tensor, "1 K C"],
        tokens: Float[Tensor, "P M C"],
    ) -> tuple[Float[Tensor, "P M C"], Float[Tensor, "P K C"]]:
        placed = tokens  # the first tokens serve as their own positions
        for layer in self.layers:
            tokens, image = layer(tokens, image, placed, image_pos)
        looked = self.final(tokens + placed, image + image_pos, image)
        return self.norm(tokens + looked), image
