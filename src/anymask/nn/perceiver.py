"""EdgeTAM's perceiver: a memory of h x w cells to a few tokens, (N, D, h, w) -> (N, L + M, D).

    L latents look at all cells, M latents in a grid each at the cells of their own window;
    per layer: latents += attention to cells, += MLP, += attention to each other, += MLP

Zhou et al. 2025, EdgeTAM (arXiv:2501.07256). Both kinds share the layers and the last norm. The
latents of the grid do not look at each other: each is a sequence of its own, so that the attention
to each other reads its one value. Positions of cells are added to keys and values of the first
kind; the second kind has none inside, but places of its own in the frame (`positions`).

Letters: B sequences, L latents, S cells that are looked at, D channels.
"""

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.sines import sines_of_grid


class PerceiverAttention(nn.Module):
    """Attention of latents; `norm_seen` is of what they look at, where that is not themselves."""

    def __init__(self, dim: int, looks_out: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.norm_seen = nn.LayerNorm(dim) if looks_out else None
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(
        self,
        latents: Float[Tensor, "B L D"],
        cells: Float[Tensor, "B S D"] | None = None,
        positions: Float[Tensor, "S D"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        asking = self.norm(latents)
        seen = asking if self.norm_seen is None else self.norm_seen(cells)
        keys, values = self.kv(seen).chunk(2, dim=2)
        if positions is not None:
            keys, values = keys + positions, values + positions
        mixed = F.scaled_dot_product_attention(
            self.q(asking)[:, None], keys[:, None], values[:, None]
        )
        out: Tensor = self.out(mixed[:, 0])
        return out


class PerceiverMlp(nn.Module):
    """Norm and MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.lin1 = nn.Linear(dim, 4 * dim, bias=False)
        self.lin2 = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, latents: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        out: Tensor = self.lin2(F.gelu(self.lin1(self.norm(latents))))
        return out


class PerceiverLayer(nn.Module):
    """Latents look at the memory, then at each other."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn = PerceiverAttention(dim, looks_out=True)
        self.mlp = PerceiverMlp(dim)
        self.self_attn = PerceiverAttention(dim, looks_out=False)
        self.self_mlp = PerceiverMlp(dim)

    def forward(
        self,
        latents: Float[Tensor, "B L D"],
        cells: Float[Tensor, "B S D"],
        positions: Float[Tensor, "S D"] | None,
    ) -> Float[Tensor, "B L D"]:
        latents = latents + self.attn(latents, cells, positions)
        latents = latents + self.mlp(latents)
        latents = latents + self.self_attn(latents)
        out: Tensor = latents + self.self_mlp(latents)
        return out


class Perceiver(nn.Module):
    """A memory to `latents` that see all of it and `latents_2d` in a grid.

    Attributes
    ----------
    side
        Rows and columns of the grid. Those of the memory are multiples of it.
    """

    def __init__(self, dim: int, latents: int, latents_2d: int, depth: int) -> None:
        super().__init__()
        self.side = math.isqrt(latents_2d)
        self.latents = nn.Parameter(torch.zeros(latents, dim))
        self.latents_2d = nn.Parameter(torch.zeros(latents_2d, dim))
        self.layers = nn.ModuleList(PerceiverLayer(dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, memory: Float[Tensor, "N D h w"]) -> Float[Tensor, "N M D"]:
        cells = memory.permute(0, 2, 3, 1)
        n, h, w, dim = cells.shape
        places = sines_of_grid(h, w, dim, memory).flatten(0, 1)
        everywhere = self.through(self.latents.expand(n, -1, -1), cells.flatten(1, 2), places)
        side = self.side
        rows = torch.unflatten(torch.unflatten(cells, 2, (side, -1)), 1, (side, -1))
        windows = rows.transpose(2, 3).flatten(3, 4).flatten(0, 2)  # (N side side, cells, D)
        own = self.latents_2d.repeat(n, 1)[:, None]
        inside = self.through(own, windows, None)
        return torch.cat([everywhere, inside.view(n, -1, dim)], dim=1)

    def through(
        self,
        latents: Float[Tensor, "B L D"],
        cells: Float[Tensor, "B S D"],
        positions: Float[Tensor, "S D"] | None,
    ) -> Float[Tensor, "B L D"]:
        """The layers and the norm."""
        for layer in cast(list[PerceiverLayer], self.layers):
            latents = layer(latents, cells, positions)
        out: Tensor = self.norm(latents)
        return out

    def positions(self) -> Float[Tensor, "M D"]:
        """Places of the tokens in the frame: none of the first kind, the grid's of the second."""
        count, dim = self.latents.shape
        grid = sines_of_grid(self.side, self.side, dim, self.latents).flatten(0, 1)
        return F.pad(grid, (0, 0, count, 0))
