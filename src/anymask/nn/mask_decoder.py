"""Image embedding and prompt tokens to four masks with predicted IoU, as SAM does it.

    [score token, 4 mask tokens, prompt tokens] -> two-way transformer
    mask k = MLP_k(mask token k) . upscaled image map;   IoU = MLP(score token)

Kirillov et al. 2023 (arXiv:2304.02643, app. A). Mask 0 is the single-mask output, masks 1 to 3 are
for ambiguous prompts. Families that compute the same with other blocks, norms or activations name
theirs.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.layers import Activation, LayerNorm2d, Mlp
from anymask.nn.two_way import TwoWayBlock, TwoWayTransformer

MASKS = 4


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

    def look(
        self,
        embedding: Float[Tensor, "1 C h w"],
        grid: Float[Tensor, "h w C"],
        sparse: Float[Tensor, "P M C"],
        dense: Float[Tensor, "R C h w"],
    ) -> tuple[tuple[Float[Tensor, "P h w C"], Float[Tensor, "P 4 D"]], Float[Tensor, "P 4"]]:
        """All but upscaling: each prompt's image map and four vectors, and predicted IoU."""
        p = sparse.shape[0]
        c, h, w = embedding.shape[1:]
        own = torch.cat([self.score_token, self.mask_tokens])
        tokens = torch.cat([own.expand(p, -1, -1), sparse], dim=1)
        image = (embedding + dense).flatten(2).transpose(1, 2)
        tokens, image = self.transformer(image, grid.view(1, h * w, c), tokens)
        vectors = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.mask_mlps)], dim=1
        )
        scores: Tensor = self.score_mlp(tokens[:, 0])
        return (image.view(p, h, w, c), vectors), scores

    def draw_all(
        self, state: tuple[Float[Tensor, "P h w C"], Float[Tensor, "P 4 D"]]
    ) -> Float[Tensor, "P 4 H W"]:
        """Logits of every output of every prompt."""
        image, vectors = state
        big = self.upscaled(image.permute(0, 3, 1, 2))
        return (vectors @ big.flatten(2)).view(-1, MASKS, *big.shape[2:])

    def draw(
        self,
        state: tuple[Float[Tensor, "P h w C"], Float[Tensor, "P 4 D"]],
        rows: Int[Tensor, " K"],
        outputs: Int[Tensor, " K"],
    ) -> Float[Tensor, "K H W"]:
        """Logits of chosen (prompt, output) pairs; a prompt's map is upscaled once."""
        asked, place = torch.unique(rows, return_inverse=True)
        return self.draw_all((state[0][asked], state[1][asked]))[place, outputs]

    def forward(
        self,
        embedding: Float[Tensor, "1 C h w"],
        grid: Float[Tensor, "h w C"],
        sparse: Float[Tensor, "P M C"],
        dense: Float[Tensor, "R C h w"],
    ) -> tuple[Float[Tensor, "P 4 H W"], Float[Tensor, "P 4"]]:
        state, scores = self.look(embedding, grid, sparse, dense)
        return self.draw_all(state), scores
