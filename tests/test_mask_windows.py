"""Run lengths of a window are those of the whole mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anymask.mask_geometry import tight_boxes
from anymask.mask_rle import encode_rle
from anymask.mask_windows import ColumnRuns, box_of_bits, encode_window


@st.composite
def windows(draw):
    """An image's size, a window's corner, and bits in it."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    top, left = draw(st.integers(0, height)), draw(st.integers(0, width))
    tall, wide = draw(st.integers(0, height - top)), draw(st.integers(0, width - left))
    if draw(st.booleans()):
        top, tall = 0, height  # runs go on from column to column
    return (height, width), (left, top), draw(arrays.arrays(bool, (tall, wide)))


@given(windows())
def test_a_window_gives_the_run_lengths_of_the_whole_mask(case):
    size, (left, top), bits = case
    whole = np.zeros(size, bool)
    whole[top : top + bits.shape[0], left : left + bits.shape[1]] = bits
    assert encode_window(bits, (left, top), size) == encode_rle(whole)


@given(windows())
def test_a_box_is_that_of_the_whole_mask(case):
    size, (left, top), bits = case
    whole = np.zeros(size, bool)
    whole[top : top + bits.shape[0], left : left + bits.shape[1]] = bits
    assert box_of_bits(bits, (left, top)) == tuple(tight_boxes(whole))


@pytest.mark.parametrize("value", [False, True])
def test_a_mask_of_one_colour_keeps_coco_s_form(value):
    bits = np.full((3, 4), value)
    assert encode_window(bits, (0, 0), (3, 4)) == encode_rle(bits)


@given(windows(), st.integers(1, 5))
def test_columns_one_after_the_other_give_the_run_lengths_of_the_whole(case, step):
    size, (left, top), bits = case
    runs = ColumnRuns(size)
    for start in range(0, bits.shape[1], step):
        runs.add(bits[:, start : start + step], (left + start, top))
    assert runs.rle() == encode_window(bits, (left, top), size)
