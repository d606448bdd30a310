"""Outlines to masks: told by pixel centres, even-odd, cut to the picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anymask.mask_fill import fill_rings
from anymask.mask_outlines import polygons

masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), fill=st.booleans())
corners = st.lists(
    st.tuples(st.floats(-20, 30, width=32), st.floats(-20, 30, width=32)), min_size=3, max_size=9
)


def slowly(ring, size):
    """Pixel after pixel, edge after edge."""
    found = np.zeros(size, bool)
    for row, column in np.ndindex(size):
        x, y = column + 0.5, row + 0.5
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if (y0 > y1) != (y0 >= y1) or (y0 <= y) == (y1 <= y):
                continue
            if y0 > y1:
                x0, y0, x1, y1 = x1, y1, x0, y0
            found[row, column] ^= x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
    return found


@given(masks)
def test_outlines_along_pixel_edges_give_their_mask_back(mask):
    rings = [np.array(ring) for rings in polygons(mask) for ring in rings]
    np.testing.assert_array_equal(fill_rings(rings, mask.shape), mask)


@given(corners)
def test_any_ring_is_filled_as_told_pixel_by_pixel(points):
    ring = np.array(points, np.float64)
    np.testing.assert_array_equal(fill_rings([ring], (7, 9)), slowly(ring, (7, 9)))


@given(corners, st.integers(0, 8))
def test_where_a_ring_begins_and_which_way_it_goes_does_not_matter(points, turn):
    ring = np.array(points, np.float64)
    first = fill_rings([ring], (9, 9))
    np.testing.assert_array_equal(fill_rings([np.roll(ring, turn, axis=0)], (9, 9)), first)
    np.testing.assert_array_equal(fill_rings([ring[::-1]], (9, 9)), first)


@given(corners)
def test_a_ring_told_twice_is_empty(points):
    ring = np.array(points, np.float64)
    assert not fill_rings([ring, ring], (9, 9)).any()


def test_nothing_and_far_away_things_are_empty():
    far = np.array([[1e9, 1e9], [2e9, 1e9], [2e9, 2e9]])
    for rings in ([], [np.empty((0, 2))], [far], [-far]):
        assert not fill_rings(rings, (3, 4)).any()
    around = np.array([[-1e12, -1e12], [1e12, -1e12], [1e12, 1e12], [-1e12, 1e12]])
    assert fill_rings([around], (3, 4)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_corners_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="finite"):
        fill_rings([np.array([[0, 0], [value, 1], [2, 2.0]])], (3, 4))


def test_outlines_too_long_for_any_picture_are_refused():
    ring = np.tile([[0.0, 0.0], [1.0, 2000.0]], (20_000, 1))
    with pytest.raises(ValueError, match="too long"):
        fill_rings([ring], (2000, 2))
