"""SAM-HQ: SAM, and one more token that draws finer masks.

    encode  image (B, 3, 1024, 1024) -> embedding (B, 256, 64, 64), fine maps (B, 32, 256, 256)
    decode  both, points, labels, masks -> logits (P, 4, 256, 256), predicted IoU (P, 4)

    fine maps  = convs(early features) + convs(embedding)                   once an image
    HQ mask    = MLP(HQ token) . (convs(upscaled map) + fine maps)
    output 0   = mask 0 + HQ mask              score of mask 0
    output 1   = best of masks 1..3 + HQ mask  its score
    output 2   = HQ mask                       score of mask 0
    output 3   = HQ mask                       score of the best of masks 1..3

Ke et al. 2023, "Segment Anything in High Quality" (arXiv:2306.01567). Rows of the table let output
0 answer clear prompts and 1 ambiguous ones; `HQ_ALONE` in `anymask.variants` lets 2 and 3, the
original's ``hq_token_only``. Its ways, and what holds them (`tests/nn/test_sam_hq.py`, and stage by
stage `test_sam_hq_parity.py`):

- The HQ token comes after SAM's four mask tokens and before the prompts'. It has no score of its
  own (`test_the_hq_mask_has_the_score_of_sams_mask`).
- An ambiguous prompt gets one mask, not three: the best by score of SAM's three is chosen first,
  and then the HQ mask added (`test_ambiguous_prompts_get_the_best_mask_and_the_hq_mask`). So does
  each point of everything mode (`test_a_point_of_everything_mode_gives_one_mask`).
- What is fed back as a mask prompt is the sum, for that is what the logits are
  (`test_a_user_gets_one_mask_a_prompt_and_may_give_it_back`).
- Early features are those after the first block that sees everything, before the neck
  (`test_early_features_are_those_of_the_first_global_block`); with TinyViT, those of its second
  stage, merged (`test_light_takes_the_second_stage_merged`). The original computes those of later
  global blocks, too, and does not use them.
- The fine maps need no prompt: the original makes them for each, here the encoder does.
- Norms among these convolutions are those of maps, eps 1e-6.

`hq_mask` takes the vector through the last convolution before it is run, 64 channels to 1 instead
of to 32, and runs those before some lines at a time, which stay in the cache
(`test_folding_the_vector_into_the_last_convolution_changes_nothing`).
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.encoders.tiny_vit import CHANNELS, DEPTHS, WINDOWS, TinyViTEncoder
from anymask.nn.encoders.vit import ViTEncoder
from anymask.nn.layers import LayerNorm2d, Mlp
from anymask.nn.mask_decoder import MASKS, MaskDecoder, State, in_order
from anymask.nn.prompt_encoder import PromptEncoder

_LINES = 64  # of HQ masks at a time: 4 MB of the widest map


def enlarge(dim: int, middle: int, out_dim: int) -> nn.Sequential:
    """Four times the size."""
    return nn.Sequential(
        nn.ConvTranspose2d(dim, middle, 2, 2),
        LayerNorm2d(middle),
        nn.GELU(),
        nn.ConvTranspose2d(middle, out_dim, 2, 2),
    )


class HqEncoder(nn.Module):
    """An image encoder, and the maps that all HQ masks of an image share.

    Parameters
    ----------
    trunk
        With ``levels``, its early features and its embedding.
    early_dim, out_dim
        Channels of these.
    """

    def __init__(self, trunk: ViTEncoder | TinyViTEncoder, early_dim: int, out_dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.early = enlarge(early_dim, out_dim, out_dim // 8)
        self.late = enlarge(out_dim, out_dim // 4, out_dim // 8)

    def forward(
        self, x: Float[Tensor, "B 3 S S"]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B D H W"]]:
        early, embedding = self.trunk.levels(x)
        return embedding, self.late(embedding) + self.early(early)


class HqDecoder(MaskDecoder):
    """SAM's decoder with a fifth mask token, the HQ token, its MLP and its convolutions."""

    def __init__(self, dim: int, hidden: int = 2048) -> None:
        super().__init__(dim, hidden)
        self.mask_tokens = nn.Parameter(torch.zeros(MASKS + 1, dim))
        self.mask_mlps.append(Mlp(dim, dim, dim // 8, 3))
        self.convs = nn.Sequential(
            nn.Conv2d(dim // 8, dim // 4, 3, padding=1),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.Conv2d(dim // 4, dim // 8, 3, padding=1),
        )

    def decode(
        self,
        embedding: Float[Tensor, "1 C h w"],
        fine: Float[Tensor, "1 D H W"],
        grid: Float[Tensor, "h w C"],
        sparse: Float[Tensor, "P M C"],
        dense: Float[Tensor, "R C _ _"],
    ) -> tuple[Float[Tensor, "P 4 H W"], Float[Tensor, "P 4"]]:
        """All outputs."""
        tokens, image = self.transformer(*self.sides(embedding, grid, dense), self.tokens(sparse))
        big = self.upscaled(torch.unflatten(image.transpose(1, 2), 2, embedding.shape[2:]))
        vectors, scores = chosen(*self.answers(tokens))
        return self.masks(big, fine, vectors), scores

    def look_hq(
        self,
        embedding: Float[Tensor, "1 C h w"],
        fine: Float[Tensor, "1 D H W"],
        grid: Float[Tensor, "h w C"],
        sparse: Float[Tensor, "P M C"],
        dense: Float[Tensor, "R C _ _"],
    ) -> tuple[State, Float[Tensor, "P 4"]]:
        """`decode` before it draws."""
        (*maps, vectors), scores = super().look(embedding, grid, sparse, dense)
        vectors, scores = chosen(vectors, scores)
        return (*maps, fine, vectors), scores

    def draw(
        self, state: State, rows: Int[Tensor, " K"], outputs: Int[Tensor, " K"]
    ) -> Float[Tensor, "K H W"]:
        """Logits of chosen (prompt, output) pairs of a `look_hq`."""
        *maps, fine, vectors = state
        asked, place = torch.unique(rows, return_inverse=True)
        drawn = [
            self.masks(in_order(cells, maps[0].shape[1:3]).permute(0, 3, 1, 2), fine, vectors[p])
            for p, cells in self.cells(maps, asked)
        ]
        return torch.cat(drawn)[place, outputs]

    def masks(
        self,
        big: Float[Tensor, "N D H W"],
        fine: Float[Tensor, "1 D H W"],
        vectors: Float[Tensor, "N 3 D"],
    ) -> Float[Tensor, "N 4 H W"]:
        """The four outputs from upscaled maps and `chosen` vectors."""
        sam = torch.unflatten(vectors[:, :2] @ big.flatten(2), 2, big.shape[2:])
        hq = self.hq_mask(big, fine, vectors[:, 2])[:, None]
        return torch.cat([sam + hq, hq.expand(-1, 2, -1, -1)], dim=1)

    def hq_mask(
        self,
        big: Float[Tensor, "N D H W"],
        fine: Float[Tensor, "1 D H W"],
        vector: Float[Tensor, "N D"],
    ) -> Float[Tensor, "N H W"]:
        """vector . (convs(big) + fine)."""
        last = cast(nn.Conv2d, self.convs[-1])
        assert last.bias is not None
        weight = torch.einsum("nd,dcyx->nyxc", vector, last.weight).flatten(1, 2)
        bands = []
        for top in range(0, big.shape[2], _LINES):
            first = max(0, top - 2)  # two convolutions see two lines more at either side
            seen = self.convs[:-1](big[:, :, first : top + _LINES + 2])
            taps = torch.unflatten(weight @ seen.flatten(2), 2, seen.shape[2:])  # (N, 9, H, W)
            bands.append(spread(taps)[:, top - first : top - first + _LINES])
        still = torch.einsum("nd,dhw->nhw", vector, fine[0]) + (vector @ last.bias)[:, None, None]
        return torch.cat(bands, dim=1) + still


def spread(taps: Float[Tensor, "N 9 H W"]) -> Float[Tensor, "N H W"]:
    """A 3 x 3 convolution from each cell's nine products: the sum of neighbours'."""
    h, w = taps.shape[2:]
    padded = F.pad(taps, (1, 1, 1, 1))
    parts = [padded[:, 3 * y + x, y : y + h, x : x + w] for y in range(3) for x in range(3)]
    return torch.stack(parts).sum(0)


def chosen(
    vectors: Float[Tensor, "P 5 D"], scores: Float[Tensor, "P 4"]
) -> tuple[Float[Tensor, "P 3 D"], Float[Tensor, "P 4"]]:
    """Vectors of mask 0, of the best of masks 1 to 3, of the HQ mask; scores of the outputs."""
    best = scores[:, 1:].argmax(1, keepdim=True) + 1
    best_vector = vectors.gather(1, best[..., None].expand(-1, -1, vectors.shape[2]))
    two = torch.cat([scores[:, :1], scores.gather(1, best)], dim=1)
    return torch.cat([vectors[:, :1], best_vector, vectors[:, 4:]], dim=1), two.repeat(1, 2)


class SamHq(nn.Module):
    """The three parts; fine maps go from the encoder to the decoder beside the embedding."""

    def __init__(
        self, encoder: HqEncoder, prompt_encoder: PromptEncoder, decoder: HqDecoder
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.prompt_encoder = prompt_encoder
        self.decoder = decoder

    def encode(
        self, x: Float[Tensor, "B 3 S S"]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B D H W"]]:
        """Image, normalised and padded to a square, to its embedding and its fine maps."""
        embedding, fine = self.encoder(x)
        return embedding, fine

    def decode(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "P M 2"],
        labels: Int[Tensor, "P M"],
        masks: Float[Tensor, "P 1 H W"] | None = None,
    ) -> tuple[Float[Tensor, "P 4 H W"], Float[Tensor, "P 4"]]:
        """Prompts on one image to low-resolution logits and predicted IoU."""
        embedding, fine = features
        return self.decoder.decode(embedding, fine, *self._prompts(points, labels, masks))

    def look(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "P M 2"],
        labels: Int[Tensor, "P M"],
        masks: Float[Tensor, "P 1 H W"] | None = None,
    ) -> tuple[tuple[Tensor, ...], Float[Tensor, "P 4"]]:
        """`decode` up to where the prompts' maps would be upscaled: predicted IoU comes first."""
        embedding, fine = features
        return self.decoder.look_hq(embedding, fine, *self._prompts(points, labels, masks))

    def draw(
        self, state: tuple[Tensor, ...], rows: Int[Tensor, " K"], outputs: Int[Tensor, " K"]
    ) -> Float[Tensor, "K H W"]:
        """Logits of chosen (prompt, output) pairs of a `look`."""
        return self.decoder.draw(state, rows, outputs)

    def _prompts(
        self, points: Tensor, labels: Tensor, masks: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        prompts = self.prompt_encoder
        return prompts.grid(), prompts.sparse(points, labels), prompts.dense(masks)


def build_sam_hq(
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
) -> SamHq:
    """SAM-HQ of any size; arguments are those of `anymask.nn.sam.build_sam`."""
    trunk = ViTEncoder(
        dim=dim,
        depth=depth,
        heads=heads,
        global_blocks=global_blocks,
        side=side,
        patch=patch,
        window=window,
        out_dim=out_dim,
    )
    encoder = HqEncoder(trunk, dim, out_dim)
    return SamHq(encoder, PromptEncoder(out_dim, side, side // patch), HqDecoder(out_dim, hidden))


def build_sam_hq_light(
    *,
    channels: Sequence[int] = CHANNELS,
    depths: Sequence[int] = DEPTHS,
    windows: Sequence[int] = WINDOWS,
    side: int = 1024,
    out_dim: int = 256,
    hidden: int = 2048,
) -> SamHq:
    """Light HQ-SAM of any size; arguments are those of `anymask.nn.mobile_sam`'s builder."""
    trunk = TinyViTEncoder(channels=channels, depths=depths, windows=windows, out_dim=out_dim)
    encoder = HqEncoder(trunk, channels[2], out_dim)
    return SamHq(encoder, PromptEncoder(out_dim, side, side // 16), HqDecoder(out_dim, hidden))
