"""NanoDet-g's neck and heads: maps at strides 8, 16, 32 -> class logits and boxes of every cell.

    lateral 1x1 -> top-down and bottom-up sums -> a head for each stride
    distance to a side = sum over k of k softmax(bins)[k], in cells;  box = centre -/+ distances

The neck has no weights but the lateral convolutions; levels are brought to each other's size
bilinearly (a path aggregation network, Liu et al. 2018, arXiv:1803.01534). Distances are the means
of learned distributions (generalised focal loss, Li et al. 2020, arXiv:2006.04388). As in NanoDet-g
(RangiLyu/nanodet, Apache-2.0) with batch norm folded into the convolutions.

Letters: B images, N cells of all levels, K classes.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.encoders.detector import CHANNELS, Conv, DetectorBackbone

STRIDES = (8, 16, 32)
CLASSES = 80
BINS = 11  # of the distribution of a distance: 0 to 10 cells
WIDTH = 128


def resized(x: Float[Tensor, "B C h w"], scale: float) -> Float[Tensor, "B C H W"]:
    """Twice or half the size, bilinear, half-pixel centres, without antialias."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


class Lateral(nn.Module):
    """1x1 convolutions of three maps to one width, then sums down and up the levels."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, WIDTH, 1) for c in channels)

    def forward(
        self, maps: tuple[Float[Tensor, "B _ _ _"], ...]
    ) -> tuple[Float[Tensor, "B C _ _"], ...]:
        l3, l4, l5 = (conv(x) for conv, x in zip(self.lateral, maps, strict=True))
        p4 = l4 + resized(l5, 2.0)
        p3 = l3 + resized(p4, 2.0)
        n4 = p4 + resized(p3, 0.5)
        return p3, n4, l5 + resized(n4, 0.5)


class Head(nn.Module):
    """Class logits and the bins of four distances for each cell of a level."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv1(WIDTH, WIDTH)
        self.out = nn.Conv2d(WIDTH, CLASSES + 4 * BINS, 1)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D h w"]:
        out: Tensor = self.out(self.conv(x))
        return out


class Conv1(Conv):
    """3x3 convolution of stride 1, then LeakyReLU(0.1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)


class DetectorHead(nn.Module):
    """Neck and heads: the part of the detector that nano has not."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = Lateral(CHANNELS[1:])
        self.head = nn.ModuleList(Head() for _ in STRIDES)

    def forward(
        self, maps: tuple[Float[Tensor, "B _ _ _"], ...]
    ) -> tuple[Float[Tensor, "B D _ _"], ...]:
        """Raw outputs (B, K + 4 bins, h, w) a level of c3, c4, c5."""
        return tuple(head(x) for head, x in zip(self.head, self.neck(maps), strict=True))


class Detector(nn.Module):
    """Backbone, neck and heads: normalised image (B, 3, H, W), sides multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = DetectorBackbone()
        self.top = DetectorHead()

    def forward(
        self, x: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N 4"]]:
        """Class logits, and boxes x0, y0, x1, y1 in px of the input with continuous edges."""
        return decoded(self.top(self.backbone(x)[1:]))


def decoded(
    outputs: tuple[Float[Tensor, "B D _ _"], ...],
) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N 4"]]:
    """Raw outputs of all levels to class logits and boxes, cells row by row, fine levels first."""
    logits, boxes = [], []
    for out, stride in zip(outputs, STRIDES, strict=True):
        b, _, h, w = out.shape
        cells = out.permute(0, 2, 3, 1).reshape(b, h * w, CLASSES + 4 * BINS)
        logits.append(cells[..., :CLASSES])
        share = cells[..., CLASSES:].reshape(b, h * w, 4, BINS).softmax(-1)
        reach = share @ torch.arange(BINS, dtype=share.dtype, device=share.device) * stride
        y = (torch.arange(h, dtype=reach.dtype, device=reach.device) + 0.5) * stride
        x = (torch.arange(w, dtype=reach.dtype, device=reach.device) + 0.5) * stride
        centre = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(h * w, 2)
        boxes.append(torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], dim=-1))
    return torch.cat(logits, dim=1), torch.cat(boxes, dim=1)
