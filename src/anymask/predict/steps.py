"""The steps of every prediction as functions of a model and values: encode, decode, enlarge."""

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from anymask.frame import Frame
from anymask.image import resize
from anymask.model import Model
from anymask.prompts import Prompts, network_points

_PIXELS = 2**20  # at one time while masks are enlarged


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
def fill_masks(
    masks: Bool[np.ndarray, "M H W"], logits: Float[Tensor, "M h w"], frame: Frame
) -> None:
    """Write masks at the image's size into an array: where enlarged logits are above 0.

    What `anymask.nn.resize.upscale` and a threshold give, but some rows at a time: logits at the
    size of a large image would take four times the memory of its masks.
    """
    (height, width), (tall, wide) = frame.image, frame.resized
    at_once = max(1, _PIXELS // (frame.padded[0] * frame.padded[1]))
    for first in range(0, len(logits), at_once):
        some = logits[first : first + at_once, None]
        full = F.interpolate(some, size=frame.padded, mode="bilinear", align_corners=False)
        resized = full[..., :tall, :wide]
        rows = max(1, _PIXELS // (width * len(some)))
        for top in range(0, height, rows):
            y = torch.arange(top, min(height, top + rows), device=logits.device) + 0.5
            y = (y * (tall / height) - 0.5).clamp(min=0)
            above = y.floor().long()
            below = (above + 1).clamp(max=tall - 1)
            share = (y - above)[:, None]
            band = resized[..., above, :] * (1 - share) + resized[..., below, :] * share
            size = (len(y), width)
            wider = F.interpolate(band, size=size, mode="bilinear", align_corners=False)
            found = (wider[:, 0] > 0).cpu().numpy()
            masks[first : first + len(some), top : top + len(y)] = found
