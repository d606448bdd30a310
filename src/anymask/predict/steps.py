"""The steps of every prediction as functions of a model and values: encode, decode, enlarge."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from anymask.frame import Frame
from anymask.image import resize
from anymask.model import Model
from anymask.nn.resize import upscale
from anymask.prompts import Prompts, network_points

_BYTES = 2**28  # of logits at the image's size at one time


@torch.inference_mode()
def encode(model: Model, pixels: UInt8[np.ndarray, "H W 3"], frame: Frame) -> tuple[Tensor, ...]:
    """Scale the pixels, then encode them."""
    scaled = np.array(resize(pixels, frame.resized))  # torch takes no read-only memory
    return model.encode(torch.from_numpy(scaled)[None])


@torch.inference_mode()
def decode(
    model: Model, features: tuple[Tensor, ...], prompts: Prompts, frame: Frame
) -> tuple[Float[Tensor, "P 4 h w"], Float[Tensor, "P 4"]]:
    """All outputs and scores of prompts with as many points each, float32."""
    points, labels = network_points(prompts, frame, model.variant.spec)
    masks = None if prompts.masks is None else torch.from_numpy(prompts.masks)[:, None]
    return model.decode(features, torch.from_numpy(points), torch.from_numpy(labels), masks)


@torch.inference_mode()
def masks_at_image(
    logits: Float[Tensor, "M h w"], frame: Frame
) -> Iterator[Bool[np.ndarray, "K H W"]]:
    """Masks at the image's size in their order, a bounded number at a time."""
    height, width = frame.image
    floats = height * width + frame.padded[0] * frame.padded[1]
    at_once = max(1, _BYTES // (8 * floats))
    for first in range(0, len(logits), at_once):
        full = upscale(logits[first : first + at_once], frame.padded, frame.resized, frame.image)
        yield (full > 0).cpu().numpy()
