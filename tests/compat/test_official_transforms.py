"""ResizeLongestSide and the functions on masks give the recorded numbers of the official code."""

import json

import numpy as np
import pytest
import torch

from anymask.compat.segment_anything.utils import amg
from anymask.compat.segment_anything.utils.transforms import ResizeLongestSide
from conftest import DATA

OFFICIAL = json.loads((DATA / "sam1_functions.json").read_text())


@pytest.mark.parametrize("case", OFFICIAL["resize_longest_side"])
def test_sizes_points_and_boxes_are_scaled_as_officially(case):
    size, transform = tuple(case["hw"]), ResizeLongestSide(case["target_length"])
    assert list(transform.get_preprocess_shape(*size, 1024)) == case["preprocess_shape"]
    assert list(transform.get_preprocess_shape(*size, 512)) == case["preprocess_shape_512"]
    coords, boxes = np.array(case["coords_in"]), np.array(case["boxes_in"])
    given = coords.copy()
    found = transform.apply_coords(coords, size)
    assert np.array_equal(found, case["coords_out_float64"]) and found.dtype == np.float64
    assert np.array_equal(transform.apply_boxes(boxes, size), case["boxes_out_float64"])
    found = transform.apply_coords_torch(torch.from_numpy(coords), size)
    expected = torch.tensor(case["coords_out_torch_float32"], dtype=torch.float32)
    assert torch.equal(found, expected)
    assert np.array_equal(coords, given)  # what was given is left alone


@pytest.mark.parametrize("case", OFFICIAL["apply_image"])
def test_images_are_scaled_to_the_last_bit(case):
    height, width = case["hw"]
    y, x, c = np.mgrid[:height, :width, :3]
    image = ((37 * y + 91 * x + 53 * c + 7 * x * y) % 256).astype(np.uint8)
    transform = ResizeLongestSide(case["target_length"])
    found = transform.apply_image(image)
    assert np.array_equal(found, case["output"]) and found.dtype == np.uint8
    rows = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.tensor(case["output_torch_antialias"])
    found = transform.apply_image_torch(rows).reshape(-1)
    assert (found - expected.reshape(-1)).abs().max() < 1e-3


def test_boxes_as_tensors_come_back_one_a_row():
    transform = ResizeLongestSide(64)
    found = transform.apply_boxes_torch(torch.tensor([[0, 0, 20, 10], [5, 5, 10, 10]]), (16, 32))
    assert torch.equal(found, torch.tensor([[0.0, 0, 40, 20], [10, 10, 20, 20]]))
    assert transform.apply_boxes(np.array([0, 0, 20, 10]), (16, 32)).shape == (1, 4)


@pytest.mark.parametrize("case", OFFICIAL["mask_to_rle"])
def test_masks_to_run_lengths_and_back(case):
    y, x = np.mgrid[:40, :50]  # the formula of the one case that says it by a formula
    mask = torch.tensor(case.get("mask", (y + 3 * x) % 17 < 8), dtype=torch.bool)
    (rle,) = amg.mask_to_rle_pytorch(mask[None])
    assert rle == case["rle"] and all(type(run) is int for run in rle["counts"])
    assert amg.area_from_rle(rle) == case["area"]
    assert amg.coco_encode_rle(rle) == case["coco"]
    back = amg.rle_to_mask(rle)
    assert back.dtype == bool and np.array_equal(back, mask.numpy())


@pytest.mark.parametrize("case", OFFICIAL["calculate_stability_score"])
def test_stability(case):
    logits = torch.tensor(case["masks"], dtype=torch.float32)
    found = amg.calculate_stability_score(logits, case["mask_threshold"], case["threshold_offset"])
    expected = np.array(case["score"], np.float32)  # None, for 0/0, becomes NaN
    assert np.array_equal(found.numpy(), expected, equal_nan=True)


@pytest.mark.parametrize("case", OFFICIAL["batched_mask_to_box"])
def test_boxes_of_masks(case):
    if "masks" in case:
        masks = torch.tensor(case["masks"], dtype=torch.bool)
        assert amg.batched_mask_to_box(masks).tolist() == case["boxes_xyxy"]
        assert amg.batched_mask_to_box(masks[None]).tolist() == [case["boxes_xyxy"]]
    else:
        none = torch.zeros(case["masks_shape"], dtype=torch.bool)
        assert list(amg.batched_mask_to_box(none).shape) == case["boxes_shape"]


@pytest.mark.parametrize("case", OFFICIAL["remove_small_regions"])
def test_small_regions(case):
    mask = np.array(case["mask"], bool)
    found, changed = amg.remove_small_regions(mask, case["area_thresh"], case["mode"])
    assert np.array_equal(found, np.array(case["out"], bool)) and changed == case["changed"]


def test_an_unknown_kind_of_region_is_refused():
    with pytest.raises(AssertionError, match="holes"):
        amg.remove_small_regions(np.zeros((3, 3), bool), 1, "gaps")


def test_grids_crops_and_batches():
    for case in OFFICIAL["build_point_grid"]:
        assert np.array_equal(amg.build_point_grid(case["n_per_side"]), case["points"])
    for case in OFFICIAL["build_all_layer_point_grids"]:
        grids = amg.build_all_layer_point_grids(
            case["n_per_side"], case["n_layers"], case["scale_per_layer"]
        )
        assert [len(grid) for grid in grids] == case["lengths"]
        assert np.array_equal(grids[-1], case["last"])
    for case in OFFICIAL["generate_crop_boxes"]:
        boxes, layers = amg.generate_crop_boxes(
            tuple(case["im_size_hw"]), case["n_layers"], case["overlap_ratio"]
        )
        assert boxes == case["crop_boxes_xyxy"] and layers == case["layer_idxs"]
    for case in OFFICIAL["batch_iterator"]:
        batches = amg.batch_iterator(case["batch_size"], list(range(case["n"])))
        assert [batch[0] for batch in batches] == case["batches"]
    with pytest.raises(AssertionError):
        next(amg.batch_iterator(2, [1, 2], [1]))


def test_what_belongs_to_a_crop_in_the_image():
    for case in OFFICIAL["uncrop_boxes_xyxy"]:
        found = amg.uncrop_boxes_xyxy(torch.tensor(case["boxes"]), case["crop_box"])
        assert found.tolist() == case["out"]
    for case in OFFICIAL["uncrop_points"]:
        found = amg.uncrop_points(torch.tensor(case["points"]), case["crop_box"])
        assert found.tolist() == case["out"]
    for case in OFFICIAL["uncrop_masks"]:
        masks = torch.tensor(case["masks"])
        found = amg.uncrop_masks(masks, case["crop_box"], case["orig_h"], case["orig_w"])
        assert found.tolist() == case["out"]
    for case in OFFICIAL["box_xyxy_to_xywh"]:
        assert amg.box_xyxy_to_xywh(torch.tensor(case["in"])).tolist() == case["out"]
    for case in OFFICIAL["is_box_near_crop_edge"]:
        found = amg.is_box_near_crop_edge(
            torch.tensor(case["boxes"]), case["crop_box"], case["orig_box"], case["atol"]
        )
        assert found.tolist() == case["out"]
