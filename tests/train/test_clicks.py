"""Simulated users click where real ones would."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anymask.train.clicks import ClickMix, correction, first_prompt, noisy_box, point_in

RULES = settings(deadline=None, derandomize=True, max_examples=40)


def blob(seed: int, side: int = 32) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    cy, cx, r = rng.uniform(8, 24), rng.uniform(8, 24), rng.uniform(2, 10)
    return (x - cx) ** 2 + (y - cy) ** 2 < r**2


@RULES
@given(seed=st.integers(0, 1000), innermost=st.booleans())
def test_a_click_lies_on_its_mask(seed, innermost):
    mask = blob(seed)
    x, y = point_in(mask, innermost, np.random.default_rng(seed))
    assert mask[int(y), int(x)]


@RULES
@given(seed=st.integers(0, 1000))
def test_first_prompts_are_clicks_on_the_mask_or_a_box_within_the_image(seed):
    mask = blob(seed)
    points, labels = first_prompt(mask, mask, ClickMix(), np.random.default_rng(seed))
    assert len(points) == len(labels) >= 1
    for (x, y), label in zip(points, labels, strict=True):
        assert 0 <= x <= 32 and 0 <= y <= 32
        if label in (0, 1):
            assert mask[int(y), int(x)] == bool(label)
    assert (labels == 2).sum() == (labels == 3).sum() <= 1


@RULES
@given(seed=st.integers(0, 1000))
def test_a_noisy_box_is_a_box(seed):
    x0, y0, x1, y1 = noisy_box(blob(seed), np.random.default_rng(seed))
    assert 0 <= x0 < x1 <= 32 and 0 <= y0 < y1 <= 32


def test_a_correction_falls_into_the_larger_error():
    truth = np.zeros((16, 16), np.float32)
    truth[2:10, 2:10] = 1
    predicted = np.zeros((16, 16), bool)
    predicted[12:14, 12:14] = True  # superfluous, but smaller than what is missed
    x, y, label = correction(truth, predicted, 4, np.random.default_rng(0))
    assert label == 1 and truth[int(y / 4), int(x / 4)] == 1
    predicted[:] = truth > 0
    predicted[10:16, 10:16] = True
    x, y, label = correction(truth, predicted, 4, np.random.default_rng(0))
    assert label == 0 and x >= 40 and y >= 40


def test_nothing_to_correct_is_no_click():
    truth = np.ones((4, 4), np.float32)
    assert correction(truth, truth > 0, 4, np.random.default_rng(0)) is None
