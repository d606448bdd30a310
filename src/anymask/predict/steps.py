"""The two steps of every prediction, encode and decode, as functions of a model and values."""

import numpy as np
import torch
from torch import Tensor

from anymask.image import Picture, resize
from anymask.model import Model
from anymask.nn.resize import upscale
from anymask.predict.embedding import ImageEmbedding
from anymask.prompts import Frame, Prompts, network_points


@torch.inference_mode()
def encode_pixels(model: Model, picture: Picture, side: int | None = None) -> ImageEmbedding:
    """Scale, normalise, pad, encode."""
    pixels = picture.pixels
    frame = Frame.fit((pixels.shape[0], pixels.shape[1]), model.variant.spec, side)
    scaled = np.array(resize(pixels, frame.resized))  # torch takes no read-only memory
    features = model.encode(torch.from_numpy(scaled)[None])
    return ImageEmbedding(
        features=features,
        frame=frame,
        pixels=pixels,
        variant=model.variant.name,
        fingerprint=model.fingerprint,
        notes=picture.notes,
    )


def decode(
    model: Model, features: tuple[Tensor, ...], prompts: Prompts, frame: Frame
) -> tuple[Tensor, Tensor]:
    """All outputs (P, 4, h, w) and scores (P, 4) of prompts with as many points each."""
    points, labels = network_points(prompts, frame, model.variant.spec)
    masks = None if prompts.masks is None else torch.from_numpy(prompts.masks)[:, None]
    return model.decode(features, torch.from_numpy(points), torch.from_numpy(labels), masks)


def to_image(logits: Tensor, frame: Frame) -> Tensor:
    """Masks (P, M, H, W) at the image's size, prompt by prompt: full-size logits are large."""
    masks = [upscale(each, frame.padded, frame.resized, frame.image) > 0 for each in logits]
    return torch.stack(masks)
