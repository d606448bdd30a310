"""Self-attention over a map with decomposed relative positions, whole or window by window.

    A = softmax(q k' / sqrt(c) + R_y[q] + R_x[q]) v,    R_y[q] = q . table_y[y_q - y_k]

The bias of a query is the sum of one number for the key's row and one for its column (Li et al.
2022, MViTv2, arXiv:2112.01526, as used in SAM). For 4096 queries and keys and 12 heads all of them
are 800 MB; here those of some heads and some rows of queries exist at a time.

Letters: B windows, s side of one, N heads, h w cells, r some of the h rows, c channels a head, C of
all heads, R biases.
"""

import math
from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.layers import Thirds

# PyTorch's CPU kernel takes its largest blocks from 768 queries on, and each of its calls waits for
# the slowest thread: so few and large calls, up to what may be in memory together (64 MB).
_QUERIES = 1024
_BIASES = 2**24

Map = Float[Tensor, "h w C"]


class RelativeAttention(nn.Module):
    """Multi-head self-attention over a map (h, w, C).

    Parameters
    ----------
    side
        Rows and columns of what a cell attends to.
    """

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.side = side
        self.qkv = Thirds(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))

    def forward(self, x: Map, room: Float[Tensor, " R"] | None = None) -> Map:
        """Attend.

        Parameters
        ----------
        room
            Memory for `biases`, written over; None takes new memory, as gradients need it.
        """
        out: Tensor = self.proj(self.mix(*self.qkv.thirds(x), room=room))
        return out

    @abstractmethod
    def biases(self, h: int, w: int) -> int:
        """How many biases there are at a time for a map of this size."""

    @abstractmethod
    def mix(self, q: Map, k: Map, v: Map, *, room: Float[Tensor, " R"] | None) -> Map:
        """Values of all heads, mixed."""

    def relative(
        self, q: Float[Tensor, "*N h w c"]
    ) -> tuple[Float[Tensor, "*N h w h"], Float[Tensor, "*N h w w"]]:
        """Each query's numbers for rows and for columns of keys."""
        h, w = q.shape[-3:-1]
        by_row = torch.einsum("...ywc,ykc->...ywk", q, relative_table(self.rel_pos_h, h))
        by_column = torch.einsum("...ywc,wkc->...ywk", q, relative_table(self.rel_pos_w, w))
        # contiguous, so that their sum is too and becomes a matrix without a copy
        return by_row.contiguous(), by_column.contiguous()


class AttentionEverywhere(RelativeAttention):
    """All cells of a map attend to all."""

    def biases(self, h: int, w: int) -> int:
        rows, together = self.at_once(h, w)
        return together * rows * w * h * w

    def at_once(self, h: int, w: int) -> tuple[int, int]:
        """Rows of queries, and heads, that are taken together."""
        rows = min(h, max(1, _QUERIES // w))
        return rows, min(self.heads, max(1, _BIASES // (rows * w * h * w)))

    def mix(self, q: Map, k: Map, v: Map, *, room: Float[Tensor, " R"] | None) -> Map:
        h, w = q.shape[:2]
        rows, together = self.at_once(h, w)
        q, k, v = (m.view(h, w, self.heads, -1).movedim(2, 0) for m in (q, k, v))
        maps = (k, v, q, *self.relative(q))
        found = []
        for k_n, v_n, *of_queries in zip(*(torch.split(m, together) for m in maps), strict=True):
            part = []
            for q_r, row_r, column_r in zip(
                *(torch.split(m, rows, 1) for m in of_queries), strict=True
            ):
                q_r, k_r, v_r = (m.flatten(1, 2)[None] for m in (q_r, k_n, v_n))
                bias = bias_sum(row_r, column_r, room)[None]
                out = F.scaled_dot_product_attention(q_r, k_r, v_r, attn_mask=bias)
                part.append(out[0].transpose(0, 1))  # (r w, N, c)
            found.append(torch.cat(part))
        return torch.cat(found, dim=1).view(h, w, -1)


class AttentionInWindows(RelativeAttention):
    """Cells attend to those of their window, a square of ``side`` cells.

    A window's missing cells are zeros before the linear layer, so its bias after it: they take part
    in the attention, but no linear layer is run on them.
    """

    def biases(self, h: int, w: int) -> int:
        return self.at_once(h, w) * self.heads * self.side**4

    def at_once(self, h: int, w: int) -> int:
        """Windows that are taken together."""
        count = -(-h // self.side) * -(-w // self.side)
        return min(count, max(1, _BIASES // (self.heads * self.side**4)))

    def mix(self, q: Map, k: Map, v: Map, *, room: Float[Tensor, " R"] | None) -> Map:
        h, w = q.shape[:2]
        square = (self.side, self.side)
        cells = cells_of_windows(h, w, self.side, q.device)
        windows = []
        for whole, missing in zip((q, k, v), self.qkv.bias.chunk(3), strict=True):
            filled = torch.cat([whole.flatten(0, 1), missing[None]])[cells]  # (B, s s, C)
            windows.append(filled.view(*cells.shape, self.heads, -1).transpose(1, 2))
        found = []
        for q_b, k_b, v_b in zip(
            *(torch.split(m, self.at_once(h, w)) for m in windows), strict=True
        ):
            bias = bias_sum(*self.relative(torch.unflatten(q_b, 2, square)), room)
            out = F.scaled_dot_product_attention(q_b, k_b, v_b, attn_mask=bias)
            found.append(out.transpose(1, 2).flatten(2))
        mixed = found[0] if len(found) == 1 else torch.cat(found)
        return mixed.flatten(0, 1)[cells_of_map(h, w, self.side, mixed.device)]


def relative_table(table: Float[Tensor, "L c"], lines: int) -> Float[Tensor, "q k c"]:
    """Row y_q - y_k of a table of 2 n - 1 offsets, for each pair of a query line and a key line."""
    at = torch.arange(lines, device=table.device)
    return table[at[:, None] - at[None, :] + (table.shape[0] - 1) // 2]


def bias_sum(
    by_row: Float[Tensor, "*N r w h"],
    by_column: Float[Tensor, "*N r w W"],
    room: Float[Tensor, " R"] | None,
) -> Float[Tensor, "*N r*w h*W"]:
    """Biases of each query and key, in ``room`` where there is one."""
    shape = (*by_row.shape, by_column.shape[-1])
    out = None if room is None else room[: math.prod(shape)].view(shape)
    bias = torch.add(by_row[..., :, None], by_column[..., None, :], out=out)
    return bias.flatten(-2).flatten(-3, -2)


def cells_of_windows(h: int, w: int, side: int, device: torch.device) -> Int[Tensor, "B ss"]:
    """Number of each window's cells in their map; ``h * w`` for those that the map lacks."""
    y = torch.arange(-(-h // side) * side, device=device).view(-1, 1, side, 1)
    x = torch.arange(-(-w // side) * side, device=device).view(1, -1, 1, side)
    cells = torch.where((y < h) & (x < w), y * w + x, h * w)
    return cells.flatten(2).flatten(0, 1)


def cells_of_map(h: int, w: int, side: int, device: torch.device) -> Int[Tensor, "h w"]:
    """Number of each of a map's cells in its windows."""
    y = torch.arange(h, device=device)[:, None]
    x = torch.arange(w, device=device)
    window = y // side * -(-w // side) + x // side
    return window * side**2 + y % side * side + x % side
