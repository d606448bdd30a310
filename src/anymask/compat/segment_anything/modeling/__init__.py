"""The model that builders return and predictors take."""

from anymask.compat.segment_anything.modeling.parts import ImageEncoder as ImageEncoder
from anymask.compat.segment_anything.modeling.parts import MaskDecoder as MaskDecoder
from anymask.compat.segment_anything.modeling.parts import PromptEncoder as PromptEncoder
from anymask.compat.segment_anything.modeling.sam import Sam as Sam
