"""The three parts of SAM with their official arguments and results, around ours.

    image_encoder   (B, 3, S, S)                       -> (B, C, h, w)
    prompt_encoder  points, boxes (network px), masks  -> sparse (P, M, C), dense (P, C, h, w)
    mask_decoder    embedding, codes, sparse, dense    -> logits (P, 1 or 3, H, W), IoU (P, 1 or 3)

A part holds the module of our network (``inner``), not a copy: what is learnt here is used
everywhere. Attributes that a part lacks are those of its inner module. Gradients flow.

Letters: P prompts, N points, M tokens, C channels, h w cells, H W low-resolution logits.
"""

from collections.abc import Mapping
from typing import Any, cast

from jaxtyping import Float, Real
from torch import Tensor, nn

from anymask.compat.names import speak
from anymask.compat.pointing import identity, pointed
from anymask.model import Model, Network


class Part(nn.Module):
    """A child of a network.

    Parameters
    ----------
    model
        What the child belongs to.
    inner
        The child.
    names
        Our name of each of its tensors, and the official one.
    """

    inner: Any

    def __init__(self, model: Model, inner: nn.Module, names: Mapping[str, str]) -> None:
        super().__init__()
        self.inner = inner
        self.spec = model.variant.spec
        speak(self, {f"inner.{ours}": theirs for ours, theirs in names.items()})

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "inner":  # nothing is there yet
                raise
            return getattr(super().__getattr__("inner"), name)


class ImageEncoder(Part):
    """Normalised, padded images to embeddings."""

    def __init__(self, model: Model, inner: nn.Module, names: Mapping[str, str]) -> None:
        super().__init__(model, inner, names)
        self.img_size = self.spec.side
        self._encode = (cast(Network, model.network).encode,)  # in a tuple: it is no child

    def forward(self, x: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C h w"]:
        return self._encode[0](x)[0]


class PromptEncoder(Part):
    """Points, boxes and masks to what the decoder attends to."""

    def __init__(self, model: Model, inner: nn.Module, names: Mapping[str, str]) -> None:
        super().__init__(model, inner, names)
        side, cells = self.spec.side, int(self.inner.cells)
        self.embed_dim = int(self.inner.no_mask.shape[-1])
        self.input_image_size = (side, side)
        self.image_embedding_size = (cells, cells)
        self.mask_input_size = (side // self.spec.mask_stride,) * 2

    def get_dense_pe(self) -> Float[Tensor, "1 C h w"]:
        """Codes of the embedding's cells."""
        grid: Tensor = self.inner.grid()
        return grid.permute(2, 0, 1)[None]

    def forward(
        self,
        points: tuple[Float[Tensor, "P N 2"], Real[Tensor, "P N"]] | None = None,
        boxes: Real[Tensor, "..."] | None = None,
        masks: Float[Tensor, "P 1 H W"] | None = None,
    ) -> tuple[Float[Tensor, "P M C"], Float[Tensor, "P C h w"]]:
        """Tokens of points and box corners, and the map of the masks or of their absence.

        Parameters
        ----------
        points
            Coordinates and labels (1 on, 0 off, -1 padding).
        boxes
            Corners x0, y0, x1, y1, four numbers a prompt.
        masks
            Low-resolution logits.
        """
        coords, labels = (None, None) if points is None else points
        count = 1 if masks is None else len(masks)
        frame = identity(self.input_image_size, self.spec)
        xy, kinds = pointed(frame, self.spec, coords, labels, boxes, count)
        device = self.inner.no_mask.device
        sparse: Tensor = self.inner.sparse(xy.to(device), kinds.to(device))
        dense: Tensor = self.inner.dense(masks)
        if masks is None:
            dense = dense.expand(len(sparse), -1, *self.image_embedding_size)
        return sparse, dense


class MaskDecoder(Part):
    """Embedding and encoded prompts to logits and predicted IoU."""

    def __init__(self, model: Model, inner: nn.Module, names: Mapping[str, str]) -> None:
        super().__init__(model, inner, names)
        self.outputs = model.variant.outputs
        self.num_multimask_outputs = 3
        self.num_mask_tokens = 4

    def forward(
        self,
        image_embeddings: Float[Tensor, "B C h w"],
        image_pe: Float[Tensor, "1 C h w"],
        sparse_prompt_embeddings: Float[Tensor, "P M C"],
        dense_prompt_embeddings: Float[Tensor, "P C h w"],
        multimask_output: bool,
    ) -> tuple[Float[Tensor, "P _ H W"], Float[Tensor, "P _"]]:
        """Three masks a prompt, or one; the embedding is of one image, or of one a prompt."""
        logits, scores = self.predict_masks(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings
        )
        outputs = self.outputs.of(multimask_output)
        return logits[:, outputs], scores[:, outputs]

    def predict_masks(
        self,
        image_embeddings: Float[Tensor, "B C h w"],
        image_pe: Float[Tensor, "1 C h w"],
        sparse_prompt_embeddings: Float[Tensor, "P M C"],
        dense_prompt_embeddings: Float[Tensor, "P C h w"],
    ) -> tuple[Float[Tensor, "P 4 H W"], Float[Tensor, "P 4"]]:
        """All four outputs."""
        logits: Tensor
        scores: Tensor
        logits, scores = self.inner(
            image_embeddings,
            image_pe[0].permute(1, 2, 0),
            sparse_prompt_embeddings,
            dense_prompt_embeddings,
        )
        return logits, scores


# our child of a network: its official name, and what wraps it
PARTS: Mapping[str, tuple[str, type[Part]]] = {
    "encoder": ("image_encoder", ImageEncoder),
    "prompt_encoder": ("prompt_encoder", PromptEncoder),
    "decoder": ("mask_decoder", MaskDecoder),
}
