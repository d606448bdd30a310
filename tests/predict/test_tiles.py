"""Large images: prompts find their windows, masks have no seams, memory is that of a tile."""

import numpy as np
import pytest

from anymask import load
from anymask.errors import PromptError
from anymask.image import resize
from anymask.masks import Masks
from anymask.predict.everything import MaskGenerator
from anymask.predict.everything_tiles import generate_tiled
from anymask.predict.image import ImagePredictor
from anymask.predict.refine import Window
from anymask.predict.tiles import TiledPredictor, around, first_window, starts
from anymask.prompts import Prompts


@pytest.fixture(scope="module")
def model():
    return load("nano", device="cpu")


def discs(size: int, *places: tuple[int, int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Bright textured discs (x, y, radius) on a dull ground, and their masks."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    pixels = np.full((size, size, 3), (60, 70, 60), np.uint8)
    masks = []
    for i, (cx, cy, radius) in enumerate(places):
        mask = (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
        pixels[mask] = ((230, 60, 40), (60, 90, 230), (240, 200, 40))[i % 3]
        masks.append(mask)
    noise = rng.integers(-6, 7, (size, size, 1))
    return np.clip(pixels + noise, 0, 255).astype(np.uint8), masks


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_small_object_is_seen_in_a_tile_of_its_own(model):
    pixels, masks = discs(2400, (1900, 600, 60))
    predictor = TiledPredictor(model, tile=512)
    found = predictor.predict(pixels, boxes=[1835, 535, 1965, 665])
    assert isinstance(found, Masks)
    assert iou(found[0], masks[0]) > 0.9
    # seen whole at 384 px the disc has a diameter of 19 px
    untiled = ImagePredictor(model, zoom=False)
    coarse = untiled.predict(untiled.encode(pixels), boxes=[1835, 535, 1965, 665])
    assert iou(found[0], masks[0]) > iou(coarse.best_mask, masks[0])


def test_i17_an_object_over_many_tiles_comes_out_as_one_without_seams(model):
    pixels, masks = discs(2000, (1000, 1000, 620))
    predictor = TiledPredictor(model, tile=512)
    found = predictor.predict(pixels, boxes=[370, 370, 1630, 1630])[0]
    assert iou(found, masks[0]) > 0.95
    inner = (np.mgrid[:2000, :2000][0] - 1000) ** 2 + (np.mgrid[:2000, :2000][1] - 1000) ** 2
    assert found[inner < 560**2].all()  # no gap where tiles meet
    untiled = ImagePredictor(model)
    coarse = untiled.predict(untiled.encode(pixels), boxes=[370, 370, 1630, 1630])
    assert iou(found, coarse.best_mask) > 0.93


def test_prompts_are_answered_in_their_order(model):
    pixels, masks = discs(1600, (300, 300, 120), (1200, 1100, 150))
    boxes = [[1045, 945, 1355, 1255], [175, 175, 425, 425]]
    found = TiledPredictor(model, tile=512).predict(pixels, boxes=boxes)
    assert iou(found[0], masks[1]) > 0.9
    assert iou(found[1], masks[0]) > 0.9


def test_a_click_finds_its_object_at_the_scale_that_shows_it(model):
    pixels, masks = discs(1600, (800, 800, 330))
    found = TiledPredictor(model, tile=384).predict(pixels, points=[[800, 800]])
    assert iou(found[0], masks[0]) > 0.9


def test_i17_everything_merges_objects_over_seams_and_skips_flat_tiles(model):
    pixels, masks = discs(1000, (480, 300, 200), (200, 800, 70))
    pixels[550:, 550:] = 90  # the last tile is flat
    generator = MaskGenerator(model, points_per_side=6)
    found = generate_tiled(generator, pixels, tile=400)
    for mask in masks:
        assert max(iou(bits, mask) for bits in found) > 0.85
    assert [600, 600, 400, 400] not in found.crop_boxes.tolist()
    assert [300, 300, 400, 400] in found.crop_boxes.tolist()
    assert len(found.keep([0]).records()) == 1


def test_i17_a_flat_image_has_no_masks(model):
    flat = np.full((900, 900, 3), 120, np.uint8)
    assert len(generate_tiled(MaskGenerator(model, points_per_side=4), flat, tile=384)) == 0


def test_windows_stay_in_the_image_and_hold_the_prompt():
    size = (300, 1000)
    for x, y in [(0, 0), (999, 299), (500, 150), (3, 298)]:
        prompt = Prompts.parse(size=size, points=[[x, y]])
        window = first_window(prompt, size, 256)
        assert window.size == (256, 256)
        assert window.x0 <= x < window.x1
        assert window.y0 <= y < window.y1
        assert window.x0 >= 0
        assert window.y1 <= 300
    box = Prompts.parse(size=size, boxes=[100, 10, 900, 290])
    assert first_window(box, size, 256).x0 <= 100
    assert around((500, 150), 5000, size) == Window(x0=0, y0=0, x1=1000, y1=300)


def test_tiles_cover_everything():
    for first, stop, tile, step in [(0, 25, 10, 8), (5, 9, 10, 8), (0, 1000, 256, 192)]:
        found = starts(first, stop, tile, step)
        covered = np.zeros(stop, bool)
        for start in found:
            covered[start : start + tile] = True
        assert covered[first:].all()


@pytest.mark.parametrize("settings", [{"tile": 8}, {"overlap": 0.5}, {"overlap": -0.1}])
def test_tiles_of_no_size_are_refused(model, settings):
    with pytest.raises(PromptError) as error:
        TiledPredictor(model, **settings)
    assert error.value.code == "setting"


@pytest.mark.slow
def test_i17_the_result_of_a_large_image_is_that_of_its_small_twin(model):
    small, masks = discs(3000, (1400, 1500, 700), (2500, 500, 200))
    large = np.array(resize(small, (9000, 9000)))
    untiled = ImagePredictor(model)
    embedding = untiled.encode(small)
    for box, mask in zip([[690, 790, 2110, 2210], [2295, 295, 2705, 705]], masks, strict=True):
        twin = untiled.predict(embedding, boxes=box).best_mask
        found = TiledPredictor(model).predict(large, boxes=[3 * v for v in box])[0][1::3, 1::3]
        assert iou(found, mask) > 0.93
        assert iou(found, twin) > 0.9
