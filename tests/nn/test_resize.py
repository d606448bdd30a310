"""Ways to bring pixels to a network's size, and logits to the image's."""

import pytest
import torch
from torch.nn import functional as F

from anymask.frame import Frame
from anymask.nn.resize import plain, smooth, taps, upscale
from anymask.variants import InputSpec, keep_aspect, stretch


@pytest.mark.parametrize(("scale", "antialias"), [(smooth, True), (plain, False)])
@pytest.mark.parametrize("size", [(8, 9), (40, 31)])
def test_floats_are_scaled_as_a_tensor_of_all_channels_is(scale, antialias, size):
    pixels = torch.randint(0, 256, (17, 23, 3), dtype=torch.uint8)
    whole = pixels.permute(2, 0, 1)[None].float()
    wanted = F.interpolate(whole, size, mode="bilinear", antialias=antialias)[0]
    assert torch.allclose(scale(pixels, size).permute(2, 0, 1), wanted, atol=1e-4)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("count", [1, 3, 50])
def test_lines_are_mixed_as_interpolate_mixes_them(mode, count):
    lines = torch.randn(count, 5)
    at = (torch.arange(33) + 0.5) * (count / 33) - 0.5
    found = sum(lines[line] * share for line, share in taps(mode, at, count))
    wanted = F.interpolate(lines[None, None], (33, 5), mode=mode, align_corners=False)[0, 0]
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
def test_logits_without_padding_are_enlarged_at_once(how):
    logits = torch.randn(2, 16, 16)
    wanted = F.interpolate(logits[:, None], (30, 50), mode=how, align_corners=False)[:, 0]
    assert torch.equal(upscale(logits, (64, 64), (64, 64), (30, 50), how), wanted)


@pytest.mark.parametrize(
    ("fit", "size", "resized"),
    [
        (keep_aspect, (400, 600), (43, 64)),
        (keep_aspect, (1, 1000), (1, 64)),
        (stretch, (400, 600), (64, 64)),
        (stretch, (1, 1000), (64, 64)),
    ],
)
def test_a_row_says_whether_the_aspect_is_kept(fit, size, resized):
    spec = InputSpec(side=64, multiple=64, mean=(0.0,) * 3, std=(1.0,) * 3, fit=fit)
    frame = Frame.fit(size, spec)
    assert (frame.resized, frame.padded) == (resized, (64, 64))
    assert frame.scale == (resized[1] / size[1], resized[0] / size[0])
