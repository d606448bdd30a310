"""Masks as pictures."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from anymask.errors import OutputError
from anymask.formats.png import (
    COLORS,
    cutout,
    encode_png,
    line_width,
    mask_png,
    overlay,
)
from anymask.formats.result import Asked

masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda hw: arrays(bool, hw))


def photo(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(40, 216, (*size, 3), dtype=np.uint8)


def disc(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    return np.hypot(x, y) <= radius


def read(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@given(masks)
def test_a_mask_is_written_as_grey_0_and_255(mask: np.ndarray) -> None:
    picture = read(mask_png(mask))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), mask * np.uint8(255))


@pytest.mark.parametrize("order", ["C", "F"])
def test_masks_in_any_order_of_memory_do(order: str) -> None:
    mask = np.asarray(disc(40, 11), order=order)
    pixels = photo((40, 40))
    assert np.array_equal(np.asarray(read(mask_png(mask))), mask * np.uint8(255))
    assert np.array_equal(overlay(pixels, [mask]), overlay(pixels, [disc(40, 11)]))
    assert np.array_equal(cutout(pixels, mask), cutout(pixels, disc(40, 11)))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("own", [False, True])
def test_colours_come_back_exactly(channels: int, own: bool) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, channels), dtype=np.uint8)
    before = pixels.copy()
    assert np.array_equal(np.asarray(read(encode_png(pixels, own=own))), before)
    assert own or np.array_equal(pixels, before)


def test_a_picture_no_png_can_hold_is_an_error() -> None:
    with pytest.raises(OutputError, match=r"^png-failed"):
        encode_png(np.zeros((0, 4, 3), np.uint8))


@given(masks)
def test_a_cutout_shows_exactly_the_mask(mask: np.ndarray) -> None:
    pixels = photo(mask.shape)
    rgba = cutout(pixels, mask)
    if not mask.any():
        assert rgba.shape == (1, 1, 4)
        assert not rgba.any()
        return
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.s_[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    assert np.array_equal(rgba[..., 3] > 0, mask[box])
    assert np.array_equal(rgba[..., :3], pixels[box] * mask[box][..., None])


def test_the_edge_of_a_cutout_is_soft_and_its_inside_opaque() -> None:
    alpha = cutout(photo((40, 40)), disc(40, 12))[..., 3]
    edge = alpha[(alpha > 0) & (alpha < 255)]
    assert edge.min() >= 128
    assert (alpha == 255).sum() > 0.7 * disc(40, 12).sum()
    assert len(edge) > 2 * 12


def test_an_object_cut_off_by_the_border_is_opaque_there() -> None:
    mask = np.zeros((20, 20), bool)
    mask[10:, :] = True
    alpha = cutout(photo((20, 20)), mask)[..., 3]
    assert (alpha[0] < 255).all()
    assert (alpha[1:] == 255).all()


def test_an_overlay_dims_the_rest_and_tints_the_object() -> None:
    pixels, mask = photo((200, 200)), disc(200, 50)
    drawn = overlay(pixels, [mask]).astype(int)
    inside, outside = disc(200, 40), ~disc(200, 60)
    toward = drawn[inside] - pixels[inside]
    color = np.array(COLORS[0])
    assert (np.sign(toward) * np.sign(color - pixels[inside].astype(int)) >= 0).all()
    assert np.abs(drawn[outside] - 0.55 * pixels[outside]).max() <= 1
    assert drawn[inside].mean() > 1.3 * drawn[outside].mean()


def test_an_outline_has_the_objects_colour_all_around_and_soft_edges() -> None:
    pixels, mask = np.full((400, 400, 3), 128, np.uint8), disc(400, 100)
    drawn = overlay(pixels, [mask]).astype(int)
    for angle in np.linspace(0, 2 * np.pi, 50):
        ray = [
            (round(200 + r * np.sin(angle)), round(200 + r * np.cos(angle)))
            for r in np.arange(95, 106, 0.5)
        ]
        nearest = min(np.abs(drawn[y, x] - COLORS[0]).max() for y, x in ray)
        assert nearest <= 12
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 20  # steps between line and ground


@pytest.mark.parametrize(
    ("size", "width"), [((300, 400), 2), ((1000, 1500), 3), ((3000, 4000), 8), ((1, 1), 2)]
)
def test_lines_grow_with_the_picture(size: tuple[int, int], width: int) -> None:
    assert line_width(size) == width


def test_clicks_are_green_on_and_red_off_the_object_with_a_white_ring() -> None:
    pixels, mask = np.full((200, 200, 3), 90, np.uint8), disc(200, 60)
    asked = Asked(points=((100.0, 100.0), (20.0, 20.0)), labels=(1, 0))
    drawn = overlay(pixels, [mask], [asked]).astype(int)
    for (x, y), strong in (((100, 100), 1), ((20, 20), 0)):
        near = drawn[y - 12 : y + 13, x - 12 : x + 13].reshape(-1, 3)
        of_color = near[near[:, strong] > near.sum(1) - near[:, strong] + 20]
        assert len(of_color) > 30
        assert (near.min(1) > 240).sum() > 15  # ring and sign


def test_boxes_are_drawn_on_their_own_pixels() -> None:
    pixels, mask = np.full((100, 100, 3), 90, np.uint8), np.zeros((100, 100), bool)
    drawn = overlay(pixels, [mask], [Asked(box=(20.0, 30.0, 60.0, 70.0))])
    assert (drawn[29:31, 40] > 150).any()
    assert (drawn[69:71, 40] > 150).any()
    assert (drawn[50, 30] < 60).all()


def test_several_objects_have_colours_of_their_own() -> None:
    pixels = np.full((100, 300, 3), 128, np.uint8)
    several = [np.roll(np.pad(disc(100, 30), ((0, 0), (0, 200))), 100 * i, 1) for i in range(3)]
    drawn = overlay(pixels, iter(several))
    assert len({tuple(drawn[50, 50 + 100 * i].tolist()) for i in range(3)}) == 3


def test_h6_an_empty_mask_gives_a_dimmed_picture() -> None:
    pixels = photo((20, 30))
    drawn = overlay(pixels, [np.zeros((20, 30), bool)])
    assert drawn.shape == pixels.shape
    assert drawn.mean() < 0.6 * pixels.mean()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_i16_tiny_and_narrow_pictures_are_drawn(size: tuple[int, int]) -> None:
    mask = np.ones(size, bool)
    asked = Asked(points=((0.0, 0.0),), labels=(1,), box=(0.0, 0.0, float(size[1]), float(size[0])))
    assert overlay(photo(size), [mask], [asked]).shape == (*size, 3)


@given(masks)
def test_h4_pixels_and_masks_are_not_written_to(mask: np.ndarray) -> None:
    pixels = photo(mask.shape)
    mask, pixels = mask.copy(), pixels.copy()
    before = mask.copy(), pixels.copy()
    mask.flags.writeable = pixels.flags.writeable = False
    overlay(pixels, [mask])
    cutout(pixels, mask)
    mask_png(mask)
    assert np.array_equal(mask, before[0])
    assert np.array_equal(pixels, before[1])
