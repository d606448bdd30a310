"""Builders and the registry of names, as scripts call them."""

import inspect

import numpy as np
import pytest
import torch
from small_official import picture, small_sam

from anymask.compat import segment_anything
from anymask.compat.building import loaded, untrained
from anymask.compat.segment_anything import build_sam as official_default
from anymask.compat.segment_anything import build_sam_vit_h, sam_model_registry
from anymask.compat.segment_anything.build_sam import trainable
from anymask.compat.segment_anything.modeling import Sam
from anymask.errors import CheckpointError
from tiny import TINY_SAM, tiny_sam, write_tiny

PUBLIC = {  # name: arguments with their defaults
    "build_sam_vit_h": {"checkpoint": None},
    "build_sam_vit_l": {"checkpoint": None},
    "build_sam_vit_b": {"checkpoint": None},
    "SamPredictor": {"sam_model": inspect.Parameter.empty},
    "SamAutomaticMaskGenerator": {
        "model": inspect.Parameter.empty,
        "points_per_side": 32,
        "points_per_batch": 64,
        "pred_iou_thresh": 0.88,
        "stability_score_thresh": 0.95,
        "stability_score_offset": 1.0,
        "box_nms_thresh": 0.7,
        "crop_n_layers": 0,
        "crop_nms_thresh": 0.7,
        "crop_overlap_ratio": 512 / 1500,
        "crop_n_points_downscale_factor": 1,
        "point_grids": None,
        "min_mask_region_area": 0,
        "output_mode": "binary_mask",
    },
}


@pytest.mark.parametrize("name", PUBLIC)
def test_arguments_and_defaults_are_the_official_ones(name):
    found = inspect.signature(getattr(segment_anything, name)).parameters
    assert {n: p.default for n, p in found.items()} == PUBLIC[name]
    assert list(found) == list(PUBLIC[name])


def test_the_registry_has_the_official_names():
    assert {"default", "vit_h", "vit_l", "vit_b"} <= sam_model_registry.keys()
    assert sam_model_registry["default"] is build_sam_vit_h is official_default
    with pytest.raises(KeyError):
        sam_model_registry["vit_x"]


def test_modules_lie_where_scripts_import_them_from():
    from anymask.compat.segment_anything.automatic_mask_generator import SamAutomaticMaskGenerator
    from anymask.compat.segment_anything.build_sam import sam_model_registry as registry
    from anymask.compat.segment_anything.modeling import Sam as Model
    from anymask.compat.segment_anything.predictor import SamPredictor
    from anymask.compat.segment_anything.utils.amg import rle_to_mask
    from anymask.compat.segment_anything.utils.transforms import ResizeLongestSide

    assert SamAutomaticMaskGenerator is segment_anything.SamAutomaticMaskGenerator
    assert registry is segment_anything.sam_model_registry
    assert SamPredictor is segment_anything.SamPredictor
    assert Model is Sam and callable(rle_to_mask) and callable(ResizeLongestSide)


def test_a_checkpoint_is_loaded_for_training_on_the_cpu(tmp_path):
    sam = trainable(loaded(TINY_SAM, write_tiny(tmp_path)))
    assert sam.device == torch.device("cpu") and not sam.training
    assert all(p.requires_grad for p in sam.parameters())
    optimizer = torch.optim.SGD(sam.parameters(), lr=0.1)
    sam.image_encoder(sam.preprocess(torch.rand(1, 3, 64, 64))).square().sum().backward()
    optimizer.step()  # writes to weights that came mapped from a file
    assert not torch.equal(
        sam.state_dict()["image_encoder.pos_embed"],
        small_sam().state_dict()["image_encoder.pos_embed"],
    )
    again = loaded(TINY_SAM, tmp_path / "tiny-sam-0.safetensors")
    assert torch.equal(again.network.encoder.pos_embed, tiny_sam().network.encoder.pos_embed)


def test_a_tuned_model_that_was_saved_is_a_checkpoint_again(tmp_path):
    sam = small_sam(3)
    torch.save(sam.state_dict(), tmp_path / "tuned.pth")
    model = loaded(TINY_SAM, tmp_path / "tuned.pth")
    assert torch.equal(model.network.decoder.mask_tokens, sam.mask_decoder.inner.mask_tokens)


def test_a_missing_file_and_a_wrong_one_raise_what_they_officially_raise(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pth") as missing:
        sam_model_registry["vit_b"](checkpoint=str(tmp_path / "gone.pth"))
    assert isinstance(missing.value.__cause__, CheckpointError)
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(RuntimeError, match="weight"):
        sam_model_registry["vit_b"](checkpoint=path)


def test_without_a_checkpoint_a_network_is_untrained_and_alive():
    first, second = untrained(TINY_SAM), untrained(TINY_SAM)
    tokens = first.network.decoder.mask_tokens
    assert tokens.std() > 0.5
    assert not torch.equal(tokens, second.network.decoder.mask_tokens)
    assert all(kind.any() for kind in first.network.prompt_encoder.kinds)
    predictor = segment_anything.SamPredictor(trainable(first))
    predictor.set_image(picture())
    _, scores, logits = predictor.predict(np.array([[20, 30]]), np.array([1]))
    assert np.isfinite(logits).all() and len(set(scores.tolist())) == 3


def test_a_builder_of_the_registry_takes_a_checkpoint_or_nothing():
    for key in ("vit_b", "vit_t", "nano", "sam-vit-b"):
        (argument,) = inspect.signature(sam_model_registry[key]).parameters.values()
        assert argument.name == "checkpoint" and argument.default is None
    assert sam_model_registry["vit_t"]().image_encoder.img_size == 1024


def test_our_models_stand_in_the_registry_under_their_own_names():
    predictor = segment_anything.SamPredictor(sam_model_registry["nano"]())
    predictor.set_image(picture((90, 120)))
    masks, _, _ = predictor.predict(np.array([[60, 45]]), np.array([1]))
    assert masks.shape == (3, 90, 120)
    assert {"sam-vit-b", "mobile-sam"} <= sam_model_registry.keys()
    assert "efficient-sam-ti" not in sam_model_registry  # scales images in another way
