"""A second, closer look at small objects.

The object (its box, or its first mask) is cut out with a margin, encoded again at its own scale,
and decoded with the same prompt and the first logits. Interactive segmentation calls this zoom-in
(Sofiiuk et al. 2022, arXiv:2102.06583); how much it gives here is in docs/LOG.md.
"""

import math
from dataclasses import replace

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from anymask.image import Picture
from anymask.model import Model
from anymask.nn.resize import upscale
from anymask.predict.embedding import ImageEmbedding
from anymask.predict.steps import decode, encode_pixels
from anymask.prompt_checks import POSITIVE
from anymask.prompts import Frame, Prompts
from anymask.variants import Zoom

Window = tuple[int, int, int, int]  # x0, y0, x1, y1, px

_OFF = -10.0  # logit of pixels that are surely not the object
_SMALLEST = 24  # px; a closer look at less shows nothing


def look_closer(
    model: Model,
    embedding: ImageEmbedding,
    prompts: Prompts,
    logits: Tensor,
    scores: Tensor,
    masks: Tensor,
    zoom: Zoom,
) -> tuple[Tensor, Tensor]:
    """Logits (P, M, h, w) and masks (P, M, H, W), refined where the object is small.

    Masks outside the crop are empty; logits come back in the whole image's frame, so that they
    can be fed back.
    """
    logits, masks = logits.clone(), masks.clone()
    for p in range(len(prompts)):
        chosen = int(scores[p].argmax())
        window = choose_window(
            prompts.take([p]), embedding.size, masks[p, chosen].cpu().numpy(), zoom
        )
        if window is not None:
            logits[p], masks[p] = refine(
                model, embedding, prompts.take([p]), logits[p], window, zoom.side
            )
    return logits, masks


def choose_window(
    prompts: Prompts, size: tuple[int, int], mask: np.ndarray, zoom: Zoom
) -> Window | None:
    """Where to look closer, or None where the object is large or nowhere."""
    height, width = size
    if prompts.boxes is not None:
        x0, y0, x1, y1 = (float(v) for v in prompts.boxes[0])
    else:
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(ys):
            return None
        x0, y0, x1, y1 = float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)
        on = prompts.points[0][prompts.labels[0] == POSITIVE]
        if len(on):  # what was clicked belongs to the object, whatever the first mask says
            x0, y0 = min(x0, float(on[:, 0].min())), min(y0, float(on[:, 1].min()))
            x1, y1 = max(x1, float(on[:, 0].max()) + 1), max(y1, float(on[:, 1].max()) + 1)
    if math.sqrt((x1 - x0) * (y1 - y0) / (height * width)) > zoom.below:
        return None
    length = max(zoom.margin * max(x1 - x0, y1 - y0), _SMALLEST)
    left = int(np.clip((x0 + x1 - length) / 2, 0, max(0.0, width - length)))
    top = int(np.clip((y0 + y1 - length) / 2, 0, max(0.0, height - length)))
    return left, top, int(min(width, left + length)), int(min(height, top + length))


def refine(
    model: Model,
    embedding: ImageEmbedding,
    prompts: Prompts,
    logits: Tensor,
    window: Window,
    side: int,
) -> tuple[Tensor, Tensor]:
    """Logits (M, h, w) and masks (M, H, W) of one prompt after a look at a window."""
    x0, y0, x1, y1 = window
    frame = embedding.frame
    height, width = embedding.size
    crop = encode_pixels(
        model, Picture(pixels=np.ascontiguousarray(embedding.pixels[y0:y1, x0:x1])), side
    )
    before = upscale(logits, frame.padded, frame.resized, frame.image)[:, y0:y1, x0:x1]
    known = to_low(before, crop.frame)
    moved = replace(move(prompts, window, len(logits)), masks=known.cpu().numpy())
    again = decode(model, crop.features, moved, crop.frame)[0][:, 0]
    full = logits.new_full((len(logits), height, width), _OFF)
    full[:, y0:y1, x0:x1] = upscale(again, crop.frame.padded, crop.frame.resized, crop.frame.image)
    return to_low(full, frame), full > 0


def to_low(full: Tensor, frame: Frame) -> Tensor:
    """Logits (M, H, W) at the image's size to the low resolution of a frame."""
    scaled = F.interpolate(full[:, None], size=frame.resized, mode="bilinear", align_corners=False)
    right, below = frame.padded[1] - frame.resized[1], frame.padded[0] - frame.resized[0]
    return F.avg_pool2d(F.pad(scaled, (0, right, 0, below), value=_OFF), frame.mask_stride)[:, 0]


def move(prompts: Prompts, window: Window, copies: int) -> Prompts:
    """One prompt in the frame of a window, several times.

    Points outside the window keep their place outside it: they say something still.
    """
    x0, y0 = window[:2]
    corner = np.array([x0, y0], np.float32)
    boxes = None
    if prompts.boxes is not None:
        boxes = np.tile(prompts.boxes - np.tile(corner, 2), (copies, 1))
    return Prompts(
        points=(prompts.points[0] - corner,) * copies,
        labels=prompts.labels * copies,
        boxes=boxes,
    )
