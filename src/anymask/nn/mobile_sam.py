"""MobileSAM: SAM's prompt encoder and mask decoder behind a TinyViT.

    encode  image (B, 3, 1024, 1024)      -> embedding (B, 256, 64, 64)
    decode  as `anymask.nn.sam`

Zhang et al. 2023, "Faster Segment Anything" (arXiv:2306.14289). All that is its own is the encoder.
"""

from collections.abc import Sequence

from anymask.nn.encoders.tiny_vit import CHANNELS, DEPTHS, WINDOWS, TinyViTEncoder
from anymask.nn.mask_decoder import MaskDecoder
from anymask.nn.prompt_encoder import PromptEncoder
from anymask.nn.sam import Sam


def build_mobile_sam(
    *,
    channels: Sequence[int] = CHANNELS,
    depths: Sequence[int] = DEPTHS,
    windows: Sequence[int] = WINDOWS,
    side: int = 1024,
    out_dim: int = 256,
    hidden: int = 2048,
) -> Sam:
    """MobileSAM of any size; `hidden` of the decoder's MLP."""
    encoder = TinyViTEncoder(channels=channels, depths=depths, windows=windows, out_dim=out_dim)
    return Sam(encoder, PromptEncoder(out_dim, side, side // 16), MaskDecoder(out_dim, hidden))
