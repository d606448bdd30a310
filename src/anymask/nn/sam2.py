"""SAM 2 and EdgeTAM: trunk and neck, prompt encoder, mask decoder; for videos, memory between them.

    encode  image (B, 3, 1024, 1024) -> embedding (B, 256, 64, 64), fine maps (B, 32, 256, 256)
            and (B, 64, 128, 128)
    decode  features, points, labels, masks -> logits (P, 4, 256, 256), predicted IoU (P, 4)
    look    the same -> what `draw` needs, predicted IoU (P, 4);  draw  chosen pairs -> their logits
    recall, answer, pointers, remember  see `anymask.model_video.VideoNetwork`

Ravi et al. 2024, "SAM 2" (arXiv:2408.00714); Zhou et al. 2025, "EdgeTAM" (arXiv:2501.07256). A
video puts memory between `maps` and `answer` (`anymask.nn.memory`); images get the vector that
stands for no memory. What differs from SAM, and which tests hold it (those of `test_sam2_parity`
unless another is named):

- The image is stretched to a square, as floats: see the row's `fit`, `resize` and `enlarge`
  (`test_the_photo_is_stretched_and_normalised`).
- Any prompt with a point or a box gets a padding point, a mask alone gets none. The official code
  puts a box before the clicks; the order of tokens is of no effect (`test_every_prompt`,
  `test_the_order_of_points_is_of_no_effect`).
- The decoder has a token more, for whether the object is there; images do not use its score. Fine
  maps are added before the first norm and before the last activation of its enlargement.
- Predicted IoU pass a sigmoid.
- The answer to a clear prompt is chosen: output 0 if it is stable, else the best of the others. The
  row says so (its `outputs`, `anymask.variant_specs.Outputs`); the network gives all four
  (`test_sam2`: `test_the_answer_to_a_clear_prompt_is_stable_or_the_best_alternative`).
- Logits go up to what they are; the official predictor cuts what it hands out to -32..32, after it
  has enlarged it. Here masks as prompts are cut, which is the same for what was handed out
  (`test_sam2`: `test_masks_as_prompts_are_cut_to_what_the_official_predictor_hands_out`).
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.encoders.hiera import Hiera
from anymask.nn.encoders.repvit import RepViT
from anymask.nn.layers import Mlp
from anymask.nn.mask_decoder import MaskDecoder, State, in_order
from anymask.nn.memory import Memory, MemoryBank
from anymask.nn.neck import Neck
from anymask.nn.prompt_encoder import PromptEncoder

MASK_LIMIT = 32.0  # logits of masks as prompts are cut to -32..32


class Sam2Decoder(MaskDecoder):
    """SAM's decoder with fine maps and a token for the object's presence."""

    def __init__(self, dim: int, hidden: int = 2048) -> None:
        super().__init__(dim, hidden)
        self.object_token = nn.Parameter(torch.zeros(1, dim))
        self.object_mlp = Mlp(dim, dim, 1, 3)

    def tokens(self, sparse: Float[Tensor, "P M C"]) -> Float[Tensor, "P N C"]:
        """The decoder's own tokens, that of the object last, then those of the prompts."""
        own = self.object_token.expand(sparse.shape[0], -1, -1)
        return super().tokens(torch.cat([own, sparse], dim=1))

    def answers(
        self, tokens: Float[Tensor, "P N C"]
    ) -> tuple[Float[Tensor, "P 4 D"], Float[Tensor, "P 4"]]:
        """Vectors of the masks, and predicted IoU in 0..1."""
        vectors, scores = super().answers(tokens)
        return vectors, scores.sigmoid()

    def forward(
        self,
        embedding: Float[Tensor, "1 C h w"],
        grid: Float[Tensor, "h w C"],
        sparse: Float[Tensor, "P M C"],
        dense: Float[Tensor, "R C h w"],
        *fine: Float[Tensor, "1 _ _ _"],
    ) -> tuple[Float[Tensor, "P 4 H W"], Float[Tensor, "P 4"]]:
        """The plain formula; `fine` are the two fine maps, the finest first."""
        logits, scores, _ = self.answered(embedding, grid, sparse, dense, *fine)
        return logits, scores

    def answered(
        self,
        embedding: Float[Tensor, "R C h w"],
        grid: Float[Tensor, "h w C"],
        sparse: Float[Tensor, "P M C"],
        dense: Float[Tensor, "R C h w"],
        *fine: Float[Tensor, "1 _ _ _"],
    ) -> tuple[Float[Tensor, "P 4 H W"], Float[Tensor, "P 4"], Float[Tensor, "P N C"]]:
        """`forward`, and the tokens behind it; each prompt may have an embedding of its own."""
        h, w = embedding.shape[2:]
        tokens, image = self.transformer(*self.sides(embedding, grid, dense), self.tokens(sparse))
        half = self.up1(torch.unflatten(image.transpose(1, 2), 2, (h, w))) + fine[1]
        big = F.gelu(self.up2(F.gelu(self.up_norm(half))) + fine[0])
        vectors, scores = self.answers(tokens)
        return torch.unflatten(vectors @ big.flatten(2), 2, big.shape[2:]), scores, tokens

    def draw(
        self, state: State, rows: Int[Tensor, " K"], outputs: Int[Tensor, " K"]
    ) -> Float[Tensor, "K H W"]:
        """Logits of chosen (prompt, output) pairs of a `look` to which `as_cells` were added."""
        *maps, vectors, fine0, fine1 = state
        asked, place = torch.unique(rows, return_inverse=True)
        some = self.cells(maps, asked, fine0, fine1)
        drawn = torch.cat([vectors[p] @ cells.transpose(1, 2) for p, cells in some])
        return in_order(drawn[place, outputs], maps[0].shape[1:3])

    def between(self, cells: Float[Tensor, "N K E"], *fine: Tensor) -> Float[Tensor, "N L D"]:
        """Norm and activation after the first enlargement; fine map 1 comes before them."""
        return super().between(cells + fine[1])

    def last(self, cells: Float[Tensor, "N L F"], *fine: Tensor) -> Float[Tensor, "N L F"]:
        """Activation after the second enlargement; fine map 0 comes before it."""
        return super().last(cells + fine[0])


def as_cells(fine: Float[Tensor, "1 D H W"], doublings: int) -> Float[Tensor, "1 L E"]:
    """A fine map as `MaskDecoder.cells` has places: quarters of each cell, quarters of those, ...

    The last four of a line lie in one.
    """
    size = [s // 2**doublings for s in fine.shape[2:]]
    halves = [2] * doublings
    lines = torch.unflatten(fine, 2, (size[0], *halves))
    places = torch.unflatten(lines, -1, (size[1], *halves))
    y, x = range(2, 3 + doublings), range(3 + doublings, 4 + 2 * doublings)
    order = [axis for pair in zip(y, x, strict=True) for axis in pair]
    return places.permute(0, *order, 1).flatten(-3).flatten(1, -2)


class Sam2Encoder(nn.Module):
    """Trunk and neck."""

    def __init__(self, trunk: nn.Module, neck: Neck) -> None:
        super().__init__()
        self.trunk = trunk
        self.neck = neck

    def forward(self, x: Float[Tensor, "B 3 S S"]) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = self.neck(self.trunk(x))
        return found


class Sam2(nn.Module):
    """The parts; prompts never meet pixels, pixels never meet prompts.

    Attributes
    ----------
    memory
        What videos need, or None for a network of images alone.
    """

    def __init__(
        self,
        encoder: Sam2Encoder,
        prompt_encoder: PromptEncoder,
        decoder: Sam2Decoder,
        memory: Memory | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.prompt_encoder = prompt_encoder
        self.decoder = decoder
        self.no_memory = nn.Parameter(torch.zeros(1, 1, decoder.object_token.shape[-1]))
        self.memory = memory

    def maps(self, x: Float[Tensor, "B 3 S S"]) -> tuple[Tensor, Tensor, Tensor]:
        """Image, normalised, to its maps, the embedding first, before any memory."""
        found: tuple[Tensor, Tensor, Tensor] = self.encoder(x)
        return found

    def encode(self, x: Float[Tensor, "B 3 S S"]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of an image that has no memory."""
        embedding, fine0, fine1 = self.maps(x)
        return embedding + self.no_memory.view(1, -1, 1, 1).to(embedding.dtype), fine0, fine1

    def decode(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "P M 2"],
        labels: Int[Tensor, "P M"],
        masks: Float[Tensor, "P 1 H W"] | None = None,
    ) -> tuple[Float[Tensor, "P 4 H W"], Float[Tensor, "P 4"]]:
        """Prompts on one image to low-resolution logits and predicted IoU."""
        logits: Tensor
        scores: Tensor
        logits, scores = self.decoder(
            features[0], *self.prompted(points, labels, masks), *features[1:]
        )
        return logits, scores

    def prompted(
        self,
        points: Float[Tensor, "P M 2"],
        labels: Int[Tensor, "P M"],
        masks: Float[Tensor, "P 1 H W"] | None,
    ) -> tuple[Float[Tensor, "h w C"], Float[Tensor, "P M C"], Float[Tensor, "R C h w"]]:
        """Codes of the cells, tokens of points, map of masks."""
        cut = None if masks is None else masks.clamp(-MASK_LIMIT, MASK_LIMIT)
        prompts = self.prompt_encoder
        return prompts.grid(), prompts.sparse(points, labels), prompts.dense(cut)

    def look(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "P M 2"],
        labels: Int[Tensor, "P M"],
        masks: Float[Tensor, "P 1 H W"] | None = None,
    ) -> tuple[tuple[Tensor, ...], Float[Tensor, "P 4"]]:
        """`decode` up to where the prompts' maps would be enlarged: predicted IoU comes first."""
        embedding, fine0, fine1 = features
        state, scores = self.decoder.look(embedding, *self.prompted(points, labels, masks))
        return (*state, as_cells(fine0, 2), as_cells(fine1, 1)), scores

    def draw(
        self, state: tuple[Tensor, ...], rows: Int[Tensor, " K"], outputs: Int[Tensor, " K"]
    ) -> Float[Tensor, "K H W"]:
        """Logits of chosen (prompt, output) pairs of a `look`."""
        return self.decoder.draw(state, rows, outputs)


class Sam2Video(Sam2):
    """SAM 2 with memory: what follows serves videos, see `anymask.model_video.VideoNetwork`."""

    memory: Memory

    def forget(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Maps for objects that have no memory yet: what `encode` makes of them."""
        return (maps[0] + self.no_memory.view(1, -1, 1, 1).to(maps[0].dtype), *maps[1:])

    def recall(self, maps: tuple[Tensor, ...], bank: MemoryBank) -> tuple[Tensor, ...]:
        """Maps as the memories of N objects change them: the first is one for each object."""
        return (self.memory.recall(maps[0], bank), *maps[1:])

    def answer(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "N M 2"],
        labels: Int[Tensor, "N M"],
        masks: Float[Tensor, "N 1 h w"] | None = None,
    ) -> tuple[
        Float[Tensor, "N 4 h w"], Float[Tensor, "N 4"], Float[Tensor, "N 4 C"], Float[Tensor, " N"]
    ]:
        """`decode` with the vectors behind the masks, and scores above 0 where the object is.

        Masks are taken as they are.
        """
        prompts = self.prompt_encoder
        sides = prompts.grid(), prompts.sparse(points, labels), prompts.dense(masks)
        logits, scores, tokens = self.decoder.answered(features[0], *sides, *features[1:])
        own = len(self.decoder.mask_tokens)
        present = self.decoder.object_mlp(tokens[:, 1 + own])[:, 0]
        return logits, scores, tokens[:, 1 : 1 + own], present

    def pointers(
        self, vectors: Float[Tensor, "N C"], present: Float[Tensor, " N"]
    ) -> Float[Tensor, "N C"]:
        """What objects are, of the vectors behind their masks."""
        return self.memory.pointers(vectors, present)

    def coded(self, masks: Float[Tensor, "N 1 S S"]) -> Float[Tensor, "N 1 h w"]:
        """Masks (0..1) that somebody made, as a prompt that leads to their objects' vectors."""
        out: Tensor = self.memory.mask_down(masks)
        return out

    def remember(
        self,
        maps: tuple[Tensor, ...],
        masks: Float[Tensor, "N 1 S S"],
        present: Float[Tensor, " N"],
        binary: bool,
    ) -> Float[Tensor, "N K D"]:
        """Memories of a frame; see `Memory.remember`."""
        return self.memory.remember(maps[0], masks, present, binary)


def _assembled(
    trunk: nn.Module,
    dims: Sequence[int],
    side: int,
    out_dim: int,
    hidden: int,
    memory: Mapping[str, object] | None,
) -> Sam2:
    parts = (
        Sam2Encoder(trunk, Neck(dims, out_dim)),
        PromptEncoder(out_dim, side, side // 16),
        Sam2Decoder(out_dim, hidden),
    )
    if memory is None:
        return Sam2(*parts)
    return Sam2Video(*parts, Memory(**memory))  # type: ignore[arg-type]


def build_sam2(
    *,
    dim: int,
    heads: int,
    depths: Sequence[int],
    windows: Sequence[int],
    global_blocks: Sequence[int],
    background: int,
    side: int = 1024,
    out_dim: int = 256,
    hidden: int = 2048,
    memory: Mapping[str, object] | None = None,
) -> Sam2:
    """SAM 2 of any size; see `Hiera` and, for `memory`, `Memory`.

    `out_dim` channels of the embedding, `hidden` of the decoder's MLP.
    """
    trunk = Hiera(
        dim=dim,
        heads=heads,
        depths=depths,
        windows=windows,
        global_blocks=global_blocks,
        background=background,
    )
    return _assembled(trunk, trunk.dims, side, out_dim, hidden, memory)


def build_edgetam(
    *,
    dims: Sequence[int] = (48, 96, 192, 384),
    depths: Sequence[int] = (2, 2, 14, 2),
    side: int = 1024,
    out_dim: int = 256,
    hidden: int = 2048,
    memory: Mapping[str, object] | None = None,
) -> Sam2:
    """EdgeTAM: SAM 2 with another trunk; see `RepViT` and, for `memory`, `Memory`."""
    return _assembled(RepViT(dims, depths), dims, side, out_dim, hidden, memory)
