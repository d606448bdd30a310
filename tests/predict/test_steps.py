"""Enlarging logits to masks row by row gives what enlarging them whole gives."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import ROWS

from anymask.frame import Frame
from anymask.nn.resize import upscale
from anymask.predict import steps
from anymask.variants import keep_aspect, stretch

sides = st.integers(1, 200)


@given(
    size=st.tuples(sides, sides),
    count=st.integers(0, 4),
    pixels=st.sampled_from([1, 300, 5_000, 2**20]),
    kind=st.sampled_from(["sam", "nano"]),
    how=st.sampled_from(["twice", "bilinear", "bicubic"]),
)
def test_i17_masks_filled_in_bands_are_those_of_logits_at_the_images_size(
    size, count, pixels, kind, how
):
    way = {"twice": keep_aspect, "bilinear": stretch, "bicubic": stretch}[how]
    frame = Frame.fit(size, replace(ROWS[kind].spec, fit=way, enlarge=how))
    logits = torch.randn(count, *frame.logits, generator=torch.Generator().manual_seed(count))
    masks = np.ones((count, *size), bool)
    whole = steps._PIXELS
    steps._PIXELS = pixels
    try:
        steps.fill_masks(masks, logits, frame)
    finally:
        steps._PIXELS = whole
    full = upscale(logits, frame.padded, frame.resized, frame.image, how).numpy()
    sure = np.abs(full) > 1e-4
    assert np.array_equal(masks & sure, (full > 0) & sure)
    assert not count or sure.mean() > 0.98
