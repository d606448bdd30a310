"""Attention with decomposed relative positions, without ever holding a full table of biases.

    A = softmax(q k' / sqrt(c) + R_y[q] + R_x[q]) v,    R_y[q] = q . table_y[y_q - y_k]

The bias of a query is the sum of one number for the key's row and one for its column (Li et al.
2022, MViTv2, arXiv:2112.01526, as used in SAM). For 4096 queries and keys and 12 heads all of them
are 800 MB; here they exist for a few rows of queries at a time.

Letters: B windows, N heads, h w cells, c channels a head.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_CELLS_AT_ONCE = 6_000_000  # biases in memory together: 24 MB, about what a CPU's cache holds


def relative_table(
    table: Float[Tensor, "L c"], queries: int, keys: int, first: int = 0
) -> Float[Tensor, "q k c"]:
    """Rows of a table of 2 n - 1 offsets for each pair of a query line and a key line."""
    q = torch.arange(first, first + queries, device=table.device)
    k = torch.arange(keys, device=table.device)
    return table[q[:, None] - k[None, :] + (table.shape[0] - 1) // 2]


def relative_attention(
    q: Float[Tensor, "B N r w c"],
    k: Float[Tensor, "B N h w c"],
    v: Float[Tensor, "B N h w c"],
    table_y: Float[Tensor, "Ly c"],
    table_x: Float[Tensor, "Lx c"],
    first: int = 0,
) -> Float[Tensor, "B N r w c"]:
    """Queries of the lines ``first`` .. ``first + r`` attend to all cells."""
    b, n, r, w, c = q.shape
    h = k.shape[2]
    # contiguous, so that their sum is too and needs no second copy to become a matrix
    by_row = torch.einsum("bnywc,ykc->bnywk", q, relative_table(table_y, r, h, first)).contiguous()
    by_column = torch.einsum("bnywc,wkc->bnywk", q, relative_table(table_x, w, w)).contiguous()
    bias = by_row[..., :, None] + by_column[..., None, :]
    mixed = F.scaled_dot_product_attention(
        q.reshape(b, n, r * w, c),
        k.reshape(b, n, h * w, c),
        v.reshape(b, n, h * w, c),
        attn_mask=bias.view(b, n, r * w, h * w),
    )
    return mixed.view(b, n, r, w, c)


class RelativeAttention(nn.Module):
    """Multi-head self-attention over a map, or over windows of it."""

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))

    def split(
        self, qkv: Float[Tensor, "B h w D"]
    ) -> tuple[Float[Tensor, "B N h w c"], Float[Tensor, "B N h w c"], Float[Tensor, "B N h w c"]]:
        """Queries, keys, values of each head."""
        b, h, w, width = qkv.shape
        parts = qkv.view(b, h, w, 3, self.heads, width // (3 * self.heads))
        q, k, v = parts.permute(3, 0, 4, 1, 2, 5).unbind(0)
        return q, k, v

    def everywhere(self, x: Float[Tensor, "h w C"]) -> Float[Tensor, "h w C"]:
        """All cells of one map attend to all, a few lines of queries at a time."""
        h, w, dim = x.shape
        q, k, v = (part.contiguous() for part in self.split(self.qkv(x)[None]))
        lines = max(1, _CELLS_AT_ONCE // (self.heads * w * h * w))
        rows = []
        for first in range(0, h, lines):
            part = q[:, :, first : first + lines]
            mixed = relative_attention(part, k, v, self.rel_pos_h, self.rel_pos_w, first)
            rows.append(self.proj(mixed[0].permute(1, 2, 0, 3).reshape(-1, w, dim)))
        return torch.cat(rows)

    def strip(self, x: Float[Tensor, "r w C"], window: int) -> Float[Tensor, "r w C"]:
        """Windows side by side in one strip of a map, at most ``window`` lines high.

        What a window lacks at the right and at the bottom is padded with zeros before the first
        linear layer, so with its bias after it: padding takes part in the attention, but no
        linear layer is run on it.
        """
        r, w, dim = x.shape
        across = -(-w // window)
        qkv = self.qkv(x)
        if r < window or across * window > w:
            padded = self.qkv.bias.expand(window, across * window, -1).clone()
            padded[:r, :w] = qkv
            qkv = padded
        windows = qkv.view(window, across, window, 3 * dim).transpose(0, 1)
        q, k, v = self.split(windows.reshape(across, window, window, 3 * dim))
        mixed = relative_attention(q[:, :, :r], k, v, self.rel_pos_h, self.rel_pos_w)
        # (across, N, r, window, c) -> (r, across * window, C)
        joined = mixed.permute(2, 0, 3, 1, 4).reshape(r, across * window, dim)
        out: Tensor = self.proj(joined[:, :w])
        return out
