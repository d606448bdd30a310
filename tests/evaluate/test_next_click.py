"""The simulated user clicks where the largest circle fits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anymask.errors import DataError
from anymask.evaluate.clicks import inner_distance, innermost_point, next_click

RULES = settings(deadline=None, derandomize=True, max_examples=60)


def drawn(text):
    return np.array([[c == "#" for c in line] for line in text.split()])


@pytest.mark.parametrize(
    ("mask", "point"),
    [
        ("..... .###. .###. .###. .....", (2, 2)),
        ("...... .####. .####. .####. ......", (2, 2)),
        ("##### ##### #####", (1, 1)),
        ("#.... ..... .###. .###. .###.", (2, 3)),
        ("#", (0, 0)),
        (".#. ... .#.", (1, 0)),
        ("..... ##### .....", (0, 1)),
        ("####. ####. ####. ####. .....", (1, 1)),
    ],
    ids=[
        "centre of a square",
        "first of two equal pixels",
        "the border counts as outside",
        "the thickest part",
        "one pixel",
        "first of two dots",
        "a line: all are equal",
        "a corner is no centre",
    ],
)
def test_innermost_point(mask, point):
    assert innermost_point(drawn(mask)) == point


def test_the_innermost_point_of_a_disc_is_its_centre():
    y, x = np.mgrid[:101, :81]
    assert innermost_point((x - 37) ** 2 + (y - 52) ** 2 <= 20**2) == (37, 52)


def test_an_empty_mask_has_no_innermost_point():
    with pytest.raises(DataError, match="mask-empty"):
        innermost_point(np.zeros((3, 3), bool))


@RULES
@given(seed=st.integers(0, 9999))
def test_the_distance_is_that_to_the_nearest_pixel_outside(seed):
    rng = np.random.default_rng(seed)
    region = rng.random(rng.integers(1, 12, 2)) < 0.8
    outside = np.argwhere(~np.pad(region, 1)) - 1
    pixels = np.argwhere(np.ones_like(region))
    slow = np.sqrt(((pixels[:, None] - outside[None]) ** 2).sum(-1).min(1)).reshape(region.shape)
    np.testing.assert_allclose(inner_distance(region), slow, rtol=1e-6)


def test_arrays_of_any_layout_are_taken():
    mask = drawn("..... .###. .###. .###. .....")
    assert innermost_point(np.asfortranarray(mask)) == (2, 2)
    assert innermost_point(np.repeat(mask, 2, 1)[:, ::2]) == (2, 2)


CLICKS = {
    "all of it is missed": ("..... .###. .###. .###. .....", ".....", (2, 2, 1)),
    "too much of it": (".....", "..... .###. .###. .###. .....", (2, 2, 0)),
    "the larger circle, not the larger area": (
        "#########. .......... ...###.... ...###.... ...###.... .......... ..........",
        "..........",
        (4, 3, 1),
    ),
    "superfluous is thicker": (
        "#######.... ........... ........... ........... ...........",
        "........... ........... .......###. .......###. .......###.",
        (8, 3, 0),
    ),
    "of two equal ones the missed": (
        "####.... ####.... ####.... ####....",
        "....#### ....#### ....#### ....####",
        (1, 1, 1),
    ),
}


@pytest.mark.parametrize(("truth", "predicted", "click"), CLICKS.values(), ids=CLICKS)
def test_next_click(truth, predicted, click):
    rows = max(truth.split(), predicted.split(), key=len)
    empty = " ".join(["." * len(rows[0])] * len(rows))
    truth, predicted = (drawn(t if len(t.split()) > 1 else empty) for t in (truth, predicted))
    assert next_click(truth, predicted) == click


def test_parts_that_touch_at_a_corner_are_clicked_apart():
    truth = drawn("###..... ###..... ###..... ...##### ...##### ...##### ...##### ...#####")
    truth = np.pad(truth, 1)
    assert next_click(truth, np.zeros_like(truth)) == (6, 6, 1)


def test_nothing_wrong_means_no_click():
    truth = drawn("..#.. .###. ..#..")
    assert next_click(truth, truth) is None


def test_ignored_pixels_are_never_wrong():
    truth = drawn("####.... ####.... ####.... ####....")
    ignore = drawn("####.... ####.... ####.... ###.....")
    assert next_click(truth, np.zeros_like(truth), ignore) == (3, 3, 1)
    assert next_click(truth, ~truth & truth, truth) is None


@RULES
@given(seed=st.integers(0, 9999))
def test_a_click_lies_on_an_error_of_its_kind(seed):
    rng = np.random.default_rng(seed)
    truth, predicted, ignore = rng.random((3, *rng.integers(1, 12, 2))) < 0.5
    click = next_click(truth, predicted, ignore)
    if click is None:
        assert not ((truth ^ predicted) & ~ignore).any()
    else:
        x, y, label = click
        assert (truth[y, x], predicted[y, x], ignore[y, x]) == (label == 1, label == 0, False)
