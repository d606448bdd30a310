"""Functions on masks, boxes and grids that scripts import from ``segment_anything.utils.amg``.

Each hands its tensors as arrays to the function of ours that does the work; results lie where the
tensor lay.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Num, Shaped
from torch import Tensor
from torch.nn import functional as F

from anymask import mask_geometry as geometry
from anymask.frame_crops import (
    corner_and_size,
    crops_of,
    cut_by_crop,
    layer_grids,
    move_boxes,
    move_points,
    point_grid,
)
from anymask.mask_rle import area_of, decode_rle, encode_rle, runs_of

Kind = Literal["holes", "islands"]
KINDS = ("holes", "islands")


def mask_to_rle_pytorch(tensor: Bool[Tensor, "N H W"]) -> list[dict[str, Any]]:
    """Plain run lengths of each mask, down the columns: ``size`` [H, W] and ``counts``."""
    rles = [encode_rle(mask) for mask in _array(tensor).astype(bool)]
    return [{"size": rle["size"], "counts": runs_of(rle).tolist()} for rle in rles]


def rle_to_mask(rle: Mapping[str, Any]) -> Bool[np.ndarray, "H W"]:
    """The mask of run lengths."""
    return decode_rle(rle)


def area_from_rle(rle: Mapping[str, Any]) -> int:
    """Pixels of the mask."""
    return area_of(np.asarray(rle["counts"], np.int64))


def coco_encode_rle(uncompressed_rle: Mapping[str, Any]) -> dict[str, Any]:
    """Plain run lengths to COCO's compressed text."""
    return encode_rle(decode_rle(uncompressed_rle))


def calculate_stability_score(
    masks: Float[Tensor, "*N H W"], mask_threshold: float, threshold_offset: float
) -> Float[Tensor, "*N"]:
    """Area above the raised threshold over area above the lowered one; NaN where there is none."""
    logits = _array(masks)
    flat = logits.reshape(-1, *logits.shape[-2:])
    scores = geometry.stability_score(flat, mask_threshold, threshold_offset)
    return torch.as_tensor(scores, device=masks.device).reshape(masks.shape[:-2])


def batched_mask_to_box(masks: Bool[Tensor, "*N H W"]) -> Num[Tensor, "*N 4"]:
    """First and last pixel of each mask as x0, y0, x1, y1, int64; zeros for an empty mask.

    No mask at all gives floats, as officially.
    """
    if not masks.numel():
        return torch.zeros((*masks.shape[:-2], 4), device=masks.device)
    return _tensor(geometry.tight_boxes(_array(masks).astype(bool)), masks)


def remove_small_regions(
    mask: Bool[np.ndarray, "H W"], area_thresh: float, mode: str
) -> tuple[Bool[np.ndarray, "H W"], bool]:
    """Fill holes or remove islands of an area below a limit; whether there were any.

    Raises
    ------
    AssertionError
        ``mode`` is neither ``"holes"`` nor ``"islands"``.
    """
    if mode not in KINDS:
        raise AssertionError(f"mode is one of {', '.join(KINDS)}, not {mode!r}")
    bits = np.asarray(mask).astype(bool)
    return geometry.remove_small_regions(bits, area_thresh, cast(Kind, mode))


def build_point_grid(n_per_side: int) -> Float[np.ndarray, "N 2"]:
    """Points (x, y) in 0..1 in the middle of equal fields."""
    return point_grid(n_per_side)


def build_all_layer_point_grids(
    n_per_side: int, n_layers: int, scale_per_layer: int
) -> list[np.ndarray]:
    """A grid for the whole image and one for the crops of each layer."""
    return list(layer_grids(n_per_side, n_layers, scale_per_layer))


def generate_crop_boxes(
    im_size: tuple[int, ...], n_layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    """Boxes x0, y0, x1, y1 of the whole image and of the crops, and the layer of each."""
    crops = crops_of((im_size[0], im_size[1]), n_layers, overlap_ratio)
    return [list(crop.box) for crop in crops], [crop.layer for crop in crops]


def batch_iterator(batch_size: int, *args: Any) -> Iterator[list[Any]]:
    """Some of each of several sequences at a time.

    Raises
    ------
    AssertionError
        Their lengths differ, or there are none.
    """
    lengths = {len(arg) for arg in args}
    if len(lengths) != 1:
        raise AssertionError("batches need sequences, all of one length")
    for first in range(0, lengths.pop(), batch_size):
        yield [arg[first : first + batch_size] for arg in args]


def is_box_near_crop_edge(
    boxes: Num[Tensor, "N 4"], crop_box: Sequence[int], orig_box: Sequence[int], atol: float = 20.0
) -> Bool[Tensor, " N"]:
    """Boxes of a crop with a side near an edge of it that is not the image's as well."""
    return _tensor(cut_by_crop(_array(boxes), _box(crop_box), _box(orig_box), atol), boxes)


def box_xyxy_to_xywh(box_xyxy: Num[Tensor, "*N 4"]) -> Num[Tensor, "*N 4"]:
    """x0, y0, x1, y1 to x, y, width, height."""
    return _tensor(corner_and_size(_array(box_xyxy)), box_xyxy)


def uncrop_boxes_xyxy(boxes: Num[Tensor, "*N 4"], crop_box: Sequence[int]) -> Num[Tensor, "*N 4"]:
    """Boxes of a crop in the image's px."""
    return _tensor(move_boxes(_array(boxes), _box(crop_box)), boxes)


def uncrop_points(points: Num[Tensor, "*N 2"], crop_box: Sequence[int]) -> Num[Tensor, "*N 2"]:
    """Points of a crop in the image's px."""
    return _tensor(move_points(_array(points), _box(crop_box)), points)


def uncrop_masks(
    masks: Shaped[Tensor, "*N h w"], crop_box: Sequence[int], orig_h: int, orig_w: int
) -> Shaped[Tensor, "*N H W"]:
    """Masks (or logits) of a crop in the image, zero around it."""
    x0, y0, x1, y1 = crop_box
    return F.pad(masks, (x0, orig_w - x1, y0, orig_h - y1))


def _array(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().cpu().numpy())


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(array, device=like.device)


def _box(box: Sequence[int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = box
    return x0, y0, x1, y1
