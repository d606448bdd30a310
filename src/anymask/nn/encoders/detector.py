"""NanoDet-g's backbone: image (B, 3, H, W) -> four maps at strides 4, 8, 16, 32.

    stem conv s2 -> max pool s2 -> 4 CSP stages;  channels 64, 128, 256, 512

A cross-stage-partial network (Wang et al. 2020, arXiv:1911.11929) as in NanoDet-g (RangiLyu/
nanodet, Apache-2.0) with batch norm folded into the convolutions. Sides must be multiples of 32.
The input here is RGB in the units of the caller's `InputSpec` (see `NORMALISE`); the original
wants BGR, so the converter flips the first convolution's input channels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

CHANNELS = (64, 128, 256, 512)  # at strides 4, 8, 16, 32

# what the original subtracts and divides by, RGB order, 0..255 units
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class Conv(nn.Module):
    """3x3 convolution with bias, then LeakyReLU(0.1)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return nn.functional.leaky_relu(self.conv(x), 0.1, inplace=True)


class Split(nn.Module):
    """Two convolutions in a row whose outputs are both kept: C -> 2 D channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.in_conv = Conv(inputs, outputs, 1)
        self.mid_conv = Conv(outputs, outputs, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B E H W"]:
        a = self.in_conv(x)
        return torch.cat([self.mid_conv(a), a], dim=1)


class Stage(nn.Module):
    """CSP stage: the new branch goes first in the concatenation; C -> 2 C channels."""

    def __init__(self, channels: int, depth: int, stride: int) -> None:
        super().__init__()
        self.in_conv = Conv(channels, channels, stride)
        self.res = nn.Sequential(*(Split(channels, channels // 2) for _ in range(depth)))
        self.res_out_conv = Conv(channels, channels, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        x = self.in_conv(x)
        return torch.cat([self.res_out_conv(self.res(x)), x], dim=1)


class DetectorBackbone(nn.Module):
    """The four stages of NanoDet-g."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, 32, 2)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.stage1 = Stage(32, 1, 1)
        self.stage2 = Stage(64, 2, 2)
        self.stage3 = Stage(128, 2, 2)
        self.stage4 = Stage(256, 3, 2)

    def forward(
        self, x: Float[Tensor, "B 3 H W"]
    ) -> tuple[
        Float[Tensor, "B 64 h4 w4"],
        Float[Tensor, "B 128 h8 w8"],
        Float[Tensor, "B 256 h16 w16"],
        Float[Tensor, "B 512 h32 w32"],
    ]:
        c2 = self.stage1(self.pool(self.stem(x)))
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        return c2, c3, c4, self.stage4(c4)
