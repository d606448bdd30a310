"""Sam: a model of ours behind the official class's methods and names.

Letters: B images, P prompts on one, N points, M masks a prompt, h w low-resolution logits.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Real
from torch import Tensor

from anymask.compat.names import official_names, speak
from anymask.compat.pointing import identity, pointed
from anymask.compat.segment_anything.modeling.parts import PARTS, Part
from anymask.compat.wrapped import Wrapped
from anymask.model import Model
from anymask.nn.resize import upscale

Size = tuple[int, ...]  # (H, W), px


class Sam(Wrapped):
    """A model whose parts, parameters' prefixes and state dicts are named as the official ones.

    Parameters
    ----------
    model
        From `anymask.load`; it is used, not copied.

    Attributes
    ----------
    mask_threshold
        Logits above it are the object.
    image_format
        Order of channels that images must have.
    """

    mask_threshold: float = 0.0
    image_format: str = "RGB"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        names, whole = official_names(model), {}
        for ours, inner in model.network.named_children():
            theirs, kind = PARTS.get(ours, (ours, Part))
            own = {}
            for name in inner.state_dict():
                outside = names[f"{ours}.{name}"]
                own[name] = outside.removeprefix(f"{theirs}.").removeprefix(f"{ours}.")
                whole[f"{theirs}.{own[name]}"] = outside
            self.add_module(theirs, kind(model, inner, own))
        speak(self, whole)
        spec = model.variant.spec
        for name, values in (("pixel_mean", spec.mean), ("pixel_std", spec.std)):
            rows = torch.tensor(values, device=model.device).view(-1, 1, 1)
            self.register_buffer(name, rows, persistent=False)
        self.train(model.training)

    @torch.no_grad()
    def forward(
        self, batched_input: Sequence[dict[str, Any]], multimask_output: bool
    ) -> list[dict[str, Tensor]]:
        """Masks of several images, each with its prompts.

        Parameters
        ----------
        batched_input
            For each image ``image`` (3, H, W), scaled by `ResizeLongestSide`, and its
            ``original_size`` (H, W); and any of ``point_coords`` (P, N, 2) with ``point_labels``
            (P, N), ``boxes`` (P, 4), ``mask_inputs`` (P, 1, h, w), scaled in the same way.
        multimask_output
            Three masks a prompt, or one.

        Returns
        -------
        list
            For each image ``masks`` (P, M, H, W) bool at the original size, ``iou_predictions``
            (P, M) and ``low_res_logits`` (P, M, h, w).
        """
        results = []
        for record in batched_input:
            image: Tensor = record["image"]
            input_size = tuple(image.shape[-2:])
            logits, scores = self.answer(
                self.model.encode(image.permute(1, 2, 0)[None]),
                input_size,
                points=record.get("point_coords"),
                labels=record.get("point_labels"),
                boxes=record.get("boxes"),
                masks=record.get("mask_inputs"),
                multimask=multimask_output,
            )
            full = self.postprocess_masks(logits, input_size, record["original_size"])
            results.append(
                {
                    "masks": full > self.mask_threshold,
                    "iou_predictions": scores,
                    "low_res_logits": logits,
                }
            )
        return results

    def answer(
        self,
        features: tuple[Tensor, ...],
        input_size: Size,
        *,
        points: Real[Tensor, "P N 2"] | None = None,
        labels: Real[Tensor, "P N"] | None = None,
        boxes: Real[Tensor, "..."] | None = None,
        masks: Float[Tensor, "P 1 h w"] | None = None,
        multimask: bool = True,
    ) -> tuple[Float[Tensor, "P M h w"], Float[Tensor, "P M"]]:
        """Low-resolution logits and predicted IoU of prompts in network px, as they are given."""
        count = 1 if masks is None else len(masks)
        spec = self.model.variant.spec
        xy, kinds = pointed(identity(input_size, spec), spec, points, labels, boxes, count)
        logits, scores = self.model.decode(features, xy, kinds, masks)
        return self.model.variant.outputs.answer(logits, scores, multimask)

    def preprocess(self, x: Real[Tensor, "*B 3 H W"]) -> Float[Tensor, "*B 3 S S"]:
        """Normalise, and pad with zeros right and below."""
        lone = x.ndim == 3
        rows = (x[None] if lone else x).permute(0, 2, 3, 1)
        prepared = self.model.prepare(rows)
        return prepared[0] if lone else prepared

    def postprocess_masks(
        self, masks: Float[Tensor, "P M h w"], input_size: Size, original_size: Size
    ) -> Float[Tensor, "P M H W"]:
        """Logits at the size of the image; gradients flow.

        Parameters
        ----------
        masks
            Low-resolution logits.
        input_size
            (H, W) of the scaled image without padding.
        original_size
            (H, W) of the image.
        """
        frame = identity(input_size, self.model.variant.spec)
        height, width = (int(side) for side in original_size)
        full = upscale(masks.flatten(0, 1), frame.padded, frame.resized, (height, width))
        return full.view(*masks.shape[:2], height, width)
