"""Masks of everything mode that words name."""

from dataclasses import replace

import numpy as np
import pytest

from anymask.masks import Masks
from anymask.predict.text_match import matching
from anymask.text_boxes import TextBoxes
from rectangles import rectangles


def masks(*boxes):
    return rectangles((40, 60), *boxes)


def found(*boxes):
    none = TextBoxes.none(1)
    return TextBoxes(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.ones(len(boxes), np.float32),
        phrases=np.zeros(len(boxes), np.int64),
        kinds=np.zeros(len(boxes), np.int64),
        names=("dog",) * len(boxes),
        best=none.best,
    )


DOG, HEAD, CAR = (5, 5, 25, 30), (5, 5, 15, 12), (30, 10, 58, 35)


@pytest.mark.parametrize(
    ("boxes", "kept"),
    [
        ([DOG], [1]),
        ([HEAD, DOG], [0, 1]),
        ([(6, 5, 25, 29), DOG], [1]),  # the same mask twice is one
        ([(0, 0, 60, 40)], []),
        ([], []),
    ],
)
def test_each_box_takes_the_mask_that_fits_it_best(boxes, kept):
    rows, phrases = matching(masks(HEAD, DOG, CAR), found(*boxes))
    assert rows.tolist() == kept and phrases.tolist() == [0] * len(kept)


def test_a_mask_that_two_phrases_name_answers_the_surer_one():
    both = found(DOG, DOG)
    both = replace(
        both,
        phrases=np.array([0, 1]),
        scores=np.array([0.4, 0.6], np.float32),
        best=np.array([0.4, 0.6], np.float32),
    )
    rows, phrases = matching(masks(HEAD, DOG, CAR), both)
    assert rows.tolist() == [1] and phrases.tolist() == [1]


def test_t06_without_masks_nothing_is_named():
    empty = Masks.from_bits(np.zeros((0, 40, 60), bool))
    assert [part.tolist() for part in matching(empty, found(DOG))] == [[], []]
