"""SamAutomaticMaskGenerator is used as the official example of automatic masks uses it."""

import numpy as np
import pytest
from small_official import SIZE, picture, small_sam

from anymask.compat.segment_anything import SamAutomaticMaskGenerator
from anymask.compat.segment_anything.utils.amg import area_from_rle, rle_to_mask
from anymask.mask_rle import decode_rle
from anymask.predict.everything import MaskGenerator

KEYS = [
    "segmentation",
    "area",
    "bbox",
    "predicted_iou",
    "point_coords",
    "stability_score",
    "crop_box",
]
LOOSE = {
    "points_per_side": 4,
    "pred_iou_thresh": -100.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 0.95,
}


def test_records_have_the_official_keys_and_types():
    records = SamAutomaticMaskGenerator(small_sam(), **LOOSE).generate(picture())
    assert len(records) > 2
    for record in records:
        assert list(record) == KEYS
        mask = record["segmentation"]
        assert mask.shape == SIZE and mask.dtype == bool
        assert record["area"] == mask.sum() and type(record["area"]) is int
        ys, xs = np.nonzero(mask)
        reach = [xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min()]
        assert record["bbox"] == reach
        assert type(record["predicted_iou"]) is type(record["stability_score"]) is float
        assert record["crop_box"] == [0, 0, SIZE[1], SIZE[0]]
        ((x, y),) = record["point_coords"]
        assert 0 <= x < SIZE[1] and 0 <= y < SIZE[0]
    sorted(records, key=lambda record: record["area"], reverse=True)  # as the example draws them


def test_records_are_those_of_our_generator():
    sam, settings = small_sam(), LOOSE | {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2}
    found = SamAutomaticMaskGenerator(sam, **settings, output_mode="coco_rle").generate(picture())
    expected = MaskGenerator(sam.model, **settings).generate(picture()).records("coco_rle")
    assert found == expected


def test_masks_come_as_run_lengths_too():
    sam = small_sam()
    bits = SamAutomaticMaskGenerator(sam, **LOOSE).generate(picture())
    packed = SamAutomaticMaskGenerator(sam, **LOOSE, output_mode="coco_rle").generate(picture())
    plain = SamAutomaticMaskGenerator(sam, **LOOSE, output_mode="uncompressed_rle").generate(
        picture()
    )
    for one, two, three in zip(bits, packed, plain, strict=True):
        assert np.array_equal(decode_rle(two["segmentation"]), one["segmentation"])
        assert np.array_equal(rle_to_mask(three["segmentation"]), one["segmentation"])
        assert area_from_rle(three["segmentation"]) == three["area"]


def test_the_models_mask_threshold_counts():
    sam = small_sam()
    low = SamAutomaticMaskGenerator(sam, **LOOSE).generate(picture())
    sam.mask_threshold = 1.0
    high = SamAutomaticMaskGenerator(sam, **LOOSE).generate(picture())
    assert sum(r["area"] for r in high) / len(high) < sum(r["area"] for r in low) / len(low)


def test_grids_of_ones_own_replace_the_regular_one():
    settings = LOOSE | {"points_per_side": None}
    grids = [np.array([[0.5, 0.5]]), np.array([[0.1, 0.1]])]  # the second is for crops
    generator = SamAutomaticMaskGenerator(small_sam(), **settings, point_grids=grids)
    points = {tuple(r["point_coords"][0]) for r in generator.generate(picture())}
    assert points == {(30.0, 20.0)}


def test_arguments_that_contradict_each_other_are_refused():
    grid = [np.array([[0.5, 0.5]])]
    with pytest.raises(AssertionError, match="points_per_side"):
        SamAutomaticMaskGenerator(small_sam(), point_grids=grid)
    with pytest.raises(AssertionError, match="points_per_side"):
        SamAutomaticMaskGenerator(small_sam(), points_per_side=None)
    with pytest.raises(AssertionError, match="coco_rle"):
        SamAutomaticMaskGenerator(small_sam(), output_mode="polygons")
