"""Nano's image side: image (B, 3, H, W) -> image part and keys at strides 16, 8 and 4.

    two trunks side by side -> standardise -> top-down neck -> f16 f8 f4, k16 k8 k4

``f`` is the image's share of the decoder's first layers (computed once an image, since those
layers are linear in [image, prompt maps]); ``k`` are unit vectors that the decoder compares
with the vectors under the clicks and inside the previous mask.

The trunks are NanoDet-g's backbone (trained to detect; kept as it is, so that a detection head
can share it) and EfficientNet-Lite0 (trained to classify; its deep half is fine-tuned). They
complement each other: see docs/LOG.md. The top-down neck follows Lin et al. 2017
(arXiv:1612.03144), with one global attention block at stride 16.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.encoders import detector, lite

WIDTHS = (128, 64, 32)  # neck channels at strides 16, 8, 4
PARTS = (96, 48, 16)  # channels of the image's part of the decoder at strides 16, 8, 4
KEYS = (32, 32, 16)  # channels of the keys at strides 16, 8, 4

_SLOPE = 0.1  # of LeakyReLU, as in the detector


def leaky(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """LeakyReLU in place: callers pass fresh tensors only."""
    return F.leaky_relu(x, _SLOPE, inplace=True)


def up2(x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C H W"]:
    """Twice the size, bilinear, half-pixel centres."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class Standardise(nn.Module):
    """(x - mean) * scale per channel with constants measured once on training photos."""

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        return (x - self.mean[:, None, None]) * self.scale[:, None, None]


class GlobalAttention(nn.Module):
    """Self-attention over all cells of a map, with a residual; starts as the identity."""

    def __init__(self, channels: int, heads: int, expand: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.mlp: nn.Module = nn.Identity()
        if expand:
            last = nn.Linear(channels * expand, channels)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.mlp = nn.Sequential(
                nn.LayerNorm(channels), nn.Linear(channels, channels * expand), nn.GELU(), last
            )
        self.has_mlp = expand > 0

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        b, c, h, w = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(b, h * w, c)  # free where x is channels-last
        q, k, v = (
            self.qkv(self.norm(tokens))
            .view(b, h * w, 3, self.heads, c // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        tokens = tokens + self.out(mixed)
        if self.has_mlp:
            tokens = tokens + self.mlp(tokens)
        out: Tensor = tokens.view(b, h, w, c).permute(0, 3, 1, 2)
        return out


class NanoEncoder(nn.Module):
    """Both trunks and the neck."""

    to_detector_scale: Tensor
    to_detector_shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.detector = detector.DetectorBackbone()
        self.lite = lite.LiteTrunk()
        channels = [a + b for a, b in zip(detector.CHANNELS, lite.CHANNELS, strict=True)]
        self.even = nn.ModuleList(Standardise(c) for c in channels)
        c2, c3, c4, c5 = channels
        w16, w8, w4 = WIDTHS
        self.in32 = nn.Conv2d(c5, w16, 1)
        self.in16 = nn.Conv2d(c4, w16, 1)
        self.in8 = nn.Conv2d(c3, w8, 1)
        self.in4 = nn.Conv2d(c2, w4, 1)
        self.attention = GlobalAttention(w16, heads=4, expand=2)
        self.down8 = nn.Conv2d(w16, w8, 1)
        self.down4 = nn.Conv2d(w8, w4, 1)
        self.mix16 = nn.Conv2d(w16, w16, 3, padding=1)
        self.mix8 = nn.Conv2d(w8, w8, 3, padding=1)
        self.mix4 = nn.Conv2d(w4, w4, 3, padding=1)
        self.parts = nn.ModuleList(
            nn.Conv2d(w, p, 3, padding=1) for w, p in zip(WIDTHS, PARTS, strict=True)
        )
        self.keys = nn.ModuleList(nn.Conv2d(w, k, 1) for w, k in zip(WIDTHS, KEYS, strict=True))
        # our input is (rgb - 127) / 128; the detector wants (rgb - mean) / std
        mean, std = torch.tensor(detector.MEAN), torch.tensor(detector.STD)
        self.register_buffer("to_detector_scale", (128 / std)[:, None, None], persistent=False)
        self.register_buffer(
            "to_detector_shift", ((127 - mean) / std)[:, None, None], persistent=False
        )

    def trunks(self, x: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Standardised maps of both trunks at strides 4, 8, 16, 32."""
        a = self.detector(x * self.to_detector_scale + self.to_detector_shift)
        b = self.lite(x)
        return [even(torch.cat([p, q], dim=1)) for even, p, q in zip(self.even, a, b, strict=True)]

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B _ _ _"], ...]:
        c2, c3, c4, c5 = self.trunks(x)
        p16 = leaky(self.in16(c4) + up2(leaky(self.in32(c5))))
        p16 = leaky(self.mix16(self.attention(p16)))
        p8 = leaky(self.mix8(leaky(self.in8(c3) + up2(self.down8(p16)))))
        p4 = leaky(self.mix4(leaky(self.in4(c2) + up2(self.down4(p8)))))
        maps = (p16, p8, p4)
        parts = [conv(p) for conv, p in zip(self.parts, maps, strict=True)]
        keys = [F.normalize(conv(p), dim=1) for conv, p in zip(self.keys, maps, strict=True)]
        return (*parts, *keys)
