"""The public names of Meta's package ``segment_anything``, on top of ours.

Names, arguments, defaults, results, kinds of errors and names of weights are those of the
official package; the work is done by `anymask.model` and `anymask.predict`.
"""

from anymask.compat.segment_anything.automatic_mask_generator import (
    SamAutomaticMaskGenerator as SamAutomaticMaskGenerator,
)
from anymask.compat.segment_anything.build_sam import build_sam as build_sam
from anymask.compat.segment_anything.build_sam import build_sam_vit_b as build_sam_vit_b
from anymask.compat.segment_anything.build_sam import build_sam_vit_h as build_sam_vit_h
from anymask.compat.segment_anything.build_sam import build_sam_vit_l as build_sam_vit_l
from anymask.compat.segment_anything.build_sam import sam_model_registry as sam_model_registry
from anymask.compat.segment_anything.predictor import SamPredictor as SamPredictor
