"""RepViT in its form for training, as the paper tells it and files of EdgeTAM have it.

Convolutions with batch norms, three branches for a block's neighbours; names are those of the files
below the trunk's prefix. For comparisons: `anymask.nn.encoders.repvit` has the form for inference.
"""

import torch
from torch import nn
from torch.nn import functional as F


class ConvNorm(nn.Module):
    def __init__(self, a, b, side=1, step=1, groups=1):
        super().__init__()
        self.c = nn.Conv2d(a, b, side, step, side // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(b)

    def forward(self, x):
        return self.bn(self.c(x))


class Near(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = ConvNorm(dim, dim, 3, groups=dim)
        self.conv1 = ConvNorm(dim, dim, 1, groups=dim)

    def forward(self, x):
        return self.conv(x) + self.conv1(x) + x


class Squeeze(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(dim, hidden, 1), nn.Conv2d(hidden, dim, 1)

    def forward(self, x):
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Channels(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(dim, 2 * dim), ConvNorm(2 * dim, dim)

    def forward(self, x):
        return self.conv2(F.gelu(self.conv1(x)))


class Block(nn.Module):
    def __init__(self, dim, squeeze):
        super().__init__()
        self.token_mixer = Near(dim)
        self.se = Squeeze(dim, squeeze) if squeeze else nn.Identity()
        self.channel_mixer = Channels(dim)

    def forward(self, x):
        x = self.se(self.token_mixer(x))
        return x + self.channel_mixer(x)


class Halve(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.pre_block = Block(a, None)
        self.spatial_downsample = ConvNorm(a, a, 3, 2, groups=a)
        self.channel_downsample = ConvNorm(a, b)
        self.ffn = Channels(b)

    def forward(self, x):
        x = self.channel_downsample(self.spatial_downsample(self.pre_block(x)))
        return x + self.ffn(x)


class Stage(nn.Module):
    def __init__(self, before, dim, depth, squeeze):
        super().__init__()
        self.downsample = nn.Identity() if before is None else Halve(before, dim)
        blocks = (Block(dim, squeeze if i % 2 == 0 else None) for i in range(depth))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x):
        return self.blocks(self.downsample(x))


class Stem(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(3, dim // 2, 3, 2), ConvNorm(dim // 2, dim, 3, 2)

    def forward(self, x):
        return self.conv2(F.gelu(self.conv1(x)))


class RepViTForTraining(nn.Module):
    """`squeezes`: hidden channels of each stage's squeezing."""

    def __init__(self, dims, depths, squeezes):
        super().__init__()
        self.stem = Stem(dims[0])
        for i, (before, dim) in enumerate(zip((None, *dims[:-1]), dims, strict=True)):
            setattr(self, f"stages_{i}", Stage(before, dim, depths[i], squeezes[i]))

    def forward(self, x):
        """Maps of the stages, channels second."""
        x, maps = self.stem(x), []
        for i in range(4):
            x = getattr(self, f"stages_{i}")(x)
            maps.append(x)
        return maps


def stirred(network):
    """With other norms than those of the start; for inference."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * 0.1)
    return network.eval()
