"""SAM 2's trunk: image (B, 3, S, S) -> maps of four stages, (B, S/4, S/4, C) to S/32 and 8 C.

    patches 7 x 7, step 4, + positions -> stages; each but the first begins by halving the map

A plain transformer in four resolutions (Ryali et al. 2023, Hiera, arXiv:2306.00989; Bolya et al.
2023, arXiv:2311.05613, for the positions; Ravi et al. 2024, SAM 2, arXiv:2408.00714). What is
particular, and which tests hold it:

- A stage's first block has the window of the stage before. Its queries are the maxima of 2 x 2;
  what goes around its attention is a linear layer of the normed input, and maxima of that
  (`test_sam2_transformers`, `test_sam2_parity`).
- Where windows do not fit the map, cells of zeros are added to it at the bottom and right after the
  norm, and are attended to (`test_windows_that_do_not_fit_...`).
- Positions are a small table enlarged by a bicubic filter, plus a table of one window, repeated; a
  map that is no multiple of a window has none (`test_positions_...`).

Nothing but windows and halving looks at where a token is, so tokens lie in memory window by window
as long as the windows stay the same, and a block runs from its first norm to its last sum for some
windows at a time. Results are those of the plain formula.

Letters: G groups of S tokens that attend to each other, C channels, h w cells.
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.attention import cells_of_map, cells_of_windows

# Tokens that go through a block together, of 384 channels; more where they are narrower. Hidden
# values of an MLP then take 12 MB: they stay near, and the C library keeps their memory for reuse.
_AT_ONCE = 2048 * 384

Grid = tuple[int, int]  # rows and columns of cells


def keep(x: Float[Tensor, "G h w C"]) -> Float[Tensor, "G h w C"]:
    """The map as it is."""
    return x


def halve(x: Float[Tensor, "G h w C"]) -> Float[Tensor, "G y x C"]:
    """Maxima of 2 x 2 cells; an odd last row or column is left out."""
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    rows = torch.maximum(x[:, 0:h:2, :w], x[:, 1:h:2, :w])
    return torch.maximum(rows[:, :, 0::2], rows[:, :, 1::2])


class Attention(nn.Module):
    """The linear layers of a block's attention."""

    def __init__(self, dim: int, dim_out: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def mix(
        self, q: Float[Tensor, "G S C"], k: Float[Tensor, "G T C"], v: Float[Tensor, "G T C"]
    ) -> Float[Tensor, "G S C"]:
        """Values that each query sees in its group."""
        q, k, v = (torch.unflatten(x, 2, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Attention in windows or everywhere, then an MLP; a wider block halves the map."""

    def __init__(self, dim: int, dim_out: int, heads: int, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.resize = keep if dim == dim_out else halve
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, dim_out, heads)
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.lin1 = nn.Linear(dim_out, 4 * dim_out)
        self.lin2 = nn.Linear(4 * dim_out, dim_out)
        self.proj = None if dim == dim_out else nn.Linear(dim, dim_out)
        self.tokens = max(1, _AT_ONCE // dim_out)

    def together(self, x: Float[Tensor, "G S C"], grid: Grid) -> Float[Tensor, "G T D"]:
        """The block for groups of tokens, each a grid of cells row by row."""
        done = []
        for some in torch.split(x, max(1, self.tokens // x.shape[1])):
            normed = self.norm1(some)
            q, k, v = self.attn.qkv(normed).chunk(3, dim=-1)
            smaller = self.resize(torch.unflatten(q, 1, grid)).flatten(1, 2)
            around = self.around(some, normed, grid)
            done.append(self.think(around + self.attn.proj(self.attn.mix(smaller, k, v))))
        return done[0] if len(done) == 1 else torch.cat(done)

    def apart(self, x: Float[Tensor, "h w C"]) -> Float[Tensor, "y x D"]:
        """The block for a map that its windows do not fit."""
        h, w = x.shape[:2]
        side = cast(int, self.window)
        normed = self.norm1(x)
        q, k, v = self.attn.qkv(normed).chunk(3, dim=-1)
        missing = self.attn.qkv.bias.chunk(3)  # what a cell of zeros becomes
        q = self.resize(q[None])[0]
        shape, inner = q.shape, side * q.shape[0] // h
        windows = ((q, inner), (k, side), (v, side))
        asked, *seen = (
            _windows(part, zero, s) for (part, s), zero in zip(windows, missing, strict=True)
        )
        mixed = self.attn.mix(asked, *seen).flatten(0, 1)
        mixed = mixed[cells_of_map(shape[0], shape[1], inner, x.device)].flatten(0, 1)
        around = self.around(x.flatten(0, 1)[None], normed.flatten(0, 1)[None], (h, w))
        return self.think(around + self.attn.proj(mixed)).view(shape)

    def around(
        self, x: Float[Tensor, "G S C"], normed: Float[Tensor, "G S C"], grid: Grid
    ) -> Float[Tensor, "G T D"]:
        """What the attention's output is added to."""
        if self.proj is None:
            return x
        return self.resize(torch.unflatten(self.proj(normed), 1, grid)).flatten(1, 2)

    def think(self, x: Float[Tensor, "G S C"]) -> Float[Tensor, "G S C"]:
        """The MLP, some tokens at a time."""
        tokens = torch.split(x.flatten(0, 1), self.tokens)
        done = [t + self.lin2(F.gelu(self.lin1(self.norm2(t)))) for t in tokens]
        return (done[0] if len(done) == 1 else torch.cat(done)).view(x.shape)


class Hiera(nn.Module):
    """Patches, positions, blocks.

    Parameters
    ----------
    dim, heads
        Of the first stage; both double with each stage.
    depths
        Blocks of each stage.
    windows
        Side of each stage's windows, cells.
    global_blocks
        Blocks in which all cells attend to all.
    background
        Rows and columns of the table of positions.
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        depths: Sequence[int],
        windows: Sequence[int],
        global_blocks: Sequence[int],
        background: int,
    ) -> None:
        super().__init__()
        self.dims = [dim * 2**stage for stage in range(len(depths))]
        self.patch_embed = nn.Conv2d(3, dim, 7, 4, 3)
        self.pos_embed = nn.Parameter(torch.zeros(1, dim, background, background))
        self.pos_window = nn.Parameter(torch.zeros(1, dim, windows[0], windows[0]))
        blocks: list[Block] = []
        for stage, depth in enumerate(depths):
            for i in range(depth):
                first = i == 0 and stage > 0
                before = stage - 1 if first else stage
                window = None if len(blocks) in global_blocks else windows[before]
                blocks.append(Block(self.dims[before], self.dims[stage], heads * 2**stage, window))
        self.blocks = nn.ModuleList(blocks)
        self.ends = [sum(depths[: stage + 1]) - 1 for stage in range(len(depths))]

    def positions(self, h: int, w: int) -> Float[Tensor, "h w C"]:
        """What is added to the patches of a map.

        A bicubic filter acts on rows and columns apart: two products with what it makes of each
        row and column alone, which leave channels last.
        """
        table = self.pos_embed[0].permute(1, 2, 0)
        rows, columns = (
            _bicubic(known, wanted, table)
            for known, wanted in zip(table.shape[:2], (h, w), strict=True)
        )
        lines = torch.einsum("xw,yxc->ywc", columns, table)
        enlarged = torch.einsum("yh,ywc->hwc", rows, lines)
        window = self.pos_window[0].permute(1, 2, 0)
        return enlarged + window.tile(h // window.shape[0], w // window.shape[1], 1)

    def forward(self, x: Float[Tensor, "B 3 S T"]) -> list[Float[Tensor, "B _ _ _"]]:
        patches = self.patch_embed(x).permute(0, 2, 3, 1)
        positions = self.positions(*patches.shape[1:3])
        each = [self.stages(one + positions) for one in patches]
        return [torch.stack(maps) for maps in zip(*each, strict=True)]

    def stages(self, x: Float[Tensor, "h w C"]) -> list[Float[Tensor, "_ _ _"]]:
        """Maps after each stage."""
        tokens = Tokens(x.flatten(0, 1), (x.shape[0], x.shape[1]), (1, 1))
        maps = []
        for i, block in enumerate(cast(Sequence[Block], self.blocks)):
            tokens = tokens.through(block)
            if i in self.ends:
                maps.append(tokens.map())
        return maps


class Tokens:
    """Tokens of a map, and in which order they are.

    Attributes
    ----------
    values
        Row by row within a window, window by window.
    grid
        Rows and columns of the map.
    window
        Rows and columns of the windows: 1 x 1 where tokens lie row by row.
    """

    def __init__(self, values: Float[Tensor, "N C"], grid: Grid, window: Grid) -> None:
        self.values, self.grid, self.window = values, grid, window

    def through(self, block: Block) -> "Tokens":
        """What a block makes of them."""
        (h, w), side = self.grid, block.window
        if side is None:  # in any order
            return Tokens(block.together(self.values[None], (len(self.values), 1))[0], *self.place)
        if h % side or w % side:
            found = block.apart(self.map())
            return Tokens(found.flatten(0, 1), (found.shape[0], found.shape[1]), (1, 1))
        groups = torch.unflatten(self.ordered((side, side)), 0, (-1, side * side))
        found = block.together(groups, (side, side))
        shrink = side // int(found.shape[1] ** 0.5)
        return Tokens(
            found.flatten(0, 1), (h // shrink, w // shrink), (side // shrink, side // shrink)
        )

    @property
    def place(self) -> tuple[Grid, Grid]:
        """Grid and window."""
        return self.grid, self.window

    def map(self) -> Float[Tensor, "h w C"]:
        """As a map."""
        return self.ordered((1, 1)).view(*self.grid, -1)

    def ordered(self, window: Grid) -> Float[Tensor, "N C"]:
        """The values in another order."""
        if window == self.window:
            return self.values
        (h, w), (y, x) = self.grid, self.window
        rows = self.values.view(h // y, w // x, y, x, -1).transpose(1, 2).reshape(h, w, -1)
        y, x = window
        return rows.view(h // y, y, w // x, x, -1).transpose(1, 2).flatten(0, 3)


def _windows(
    x: Float[Tensor, "h w C"], missing: Float[Tensor, " C"], side: int
) -> Float[Tensor, "G S C"]:
    """Windows of a map, with something in the cells that it lacks."""
    cells = cells_of_windows(x.shape[0], x.shape[1], side, x.device)
    return torch.cat([x.flatten(0, 1), missing[None]])[cells]


def _bicubic(known: int, wanted: int, like: Tensor) -> Float[Tensor, "known wanted"]:
    """Share of each known line in each wanted one."""
    alone = torch.eye(known, dtype=like.dtype, device=like.device)[None, :, :, None]
    size = (wanted, 1)
    return F.interpolate(alone, size=size, mode="bicubic", align_corners=False)[0, :, :, 0]
