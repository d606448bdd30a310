"""A frame's map looks at memories: embedding (1, C, h, w) -> (N, C, h, w), one for each object.

    x = map + 0.1 positions;  per layer: x += self(x), x += cross(x, memories), x += MLP(x)

Ravi et al. 2024, SAM 2 (arXiv:2408.00714). Queries and the keys of memories turn with their place
in the frame (`anymask.nn.rotary`); keys of pointers do not. There is one head, which saves half of
the work without a change of the result: what is read are the memories themselves, of a quarter of
the channels that values have, and the linear layer of the values comes after. Weights of a query
sum to 1, so its bias stays its bias:

    softmax(q k') (m V' + b) = (softmax(q k') m) V' + b

All objects share the map, so the first layer's attention among its cells is made once.

Letters: N objects, K cells, S tokens of memories and pointers, C channels, D channels of a memory.
"""

from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.rotary import Turns, projected_apart, turned
from anymask.nn.sines import sines_of_grid

_POSITIONS = 0.1  # share of the positions in what the layers begin with
# Queries and keys whose products exist at one time on a CPU: 2 MB, which stay near
_QUERIES, _KEYS = 512, 1024


class Tokens(NamedTuple):
    """What is attended to: memories frame by frame, then pointers.

    `bias` is 0 where there is a token and -inf where there is none; None where all are there.
    """

    seen: Float[Tensor, "N S D"]
    placed: Float[Tensor, "N S D"]  # with positions in space and time
    turns: Turns  # of the keys of one frame
    frames: int
    bias: Float[Tensor, "N 1 S"] | None


class Projections(nn.Module):
    """Linear layers of an attention whose keys and values may be narrower than its queries."""

    def __init__(self, dim: int, key_dim: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(key_dim, dim)
        self.v_proj = nn.Linear(key_dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def queries(self, x: Float[Tensor, "N K C"], turns: Turns) -> Float[Tensor, "N K C"]:
        """Queries, turned."""
        return turned(projected_apart(self.q_proj, x), turns)

    def among(self, x: Float[Tensor, "N K C"], turns: Turns) -> Float[Tensor, "N K C"]:
        """Attention of cells to each other."""
        keys = turned(projected_apart(self.k_proj, x), turns)
        mixed = mix(self.queries(x, turns), keys, self.v_proj(x), None)
        out: Tensor = self.out_proj(mixed)
        return out

    def across(
        self, x: Float[Tensor, "R K C"], turns: Turns, tokens: Tokens
    ) -> Float[Tensor, "N K C"]:
        """Attention of cells to tokens."""
        keys = projected_apart(self.k_proj, tokens.placed)
        cells = len(tokens.turns.cos)
        inside = tokens.frames * cells
        spatial = torch.unflatten(keys[:, :inside], 1, (tokens.frames, cells))
        keys = torch.cat([turned(spatial, tokens.turns).flatten(1, 2), keys[:, inside:]], dim=1)
        mixed = mix(self.queries(x, turns), keys, tokens.seen, tokens.bias)
        out: Tensor = self.out_proj(self.v_proj(mixed))
        return out


class MemoryLayer(nn.Module):
    """Attention among a frame's cells, attention to memories, MLP."""

    def __init__(self, dim: int, memory_dim: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Projections(dim, dim)
        self.cross_attn = Projections(dim, memory_dim)
        self.lin1, self.lin2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))

    def forward(
        self, x: Float[Tensor, "R K C"], turns: Turns, tokens: Tokens
    ) -> Float[Tensor, "N K C"]:
        x = x + self.self_attn.among(self.norm1(x), turns)
        x = x + self.cross_attn.across(self.norm2(x), turns, tokens)
        out: Tensor = x + self.lin2(F.relu(self.lin1(self.norm3(x))))
        return out


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
        x = embedding[0].permute(1, 2, 0) + _POSITIONS * sines_of_grid(h, w, dim, embedding)
        x = x.flatten(0, 1)[None]
        for layer in cast(list[MemoryLayer], self.layers):
            x = layer(x, turns, tokens)
        normed: Tensor = self.norm(x)
        return torch.unflatten(normed.transpose(1, 2), 2, (h, w))


def mix(
    q: Float[Tensor, "R Q C"],
    k: Float[Tensor, "N S C"],
    v: Float[Tensor, "N S D"],
    bias: Float[Tensor, "N 1 S"] | None,
) -> Float[Tensor, "N Q D"]:
    """Attention in one head: values of other widths than the keys, queries of all (R = 1) or each.

    PyTorch's kernel for CPUs takes no values of another width, so that part of the work would be
    wasted; there, unless gradients are wanted, blocks of products are made here.
    """
    q = q.expand(len(k), -1, -1)
    if q.is_cpu and not torch.is_grad_enabled() and k.shape[2] != v.shape[2]:
        biases = [None] * len(k) if bias is None else list(bias)
        each = zip(q, k, v, biases, strict=True)
        return torch.stack([_mix_blocks(*one) for one in each])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _mix_blocks(
    q: Float[Tensor, "Q C"],
    k: Float[Tensor, "S C"],
    v: Float[Tensor, "S D"],
    bias: Float[Tensor, "1 S"] | None,
) -> Float[Tensor, "Q D"]:
    """Attention block by block; sums so far are scaled to the largest product so far."""
    q = q * q.shape[1] ** -0.5
    values = v.split(_KEYS)
    keys = [part.t() for part in k.split(_KEYS)]
    biases = [None] * len(keys) if bias is None else list(bias.split(_KEYS, 1))
    done = []
    for some in q.split(_QUERIES):
        top = some.new_full((len(some), 1), torch.finfo(some.dtype).min)
        total = some.new_zeros(len(some), 1)
        read = some.new_zeros(len(some), v.shape[1])
        for key, value, extra in zip(keys, values, biases, strict=True):
            products = some @ key if extra is None else torch.addmm(extra, some, key)
            higher = torch.maximum(top, products.amax(1, keepdim=True))
            shares = products.sub_(higher).exp_()
            shrink = (top - higher).exp_()
            total = total * shrink + shares.sum(1, keepdim=True)
            read = torch.addmm(read * shrink, shares, value)
            top = higher
        done.append(read / total)
    return torch.cat(done)
