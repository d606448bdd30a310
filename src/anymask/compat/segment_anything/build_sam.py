"""Builders of models, and the registry of their names.

An official name without a checkpoint gives an untrained network, as the official builder does.
Models of ours that scale images as SAM does stand in the registry under their own names as well,
and then without a checkpoint have the weights that `anymask.load` finds.
"""

from collections.abc import Callable
from functools import partial

from anymask.compat.building import Checkpoint, loaded, untrained
from anymask.compat.segment_anything.modeling.sam import Sam
from anymask.model import Model
from anymask.variants import VARIANTS, Variant, keep_aspect, variant


def build_sam_vit_h(checkpoint: Checkpoint = None) -> Sam:
    """ViT-H: the largest."""
    return _build(variant("sam-vit-h"), checkpoint)


def build_sam_vit_l(checkpoint: Checkpoint = None) -> Sam:
    """ViT-L."""
    return _build(variant("sam-vit-l"), checkpoint)


def build_sam_vit_b(checkpoint: Checkpoint = None) -> Sam:
    """ViT-B: the smallest."""
    return _build(variant("sam-vit-b"), checkpoint)


build_sam = build_sam_vit_h


def _build(row: Variant, checkpoint: Checkpoint = None) -> Sam:
    """A row with a checkpoint's weights, or untrained; on the CPU, in eval mode, trainable."""
    if checkpoint is None:
        return trainable(untrained(row))
    return trainable(loaded(row, checkpoint))


def _build_ours(name: str, checkpoint: Checkpoint = None) -> Sam:
    """A row with a checkpoint's weights, or with its own."""
    return trainable(loaded(variant(name), checkpoint))


def trainable(model: Model) -> Sam:
    """A Sam whose parameters all learn."""
    return Sam(model).requires_grad_(True)


_OURS = [row.name for row in VARIANTS if row.spec.fit is keep_aspect and row.spec.resize == "bytes"]

sam_model_registry: dict[str, Callable[..., Sam]] = {
    "default": build_sam_vit_h,
    "vit_h": build_sam_vit_h,
    "vit_l": build_sam_vit_l,
    "vit_b": build_sam_vit_b,
    **{name: partial(_build_ours, name) for name in _OURS},
    "vit_t": partial(_build, variant("mobile-sam")),  # MobileSAM's package calls it so
}
