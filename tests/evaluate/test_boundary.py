"""Boundary F is what one counts by hand, and what the slow way of its definition gives."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anymask.evaluate.boundary import BoundaryScore, border, boundary_score, tolerance_px
from rectangles import rectangle


def square(left: int, top: int = 20, side: int = 40) -> np.ndarray:
    return rectangle((100, 100), left, top, left + side, top + side)


@pytest.mark.parametrize(
    ("shift", "reach", "kept"), [(0, 1, 160), (1, 1, 160), (2, 1, 82), (4, 3, 86), (4, 4, 160)]
)
def test_of_a_square_moved_sideways_the_border_within_reach_is_kept(shift, reach, kept):
    """The border of a square of 40 px is the 160 px around 41 x 41.

    Moved one px beyond reach, each level side loses its last px; of the upright sides only what
    lies within reach of the other square's level sides is kept: reach px at two of their ends.
    """
    known = boundary_score(square(20), square(20 + shift), tolerance=reach)
    assert known.precision == pytest.approx(kept / 160)
    assert known.recall == pytest.approx(kept / 160)
    assert known.f == pytest.approx(kept / 160)


def test_distances_are_round_not_square():
    truth, found = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    truth[10, 10] = found[14, 13] = True  # borders are 2 x 2 px; 3 across and 4 down is 5 away
    assert boundary_score(truth, found, tolerance=5).f == 1
    nearer = boundary_score(truth, found, tolerance=4)
    # the nearest px are 2 across and 3 down apart; the next ones 3 and 3: 4.2 px
    assert (nearer.precision, nearer.recall) == (1 / 4, 1 / 4)


def test_half_of_an_object_is_exact_but_incomplete():
    truth = square(20)
    half = truth.copy()
    half[:, 40:] = False
    known = boundary_score(truth, half, tolerance=1)
    assert known.recall < 0.6 < known.precision < 1


@pytest.mark.parametrize(
    ("truth", "found", "precision", "recall", "f"),
    [
        (np.zeros((9, 9), bool), np.zeros((9, 9), bool), 1, 1, 1),
        (square(20), np.zeros((100, 100), bool), 1, 0, 0),
        (np.zeros((100, 100), bool), square(20), 0, 1, 0),
        (np.ones((9, 9), bool), np.zeros((9, 9), bool), 1, 1, 1),
        (square(0, 0, 20), square(70, 70, 20), 0, 0, 0),
    ],
    ids=["both empty", "nothing found", "nothing there", "borders beyond the image", "far apart"],
)
def test_masks_without_a_border_and_masks_apart(truth, found, precision, recall, f):
    known = boundary_score(truth, found)
    assert (known.precision, known.recall, known.f) == (precision, recall, f)


def test_ignored_pixels_belong_to_neither_mask():
    truth, found, ignore = square(20), square(20), np.zeros((100, 100), bool)
    found[20:60, 70:90] = True
    ignore[:, 65:] = True
    assert boundary_score(truth, found, tolerance=1).precision < 1
    assert boundary_score(truth, found, ignore, tolerance=1).f == 1


@pytest.mark.parametrize(
    ("size", "tolerance", "px"),
    [((480, 854), 0.008, 8), ((384, 216), 0.008, 4), ((100, 100), 0.02, 3), ((480, 854), 3, 3)],
    ids=["DAVIS", "ours", "rounded up", "already px"],
)
def test_a_tolerance_is_a_share_of_the_diagonal(size, tolerance, px):
    assert tolerance_px(*size, tolerance) == px


def test_f_is_the_harmonic_mean():
    assert BoundaryScore(precision=0.5, recall=1.0).f == pytest.approx(2 / 3)
    assert BoundaryScore(precision=0.0, recall=0.0).f == 0


masks = arrays(bool, (24, 31), elements=st.booleans(), fill=st.booleans())


@settings(max_examples=40)
@given(truth=masks, found=masks, reach=st.integers(1, 6))
def test_it_is_what_dilation_with_a_disk_gives(truth, found, reach):
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x * x + y * y <= reach * reach).astype(np.uint8)
    wanted, seen = border(truth), border(found)
    known = boundary_score(truth, found, tolerance=reach)
    if wanted.any() and seen.any():
        precision = cv2.dilate(wanted.astype(np.uint8), disk)[seen].mean()
        recall = cv2.dilate(seen.astype(np.uint8), disk)[wanted].mean()
        assert (known.precision, known.recall) == pytest.approx((precision, recall))
    swapped = boundary_score(found, truth, tolerance=reach)
    assert (swapped.precision, swapped.recall) == (known.recall, known.precision)


@settings(max_examples=40)
@given(mask=masks)
def test_the_border_of_a_mask_is_that_of_what_it_leaves(mask):
    assert np.array_equal(border(mask), border(~mask))
    assert boundary_score(mask, mask).f == 1
