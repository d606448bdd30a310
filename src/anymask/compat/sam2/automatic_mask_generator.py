"""SAM2AutomaticMaskGenerator: every mask of an image, as records with the official keys."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from anymask.compat.generation import checked_grids, checked_output_mode
from anymask.compat.sam2.build_sam import build_sam2_hf
from anymask.compat.sam2.filling import fill_small
from anymask.compat.sam2.modeling import SAM2Base
from anymask.compat.sam2.sam2_image_predictor import SAM2ImagePredictor
from anymask.predict.everything import MaskGenerator


class SAM2AutomaticMaskGenerator:
    """Masks from a grid of points; arguments and defaults are the official ones.

    Parameters
    ----------
    model
        From `build_sam2`.
    points_per_side, point_grids
        Points a side of the image; or instead a grid (N, 2) in 0..1 for the image and for the
        crops of each layer.
    points_per_batch
        Taken, and not used: memory is bounded by itself.
    pred_iou_thresh, stability_score_thresh, stability_score_offset
        What a mask must reach, and how far the threshold moves when stability is measured.
    mask_threshold
        Logits above it are the mask.
    box_nms_thresh, crop_nms_thresh
        Overlap of boxes from which on the lesser mask is dropped, within a crop and across them.
    crop_n_layers, crop_overlap_ratio, crop_n_points_downscale_factor
        Crops of the image to look at too, their overlap, how much coarser their grids are.
    min_mask_region_area
        Holes are filled and sprinkles removed up to this area, low-resolution cells.
    output_mode
        ``"binary_mask"``, ``"uncompressed_rle"`` or ``"coco_rle"``.
    use_m2m
        Decode each mask once more with itself as the prompt.
    multimask_output
        Three masks a point, or one.

    Raises
    ------
    AssertionError
        Both or neither of the two ways to give points; an unknown output mode.
    """

    def __init__(
        self,
        model: SAM2Base,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[Float[np.ndarray, "_ 2"]] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
        use_m2m: bool = False,
        multimask_output: bool = True,
        **kwargs: object,
    ) -> None:
        self.point_grids = checked_grids(
            points_per_side, point_grids, crop_n_layers, crop_n_points_downscale_factor
        )
        self.output_mode = checked_output_mode(output_mode)
        self.predictor = SAM2ImagePredictor(
            model,
            max_hole_area=min_mask_region_area,
            max_sprinkle_area=min_mask_region_area,
        )
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.mask_threshold = mask_threshold
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.crop_n_points_downscale_factor = crop_n_points_downscale_factor
        self.min_mask_region_area = min_mask_region_area
        self.use_m2m = use_m2m
        self.multimask_output = multimask_output

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> "SAM2AutomaticMaskGenerator":
        """A generator of a model on Hugging Face; see `build_sam2_hf`."""
        return cls(build_sam2_hf(model_id, **kwargs), **kwargs)

    def generate(self, image: UInt8[np.ndarray, "H W 3"]) -> list[dict[str, Any]]:
        """A record for each mask of an image.

        Returns
        -------
        list
            Dictionaries: ``segmentation`` in the output mode; ``area``, px; ``bbox`` and
            ``crop_box`` as x, y, width, height, floats; ``predicted_iou``; ``point_coords``
            ``[[x, y]]``; ``stability_score``.
        """
        predictor = self.predictor
        generator = MaskGenerator(
            predictor.model.model,
            points_per_side=None,
            point_grids=self.point_grids,
            pred_iou_thresh=self.pred_iou_thresh,
            stability_score_thresh=self.stability_score_thresh,
            stability_score_offset=self.stability_score_offset,
            mask_threshold=self.mask_threshold,
            box_nms_thresh=self.box_nms_thresh,
            crop_n_layers=self.crop_n_layers,
            crop_nms_thresh=self.crop_nms_thresh,
            crop_overlap_ratio=self.crop_overlap_ratio,
            crop_n_points_downscale_factor=self.crop_n_points_downscale_factor,
            use_m2m=self.use_m2m,
            multimask_output=self.multimask_output,
            mend=partial(
                fill_small,
                threshold=predictor.mask_threshold,  # officially too not that of the generator
                hole_area=predictor.max_hole_area,
                sprinkle_area=predictor.max_sprinkle_area,
            ),
        )
        return [_official(record) for record in generator.generate(image).records(self.output_mode)]


def _official(record: dict[str, Any]) -> dict[str, Any]:
    """A record whose places are float32, as SAM 2's generator has them."""
    boxes = {key: [float(v) for v in record[key]] for key in ("bbox", "crop_box")}
    points = [[float(np.float32(v)) for v in point] for point in record["point_coords"]]
    return {**record, **boxes, "point_coords": points}
