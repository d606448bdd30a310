"""A box without a network gives what it gave before."""

import numpy as np
import pytest

from anymask.evaluate.baselines import GRABCUT_SIDE, filled_box, grabcut_box
from anymask.evaluate.interactive import iou


def disc(size, x, y, radius):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def painted(mask, seed=0):
    """A red thing on grey, with noise."""
    noise = np.random.default_rng(seed).normal(0, 8, (*mask.shape, 3))
    return np.clip(
        np.where(mask[..., None], (190, 60, 50), (110, 120, 130)) + noise, 0, 255
    ).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "columns", "rows"),
    [
        ((1.0, 2.0, 4.0, 3.0), (1, 4), (2, 3)),
        ((0.4, 0.0, 2.6, 4.0), (0, 3), (0, 4)),
        ((0.6, 0.0, 2.4, 4.0), (1, 2), (0, 4)),
        ((0.0, 0.0, 6.0, 4.0), (0, 6), (0, 4)),
    ],
)
def test_a_filled_box_holds_the_pixels_whose_centres_lie_inside(box, columns, rows):
    expected = np.zeros((4, 6), bool)
    expected[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(filled_box((4, 6), box), expected)


@pytest.mark.parametrize("size", [(90, 120), (400, 300)], ids=["as it is", "scaled down"])
def test_grabcut_finds_a_thing_of_another_colour(size):
    assert (max(size) > GRABCUT_SIDE) == (size == (400, 300))
    radius = size[0] // 5
    mask = disc(size, size[1] // 2, size[0] // 2, radius)
    x, y = size[1] // 2, size[0] // 2
    box = tuple(map(float, (x - radius, y - radius, x + radius + 1, y + radius + 1)))
    found = grabcut_box(painted(mask), box)
    assert (found.shape, found.dtype) == (size, bool)
    assert iou(mask, found) > 0.95 > iou(mask, filled_box(size, box))


def test_grabcut_gives_the_same_mask_again():
    mask = disc((80, 80), 40, 40, 20)
    pixels = painted(mask)
    first = grabcut_box(pixels, (18.0, 18.0, 64.0, 63.0))
    grabcut_box(painted(mask, seed=1), (10.0, 10.0, 70.0, 70.0))
    np.testing.assert_array_equal(grabcut_box(pixels, (18.0, 18.0, 64.0, 63.0)), first)


def test_the_picture_is_left_as_it_was():
    pixels = painted(disc((80, 80), 40, 40, 20))
    pixels.flags.writeable = False
    grabcut_box(pixels, (18.0, 18.0, 64.0, 63.0))


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((30, 40), (0.0, 0.0, 40.0, 30.0)),
        ((30, 40), (39.0, 29.0, 40.0, 30.0)),
        ((600, 800), (799.0, 0.0, 800.0, 1.0)),
        ((600, 2), (0.0, 0.0, 1.0, 599.0)),
        ((1, 1), (0.0, 0.0, 1.0, 1.0)),
        ((8, 9), (0.2, 0.2, 8.9, 7.9)),
    ],
    ids=["whole picture", "last pixel", "one pixel of many", "thin", "one pixel", "nearly whole"],
)
def test_boxes_at_the_edge_give_a_mask(size, box):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert grabcut_box(pixels, box).shape == size
