"""A frame's map looks at memories: embedding (1, C, h, w) -> (N, C, h, w), one for each object.

    x = map + 0.1 positions;  per layer: x += self(x), x += cross(x, memories), x += MLP(x)

Ravi et al. 2024, SAM 2 (arXiv:2408.00714). Queries and the keys of memories turn with their place
in the frame (`anymask.nn.rotary`); keys of pointers do not. There is one head, which saves half of
the work without a change of the result: what is read are the memories themselves, of a quarter of
the channels that values have, and the linear layer of the values comes after. Weights of a query
sum to 1, so its bias stays its bias:

    softmax(q k') (m V' + b) = (softmax(q k') m) V' + b

All objects share the map, so the first layer's attention among its cells is made once. Tokens of
memories lie row by row, in a row frame by frame (`anymask.nn.memory_blocks` tells why).

Letters: N objects, h w cells, K = h w, S tokens of memories and pointers, C channels, D channels of
a memory.
"""

from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.memory_blocks import mix_blocks, mix_rows, suits
from anymask.nn.rotary import ApartLinear, Turns
from anymask.nn.sines import sines_of_grid

_POSITIONS = 0.1  # share of the positions in what the layers begin with
_AT_ONCE = 1024  # cells that go through an MLP together: 8 MB of hidden values stay near


class Tokens(NamedTuple):
    """What is attended to: memories, then pointers.

    `bias` is 0 where there is a token and -inf where there is none; None where all are there.
    Memories are grids of cells that turn, or without a grid some tokens that do not (`still`) and
    then a grid of one row of those that do.
    """

    seen: Float[Tensor, "N S D"]
    placed: Float[Tensor, "N S D"]  # with positions in space and time
    turns: Turns  # of the keys of one frame
    frames: int
    still: int  # tokens of a frame before those of its grid
    bias: Float[Tensor, "N 1 S"] | None

    @property
    def inside(self) -> int:
        """Tokens of all memories."""
        return self.frames * (self.still + len(self.turns.x.cos) * len(self.turns.y.cos))


class Projections(nn.Module):
    """Linear layers of an attention whose keys and values may be narrower than its queries."""

    def __init__(self, dim: int, key_dim: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(key_dim, dim)
        self.v_proj = nn.Linear(key_dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def queries(self, x: Float[Tensor, "N h w C"], turns: Turns) -> Float[Tensor, "N K C"]:
        """Queries, turned."""
        return turns.turned(ApartLinear.of(self.q_proj)(x)).flatten(1, 2)

    def among(self, x: Float[Tensor, "N h w C"], turns: Turns) -> Float[Tensor, "N h w C"]:
        """Attention of cells to each other."""
        keys = turns.turned(ApartLinear.of(self.k_proj)(x)).flatten(1, 2)
        mixed = mix(self.queries(x, turns), keys, self.v_proj(x).flatten(1, 2), None)
        out: Tensor = self.out_proj(mixed)
        return out.view(x.shape)

    def across(
        self, x: Float[Tensor, "R h w C"], turns: Turns, tokens: Tokens
    ) -> Float[Tensor, "N h w C"]:
        """Attention of cells to tokens."""
        queries = self.queries(x, turns)
        in_row = tokens.frames * len(tokens.turns.x.cos)
        # where fewer share a row, turning the queries would cost more than it saves
        shared = not tokens.still and in_row > x.shape[3] // 2
        if shared and suits(x):
            mixed = self.by_rows(queries, tokens)
        else:
            mixed = mix(queries, self.keys(tokens), tokens.seen, tokens.bias)
        out: Tensor = self.out_proj(self.v_proj(mixed))
        return torch.unflatten(out, 1, x.shape[1:3])

    def keys(self, tokens: Tokens) -> Float[Tensor, "N S C"]:
        """Keys of all tokens, those of grids turned."""
        keys = ApartLinear.of(self.k_proj)(tokens.placed)
        (width, height), inside = (len(axis.cos) for axis in tokens.turns), tokens.inside
        spatial, others = keys[:, :inside], keys[:, inside:]
        if tokens.still:
            each = torch.unflatten(spatial, 1, (tokens.frames, -1))
            first = each[:, :, : tokens.still]
            grid = torch.unflatten(each[:, :, tokens.still :], 2, (height, width))
            turned = tokens.turns.turned(grid).flatten(2, 3)
            return torch.cat([torch.cat([first, turned], dim=2).flatten(1, 2), others], dim=1)
        rows = torch.unflatten(spatial, 1, (height, tokens.frames, width)).transpose(1, 2)
        turned = tokens.turns.turned(rows).transpose(1, 2)
        return torch.cat([turned.flatten(1, 3), others], dim=1)

    def by_rows(self, queries: Float[Tensor, "R K C"], tokens: Tokens) -> Float[Tensor, "N K D"]:
        """`mix` of queries and tokens of whole grids, for a CPU."""
        (width, height), inside = (len(axis.cos) for axis in tokens.turns), tokens.inside
        layer, n = ApartLinear.of(self.k_proj), len(tokens.seen)
        grid = (height, tokens.frames, width)
        mixed = []
        for i, query in enumerate(queries.expand(n, -1, -1)):
            placed, seen = tokens.placed[i], tokens.seen[i]
            rows = (
                torch.unflatten(placed[:inside], 0, grid),
                seen[:inside].view(height, -1, seen.shape[1]),
            )
            still = layer(placed[inside:]), seen[inside:]
            bias = None if tokens.bias is None else tokens.bias[i]
            mixed.append(
                mix_rows(query, rows, layer, (tokens.turns.x, tokens.turns.y), still, bias)
            )
        return torch.stack(mixed)


class MemoryLayer(nn.Module):
    """Attention among a frame's cells, attention to memories, MLP."""

    def __init__(self, dim: int, memory_dim: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Projections(dim, dim)
        self.cross_attn = Projections(dim, memory_dim)
        self.lin1, self.lin2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))

    def forward(
        self, x: Float[Tensor, "R h w C"], turns: Turns, tokens: Tokens
    ) -> Float[Tensor, "N h w C"]:
        x = x + self.self_attn.among(self.norm1(x), turns)
        x = x + self.cross_attn.across(self.norm2(x), turns, tokens)
        return self.think(x.flatten(0, 2)).view(x.shape)

    def think(self, x: Float[Tensor, "K C"]) -> Float[Tensor, "K C"]:
        """The MLP, some cells at a time."""
        done = [t + self.lin2(F.relu(self.lin1(self.norm3(t)))) for t in torch.split(x, _AT_ONCE)]
        return torch.cat(done)


class MemoryAttention(nn.Module):
    """Layers and a last norm."""

    def __init__(self, dim: int, memory_dim: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryLayer(dim, memory_dim, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, embedding: Float[Tensor, "1 C h w"], tokens: Tokens
    ) -> Float[Tensor, "N C h w"]:
        dim, h, w = embedding.shape[1:]
        turns = Turns.of_grid(h, w, dim, embedding)
        x = embedding.permute(0, 2, 3, 1) + _POSITIONS * sines_of_grid(h, w, dim, embedding)
        for layer in cast(list[MemoryLayer], self.layers):
            x = layer(x, turns, tokens)
        normed: Tensor = self.norm(x)
        return normed.permute(0, 3, 1, 2)


def mix(
    q: Float[Tensor, "R Q C"],
    k: Float[Tensor, "N S C"],
    v: Float[Tensor, "N S D"],
    bias: Float[Tensor, "N 1 S"] | None,
) -> Float[Tensor, "N Q D"]:
    """Attention in one head: values of other widths than the keys, queries of all (R = 1) or each.

    PyTorch's kernel for CPUs takes no values of another width; there, unless gradients are wanted,
    blocks of products are made here.
    """
    q = q.expand(len(k), -1, -1)
    if k.shape[2] != v.shape[2] and suits(q):
        biases = [None] * len(k) if bias is None else list(bias)
        return torch.stack([mix_blocks(*one) for one in zip(q, k, v, biases, strict=True)])
    heads = None if bias is None else bias[:, None]
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], attn_mask=heads)[:, 0]
