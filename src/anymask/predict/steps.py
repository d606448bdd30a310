"""The steps of every prediction as functions of a model and values: encode, decode, enlarge."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from anymask.frame import Frame
from anymask.image import resize
from anymask.model import Model
from anymask.nn.resize import ENLARGES, plain, smooth, taps
from anymask.prompts import Prompts, network_points

_PIXELS = 2**20  # at one time while masks are enlarged

Scale = Callable[[np.ndarray, tuple[int, int]], Tensor]


def _of_tensors(scale: Callable[[Tensor, tuple[int, int]], Tensor]) -> Scale:
    """A way to scale tensors, for arrays; torch takes no read-only memory."""
    return lambda pixels, size: scale(torch.from_numpy(np.require(pixels, requirements="W")), size)


def _cubic(pixels: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> Tensor:
    """Pillow's bicubic filter, which antialiases when it shrinks: bytes again."""
    small = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small))


# by `anymask.variants.InputSpec.resize` and `anymask.variant_video.VideoSpec.resize`
SCALES: Mapping[str, Scale] = {
    "bytes": lambda pixels, size: torch.from_numpy(resize(pixels, size)),
    "cubic": _cubic,
    "smooth": _of_tensors(smooth),
    "plain": _of_tensors(plain),
}


@torch.inference_mode()
def encode(model: Model, pixels: UInt8[np.ndarray, "H W 3"], frame: Frame) -> tuple[Tensor, ...]:
    """Scale the pixels, then encode them."""
    return encode_alike(model, [pixels], frame)


@torch.inference_mode()
def encode_alike(
    model: Model, images: Sequence[UInt8[np.ndarray, "H W 3"]], frame: Frame
) -> tuple[Tensor, ...]:
    """Features, batched, of several images that share a frame."""
    scale = SCALES[model.variant.spec.resize]
    return model.encode(torch.stack([scale(pixels, frame.resized) for pixels in images]))


@torch.inference_mode()
def decode(
    model: Model, features: tuple[Tensor, ...], prompts: Prompts, frame: Frame
) -> tuple[Float[Tensor, "P 4 h w"], Float[Tensor, "P 4"]]:
    """All outputs and scores of prompts with as many points each, float32."""
    points, labels = network_points(prompts, frame, model.variant.spec)
    masks = None if prompts.masks is None else torch.from_numpy(prompts.masks)[:, None]
    return model.decode(features, torch.from_numpy(points), torch.from_numpy(labels), masks)


@torch.inference_mode()
def decode_answer(
    model: Model,
    features: tuple[Tensor, ...],
    prompts: Prompts,
    frame: Frame,
    multimask: bool,
) -> tuple[Float[Tensor, "P M h w"], Float[Tensor, "P M"]]:
    """The outputs that answer, of prompts with as many points each; some models look twice.

    See `box_passes` of `anymask.variant_specs.Outputs`.
    """
    outputs = model.variant.outputs
    logits, scores = outputs.answer(*decode(model, features, prompts, frame), multimask)
    if prompts.boxes is None or prompts.masks is not None or multimask:
        return logits, scores
    for _ in range(1, outputs.box_passes):
        again = replace(prompts, masks=logits[:, 0].cpu().numpy())
        logits, scores = outputs.answer(*decode(model, features, again, frame), multimask)
    return logits, scores


@torch.inference_mode()
def fill_masks(
    masks: Bool[np.ndarray, "M H W"], logits: Float[Tensor, "M h w"], frame: Frame
) -> None:
    """Write masks at the image's size into an array: where enlarged logits are above 0.

    What `anymask.nn.resize.upscale` and a threshold give, but some rows at a time: logits at the
    size of a large image would take four times the memory of its masks.
    """
    height, width = frame.image
    start, mode = ENLARGES[frame.enlarge]
    at_once = max(1, _PIXELS // (frame.padded[0] * frame.padded[1]))
    for first in range(0, len(logits), at_once):
        shown = start(logits[first : first + at_once], frame.padded, frame.resized)
        tall = shown.shape[-2]
        rows = max(1, _PIXELS // (width * len(shown)))
        for top in range(0, height, rows):
            y = torch.arange(top, min(height, top + rows), device=logits.device) + 0.5
            mixed = taps(mode, y * (tall / height) - 0.5, tall)
            band = torch.stack([shown[:, None, line] * share for line, share in mixed]).sum(0)
            size = (len(y), width)
            wider = F.interpolate(band, size=size, mode=mode, align_corners=False)
            found = (wider[:, 0] > 0).cpu().numpy()
            masks[first : first + len(shown), top : top + len(y)] = found
