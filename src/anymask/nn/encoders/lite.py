"""EfficientNet-Lite0's trunk: image (B, 3, H, W) -> four maps at strides 4, 8, 16, 32.

    stem conv s2 -> 16 inverted bottlenecks;  channels 24, 40, 112, 320

Tan and Le 2019 (arXiv:1905.11946) in the "lite" form of Google's tensorflow/tpu: ReLU6, no
squeeze-and-excite. Batch norm is folded into the convolutions. Input: RGB as (x - 127) / 128.
Sides must be multiples of 32. Stride 2 pads as TensorFlow's SAME does for even sizes (one side
more than the other); with symmetric padding the trained weights are a little worse.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (24, 40, 112, 320)  # at strides 4, 8, 16, 32

# kernel, stride, expansion, outputs; one row a bottleneck
_BLOCKS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (3, 1, 6, 24),
    (5, 2, 6, 40),
    (5, 1, 6, 40),
    (3, 2, 6, 80),
    (3, 1, 6, 80),
    (3, 1, 6, 80),
    (5, 1, 6, 112),
    (5, 1, 6, 112),
    (5, 1, 6, 112),
    (5, 2, 6, 192),
    (5, 1, 6, 192),
    (5, 1, 6, 192),
    (5, 1, 6, 192),
    (3, 1, 6, 320),
)
_TAPS = (2, 4, 10, 15)  # blocks whose outputs are the four maps


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, for even sides where the stride is 2."""

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        kernel = self.kernel_size[0]
        if self.stride[0] == 1:
            return F.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        before = (kernel - 2) // 2
        x = F.pad(x, (before, kernel - 2 - before, before, kernel - 2 - before))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


class Bottleneck(nn.Module):
    """Expand 1x1, depthwise kxk, project 1x1 without activation; a skip where shapes allow."""

    def __init__(self, inputs: int, kernel: int, stride: int, expand: int, outputs: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.expand = nn.Conv2d(inputs, wide, 1) if expand > 1 else nn.Identity()
        self.squash = nn.ReLU6(inplace=True) if expand > 1 else nn.Identity()
        self.dw = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = nn.Conv2d(wide, outputs, 1)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        y = self.squash(self.expand(x))
        y = self.project(F.relu6(self.dw(y), inplace=True))
        out: Tensor = x + y if self.skip else y
        return out


class LiteTrunk(nn.Module):
    """Stem and sixteen bottlenecks, tapped at four strides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2)
        blocks, inputs = [], 32
        for kernel, stride, expand, outputs in _BLOCKS:
            blocks.append(Bottleneck(inputs, kernel, stride, expand, outputs))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self, x: Float[Tensor, "B 3 H W"]
    ) -> tuple[
        Float[Tensor, "B 24 h4 w4"],
        Float[Tensor, "B 40 h8 w8"],
        Float[Tensor, "B 112 h16 w16"],
        Float[Tensor, "B 320 h32 w32"],
    ]:
        x = F.relu6(self.stem(x), inplace=True)
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in _TAPS:
                maps.append(x)
        return maps[0], maps[1], maps[2], maps[3]
