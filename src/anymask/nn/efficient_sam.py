"""EfficientSAM: SAM with a plain ViT and a two-way decoder of its own kind.

    encode  image (B, 3, S, S)            -> embedding (B, 256, S/16, S/16)
    decode  embedding, points, labels     -> logits (P, 4, S/4, S/4), predicted IoU (P, 4)

Xiong et al. 2023, "EfficientSAM" (arXiv:2312.00863). What it does otherwise than SAM, and where
that is held (tests/nn/test_efficient_sam*.py):

- The image is stretched to the square, bilinear without antialias on floats, and normalised after
  (values of its row; `test_the_photo_is_stretched_as_recorded`).
- All blocks of the encoder see all cells, without relative positions; the position table of 14 x 14
  cells is resized (`anymask.nn.encoders.plain_vit`; `test_each_stage_of_the_encoder`).
- A prompt has 6 points, box corners among them: fewer are filled up with padding (a function of
  its row). The official code cuts more than 6 without a word; here they are an error
  (`test_more_points_than_the_weights_know_are_an_error`).
- Padding has a place, that of (-1, -1) + 0.5, and so has each coordinate below 0
  (`test_coordinates_below_zero_become_the_padding_s`).
- Points off the object have a place but no vector of their kind: the weights learnt none. They are
  taken, and mean little (`test_a_point_off_the_object_is_its_place_alone`).
- No masks as prompts (`test_masks_are_refused`).
- The first self-attention of the two-way blocks keeps its residual; in the second block positions
  are added to the tokens for good, not to queries and keys alone; MLPs take GELU
  (`test_blocks_are_the_plain_formula`).
- The upscaled map gets a group norm of one group, over channels and cells together, eps 1e-5
  (`test_the_upscaled_map_is_normed_over_channels_and_cells_together`).
- Logits get the image's size at once, bicubic (`enlarge` of its row;
  `test_every_prompt_gives_the_official_masks_and_scores`). The official example counts a logit of
  exactly 0 as inside, we as outside, as everywhere else; and it sorts masks by their scores, which
  here stay in the order of the outputs.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.encoders.plain_vit import PlainViTEncoder
from anymask.nn.mask_decoder import MaskDecoder
from anymask.nn.position import RandomFrequencies
from anymask.nn.sam import Sam
from anymask.nn.two_way import TwoWayBlock

_NOWHERE = -0.5  # px, where padding and coordinates below 0 are: -1 and the half pixel


class PointEncoder(nn.Module):
    """Points and labels to tokens.

        token = code of the place + vector of the kind (padding, on, first corner, last corner)

    Points are network px with the half pixel added already; labels -1 padding, 0 off, 1 on, 2 and
    3 box corners.
    """

    def __init__(self, dim: int, side: int, cells: int) -> None:
        super().__init__()
        self.side, self.cells = side, cells
        self.position = RandomFrequencies(dim // 2)
        self.padding = nn.Parameter(torch.zeros(1, dim))
        self.kinds = nn.ParameterList(nn.Parameter(torch.zeros(1, dim)) for _ in range(3))

    def sparse(
        self, points: Float[Tensor, "P M 2"], labels: Int[Tensor, "P M"]
    ) -> Float[Tensor, "P M C"]:
        """Tokens of points and corners."""
        somewhere = (labels >= 0)[..., None] & (points >= 0.5)
        codes = self.position(torch.where(somewhere, points, _NOWHERE) / self.side)
        off = torch.zeros_like(self.padding)
        kinds = F.embedding(labels + 1, torch.cat([self.padding, off, *self.kinds]))
        tokens: Tensor = codes + kinds
        return tokens

    def dense(self, masks: Float[Tensor, "P 1 H W"] | None) -> Float[Tensor, "1 C 1 1"]:
        """What is added to the embedding for want of a mask: nothing.

        Raises
        ------
        ValueError
            There are masks.
        """
        if masks is not None:
            raise ValueError("EfficientSAM takes no masks")
        return torch.zeros_like(self.padding)[:, :, None, None]

    def grid(self) -> Float[Tensor, "h w C"]:
        """Codes of the image embedding's cells."""
        return self.position.grid(self.cells, self.cells)


class ResidualTwoWayBlock(TwoWayBlock):
    """A layer of the decoder that never drops a residual; see the head of the file."""

    def __init__(self, dim: int, heads: int, hidden: int, first: bool) -> None:
        super().__init__(dim, heads, hidden, first, F.gelu)

    def among(
        self, tokens: Float[Tensor, "P M C"], tokens_pos: Float[Tensor, "P M C"]
    ) -> Float[Tensor, "P M C"]:
        """Tokens after a look at each other."""
        placed = tokens if self.first else tokens + tokens_pos
        out: Tensor = placed + self.self_attn(placed, placed, placed)
        return out


def build_efficient_sam(
    *,
    dim: int,
    depth: int,
    heads: int,
    side: int = 1024,
    table: int = 14,
    patch: int = 16,
    out_dim: int = 256,
    hidden: int = 2048,
) -> Sam:
    """EfficientSAM of any size; `table` rows of the position table, `hidden` of the decoder."""
    encoder = PlainViTEncoder(
        dim=dim, depth=depth, heads=heads, table=table, patch=patch, out_dim=out_dim
    )
    one_group: Callable[[int], nn.Module] = partial(nn.GroupNorm, 1)
    decoder = MaskDecoder(
        out_dim, hidden, block=ResidualTwoWayBlock, up_norm=one_group, activation=F.gelu
    )
    return Sam(encoder, PointEncoder(out_dim, side, side // patch), decoder)
