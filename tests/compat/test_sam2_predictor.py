"""SAM2ImagePredictor and the builders are used as the official examples use them."""

import inspect

import numpy as np
import pytest
import torch
from PIL import Image
from small_official import SIZE, picture, small_sam2

from anymask.compat import sam2
from anymask.compat.sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from anymask.compat.sam2.build_sam import CONFIGS, HF_MODEL_IDS, build_sam2, build_sam2_hf
from anymask.compat.sam2.filling import fill_small
from anymask.compat.sam2.modeling import SAM2Base
from anymask.compat.sam2.sam2_image_predictor import SAM2ImagePredictor
from anymask.nn.resize import upscale
from anymask.predict.everything import MaskGenerator
from anymask.predict.image import ImagePredictor
from anymask.variants import VARIANTS

POINTS = np.array([[20.0, 30.0], [45.5, 10.0]])
BOX = np.array([5, 3, 50, 38])
LOOSE = {
    "points_per_side": 4,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 1.0,
}
EMPTY = inspect.Parameter.empty
PREDICT = {
    "multimask_output": True,
    "return_logits": False,
    "normalize_coords": True,
}
SIGNATURES = {
    build_sam2: {
        "config_file": EMPTY,
        "ckpt_path": None,
        "device": "cuda",
        "mode": "eval",
        "hydra_overrides_extra": (),
        "apply_postprocessing": True,
        "kwargs": EMPTY,
    },
    SAM2ImagePredictor: {
        "sam_model": EMPTY,
        "mask_threshold": 0.0,
        "max_hole_area": 0.0,
        "max_sprinkle_area": 0.0,
        "kwargs": EMPTY,
    },
    SAM2ImagePredictor.predict: {
        "self": EMPTY,
        "point_coords": None,
        "point_labels": None,
        "box": None,
        "mask_input": None,
        **PREDICT,
    },
    SAM2ImagePredictor.predict_batch: {
        "self": EMPTY,
        "point_coords_batch": None,
        "point_labels_batch": None,
        "box_batch": None,
        "mask_input_batch": None,
        **PREDICT,
    },
    SAM2AutomaticMaskGenerator: {
        "model": EMPTY,
        "points_per_side": 32,
        "points_per_batch": 64,
        "pred_iou_thresh": 0.8,
        "stability_score_thresh": 0.95,
        "stability_score_offset": 1.0,
        "mask_threshold": 0.0,
        "box_nms_thresh": 0.7,
        "crop_n_layers": 0,
        "crop_nms_thresh": 0.7,
        "crop_overlap_ratio": 512 / 1500,
        "crop_n_points_downscale_factor": 1,
        "point_grids": None,
        "min_mask_region_area": 0,
        "output_mode": "binary_mask",
        "use_m2m": False,
        "multimask_output": True,
        "kwargs": EMPTY,
    },
}


@pytest.fixture(scope="module")
def model() -> SAM2Base:
    return small_sam2()


@pytest.fixture
def predictor(model) -> SAM2ImagePredictor:
    predictor = SAM2ImagePredictor(model)
    predictor.set_image(picture())
    return predictor


@pytest.mark.parametrize("called", SIGNATURES, ids=lambda called: called.__qualname__)
def test_arguments_and_defaults_are_the_official_ones(called):
    found = inspect.signature(called).parameters
    assert {name: p.default for name, p in found.items()} == SIGNATURES[called]
    assert list(found) == list(SIGNATURES[called])


def test_one_point_gives_three_masks_of_the_official_shapes_and_types(predictor):
    masks, scores, logits = predictor.predict(POINTS[:1], np.array([1]), multimask_output=True)
    assert masks.shape == (3, *SIZE) and scores.shape == (3,) and logits.shape == (3, 16, 16)
    assert masks.dtype == scores.dtype == logits.dtype == np.float32
    assert set(np.unique(masks)) <= {0.0, 1.0}
    order = np.argsort(scores)[::-1]  # as the example sorts them
    assert masks[order].shape == masks.shape


@pytest.mark.parametrize("multimask", [True, False])
def test_answers_are_those_of_our_predictor(predictor, multimask):
    ours = ImagePredictor(predictor.model.model)
    embedding = ours.encode(picture())
    for points, labels, box in ((POINTS, [1, 0], None), (None, None, BOX), (POINTS, [1, 1], BOX)):
        expected = ours.predict(
            embedding, points=points, labels=labels, boxes=box, multimask=multimask
        )
        given = None if labels is None else np.array(labels)
        masks, scores, logits = predictor.predict(points, given, box, None, multimask)
        assert np.array_equal(masks.astype(bool), expected.masks)
        assert np.array_equal(scores, expected.scores)
        assert np.array_equal(logits, expected.logits.clip(-32, 32))


def test_several_prompts_have_a_leading_axis(predictor):
    boxes = np.stack([BOX, [0, 0, 30, 20], [10, 10, 59, 39]])
    masks, scores, logits = predictor.predict(box=boxes, multimask_output=False)
    assert masks.shape == (3, 1, *SIZE) and scores.shape == (3, 1)
    assert logits.shape == (3, 1, 16, 16)
    for i, box in enumerate(boxes):
        alone, _, _ = predictor.predict(box=box, multimask_output=False)
        assert np.array_equal(masks[i], alone)
    masks, _, _ = predictor.predict(POINTS[:, None], np.array([[1], [1]]))
    assert masks.shape == (2, 3, *SIZE)


def test_logits_and_masks_are_fed_back(predictor):
    _, scores, logits = predictor.predict(POINTS[:1], np.array([1]))
    known = logits[np.argmax(scores), :, :]
    masks, _, _ = predictor.predict(
        POINTS, np.array([1, 0]), mask_input=known[None, :, :], multimask_output=False
    )
    assert masks.shape == (1, *SIZE)
    alone, _, _ = predictor.predict(mask_input=known[None], multimask_output=False)
    assert alone.shape == (1, *SIZE)


def test_coordinates_in_units_of_the_image(predictor):
    labels = np.array([1, 0])
    expected = predictor.predict(POINTS, labels, return_logits=True)[0]
    found = predictor.predict(
        POINTS / (60, 40), labels, return_logits=True, normalize_coords=False
    )[0]
    assert np.allclose(found, expected, atol=1e-3)


def test_a_threshold_and_logits_at_the_image_size(model, predictor):
    other = SAM2ImagePredictor(model, mask_threshold=0.3)
    other.set_image(Image.fromarray(picture()))
    logits, _, _ = predictor.predict(POINTS[:1], np.array([1]), return_logits=True)
    masks, _, _ = other.predict(POINTS[:1], np.array([1]))
    assert np.array_equal(masks.astype(bool), logits > 0.3)


def test_small_holes_and_sprinkles_go_where_asked(model, predictor):
    other = SAM2ImagePredictor(model, max_hole_area=8, max_sprinkle_area=3)
    other.set_image(picture())
    _, _, low = predictor.predict(POINTS[:1], np.array([1]))
    found, _, kept = other.predict(POINTS[:1], np.array([1]), return_logits=True)
    assert np.array_equal(low, kept)  # what is fed back stays as it is
    mended = fill_small(torch.from_numpy(low), 0.0, 8, 3)
    assert not torch.equal(mended, torch.from_numpy(low))
    expected = upscale(mended, (64, 64), (64, 64), SIZE, "bilinear").numpy()
    assert np.allclose(found, expected, atol=1e-4)


def test_batches_give_what_each_image_gives_alone(model, predictor):
    images = [picture(), picture((90, 50), seed=1)]
    batch = SAM2ImagePredictor(model)
    batch.set_image_batch(images)
    assert batch.get_image_embedding().shape == (2, 32, 4, 4)
    points = [POINTS[:1], np.array([[[10, 20]], [[30, 80]]])]
    labels = [np.array([1]), np.array([[1], [1]])]
    found = batch.predict_batch(points, labels, box_batch=None, multimask_output=True)
    assert [m.shape for m in found[0]] == [(3, *SIZE), (2, 3, 90, 50)]
    for i, image in enumerate(images):
        predictor.set_image(image)
        alone = predictor.predict(points[i], labels[i])
        assert all(np.array_equal(found[k][i], alone[k]) for k in range(3))


def test_what_cannot_be_meant_is_refused_as_officially(model, predictor):
    with pytest.raises(AssertionError, match="labels"):
        predictor.predict(POINTS)
    with pytest.raises(RuntimeError, match="2 prompts"):
        predictor.predict(POINTS[:, None], np.array([[1], [1]]), np.stack([BOX] * 3))
    with pytest.raises(AssertionError, match="set_image_batch"):
        predictor.predict_batch([POINTS], [np.array([1, 1])])
    with pytest.raises(NotImplementedError):
        predictor.set_image("photo.jpg")
    with pytest.raises(AssertionError, match="list"):
        predictor.set_image_batch(picture())
    with pytest.raises(AssertionError, match="arrays"):
        predictor.set_image_batch([Image.fromarray(picture())])
    predictor.reset_predictor()
    for ask in (predictor.predict, predictor.get_image_embedding):
        with pytest.raises(RuntimeError, match="set_image"):
            ask()


def test_embeddings_go_into_a_loss(predictor):
    weight = torch.ones_like(predictor.get_image_embedding(), requires_grad=True)
    (predictor.get_image_embedding() * weight).sum().backward()
    assert weight.grad is not None


def test_every_official_configuration_and_name_is_a_model_of_ours():
    rows = {row.name for row in VARIANTS}
    assert set(CONFIGS.values()) | set(HF_MODEL_IDS.values()) <= rows
    assert len(HF_MODEL_IDS) == 8 and len(CONFIGS) == 9
    assert HF_MODEL_IDS["facebook/sam2.1-hiera-base-plus"] == CONFIGS["sam2.1_hiera_b+.yaml"]
    with pytest.raises(KeyError):
        build_sam2_hf("facebook/sam3")
    with pytest.raises(FileNotFoundError, match="sam2_hiera_t"):
        build_sam2("configs/sam3.yaml", device="cpu")


def test_a_model_is_built_from_its_configuration(tmp_path):
    config = "configs/sam2.1/sam2.1_hiera_t.yaml"
    sam = build_sam2(config, device="cpu", hydra_overrides_extra=["++model.image_size=256"])
    assert sam.image_size == 256 and not sam.training and sam.device == torch.device("cpu")
    assert "sam_mask_decoder.mask_tokens.weight" in sam.state_dict()
    assert "image_encoder.trunk.patch_embed.proj.weight" in sam.state_dict()
    assert build_sam2(config, device="cpu", mode="train").training
    with pytest.raises(ValueError, match="image_size"):
        build_sam2(config, device="cpu", hydra_overrides_extra=["++model.num_maskmem=3"])
    with pytest.raises(FileNotFoundError):
        build_sam2(config, str(tmp_path / "gone.pt"), device="cpu")
    with pytest.raises(RuntimeError, match="device"):
        build_sam2(config, device="cuda:99")


def test_without_postprocessing_the_single_mask_answers_however_unstable(model):
    single = build_sam2(
        "sam2_hiera_t.yaml",
        device="cpu",
        apply_postprocessing=False,
        hydra_overrides_extra=["model.image_size=256"],
    )
    assert single.model.variant.outputs.stable == 0
    assert model.model.variant.outputs.stable == 0.98


def test_automatic_masks_are_those_of_our_generator(model):
    found = SAM2AutomaticMaskGenerator(model, **LOOSE, output_mode="coco_rle").generate(picture())
    expected = MaskGenerator(model.model, **LOOSE).generate(picture()).records("coco_rle")
    assert len(found) == len(expected) > 3
    for mine, ours in zip(found, expected, strict=True):
        assert list(mine) == list(ours)
        assert mine["segmentation"] == ours["segmentation"] and mine["bbox"] == ours["bbox"]
        assert all(type(v) is float for key in ("bbox", "crop_box") for v in mine[key])
        assert np.allclose(mine["point_coords"], ours["point_coords"])


def test_automatic_masks_are_mended_on_their_logits(model):
    plain = SAM2AutomaticMaskGenerator(model, **LOOSE).generate(picture())
    mended = SAM2AutomaticMaskGenerator(model, **LOOSE, min_mask_region_area=40).generate(picture())
    areas = [sorted(record["area"] for record in records) for records in (plain, mended)]
    assert areas[0] != areas[1]
    again = SAM2AutomaticMaskGenerator(model, **LOOSE, use_m2m=True, min_mask_region_area=40)
    assert len(again.generate(picture())) > 0


def test_the_generator_refuses_what_contradicts_itself(model):
    with pytest.raises(AssertionError, match="points_per_side"):
        SAM2AutomaticMaskGenerator(model, points_per_side=None)
    with pytest.raises(AssertionError, match="coco_rle"):
        SAM2AutomaticMaskGenerator(model, output_mode="polygons")


def test_modules_lie_where_scripts_import_them_from():
    assert sam2.build_sam2 is build_sam2 and sam2.build_sam2_hf is build_sam2_hf
    assert sam2.SAM2ImagePredictor is SAM2ImagePredictor
    assert sam2.SAM2AutomaticMaskGenerator is SAM2AutomaticMaskGenerator
