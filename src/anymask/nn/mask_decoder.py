"""Image embedding and prompt tokens to four masks with predicted IoU, as SAM does it.

    [score token, 4 mask tokens, prompt tokens] -> two-way transformer
    mask k = MLP_k(mask token k) . upscaled image map;   IoU = MLP(score token)

Kirillov et al. 2023 (arXiv:2304.02643, app. A). Mask 0 is the single-mask output, masks 1 to 3 are
for ambiguous prompts. `forward` is the plain formula, for any prompts. `look` and `draw` give the
same for many prompts on one image: they make no map before a mask is asked for, and take products
with the image once (`anymask.nn.two_way_shared`). Families that compute the same with other blocks,
norms or activations name theirs; one whose upscaled map is another has its own `draw`, for which
`ImageMaps.dense` writes the maps out.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.layers import Activation, LayerNorm2d, Mlp
from anymask.nn.two_way import TwoWayBlock, TwoWayTransformer
from anymask.nn.two_way_shared import ImageMaps, look_shared, share

MASKS = 4
_CPU_PROMPTS = 4  # looked at together: what they need stays in the cache
_CPU_MAPS = 1  # upscaled together, likewise

State = tuple[Tensor, ...]  # `ImageMaps`, the base as h x w cells, then four vectors a prompt


class MaskDecoder(nn.Module):
    """Tokens, transformer, upscaling, and an MLP for each mask.

    Parameters
    ----------
    block, up_norm, activation
        Layer of the transformer, norm of the upscaled map, activation of the MLPs of vectors and
        of scores.
    """

    def __init__(
        self,
        dim: int,
        hidden: int = 2048,
        *,
        block: Callable[..., TwoWayBlock] = TwoWayBlock,
        up_norm: Callable[[int], nn.Module] = LayerNorm2d,
        activation: Activation = F.relu,
    ) -> None:
        super().__init__()
        self.score_token = nn.Parameter(torch.zeros(1, dim))
        self.mask_tokens = nn.Parameter(torch.zeros(MASKS, dim))
        self.transformer = TwoWayTransformer(dim, hidden=hidden, block=block)
        self.up1 = nn.ConvTranspose2d(dim, dim // 4, 2, 2)
        self.up_norm = up_norm(dim // 4)
        self.up2 = nn.ConvTranspose2d(dim // 4, dim // 8, 2, 2)
        self.mask_mlps = nn.ModuleList(Mlp(dim, dim, dim // 8, 3, activation) for _ in range(MASKS))
        self.score_mlp = Mlp(dim, dim, MASKS, 3, activation)

    def upscaled(self, image: Float[Tensor, "P C h w"]) -> Float[Tensor, "P D H W"]:
        """Four times the size, an eighth of the channels."""
        return F.gelu(self.up2(F.gelu(self.up_norm(self.up1(image)))))

    def forward(
        self,
        embedding: Float[Tensor, "1 C h w"],
        grid: Float[Tensor, "h w C"],
        sparse: Float[Tensor, "P M C"],
        dense: Float[Tensor, "R C _ _"],
    ) -> tuple[Float[Tensor, "P 4 H W"], Float[Tensor, "P 4"]]:
        h, w = embedding.shape[2:]
        tokens, image = self.transformer(*self.sides(embedding, grid, dense), self.tokens(sparse))
        big = self.upscaled(torch.unflatten(image.transpose(1, 2), 2, (h, w)))
        vectors, scores = self.answers(tokens)
        return torch.unflatten(vectors @ big.flatten(2), 2, big.shape[2:]), scores

    def sides(
        self,
        embedding: Float[Tensor, "1 C h w"],
        grid: Float[Tensor, "h w C"],
        dense: Float[Tensor, "R C _ _"],
    ) -> tuple[Float[Tensor, "R K C"], Float[Tensor, "1 K C"]]:
        """The image as the transformer takes it, and its positions."""
        return (embedding + dense).flatten(2).transpose(1, 2), grid.flatten(0, 1)[None]

    def tokens(self, sparse: Float[Tensor, "P M C"]) -> Float[Tensor, "P N C"]:
        """The decoder's own tokens, then those of the prompts."""
        own = torch.cat([self.score_token, self.mask_tokens])
        return torch.cat([own.expand(sparse.shape[0], -1, -1), sparse], dim=1)

    def answers(
        self, tokens: Float[Tensor, "P N C"]
    ) -> tuple[Float[Tensor, "P 4 D"], Float[Tensor, "P 4"]]:
        """Vectors of the masks, and predicted IoU."""
        vectors = [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.mask_mlps)]
        scores: Tensor = self.score_mlp(tokens[:, 0])
        return torch.stack(vectors, dim=1), scores

    def look(
        self,
        embedding: Float[Tensor, "1 C h w"],
        grid: Float[Tensor, "h w C"],
        sparse: Float[Tensor, "P M C"],
        dense: Float[Tensor, "R C _ _"],
    ) -> tuple[State, Float[Tensor, "P 4"]]:
        """All but upscaling; what `draw` needs has a row a prompt, or one for all."""
        image, pos = self.sides(embedding, grid, dense)
        tokens = self.tokens(sparse)
        shared = share(self.transformer, image, pos) if image.shape[0] == 1 else None
        at_once = _CPU_PROMPTS if tokens.is_cpu else max(1, len(tokens))
        parts = []
        for start in range(0, max(1, len(tokens)), at_once):
            some = slice(start, start + at_once)
            if shared is None:
                seen, maps = self.transformer(image[some], pos, tokens[some])
                parts.append((seen, ImageMaps.plain(maps, len(seen))))
            else:
                parts.append(look_shared(self.transformer, shared, tokens[some]))
        tokens = torch.cat([seen for seen, _ in parts])
        maps = ImageMaps.join([maps for _, maps in parts])
        vectors, scores = self.answers(tokens)
        base = torch.unflatten(maps.base, 1, embedding.shape[2:])
        return (base, *maps[1:], vectors), scores

    def draw(
        self,
        state: State,
        rows: Int[Tensor, " K"],
        outputs: Int[Tensor, " K"],
    ) -> Float[Tensor, "K H W"]:
        """Logits of chosen (prompt, output) pairs of a `look`; a prompt's map is upscaled once.

        Places within a cell are put in order when little but logits is left.
        """
        *maps, vectors = state
        asked, place = torch.unique(rows, return_inverse=True)
        drawn = [vectors[p] @ cells.transpose(1, 2) for p, cells in self.cells(maps, asked)]
        return in_order(torch.cat(drawn)[place, outputs], maps[0].shape[1:3])

    def cells(
        self, maps: Sequence[Tensor], asked: Int[Tensor, " Q"], *fine: Tensor
    ) -> Iterator[tuple[Int[Tensor, " N"], Float[Tensor, "N K*4*4 D"]]]:
        """Upscaled maps of some prompts, a few at a time, with the numbers of those prompts.

        Both transposed convolutions have strides of their size, so that they are matrix products
        of cells; `in_order` makes a map of these. At least one part comes, if an empty one.
        For `fine` see `between` and `last`.
        """
        base, *more = maps
        first = ImageMaps(base.flatten(1, 2), *more).take(asked).through(*_as_linear(self.up1))
        second = _as_linear(self.up2)
        at_once = _CPU_MAPS if asked.is_cpu else max(1, len(asked))
        for start in range(0, max(1, len(asked)), at_once):
            some = slice(start, start + at_once)
            inner = self.between(first.take(some).dense(), *fine)
            cells = self.last(F.linear(inner, *second), *fine)
            yield asked[some], torch.unflatten(cells, 2, (4, -1)).flatten(1, 2)

    def between(self, cells: Float[Tensor, "N K E"], *fine: Tensor) -> Float[Tensor, "N L D"]:
        """Norm and activation between the two enlargements, of each quarter of each cell.

        Families whose decoder adds maps of the image's detail do so here and in `last`.
        """
        quarters = torch.unflatten(cells, 2, (4, -1)).flatten(1, 2)
        normed = self.up_norm(quarters.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        return F.gelu(normed)

    def last(self, cells: Float[Tensor, "N L F"], *fine: Tensor) -> Float[Tensor, "N L F"]:
        """Activation after the second enlargement."""
        return F.gelu(cells)


def in_order(
    cells: Float[Tensor, "N h*w*4*4 *D"], size: Sequence[int]
) -> Float[Tensor, "N 4*h 4*w *D"]:
    """Values of each quarter's quarters of each of h x w cells, as lines of a map."""
    places = torch.unflatten(cells, 1, (*size, 2, 2, 2, 2))
    lines = places.movedim((1, 3, 5, 2, 4, 6), (1, 2, 3, 4, 5, 6))
    return lines.flatten(4, 6).flatten(1, 3)


def _as_linear(conv: nn.ConvTranspose2d) -> tuple[Float[Tensor, "D C"], Float[Tensor, " D"]]:
    """Weight and bias that make of a cell its 2 x 2 places, row by row, channels last."""
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
    assert conv.bias is not None
    return weight, conv.bias.repeat(4)
