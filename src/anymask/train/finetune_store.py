"""Features of views for training: made when asked for, or kept on disk and made once.

Kept features are named by what they are made from (pixels, frame, weights, code), see
`anymask.predict.cache`, and bounded in bytes; those that were dropped are made again. They are kept
in halves where their values allow it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from anymask.errors import OutputError
from anymask.frame import Frame
from anymask.model import Model
from anymask.predict.cache import EmbeddingCache
from anymask.predict.steps import SCALES

_MOST_HALF = 30_000.0  # values beyond it stay as they are: halves end at 65504

Pixels = Callable[[], UInt8[np.ndarray, "H W 3"]]


def encode_view(
    model: Model, pixels: UInt8[np.ndarray, "H W 3"], frame: Frame, *, through: bool = False
) -> tuple[Tensor, ...]:
    """Features of a view, batch 1; with what gradients need, if they go through the encoder."""
    with torch.set_grad_enabled(through):
        scaled = SCALES[model.variant.spec.resize](pixels, frame.resized)
        return model.encode(scaled[None])


class FeatureStore:
    """Features of numbered views on disk.

    Parameters
    ----------
    model
        Encodes views; its encoder must not change.
    folder
        Where features are kept; several runs may share it.
    max_bytes
        Bound of the folder.
    """

    def __init__(self, model: Model, folder: Path, max_bytes: int) -> None:
        self._model = model
        self._cache = EmbeddingCache(folder, max_bytes=max_bytes)
        self._keys: dict[object, str] = {}
        self.made = 0  # encodings

    def get(self, view: object, pixels: Pixels, frame: Frame) -> tuple[Tensor, ...]:
        """Features of a view, known by anything that can be hashed; pixels are read if needed.

        A disk without room costs time, not the run.
        """
        key = self._keys.get(view)
        if key is None:
            seen = pixels()
            key = self._keys[view] = self._cache.key(seen, frame, self._model)
        else:
            seen = None
        kept = self._cache.get(key)
        if kept is None:
            features = encode_view(self._model, pixels() if seen is None else seen, frame)
            self.made += 1
            kept = as_halves(features)
            try:
                self._cache.put(key, kept)
            except OutputError:
                return features
        device = self._model.device
        return tuple(part.to(device).float() for part in kept)


def as_halves(features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """float16 where no value leaves its range, else as they are."""
    return tuple(part.half() if bool(part.abs().max() < _MOST_HALF) else part for part in features)


def bytes_of(features: tuple[Tensor, ...]) -> int:
    """What features take when they are kept."""
    return sum(part.numel() * part.element_size() for part in as_halves(features))
