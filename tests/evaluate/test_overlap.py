"""Overlap and boxes of small masks are what one counts by hand."""

import numpy as np
import pytest

from anymask.evaluate.interactive import iou, tight_box


@pytest.mark.parametrize(
    ("truth", "predicted", "ignore", "value"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], None, 1),
        ([1, 1, 0, 0], [0, 1, 1, 0], None, 1 / 3),
        ([1, 1, 0, 0], [0, 0, 1, 1], None, 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], None, 1),
        ([1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], 1 / 2),
        ([1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0], 1),
        ([1, 1, 0, 0], [0, 0, 1, 0], [1, 1, 1, 0], 1),
    ],
    ids=["same", "overlap", "apart", "both empty", "missed", "all errors", "all pixels"],
)
def test_iou(truth, predicted, ignore, value):
    truth, predicted = (np.array([row], bool) for row in (truth, predicted))
    ignore = None if ignore is None else np.array([ignore], bool)
    assert iou(truth, predicted, ignore) == pytest.approx(value)


def test_a_tight_box_runs_along_the_outer_edges_of_pixels():
    mask = np.zeros((48, 64), bool)
    mask[8:28, 4:24] = True
    assert tight_box(mask) == (4, 8, 24, 28)
    assert tight_box(np.ones((3, 5), bool)) == (0, 0, 5, 3)
