"""Builders of SAM 2 models from the official names of configurations and of models."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from anymask.compat.building import Checkpoint, device_of, loaded, untrained
from anymask.compat.sam2.modeling import SAM2Base
from anymask.compat.sam2.sam2_video_predictor import SAM2VideoPredictor
from anymask.compat.sam2.video_options import VideoOptions
from anymask.model import Model
from anymask.predict.video_tracks import Corrections
from anymask.variants import Outputs, Variant, variant

_IMAGE_SIZE = re.compile(r"\+*model\.image_size=(\d+)")
_SIZES = {"t": "tiny", "s": "small", "b+": "base-plus", "l": "large"}

# the last part of a configuration's path, and our name of the model
CONFIGS: Mapping[str, str] = {
    f"{family}_hiera_{letters}.yaml": f"{family}-{size}"
    for family in ("sam2", "sam2.1")
    for letters, size in _SIZES.items()
} | {"edgetam.yaml": "edgetam"}

# EdgeTAM comes with an older predictor, which keeps corrections of followed frames
CORRECTIONS: Mapping[str, Corrections] = {"edgetam": "tracked"}

HF_MODEL_IDS: Mapping[str, str] = {
    f"facebook/{family}-hiera-{size}": f"{family}-{size}"
    for family in ("sam2", "sam2.1")
    for size in _SIZES.values()
}


def build_sam2(
    config_file: str,
    ckpt_path: Checkpoint = None,
    device: str = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    **kwargs: object,
) -> SAM2Base:
    """A SAM 2 or EdgeTAM model.

    Parameters
    ----------
    config_file
        Official name, such as ``"configs/sam2.1/sam2.1_hiera_t.yaml"``.
    ckpt_path
        Weight file; None gives an untrained network.
    device
        Where to compute.
    mode
        ``"eval"``, or anything else for training.
    hydra_overrides_extra
        ``"model.image_size=512"`` is understood.
    apply_postprocessing
        Where one mask is asked, and it is not stable, give the best of the three others.

    Raises
    ------
    FileNotFoundError
        There is no such configuration, or no such weight file.
    RuntimeError
        The weight file is broken or of another model, or the device is not to be had.
    ValueError
        An override that is not understood.
    """
    row, size = _row(config_file), _size(hydra_overrides_extra)
    model = untrained(row, size) if ckpt_path is None else loaded(row, ckpt_path, size)
    return _finished(model, device, mode, apply_postprocessing)


def build_sam2_video_predictor(
    config_file: str,
    ckpt_path: Checkpoint = None,
    device: str = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **kwargs: object,
) -> SAM2VideoPredictor:
    """A SAM 2 or EdgeTAM model that follows objects through videos.

    Parameters
    ----------
    config_file, ckpt_path, device, mode
        As for `build_sam2`.
    hydra_overrides_extra
        See `anymask.compat.sam2.video_options.VideoOptions`: ``"++model.fill_hole_area=0"``.
    apply_postprocessing
        Where one mask is asked, and it is not stable, give the best of the three others; remember
        masks of prompted frames as 0 or 1; fill holes of up to 8 cells.
    vos_optimized
        Taken, and not used.

    Raises
    ------
    FileNotFoundError
        There is no such configuration, or no such weight file.
    RuntimeError
        The weight file is broken or of another model, or the device is not to be had.
    ValueError
        An override that is not understood.
    """
    row = _row(config_file)
    options = _video_options(apply_postprocessing).overridden(hydra_overrides_extra)
    size = options.image_size
    model = untrained(row, size) if ckpt_path is None else loaded(row, ckpt_path, size)
    corrections = CORRECTIONS.get(row.name, "lost")
    return _video(model, options, corrections, device, mode, apply_postprocessing)


def build_sam2_video_predictor_hf(
    model_id: str,
    device: str = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **kwargs: object,
) -> SAM2VideoPredictor:
    """A video model by its name on Hugging Face, with its official weights.

    Parameters
    ----------
    model_id
        Such as ``"facebook/sam2.1-hiera-tiny"``.
    device, mode, hydra_overrides_extra, apply_postprocessing, vos_optimized
        As for `build_sam2_video_predictor`.

    Raises
    ------
    KeyError
        There is no such model.
    RuntimeError
        Its weights or the device are not to be had.
    ValueError
        An override that is not understood.
    """
    row = variant(HF_MODEL_IDS[model_id])
    options = _video_options(apply_postprocessing).overridden(hydra_overrides_extra)
    model = loaded(row, None, options.image_size)
    return _video(model, options, "lost", device, mode, apply_postprocessing)


def build_sam2_hf(
    model_id: str,
    device: str = "cuda",
    mode: str = "eval",
    apply_postprocessing: bool = True,
    **kwargs: object,
) -> SAM2Base:
    """A model by its name on Hugging Face, with its official weights, fetched the first time.

    Parameters
    ----------
    model_id
        Such as ``"facebook/sam2.1-hiera-tiny"``.
    device, mode, apply_postprocessing
        As for `build_sam2`.

    Raises
    ------
    KeyError
        There is no such model.
    RuntimeError
        Its weights or the device are not to be had.
    """
    row = variant(HF_MODEL_IDS[model_id])
    return _finished(loaded(row, None), device, mode, apply_postprocessing)


def _row(config_file: str) -> Variant:
    """The row of a configuration."""
    name = CONFIGS.get(PurePath(config_file).name)
    if name is None:
        known = ", ".join(CONFIGS)
        raise FileNotFoundError(f"there is no configuration {config_file!r}; they are {known}")
    return variant(name)


def _video_options(apply_postprocessing: bool) -> VideoOptions:
    """Settings before overrides."""
    return VideoOptions(
        fill_hole_area=8 if apply_postprocessing else 0,
        binarize_mask_from_pts_for_mem_enc=apply_postprocessing,
    )


def _video(
    model: Model,
    options: VideoOptions,
    corrections: Corrections,
    device: str,
    mode: str,
    apply_postprocessing: bool,
) -> SAM2VideoPredictor:
    """The model on its device, in its mode, trainable."""
    if not apply_postprocessing:
        model = model.answering(Outputs())
    built = SAM2VideoPredictor(model, options, corrections).requires_grad_(True)
    return built.to(device_of(device)).train(mode != "eval")


def _size(overrides: Sequence[str]) -> int | None:
    """The size of images that overrides ask for."""
    size = None
    for text in overrides:
        asked = _IMAGE_SIZE.fullmatch(text)
        if asked is None:
            raise ValueError(f"the override {text!r} is not understood; model.image_size=512 is")
        size = int(asked[1])
    return size


def _finished(model: Model, device: str, mode: str, apply_postprocessing: bool) -> SAM2Base:
    """The model on its device, in its mode, trainable."""
    if not apply_postprocessing:
        model = model.answering(Outputs())
    built = SAM2Base(model).requires_grad_(True)
    return built.to(device_of(device)).train(mode != "eval")
