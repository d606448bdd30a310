"""SamAutomaticMaskGenerator: every mask of an image, as records with the official keys."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from anymask.compat.generation import checked_grids, checked_output_mode
from anymask.compat.segment_anything.modeling.sam import Sam
from anymask.compat.segment_anything.predictor import SamPredictor
from anymask.predict.everything import MaskGenerator


class SamAutomaticMaskGenerator:
    """Masks from a grid of points; arguments and defaults are the official ones.

    Parameters
    ----------
    model
        From a builder; its ``mask_threshold`` is used.
    points_per_side, point_grids
        Points a side of the image; or instead a grid (N, 2) in 0..1 for the image and for the
        crops of each layer.
    points_per_batch
        Taken, and not used: memory is bounded by itself.
    pred_iou_thresh, stability_score_thresh, stability_score_offset
        What a mask must reach, and how far the threshold moves when stability is measured.
    box_nms_thresh, crop_nms_thresh
        Overlap of boxes from which on the lesser mask is dropped, within a crop and across them.
    crop_n_layers, crop_overlap_ratio, crop_n_points_downscale_factor
        Crops of the image to look at too, their overlap, how much coarser their grids are.
    min_mask_region_area
        Holes and islands below it are removed, px.
    output_mode
        ``"binary_mask"``, ``"uncompressed_rle"`` or ``"coco_rle"``.

    Raises
    ------
    AssertionError
        Both or neither of the two ways to give points; an unknown output mode.
    """

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[Float[np.ndarray, "_ 2"]] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        self.point_grids = checked_grids(
            points_per_side, point_grids, crop_n_layers, crop_n_points_downscale_factor
        )
        self.output_mode = checked_output_mode(output_mode)
        self.predictor = SamPredictor(model)
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.crop_n_points_downscale_factor = crop_n_points_downscale_factor
        self.min_mask_region_area = min_mask_region_area

    def generate(self, image: UInt8[np.ndarray, "H W 3"]) -> list[dict[str, Any]]:
        """A record for each mask of an image.

        Returns
        -------
        list
            Dictionaries: ``segmentation`` in the output mode; ``area``, px; ``bbox`` and
            ``crop_box`` as x, y, width, height; ``predicted_iou``; ``point_coords``
            ``[[x, y]]``; ``stability_score``.
        """
        sam = self.predictor.model
        generator = MaskGenerator(
            sam.model,
            points_per_side=None,
            point_grids=self.point_grids,
            pred_iou_thresh=self.pred_iou_thresh,
            stability_score_thresh=self.stability_score_thresh,
            stability_score_offset=self.stability_score_offset,
            mask_threshold=sam.mask_threshold,
            box_nms_thresh=self.box_nms_thresh,
            crop_n_layers=self.crop_n_layers,
            crop_nms_thresh=self.crop_nms_thresh,
            crop_overlap_ratio=self.crop_overlap_ratio,
            crop_n_points_downscale_factor=self.crop_n_points_downscale_factor,
            min_mask_region_area=self.min_mask_region_area,
        )
        return generator.generate(image).records(self.output_mode)
