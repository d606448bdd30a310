"""What fine-tuning does to photos of all sorts: do the new masks agree with the former ones?

The bundled photos have no true masks, and none are needed: boxes around what the former weights
find under a grid of clicks are asked of both, and the two answers compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np
from jaxtyping import Bool, Float32

from anymask.evaluate.interactive import iou, tight_box
from anymask.image import load_image
from anymask.predict.image import ImagePredictor

_GRID = 3  # clicks along each side of a photo
_SMALLEST, _LARGEST = 0.005, 0.8  # shares of a photo that a mask may have


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Former:
    """What the former weights found in one photo.

    Attributes
    ----------
    photo
        Its bytes.
    boxes
        x0, y0, x1, y1, px.
    masks
        The answers to the boxes.
    """

    photo: bytes
    boxes: Float32[np.ndarray, "K 4"]
    masks: Bool[np.ndarray, "K H W"]


def remember(predictor: ImagePredictor) -> tuple[Former, ...]:
    """The former answers on all bundled photos; nothing where they are not installed."""
    found = []
    for photo in _photos():
        embedding = predictor.encode(load_image(photo).pixels)
        height, width = embedding.size
        steps = (np.arange(_GRID) + 0.5) / _GRID
        points = [[[x * width, y * height]] for y in steps for x in steps]
        masks = predictor.predict(embedding, points=np.array(points, np.float32)).best_mask
        shares = masks.mean((1, 2))
        kept = masks[(shares >= _SMALLEST) & (shares <= _LARGEST)]
        if len(kept):
            boxes = np.array([tight_box(mask) for mask in kept], np.float32)
            answers = predictor.predict(embedding, boxes=boxes, multimask=False).masks[:, 0]
            found.append(Former(photo=photo, boxes=boxes, masks=answers))
    return tuple(found)


def agreement(predictor: ImagePredictor, former: tuple[Former, ...]) -> float | None:
    """Mean IoU of new and former answers, 0..1; None where there are none."""
    ious: list[float] = []
    for one in former:
        embedding = predictor.encode(load_image(one.photo).pixels)
        masks = predictor.predict(embedding, boxes=one.boxes, multimask=False).masks[:, 0]
        ious += [iou(old, new) for old, new in zip(one.masks, masks, strict=True)]
    return float(np.mean(ious)) if ious else None


def _photos() -> Iterator[bytes]:
    folder = resources.files("anymask").joinpath("photos")
    for place in sorted(folder.iterdir(), key=lambda place: place.name):
        if place.name.endswith((".jpg", ".png")):
            yield place.read_bytes()
