"""Settings of SAM 2's video predictor, by their official names."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from anymask.compat.sam2.filling import fill_holes
from anymask.predict.video_recall import RecallRules
from anymask.predict.video_tracks import Corrections, Following
from anymask.variant_video import VideoSpec

_OVERRIDE = re.compile(r"\+*model\.(\w+)=(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """What `build_sam2_video_predictor` can be told by overrides.

    Attributes
    ----------
    image_size
        Side of the square that frames become, px; None is the model's own.
    fill_hole_area
        Holes of masks are filled up to this area, low-resolution cells.
    non_overlap_masks
        In what is returned a pixel belongs to one object.
    non_overlap_masks_for_mem_enc
        Taken, and of no effect, as in the official code.
    clear_non_cond_mem_around_input
        Memories of followed frames near a prompted one are dropped.
    add_all_frames_to_correct_as_cond
        A correction on a followed frame counts as any other prompt.
    binarize_mask_from_pts_for_mem_enc
        Masks of prompted frames are remembered as 0 or 1.
    max_cond_frames_in_attn
        Prompted frames attended to at most; -1 for all.
    memory_temporal_stride_for_eval
        Memories are taken at multiples of this many frames.
    max_obj_ptrs_in_encoder
        Pointers reach less than this many frames back; None is the model's own.
    only_obj_ptrs_in_the_past_for_eval
        Pointers of prompted frames that are still to come are left out.
    """

    image_size: int | None = None
    fill_hole_area: int = 0
    non_overlap_masks: bool = False
    non_overlap_masks_for_mem_enc: bool = False
    clear_non_cond_mem_around_input: bool = False
    add_all_frames_to_correct_as_cond: bool = False
    binarize_mask_from_pts_for_mem_enc: bool = False
    max_cond_frames_in_attn: int = -1
    memory_temporal_stride_for_eval: int = 1
    max_obj_ptrs_in_encoder: int | None = None
    only_obj_ptrs_in_the_past_for_eval: bool = True

    def overridden(self, overrides: Sequence[str]) -> "VideoOptions":
        """With overrides such as ``"++model.fill_hole_area=0"``.

        Raises
        ------
        ValueError
            One is not understood.
        """
        found: dict[str, Any] = {}
        for text in overrides:
            asked = _OVERRIDE.fullmatch(text)
            name = asked[1] if asked else ""
            if asked is None or name not in _READ:
                known = ", ".join(f"model.{key}" for key in _READ)
                raise ValueError(f"the override {text!r} is not understood; these are: {known}")
            found[name] = _READ[name](asked[2])
        return replace(self, **found)

    def following(self, spec: VideoSpec, corrections: Corrections) -> Following:
        """How objects are followed; `corrections` is where all frames are not to be prompted."""
        most = self.max_cond_frames_in_attn
        told = self.max_obj_ptrs_in_encoder
        area = self.fill_hole_area
        return Following(
            rules=RecallRules(
                memories=spec.memories,
                stride=self.memory_temporal_stride_for_eval,
                max_prompted=None if most == -1 else most,
                pointers=spec.pointers if told is None else told,
                past_pointers=self.only_obj_ptrs_in_the_past_for_eval,
            ),
            causal=False,
            corrections="prompted" if self.add_all_frames_to_correct_as_cond else corrections,
            binary=self.binarize_mask_from_pts_for_mem_enc,
            mend=partial(fill_holes, area=area) if area > 0 else None,
        )


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


_READ: Mapping[str, Callable[[str], Any]] = {
    "image_size": int,
    "fill_hole_area": int,
    "non_overlap_masks": _flag,
    "non_overlap_masks_for_mem_enc": _flag,
    "clear_non_cond_mem_around_input": _flag,
    "add_all_frames_to_correct_as_cond": _flag,
    "binarize_mask_from_pts_for_mem_enc": _flag,
    "max_cond_frames_in_attn": int,
    "memory_temporal_stride_for_eval": int,
    "max_obj_ptrs_in_encoder": int,
    "only_obj_ptrs_in_the_past_for_eval": _flag,
}
