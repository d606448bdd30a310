"""EdgeTAM's trunk: image (B, 3, S, S) -> maps of four stages, (B, S/4, S/4, 48) to S/32 and 384.

    stem -> blocks; before each further stage: block, 3 x 3 step 2 on each channel, 1 x 1, MLP

RepViT M1 (Wang et al. 2024, arXiv:2307.09283), as EdgeTAM takes it (Zhou et al. 2025,
arXiv:2501.07256). Official files hold its form for training: batch norms, and three branches where
a block mixes its cells (3 x 3, 1 x 1, the map itself). All are linear, so
`anymask.weights.edgetam` sums them into one 3 x 3 convolution of each channel; here is the form
for inference (`test_edgetam` compares both, `test_sam2_parity` with recorded maps). Convolutions of
single cells are linear layers.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Channels(nn.Module):
    """An MLP of each cell, added to it."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        cells = x.permute(0, 2, 3, 1)
        out: Tensor = cells + self.lin2(F.gelu(self.lin1(cells)))
        return out.permute(0, 3, 1, 2)


class Squeeze(nn.Module):
    """Channels scaled by what the whole map says (Hu et al. 2018, arXiv:1709.01507)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = max(8, (dim // 4 + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        scale: Tensor = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * scale.sigmoid()


class Block(nn.Module):
    """Neighbours, then channels."""

    def __init__(self, dim: int, ratio: int, squeeze: bool) -> None:
        super().__init__()
        self.near = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.squeeze = Squeeze(dim) if squeeze else nn.Identity()
        self.channels = Channels(dim, ratio * dim)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        out: Tensor = self.channels(self.squeeze(self.near(x)))
        return out


class Halve(nn.Module):
    """To half the size and more channels."""

    def __init__(self, dim: int, dim_out: int, ratio: int) -> None:
        super().__init__()
        self.before = Block(dim, ratio, squeeze=False)
        self.near = nn.Conv2d(dim, dim, 3, 2, 1, groups=dim)
        self.wider = nn.Linear(dim, dim_out)
        self.channels = Channels(dim_out, ratio * dim_out)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D y x"]:
        cells = self.near(self.before(x)).permute(0, 2, 3, 1)
        out: Tensor = self.channels(self.wider(cells).permute(0, 3, 1, 2))
        return out


class RepViT(nn.Module):
    """Stem and stages; of each stage's blocks the first, third, ... squeeze."""

    def __init__(
        self,
        dims: Sequence[int] = (48, 96, 192, 384),
        depths: Sequence[int] = (2, 2, 14, 2),
        ratio: int = 2,
    ) -> None:
        super().__init__()
        self.dims = list(dims)
        self.stem1 = nn.Conv2d(3, dims[0] // 2, 3, 2, 1)
        self.stem2 = nn.Conv2d(dims[0] // 2, dims[0], 3, 2, 1)
        self.halves = nn.ModuleList(Halve(a, b, ratio) for a, b in pairwise(dims))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(dim, ratio, squeeze=i % 2 == 0) for i in range(depth)))
            for dim, depth in zip(dims, depths, strict=True)
        )

    def forward(self, x: Float[Tensor, "B 3 S T"]) -> list[Float[Tensor, "B _ _ _"]]:
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.stem2(F.gelu(self.stem1(x)))
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(self.halves[i - 1](x) if i else x)
            maps.append(x.permute(0, 2, 3, 1))
        return maps
