"""TinyViT-5M as MobileSAM uses it: image (B, 3, S, S) -> embedding (B, 256, S/16, S/16).

    two convolutions, stride 2 each      S/4,  64 channels
    stage 0   2 inverted bottlenecks     S/4,  64; merged to S/8, 128
    stage 1   2 blocks, windows of 7     S/8, 128; merged to S/16, 160
    stage 2   6 blocks, windows of 14    S/16, 160; merged to S/16, 320 (stride 1)
    stage 3   2 blocks, windows of 7     S/16, 320
    neck      1 x 1, norm, 3 x 3, norm   S/16, 256

Wu et al. 2022, "TinyViT" (arXiv:2207.10666); Zhang et al. 2023, "Faster Segment Anything"
(arXiv:2306.14289). Its ways, and what holds them (`tests/nn/test_mobile_sam.py`, and stage by stage
`test_mobile_sam_parity.py`):

- The third merging keeps the size: S/16 is reached after stage 1
  (`test_the_third_merging_keeps_the_size`).
- Batch norms (eps 1e-5) follow each convolution but the neck's. They are constants here, so the
  converter multiplies them into the weights (`test_folding_changes_no_number`); the networks below
  have none, and training leaves them as they are.
- Windows need not divide the map. What a window lacks at the right and bottom is zero *before* the
  attention's own norm, so it is the norm's bias after it, and takes part in the attention
  (`test_windows_are_the_formula_with_padding_before_the_norm`).
- Queries, keys and values lie head by head: q, k, v of the first head, then of the next
  (same test).
- The bias of a query and a key is looked up by (|dy|, |dx|), row by row (same test). The original
  keeps the looked-up biases when it is switched to eval and does not notice weights that come
  later: used as its builder returns it, all its biases are those of new networks, zero. Here they
  are looked up each time (`test_biases_are_those_of_the_weights_at_any_time`).
- Norms have eps 1e-5 but for the neck's, 1e-6; GELU is the exact one; merging has one after its
  first two convolutions, a bottleneck one more after its sum.
- `norm_head` and `head` of the file were for ImageNet's classes and are not loaded.

Images are taken one by one, as maps (h, w, C) in which a cell's channels lie side by side: linear
layers, which 1 x 1 convolutions are, and norms then read memory in order. What is several times
wider than what goes in and comes out (in bottlenecks, mergings, MLPs) exists for a few lines at a
time, which stay in the cache; results are those of the whole (`test_bands_are_the_whole`).

Letters: h w cells, s side of a window, B windows, N heads, c channels a head, C of all.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.attention import cells_of_map, cells_of_windows
from anymask.nn.layers import LayerNorm2d

CHANNELS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
WINDOWS = (7, 7, 14, 7)  # the first is of no use: stage 0 has no attention
STRIDES = (2, 2, 1)  # of the mergings
HEAD = 32  # channels of one
EXPAND = 4  # of bottlenecks and MLPs

_BAND = 2**19  # values of a band's widest map, 2 MB: they stay in a core's cache
_TOKENS = 2048  # through an MLP together

Map = Float[Tensor, "h w C"]
Lines = tuple[int, int]


def convolve(conv: nn.Conv2d, x: Map, down: int = 1) -> Float[Tensor, "H W D"]:
    """A convolution of a map; ``down`` is its padding at top and bottom."""
    size = (down, conv.kernel_size[1] // 2)
    out = F.conv2d(
        x[None].permute(0, 3, 1, 2), conv.weight, conv.bias, conv.stride, size, 1, conv.groups
    )
    return out.permute(0, 2, 3, 1)[0]


def depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    """3 x 3, each channel for itself."""
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels)


def neighbours(lines: Lines, stride: int, height: int) -> tuple[Lines, Lines]:
    """Lines that a 3 x 3 convolution reads for some of its own, and how many the map lacks."""
    top, bottom = lines[0] * stride - 1, (lines[1] - 1) * stride + 2
    return (max(top, 0), min(bottom, height)), (max(-top, 0), max(bottom - height, 0))


def halved(conv: nn.Conv2d, x: Map, lacking: Lines) -> Float[Tensor, "H W D"]:
    """Some lines of a 3 x 3 convolution, given those that it reads."""
    return convolve(conv, F.pad(x, (0, 0, 0, 0, *lacking)) if any(lacking) else x, down=0)


def in_bands(height: int, values: int, make: Callable[[Lines], Map]) -> Map:
    """A map made some lines at a time; ``values`` are those of the widest map that a line takes."""
    step = max(1, _BAND // values)
    bands = [make((top, min(top + step, height))) for top in range(0, height, step)]
    return torch.cat(bands)


class Embed(nn.Module):
    """Two 3 x 3 convolutions, stride 2 each: a quarter of the size."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, dim // 2, 3, 2, padding=1)
        self.conv2 = nn.Conv2d(dim // 2, dim, 3, 2, padding=1)

    def forward(self, x: Float[Tensor, "H W 3"]) -> Map:
        half = (x.shape[0] + 1) // 2

        def band(lines: Lines) -> Map:
            inner, lacking = neighbours(lines, 2, half)
            outer, lacking_pixels = neighbours(inner, 2, x.shape[0])
            near = halved(self.conv1, x[slice(*outer)], lacking_pixels)
            return halved(self.conv2, F.gelu(near), lacking)

        return in_bands((half + 1) // 2, x.shape[1] * self.conv1.out_channels, band)


class Bottleneck(nn.Module):
    """Wide, in place, narrow, with a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Linear(dim, EXPAND * dim)
        self.conv2 = depthwise(EXPAND * dim)
        self.conv3 = nn.Linear(EXPAND * dim, dim)

    def forward(self, x: Map) -> Map:
        h, w, dim = x.shape

        def band(lines: Lines) -> Map:
            near, lacking = neighbours(lines, 1, h)
            wide = halved(self.conv2, F.gelu(self.conv1(x[slice(*near)])), lacking)
            return F.gelu(x[slice(*lines)] + self.conv3(F.gelu(wide)))

        return in_bands(h, w * dim * EXPAND, band)


class Merge(nn.Module):
    """From one stage to the next: other channels, fewer cells where the stride is 2."""

    def __init__(self, dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Linear(dim, out_dim)
        self.conv2 = depthwise(out_dim, stride)
        self.conv3 = nn.Linear(out_dim, out_dim)

    def forward(self, x: Map) -> Map:
        h, w = x.shape[:2]

        def band(lines: Lines) -> Map:
            near, lacking = neighbours(lines, self.stride, h)
            wide = halved(self.conv2, F.gelu(self.conv1(x[slice(*near)])), lacking)
            out: Tensor = self.conv3(F.gelu(wide))
            return out

        values = w * self.conv1.out_features * self.stride  # of the lines that one is made from
        return in_bands(-(-h // self.stride), values, band)


class WindowAttention(nn.Module):
    """Norm and self-attention of a map's cells within squares of ``side``."""

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.biases = nn.Parameter(torch.zeros(heads, side * side))

    def bias(self) -> Float[Tensor, "N ss ss"]:
        """Of each query and key in a window, by how far apart they are."""
        at = torch.arange(self.side, device=self.biases.device)
        apart = (at[:, None] - at).abs()  # of two lines
        index = apart[:, None, :, None] * self.side + apart[None, :, None, :]
        found: Tensor = self.biases[:, index.flatten(2).flatten(0, 1)]
        return found

    def forward(self, x: Map) -> Map:
        h, w, dim = x.shape
        cells = cells_of_windows(h, w, self.side, x.device)
        # one row more, for what windows lack
        rows = self.qkv(torch.cat([self.norm(x).flatten(0, 1), self.norm.bias[None]]))
        windows = rows.index_select(0, cells.flatten())
        q, k, v = windows.view(*cells.shape, self.heads, 3, -1).permute(3, 0, 2, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias()[None])
        back = cells_of_map(h, w, self.side, x.device)
        seen = mixed.transpose(1, 2).reshape(-1, dim).index_select(0, back.flatten())
        out: Tensor = self.proj(seen)
        return out.view(h, w, dim)


class Block(nn.Module):
    """Attention, a convolution of neighbours, an MLP; residuals round the first and the last."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.attn = WindowAttention(dim, heads, window)
        self.local = depthwise(dim)
        self.norm = nn.LayerNorm(dim)
        self.lin1 = nn.Linear(dim, EXPAND * dim)
        self.lin2 = nn.Linear(EXPAND * dim, dim)

    def forward(self, x: Map) -> Map:
        near = convolve(self.local, x + self.attn(x))
        tokens = torch.split(near.flatten(0, 1), _TOKENS)
        return torch.cat([t + self.mlp(t) for t in tokens]).view(x.shape)

    def mlp(self, tokens: Float[Tensor, "T C"]) -> Float[Tensor, "T C"]:
        """Norm and MLP of some tokens."""
        out: Tensor = self.lin2(F.gelu(self.lin1(self.norm(tokens))))
        return out


class Stage(nn.Module):
    """Blocks of one size, then the merging to the next."""

    def __init__(self, blocks: Sequence[nn.Module], merge: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.merge = merge

    def forward(self, x: Map) -> Map:
        out: Tensor = self.merge(self.blocks(x))
        return out


class TinyViTEncoder(nn.Module):
    """Convolutions, four stages, neck.

    Parameters
    ----------
    channels, depths, windows
        Of each stage.
    out_dim
        Channels of the embedding.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = CHANNELS,
        depths: Sequence[int] = DEPTHS,
        windows: Sequence[int] = WINDOWS,
        out_dim: int = 256,
    ) -> None:
        super().__init__()
        self.embed = Embed(channels[0])
        stages = []
        for i, (dim, depth, window) in enumerate(zip(channels, depths, windows, strict=True)):
            blocks = [
                Block(dim, max(1, dim // HEAD), window) if i else Bottleneck(dim)
                for _ in range(depth)
            ]
            merge = Merge(dim, channels[i + 1], STRIDES[i]) if i < 3 else nn.Identity()
            stages.append(Stage(blocks, merge))
        self.stages = nn.ModuleList(stages)
        self.neck = nn.Sequential(
            nn.Conv2d(channels[-1], out_dim, 1, bias=False),
            LayerNorm2d(out_dim),
            nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False),
            LayerNorm2d(out_dim),
        )

    def levels(
        self, x: Float[Tensor, "B 3 S S"]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B D h w"]]:
        """The map of stage 1, merged, and the embedding."""
        early, late = [], []
        for image in x.permute(0, 2, 3, 1).contiguous():
            early.append(self.stages[1](self.stages[0](self.embed(image))))
            late.append(self.stages[3](self.stages[2](early[-1])))
        embedding: Tensor = self.neck(torch.stack(late).permute(0, 3, 1, 2))
        return torch.stack(early).permute(0, 3, 1, 2), embedding

    def forward(self, x: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D h w"]:
        return self.levels(x)[1]
