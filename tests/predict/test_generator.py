"""Everything mode on tiny models: the plain recipe's result, whatever the shortcuts."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import LOOSE, SIDE_OF_GRID, blocks

from anymask.errors import PromptError
from anymask.frame import Frame
from anymask.frame_crops import crops_of, cut_by_crop, layer_grids, place_masks
from anymask.generated import GeneratedMasks
from anymask.mask_geometry import nms, remove_small_regions, stability_score, tight_boxes
from anymask.nn.resize import upscale
from anymask.predict.everything import MaskGenerator
from anymask.predict.steps import decode, encode
from anymask.prompts import Prompts
from tiny import tiny_sam


@pytest.fixture(scope="module")
def pixels():
    return blocks()


def plain(pixels, layers=0, min_area=0, region=None, inside=None, **changes):
    """The official recipe without any shortcut: every mask in full, then the filters."""
    settings = {**LOOSE, **changes}
    model, size = tiny_sam(3), pixels.shape[:2]
    rx, ry, rx1, ry1 = region or (0, 0, size[1], size[0])
    part = pixels[ry:ry1, rx:rx1]
    grids = layer_grids(settings["points_per_side"], layers, 1)
    rows, level = [], settings.get("mask_threshold", 0.0)
    crops = crops_of(part.shape[:2], layers, 512 / 1500)
    for crop in crops:
        x0, y0, x1, y1 = crop.box
        view = part[y0:y1, x0:x1]
        frame = Frame.fit(view.shape[:2], model.variant.spec)
        features = encode(model, view, frame)
        mine = []
        for point in grids[crop.layer] * (x1 - x0, y1 - y0):
            if inside is not None and not inside[int(point[1] + y0), int(point[0] + x0)]:
                continue
            prompt = Prompts.parse(size=view.shape[:2], points=[point])
            logits, scores = decode(model, features, prompt, frame)
            full = upscale(logits[0, 1:], frame.padded, frame.resized, frame.image).numpy()
            offset = settings["stability_score_offset"]
            for mask, score in zip(full, scores[0, 1:].tolist(), strict=True):
                stable = stability_score(mask[None], level, offset)[0]
                box = tight_boxes(mask[None] > level)
                if (
                    score > settings["pred_iou_thresh"]
                    and stable >= settings["stability_score_thresh"]
                    and not cut_by_crop(box, crop.box, (0, 0, *part.shape[1::-1]))[0]
                ):
                    whole = place_masks(mask[None] > level, crop.box, part.shape[:2])[0]
                    mine.append((whole, score, stable, point + np.array([x0, y0]), crop.box))
        boxes = np.array([tight_boxes(m[0]) for m in mine]).reshape(-1, 4)
        scores = np.array([m[1] for m in mine])
        rows += [mine[i] for i in nms(boxes, scores, settings["box_nms_thresh"])]
    if layers:
        boxes = np.array([tight_boxes(m[0]) for m in rows])
        areas = np.array([(c[2] - c[0]) * (c[3] - c[1]) for *_, c in rows])
        rows = [rows[i] for i in nms(boxes, 1 / areas, settings["crop_nms_thresh"])]
    if min_area:
        cleaned = []
        for mask, *rest in rows:
            new, holes = remove_small_regions(mask, min_area, "holes")
            new, islands = remove_small_regions(new, min_area, "islands")
            cleaned.append((new, float(not (holes or islands)), *rest))
        boxes = np.array([tight_boxes(m[0]) for m in cleaned])
        kept = nms(boxes, np.array([m[1] for m in cleaned]), 0.99)
        rows = [(cleaned[i][0], *cleaned[i][2:]) for i in kept]
    return rows


def assert_same(ours: GeneratedMasks, rows, corner=(0, 0), size=None):
    assert len(ours) == len(rows) > 3
    for i, (mask, score, stable, point, crop) in enumerate(rows):
        x, y = corner
        whole = np.zeros(size or mask.shape, bool)
        whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        assert (ours[i] == whole).mean() > 0.999
        assert ours.scores[i] == pytest.approx(score, abs=1e-5)
        assert ours.stability[i] == pytest.approx(stable, abs=0.02)
        assert np.allclose(ours.points[i], point + np.array(corner))
        x0, y0, x1, y1 = crop
        assert ours.crop_boxes[i].tolist() == [x0 + x, y0 + y, x1 - x0, y1 - y0]


def test_the_result_is_that_of_the_plain_recipe(pixels):
    assert_same(MaskGenerator(tiny_sam(3), **LOOSE).generate(pixels), plain(pixels))


def test_crops_and_their_duplicates_are_those_of_the_plain_recipe(pixels):
    large = np.kron(pixels, np.ones((3, 3, 1), np.uint8))
    few = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.05}
    ours = MaskGenerator(tiny_sam(3), **{**LOOSE, **few}, crop_n_layers=1).generate(large)
    assert_same(ours, plain(large, layers=1, **few))
    assert len(np.unique(ours.crop_boxes, axis=0)) > 1


def test_clean_up_is_that_of_the_plain_recipe(pixels):
    ours = MaskGenerator(tiny_sam(3), **LOOSE, min_mask_region_area=30).generate(pixels)
    assert_same(ours, plain(pixels, min_area=30))


def test_a_box_is_looked_at_alone(pixels):
    region = (13, 7, 70, 49)
    ours = MaskGenerator(tiny_sam(3), **LOOSE).generate(pixels, roi=region)
    assert_same(ours, plain(pixels, region=region), (13, 7), pixels.shape[:2])
    x0, y0, x1, y1 = ours.boxes.T
    assert (x0 >= 13).all()
    assert (y0 >= 7).all()
    assert (x1 <= 70).all()
    assert (y1 <= 49).all()


def test_a_mask_as_region_asks_its_own_points_alone(pixels):
    roi = np.zeros(pixels.shape[:2], bool)
    roi[10:40, 20:60] = True
    roi[10:25, 20:40] = False
    ours = MaskGenerator(tiny_sam(3), **LOOSE).generate(pixels, roi=roi)
    expected = plain(pixels, region=(20, 10, 60, 40), inside=roi[10:40, 20:60])
    assert_same(ours, expected, (20, 10), pixels.shape[:2])
    at = ours.points.astype(int)
    assert roi[at[:, 1], at[:, 0]].all()


def test_a_region_beyond_the_border_is_cut_and_an_empty_one_refused(pixels):
    generator = MaskGenerator(tiny_sam(3), **LOOSE)
    height, width = pixels.shape[:2]
    whole = generator.generate(pixels)
    assert len(generator.generate(pixels, roi=(-5, -5, width + 9, height + 9))) == len(whole)
    for roi, code in [
        ((5, 5, 5, 9), "roi-empty"),
        ((width, 0, width + 5, 9), "roi-empty"),
        (np.zeros((height, width), bool), "roi-empty"),
        (np.ones((3, 3), bool), "roi-shape"),
        ((1, 2, 3), "roi-shape"),
        ((1, 2, float("nan"), 4), "roi-shape"),
    ]:
        with pytest.raises(PromptError) as error:
            generator.generate(pixels, roi=roi)
        assert error.value.code == code


def test_memory_changes_nothing_but_the_time(pixels):
    small = MaskGenerator(tiny_sam(3), **LOOSE, memory_mb=1).generate(pixels)
    large = MaskGenerator(tiny_sam(3), **LOOSE, memory_mb=4000).generate(pixels)
    assert small.rles == large.rles
    assert np.allclose(small.scores, large.scores, atol=1e-6)


def test_a_mask_decoded_again_comes_from_its_own_logits(pixels):
    model = tiny_sam(3)
    ours = MaskGenerator(
        model, **{**LOOSE, "box_nms_thresh": 1.0, "stability_score_thresh": 0.0}, use_m2m=True
    ).generate(pixels)
    frame = Frame.fit(pixels.shape[:2], model.variant.spec)
    features = encode(model, pixels, frame)
    found = []
    for point in layer_grids(SIDE_OF_GRID, 0, 1)[0] * pixels.shape[1::-1]:
        first = Prompts.parse(size=frame.image, frame=frame, points=[point])
        logits, _ = decode(model, features, first, frame)
        for mask in logits[0, 1:].clamp(-32, 32).numpy():
            again = replace(first, masks=mask[None])
            _, scores = decode(model, features, again, frame)
            if scores[0, 0] > LOOSE["pred_iou_thresh"]:
                found.append(float(scores[0, 0]))
    assert np.allclose(ours.scores, sorted(found, reverse=True), atol=1e-5)


def test_one_mask_a_point_is_the_first_output(pixels):
    ours = MaskGenerator(
        tiny_sam(3),
        **{**LOOSE, "box_nms_thresh": 1.0, "stability_score_thresh": 0.0, "pred_iou_thresh": -9.0},
        multimask_output=False,
    ).generate(pixels)
    assert len({tuple(p) for p in ours.points}) == len(ours)


def test_own_grids_take_the_place_of_the_regular_one(pixels):
    grid = np.array([[0.25, 0.25], [0.6, 0.7]])
    ours = MaskGenerator(
        tiny_sam(3), **{**LOOSE, "points_per_side": None}, point_grids=[grid]
    ).generate(pixels)
    height, width = pixels.shape[:2]
    assert set(map(tuple, ours.points)) <= set(map(tuple, grid * (width, height)))
    assert len(ours)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"points_per_side": None}, "point-grid"),
        ({"point_grids": [np.zeros((1, 2))]}, "point-grid"),
        ({"points_per_side": None, "point_grids": [np.ones((1, 2))]}, "point-grid"),
        ({"points_per_side": None, "point_grids": []}, "point-grid"),
        ({"points_per_side": 0}, "setting"),
        ({"crop_n_layers": -1}, "setting"),
        ({"memory_mb": 0}, "setting"),
        ({"mode": "quick"}, "setting"),
        ({"min_mask_region_area": -1}, "setting"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, code):
    with pytest.raises(PromptError) as error:
        MaskGenerator(tiny_sam(3), **settings)
    assert error.value.code == code


def test_nothing_found_is_a_result(pixels):
    ours = MaskGenerator(tiny_sam(3), points_per_side=3, pred_iou_thresh=1e6).generate(pixels)
    assert len(ours) == 0
    assert ours.records() == []
    assert ours.boxes.shape == (0, 4)
    assert (
        len(
            MaskGenerator(
                tiny_sam(3),
                pred_iou_thresh=1e6,
                points_per_side=3,
                crop_n_layers=1,
                min_mask_region_area=5,
            ).generate(pixels)
        )
        == 0
    )


def test_records_have_the_official_keys_in_their_order(pixels):
    ours = MaskGenerator(tiny_sam(3), **LOOSE).generate(pixels)
    bits, plain_runs, coco = (
        ours.records(mode)[0] for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    )
    assert list(bits) == [
        "segmentation",
        "area",
        "bbox",
        "predicted_iou",
        "point_coords",
        "stability_score",
        "crop_box",
    ]
    assert (
        bits["segmentation"].sum()
        == bits["area"]
        == sum(plain_runs["segmentation"]["counts"][1::2])
    )
    assert coco["segmentation"] == ours.rles[0]
    x0, y0, x1, y1 = tight_boxes(bits["segmentation"])
    assert bits["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    with pytest.raises(Exception, match="no such form"):
        ours.records("polygons")


def test_many_images_give_what_each_gives_alone(pixels):
    generator = MaskGenerator(tiny_sam(3), **LOOSE)
    images = [pixels, pixels[::-1], pixels[:, ::-1], pixels[:, :40], pixels]
    together = list(generator.generate_many(iter(images), together=2))
    assert len(together) == len(images)
    for image, found in zip(images, together, strict=True):
        alone = generator.generate(image)
        assert len(found) == len(alone)
        assert np.allclose(found.scores, alone.scores, atol=1e-5)


def test_threads_share_a_generator(pixels):
    generator = MaskGenerator(tiny_sam(3), **LOOSE)
    images = [pixels, pixels[::-1], pixels[:, ::-1], pixels[::-1, ::-1]]
    alone = [generator.generate(image).rles for image in images]
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(4) as pool:
        together = [found.rles for found in pool.map(generator.generate, images)]
    assert together == alone
    assert torch.get_num_threads() == threads
