"""SAM: image encoder, prompt encoder, mask decoder, put together.

    encode  image (B, 3, 1024, 1024)      -> embedding (B, 256, 64, 64)
    decode  embedding, points, labels, masks -> logits (P, 4, 256, 256), predicted IoU (P, 4)
    look    the same -> what `draw` needs, predicted IoU (P, 4);  draw  chosen pairs -> their logits

Kirillov et al. 2023, "Segment Anything" (arXiv:2304.02643).
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from anymask.nn.encoders.vit import ViTEncoder
from anymask.nn.mask_decoder import MaskDecoder
from anymask.nn.prompt_encoder import PromptEncoder


@runtime_checkable
class PromptSide(Protocol):
    """Prompts to what the mask decoder attends to; `PromptEncoder` says more."""

    def sparse(
        self, points: Float[Tensor, "P M 2"], labels: Int[Tensor, "P M"]
    ) -> Float[Tensor, "P M C"]: ...

    def dense(self, masks: Float[Tensor, "P 1 H W"] | None) -> Float[Tensor, "Q C h w"]: ...

    def grid(self) -> Float[Tensor, "h w C"]: ...


class Sam(nn.Module):
    """The three parts; prompts never meet pixels, pixels never meet prompts."""

    def __init__(
        self, encoder: nn.Module, prompt_encoder: PromptSide, decoder: MaskDecoder
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.prompt_encoder = prompt_encoder
        self.decoder = decoder

    def encode(self, x: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B C h w"]]:
        """Image, normalised and padded to a square, to its embedding."""
        return (self.encoder(x),)

    def decode(
        self,
        features: tuple[Float[Tensor, "1 C h w"], ...],
        points: Float[Tensor, "P M 2"],
        labels: Int[Tensor, "P M"],
        masks: Float[Tensor, "P 1 H W"] | None = None,
    ) -> tuple[Float[Tensor, "P 4 H W"], Float[Tensor, "P 4"]]:
        """Prompts on one image to low-resolution logits and predicted IoU."""
        logits: Tensor
        scores: Tensor
        logits, scores = self.decoder(
            features[0],
            self.prompt_encoder.grid(),
            self.prompt_encoder.sparse(points, labels),
            self.prompt_encoder.dense(masks),
        )
        return logits, scores

    def look(
        self,
        features: tuple[Float[Tensor, "1 C h w"], ...],
        points: Float[Tensor, "P M 2"],
        labels: Int[Tensor, "P M"],
        masks: Float[Tensor, "P 1 H W"] | None = None,
    ) -> tuple[tuple[Tensor, ...], Float[Tensor, "P 4"]]:
        """`decode` up to where the prompts' maps would be upscaled: predicted IoU comes first."""
        return self.decoder.look(
            features[0],
            self.prompt_encoder.grid(),
            self.prompt_encoder.sparse(points, labels),
            self.prompt_encoder.dense(masks),
        )

    def draw(
        self, state: tuple[Tensor, ...], rows: Int[Tensor, " K"], outputs: Int[Tensor, " K"]
    ) -> Float[Tensor, "K H W"]:
        """Logits of chosen (prompt, output) pairs of a `look`."""
        return self.decoder.draw(state, rows, outputs)


def build_sam(
    *,
    dim: int,
    depth: int,
    heads: int,
    global_blocks: Sequence[int],
    side: int = 1024,
    patch: int = 16,
    window: int = 14,
    out_dim: int = 256,
    hidden: int = 2048,
) -> Sam:
    """SAM of any size; `out_dim` channels of the embedding, `hidden` of the decoder's MLP."""
    encoder = ViTEncoder(
        dim=dim,
        depth=depth,
        heads=heads,
        global_blocks=global_blocks,
        side=side,
        patch=patch,
        window=window,
        out_dim=out_dim,
    )
    return Sam(encoder, PromptEncoder(out_dim, side, side // patch), MaskDecoder(out_dim, hidden))
