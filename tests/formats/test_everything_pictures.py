"""What people look at: every mask can be told from its neighbours, every photo has its name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymask.errors import DataError
from anymask.formats.everything_pictures import (
    COLORS,
    contact_sheet,
    contact_sheets,
    overlay_everything,
)
from anymask.masks import Masks
from rectangles import rectangles


def grey(height, width):
    return np.full((height, width, 3), 128, np.uint8)


def test_small_masks_lie_on_large_ones_whatever_their_order():
    photo = grey(40, 60)
    large, small = (0, 0, 60, 40), (20, 10, 40, 30)
    one = overlay_everything(photo, rectangles((40, 60), large, small))
    other = overlay_everything(photo, rectangles((40, 60), small, large))
    assert (one == other).all()
    inside, around = one[20, 30], one[20, 8]
    assert np.abs(inside.astype(int) - around).max() > 40


def test_what_no_mask_covers_is_dimmed_and_the_photo_stays_as_it_was():
    photo = grey(40, 60)
    drawn = overlay_everything(photo, rectangles((40, 60), (0, 0, 20, 40)))
    assert (drawn[:, 30:] < 100).all()
    assert (photo == 128).all()
    assert (drawn.shape, drawn.dtype) == (photo.shape, np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5)])
def test_photos_of_any_shape_are_drawn_also_without_masks(size):
    photo = grey(*size)
    assert overlay_everything(photo, Masks.from_bits(np.zeros((0, *size), bool))).shape == (
        *size,
        3,
    )
    assert overlay_everything(photo, Masks.from_bits(np.zeros((1, *size), bool))).shape == (
        *size,
        3,
    )
    assert overlay_everything(photo, Masks.from_bits(np.ones((2, *size), bool))).shape == (*size, 3)


def test_masks_of_another_picture_are_refused():
    with pytest.raises(DataError) as error:
        overlay_everything(grey(40, 60), rectangles((60, 40), (0, 0, 5, 5)))
    assert error.value.code == "picture-size"


def test_a_mask_that_is_hidden_keeps_a_faint_outline():
    photo, size = grey(60, 60), (60, 60)
    whole, part = (0, 0, 60, 60), (20, 20, 40, 40)
    masks = rectangles(size, whole, part)
    masks = Masks(size=size, rles=masks.rles, scores=np.array([0.9, 0.3], np.float32))
    alone = Masks(size=size, rles=masks.rles[:1], scores=masks.scores[:1])
    differs = (overlay_everything(photo, masks) != overlay_everything(photo, alone)).any(-1)
    assert differs[20, 20:40].all()
    assert not differs[25:35, 25:35].any()


def test_outlines_go_with_the_size_of_the_photo():
    def outline(height, width):
        masks = rectangles((height, width), (width // 4, height // 4, width // 2, height // 2))
        row = overlay_everything(grey(height, width), masks)[height * 3 // 8, : width * 3 // 8]
        flat = (row == row[0]).all(-1) | (row == row[-1]).all(-1)
        return int((~flat).sum())

    assert 1 <= outline(300, 400) <= 4
    assert 4 <= outline(3000, 4000) <= 10


def tint(drawn, x, y):
    """The colour that was laid over grey."""
    return drawn[y, x].astype(int)


@given(
    corners=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5)), min_size=2, max_size=10),
)
def test_masks_that_touch_can_be_told_apart(corners):
    spans = [(10 * x, 10 * y, 10 * x + 10, 10 * y + 10) for x, y in dict.fromkeys(corners)]
    drawn = overlay_everything(grey(60, 90), rectangles((60, 90), *spans))
    colors = {(x0, y0): tint(drawn, x0 + 5, y0 + 5) for x0, y0, _, _ in spans}
    for (x, y), color in colors.items():
        for beside in ((x + 10, y), (x, y + 10)):
            if beside in colors:
                assert np.abs(color - colors[beside]).max() >= 20


def test_the_palette_has_no_twins():
    table = np.array(COLORS, int)
    apart = np.abs(table[:, None] - table[None]).sum(-1) + 999 * np.eye(len(table), dtype=int)
    assert apart.min() >= 70


def test_the_same_masks_give_the_same_picture():
    random = np.random.default_rng(0)
    masks = Masks.from_bits(random.random((12, 30, 40)) < 0.3)
    photo = random.integers(0, 255, (30, 40, 3), np.uint8)
    assert (overlay_everything(photo, masks) == overlay_everything(photo, masks)).all()


def test_many_pictures_make_several_sheets_of_bounded_size_taken_one_by_one():
    asked = []

    def pictures():
        for i in range(13):
            asked.append(i)
            yield f"photo{i}.jpg", grey(300, 400)

    sheets = contact_sheets(pictures(), columns=3, rows=2, tile=100)
    first = next(sheets)
    assert asked == list(range(6))
    others = list(sheets)
    assert len(others) == 2
    assert others[0].shape == first.shape
    assert others[-1].shape[0] < first.shape[0]
    assert max(first.shape) < 500


def test_pictures_are_scaled_down_whole_but_never_up():
    red = np.full((200, 400, 3), (255, 0, 0), np.uint8)
    sheet = contact_sheet([("wide", red), ("tiny", red[:10, :20])], columns=2, tile=100)
    found = (sheet == (255, 0, 0)).all(-1)
    assert found.sum() == 50 * 100 + 10 * 20


@pytest.mark.parametrize(
    "name",
    ["", "a.jpg", "x" * 300, "日本語.jpg", "Zoë’s\n\tphoto\udcff.png", "a/b/c.jpg"],
)
def test_every_name_finds_its_place_below_its_picture(name):
    plain = contact_sheet([("", grey(40, 100))], tile=100)
    named = contact_sheet([(name, grey(40, 100))], tile=100)
    assert named.shape == plain.shape
    differs = (named != plain).any(-1)
    assert differs.any() == bool(name)
    if name:
        rows = np.flatnonzero(differs.any(1))
        assert rows.min() >= 12 + 40  # below the picture
    assert not differs[:, :12].any() and not differs[:, -12:].any()


def test_no_pictures_make_no_sheet_but_an_empty_one_can_be_asked_for():
    assert list(contact_sheets([])) == []
    assert contact_sheet([]).ndim == 3


def test_a_thin_picture_stays_visible():
    sheet = contact_sheet([("line", np.full((1, 5000, 3), 255, np.uint8))], tile=100)
    assert (sheet == 255).all(-1).sum() >= 100
