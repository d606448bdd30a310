"""Grids and crops are those of the official code."""

import json

import numpy as np
import pytest

from anymask.frame_crops import (
    corner_and_size,
    crops_of,
    cut_by_crop,
    layer_grids,
    move_boxes,
    move_points,
    place_masks,
    point_grid,
)
from conftest import DATA

OFFICIAL = json.loads((DATA / "sam1_functions.json").read_text())


@pytest.mark.parametrize("case", OFFICIAL["build_point_grid"])
def test_a_grid_of_points(case):
    assert np.array_equal(point_grid(case["n_per_side"]), np.array(case["points"]))


@pytest.mark.parametrize("case", OFFICIAL["build_all_layer_point_grids"])
def test_grids_of_all_layers(case):
    grids = layer_grids(case["n_per_side"], case["n_layers"], case["scale_per_layer"])
    assert [len(grid) for grid in grids] == case["lengths"]
    assert np.array_equal(grids[-1], np.array(case["last"]))


@pytest.mark.parametrize("case", OFFICIAL["generate_crop_boxes"])
def test_crops_of_all_layers(case):
    crops = crops_of(tuple(case["im_size_hw"]), case["n_layers"], case["overlap_ratio"])
    assert [list(crop.box) for crop in crops] == case["crop_boxes_xyxy"]
    assert [crop.layer for crop in crops] == case["layer_idxs"]


@pytest.mark.parametrize("case", OFFICIAL["is_box_near_crop_edge"])
def test_boxes_that_a_crop_cuts(case):
    found = cut_by_crop(
        np.array(case["boxes"]), tuple(case["crop_box"]), tuple(case["orig_box"]), case["atol"]
    )
    assert found.tolist() == case["out"]


def test_boxes_points_and_masks_of_a_crop_in_the_image():
    for case in OFFICIAL["uncrop_boxes_xyxy"]:
        assert move_boxes(np.array(case["boxes"]), tuple(case["crop_box"])).tolist() == case["out"]
    for case in OFFICIAL["uncrop_points"]:
        found = move_points(np.array(case["points"]), tuple(case["crop_box"]))
        assert found.tolist() == case["out"]
    for case in OFFICIAL["uncrop_masks"]:
        found = place_masks(
            np.array(case["masks"], bool), tuple(case["crop_box"]), (case["orig_h"], case["orig_w"])
        )
        assert np.array_equal(found, np.array(case["out"], bool))
    for case in OFFICIAL["box_xyxy_to_xywh"]:
        assert corner_and_size(np.array(case["in"])).tolist() == case["out"]
