"""Grids of points and overlapping crops, laid out as SAM's automatic generator lays them out.

Layer 0 is the whole image; layer l has 2**l crops a side. Boxes are x0, y0, x1, y1 in whole px.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Num

CropBox = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A part of an image.

    Attributes
    ----------
    box
        x0, y0, x1, y1, px; x1 and y1 are not in it.
    layer
        0 for the whole image.
    """

    box: CropBox
    layer: int


def point_grid(side: int) -> Float64[np.ndarray, "N 2"]:
    """``side`` x ``side`` points (x, y) in 0..1 in the middle of equal fields, x fastest.

    >>> point_grid(2).tolist()
    [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    """
    middles = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(middles, middles)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def layer_grids(side: int, layers: int, factor: int) -> list[Float64[np.ndarray, "_ 2"]]:
    """A grid for the whole image and one for the crops of each layer, ``factor`` times coarser."""
    return [point_grid(side // factor**layer) for layer in range(layers + 1)]


def crops_of(size: tuple[int, int], layers: int, overlap: float) -> list[Crop]:
    """The whole image, then the crops of each layer, column by column.

    Parameters
    ----------
    size
        (H, W), px.
    overlap
        Of neighbouring crops, as a share of the image's shorter side in layer 1; half of it in
        the next, and so on.
    """
    height, width = size
    crops = [Crop(box=(0, 0, width, height), layer=0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        shared = int(overlap * min(size) * (2 / count))
        across, down = (math.ceil((shared * (count - 1) + s) / count) for s in (width, height))
        for left in ((across - shared) * i for i in range(count)):
            for top in ((down - shared) * i for i in range(count)):
                box = (left, top, min(left + across, width), min(top + down, height))
                crops.append(Crop(box=box, layer=layer))
    return crops


def cut_by_crop(
    boxes: Num[np.ndarray, "N 4"], crop: CropBox, image: CropBox, within: float = 20.0
) -> Bool[np.ndarray, " N"]:
    """Boxes (in the crop's px) with a side near the crop's edge that is not the image's as well.

    What they hold was probably cut off there. ``within`` is in px.
    """
    placed = move_boxes(boxes, crop).astype(np.float32)
    at_crop = np.abs(placed - np.array(crop, np.float32)) <= within
    at_image = np.abs(placed - np.array(image, np.float32)) <= within
    return np.asarray((at_crop & ~at_image).any(-1), bool)


def move_boxes(boxes: Num[np.ndarray, "*N 4"], crop: CropBox) -> Num[np.ndarray, "*N 4"]:
    """Boxes of a crop in the image's px."""
    return np.asarray(boxes + np.array([crop[0], crop[1], crop[0], crop[1]]))


def move_points(points: Float[np.ndarray, "*N 2"], crop: CropBox) -> Float[np.ndarray, "*N 2"]:
    """Points of a crop in the image's px."""
    return np.asarray(points + np.array(crop[:2]))


def place_masks(
    masks: Bool[np.ndarray, "N h w"], crop: CropBox, size: tuple[int, int]
) -> Bool[np.ndarray, "N H W"]:
    """Masks of a crop in the image, empty around it."""
    x0, y0, x1, y1 = crop
    placed = np.zeros((len(masks), *size), bool)
    placed[:, y0:y1, x0:x1] = masks
    return placed


def corner_and_size(boxes: Num[np.ndarray, "*N 4"]) -> Num[np.ndarray, "*N 4"]:
    """x0, y0, x1, y1 to x, y, width, height."""
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)
