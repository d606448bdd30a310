"""Enlarged logits, strip by strip, are those of the whole plane."""

import numpy as np
import pytest
import torch

from anymask.frame import Frame
from anymask.mask_geometry import tight_boxes
from anymask.mask_rle import decode_rle
from anymask.nn.resize import upscale
from anymask.predict.enlarge import Enlarger
from anymask.variants import InputSpec

SIZES = [(48, 64), (120, 180), (333, 41), (5, 3), (1, 700)]


def spec(how: str) -> InputSpec:
    return InputSpec(
        side=96,
        multiple=96 if how == "twice" else 1,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        fit=lambda size, side: (side, side) if how != "twice" else (side, max(1, side // 3)),
        enlarge=how,
    )


def blob(frame: Frame, at: float) -> torch.Tensor:
    """Logits that are high around one place and well below 0 elsewhere."""
    h, w = frame.logits
    y, x = torch.meshgrid(torch.linspace(0, 1, h), torch.linspace(0, 1, w), indexing="ij")
    noise = torch.randn((h, w), generator=torch.Generator().manual_seed(0))
    return 6 - 60 * ((y - at).square() + (x - at).square()) + noise


@pytest.mark.parametrize("how", ["twice", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("at", [0.1, 0.5, 2.0])
def test_mask_and_areas_are_those_of_the_whole(how, size, at):
    frame = Frame.fit(size, spec(how))
    logits = blob(frame, at)
    got = Enlarger.of(frame).measure(logits, 0.5, 1.5)
    full = upscale(logits[None], frame.padded, frame.resized, size, how)[0].numpy()
    whole = decode_rle(got.runs.rle())
    near = min(np.abs(full - level).min() for level in (-1.0, 0.5, 2.0))
    assert near > 1e-5  # no pixel lies so near a level that rounding decides
    assert (whole == (full > 0.5)).all()
    assert got.box == tuple(tight_boxes(whole))
    height, width = size
    moved = Enlarger.of(frame).measure(logits, 0.5, 1.5, place=(3, 2), size=(height + 5, width + 4))
    larger = decode_rle(moved.runs.rle())
    assert (larger[2 : 2 + height, 3 : 3 + width] == whole).all()
    assert larger.sum() == whole.sum()
    assert (got.high, got.low) == ((full > 2.0).sum(), (full > -1.0).sum())


def test_logits_below_everything_give_an_empty_window_of_no_stability():
    frame = Frame.fit((80, 80), spec("twice"))
    got = Enlarger.of(frame).measure(torch.full(frame.logits, -9.0), 0.0, 1.0)
    assert not decode_rle(got.runs.rle()).any()
    assert got.box == (0, 0, 0, 0)
    assert np.isnan(got.stability)
