"""anymask: point at something in a picture, get its exact mask.

Public names are loaded on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anymask.errors import AnymaskError, AnymaskWarning, Note
    from anymask.frame_masks import FrameMasks
    from anymask.frames import Frames, open_frames
    from anymask.generated import GeneratedMasks
    from anymask.image import read_image
    from anymask.masks import Masks
    from anymask.model import Model, load
    from anymask.predict.everything import MaskGenerator
    from anymask.predict.image import ImageEmbedding, ImagePredictor, Prediction
    from anymask.predict.text import TextPredictor
    from anymask.predict.text_load import load_detector
    from anymask.predict.tiles import TiledPredictor
    from anymask.predict.video import VideoPredictor, VideoSession
    from anymask.prompts import Prompts
    from anymask.text_masks import TextMasks
    from anymask.train.finetune import finetune
    from anymask.variants import VARIANTS, Variant

__version__ = "0.1.0"

_HOME = {
    "AnymaskError": "anymask.errors",
    "AnymaskWarning": "anymask.errors",
    "FrameMasks": "anymask.frame_masks",
    "Frames": "anymask.frames",
    "GeneratedMasks": "anymask.generated",
    "ImageEmbedding": "anymask.predict.image",
    "ImagePredictor": "anymask.predict.image",
    "MaskGenerator": "anymask.predict.everything",
    "Masks": "anymask.masks",
    "Model": "anymask.model",
    "Note": "anymask.errors",
    "Prediction": "anymask.predict.image",
    "Prompts": "anymask.prompts",
    "TextMasks": "anymask.text_masks",
    "TextPredictor": "anymask.predict.text",
    "TiledPredictor": "anymask.predict.tiles",
    "VARIANTS": "anymask.variants",
    "Variant": "anymask.variants",
    "VideoPredictor": "anymask.predict.video",
    "VideoSession": "anymask.predict.video",
    "finetune": "anymask.train.finetune",
    "load": "anymask.model",
    "load_detector": "anymask.predict.text_load",
    "open_frames": "anymask.frames",
    "read_image": "anymask.image",
}
__all__ = [
    "VARIANTS",
    "AnymaskError",
    "AnymaskWarning",
    "FrameMasks",
    "Frames",
    "GeneratedMasks",
    "ImageEmbedding",
    "ImagePredictor",
    "MaskGenerator",
    "Masks",
    "Model",
    "Note",
    "Prediction",
    "Prompts",
    "TextMasks",
    "TextPredictor",
    "TiledPredictor",
    "Variant",
    "VideoPredictor",
    "VideoSession",
    "finetune",
    "load",
    "load_detector",
    "open_frames",
    "read_image",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"anymask has no {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next access does not come through here
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
