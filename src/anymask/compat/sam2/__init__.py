"""The public names of Meta's package ``sam2``, on top of ours.

Names, arguments, defaults, results and kinds of errors are those of the official package; the work
is done by `anymask.model` and `anymask.predict`.
"""

from anymask.compat.sam2.automatic_mask_generator import (
    SAM2AutomaticMaskGenerator as SAM2AutomaticMaskGenerator,
)
from anymask.compat.sam2.build_sam import build_sam2 as build_sam2
from anymask.compat.sam2.build_sam import build_sam2_hf as build_sam2_hf
from anymask.compat.sam2.build_sam import (
    build_sam2_video_predictor as build_sam2_video_predictor,
)
from anymask.compat.sam2.build_sam import (
    build_sam2_video_predictor_hf as build_sam2_video_predictor_hf,
)
from anymask.compat.sam2.sam2_image_predictor import SAM2ImagePredictor as SAM2ImagePredictor
from anymask.compat.sam2.sam2_video_predictor import SAM2VideoPredictor as SAM2VideoPredictor
