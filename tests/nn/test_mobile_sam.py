"""TinyViT is its formula, whatever is done in parts; MobileSAM is SAM behind it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_modules import noise, random
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.model import BUILDERS, Model
from anymask.nn.encoders import tiny_vit
from anymask.nn.encoders.tiny_vit import (
    Bottleneck,
    Embed,
    Merge,
    TinyViTEncoder,
    WindowAttention,
    convolve,
)
from anymask.nn.mobile_sam import build_mobile_sam
from anymask.predict.everything import MaskGenerator
from anymask.predict.image import ImagePredictor
from anymask.variants import variant
from anymask.weights.mobile_sam import fold
from goldens.record_family import HERE, encoded, mobile

TINY = {"channels": (16, 24, 32, 64), "depths": (1, 1, 2, 1), "windows": (3, 3, 4, 3)}
SIDE = 96  # 24, 12, 6 and 6 cells: windows of 4 do not divide the last


def tiny() -> TinyViTEncoder:
    encoder = random(TinyViTEncoder(**TINY, out_dim=16))
    assert isinstance(encoder, TinyViTEncoder)
    return encoder


@pytest.fixture(scope="module")
def model():
    """A small MobileSAM with a row of its own."""
    shape = {**TINY, "side": SIDE, "out_dim": 32, "hidden": 64}
    row = variant("mobile-sam")
    row = replace(
        row,
        name="small-mobile-sam",
        network=shape,
        spec=replace(row.spec, side=SIDE, multiple=SIDE),
    )
    return Model(random(BUILDERS[row.builder](**shape)), row)


@torch.inference_mode()
def test_the_encoder_gives_what_it_gave_when_it_was_proven():
    found = encoded(mobile())
    with np.load(HERE / "tiny_vit.npz") as wanted:
        assert set(found) == set(wanted)
        for name, values in found.items():
            assert np.abs(values - wanted[name]).max() <= 1e-4, name


@torch.inference_mode()
def test_the_third_merging_keeps_the_size():
    early, embedding = TinyViTEncoder(out_dim=32).eval().levels(noise(1, 3, 64, 96))
    assert early.shape == (1, 160, 4, 6)  # S/16 after stage 1
    assert embedding.shape == (1, 32, 4, 6)


class WithNorm(nn.Module):
    """The original's pair."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.c, self.bn = conv, nn.BatchNorm2d(conv.out_channels)
        with torch.no_grad():
            for value in (self.bn.running_mean, self.bn.weight, self.bn.bias):
                value.copy_(torch.randn(value.shape))
            self.bn.running_var.copy_(torch.rand(self.bn.running_var.shape) + 0.1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.c(x))
        return out


@torch.inference_mode()
@pytest.mark.parametrize(("size", "groups"), [(3, 1), (3, 8), (1, 1)])
def test_folding_changes_no_number(size, groups):
    torch.manual_seed(size + groups)
    pair = WithNorm(nn.Conv2d(8, 8, size, padding=size // 2, groups=groups, bias=False)).eval()
    state = {
        f"a.{name.removeprefix('c.')}": t
        for name, t in pair.state_dict().items()
        if t.is_floating_point()
    }
    folded, x = fold(state), noise(1, 8, 9, 7)
    weight, bias = folded["a.weight"], folded["a.bias"]
    if size == 1:
        ours = F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
    else:
        ours = F.conv2d(x, weight, bias, padding=size // 2, groups=groups)
    assert folded.keys() == {"a.weight", "a.bias"}
    assert torch.allclose(ours, pair(x), atol=2e-5)


def plain_window(module: WindowAttention, cells: Tensor) -> Tensor:
    """The formula for a window (s, s, C): zeros of padding go through the norm."""
    side, _, dim = cells.shape
    c = dim // module.heads
    rows = module.qkv(module.norm(cells)).view(side * side, module.heads, 3, c)
    out = []
    for head in range(module.heads):
        q, k, v = rows[:, head].unbind(1)
        bias = torch.empty(side * side, side * side)
        for a in range(side * side):
            for b in range(side * side):
                dy, dx = abs(a // side - b // side), abs(a % side - b % side)
                bias[a, b] = module.biases[head, dy * side + dx]
        out.append((q @ k.T / c**0.5 + bias).softmax(-1) @ v)
    mixed: Tensor = module.proj(torch.cat(out, -1)).view(side, side, dim)
    return mixed


@torch.inference_mode()
@pytest.mark.parametrize(("h", "w"), [(6, 6), (5, 7), (4, 1)])
def test_windows_are_the_formula_with_padding_before_the_norm(h, w):
    module, x = random(WindowAttention(16, 2, 3)), noise(h, w, 16)
    padded = F.pad(x, (0, 0, 0, -w % 3, 0, -h % 3))
    strips = [
        torch.cat([plain_window(module, window) for window in strip.split(3, 1)], 1)
        for strip in padded.split(3)
    ]
    assert torch.allclose(module(x), torch.cat(strips)[:h, :w], atol=1e-5)


@torch.inference_mode()
def test_biases_are_those_of_the_weights_at_any_time():
    module, x = random(WindowAttention(16, 2, 3)), noise(6, 6, 16)
    before = module(x)
    module.load_state_dict(module.state_dict() | {"biases": noise(2, 9, seed=5)})
    other = random(WindowAttention(16, 2, 3))
    other.biases.copy_(noise(2, 9, seed=5))
    assert not torch.allclose(module(x), before, atol=1e-3)
    assert torch.equal(module(x), other(x))


@torch.inference_mode()
@pytest.mark.parametrize("band", [1, 1500, 2**19])
@pytest.mark.parametrize(("h", "w"), [(16, 12), (13, 9), (1, 1), (2, 5)])
def test_bands_are_the_whole(monkeypatch, band, h, w):
    monkeypatch.setattr(tiny_vit, "_BAND", band)
    x = noise(h, w, 8)
    block = random(Bottleneck(8))
    wide = F.gelu(convolve(block.conv2, F.gelu(block.conv1(x))))
    assert torch.allclose(block(x), F.gelu(x + block.conv3(wide)), atol=1e-5)
    for stride in (1, 2):
        merge = random(Merge(8, 12, stride))
        wide = F.gelu(convolve(merge.conv2, F.gelu(merge.conv1(x))))
        assert torch.allclose(merge(x), merge.conv3(wide), atol=1e-5)
    embed, image = random(Embed(8)), noise(h, w, 3)
    whole = embed.conv2(F.gelu(embed.conv1(image.permute(2, 0, 1)[None])))
    assert torch.allclose(embed(image), whole[0].permute(1, 2, 0), atol=1e-5)


def test_gradients_change_no_number_and_reach_every_parameter():
    encoder, x = tiny(), noise(2, 3, SIDE, SIDE)
    out = encoder(x)
    with torch.inference_mode():
        assert torch.allclose(encoder(x), out, atol=1e-5)
    out.square().mean().backward()
    still = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@torch.inference_mode()
def test_a_batch_gives_what_each_image_gives_alone():
    encoder, x = tiny(), noise(3, 3, SIDE, SIDE)
    before = x.clone()
    assert torch.allclose(encoder(x), torch.cat([encoder(one[None]) for one in x]), atol=1e-5)
    assert torch.equal(x, before)


@pytest.mark.slow
@torch.no_grad()
def test_the_encoder_exports():
    encoder, x = tiny(), noise(1, 3, SIDE, SIDE)
    program = torch.export.export(encoder, (x,))
    assert torch.allclose(program.module()(x), encoder(x), atol=1e-5)


@torch.inference_mode()
def test_half_precision_stays_near():
    encoder, x = tiny(), noise(1, 3, SIDE, SIDE)
    whole = encoder(x)
    half = encoder.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert (half.float() - whole).abs().mean() < 0.05 * whole.abs().mean()


def test_all_but_the_encoder_is_sams():
    ours = build_mobile_sam().state_dict()
    sam = BUILDERS["sam"](dim=32, depth=0, heads=2, global_blocks=()).state_dict()
    for name, t in sam.items():
        assert name.startswith("encoder.") or ours[name].shape == t.shape, name


def test_a_photo_becomes_masks_of_its_size(model):
    photo = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    predictor = ImagePredictor(model)
    embedding = predictor.encode(photo)
    first = predictor.predict(embedding, points=[[30, 20]])
    assert first.masks.shape == (3, 50, 70) and first.logits.shape == (3, 24, 24)
    again = predictor.predict(
        embedding, points=[[30, 20]], masks=first.best_logits[None], multimask=False
    )
    assert again.masks.shape == (1, 50, 70)
    assert not np.allclose(again.logits, predictor.predict(
        embedding, points=[[30, 20]], multimask=False
    ).logits, atol=1e-4)  # fmt: skip
    boxes = predictor.predict(embedding, boxes=[[5, 5, 40, 40], [20, 10, 69, 49]])
    assert boxes.masks.shape == (2, 3, 50, 70)


def test_everything_mode_takes_it(model):
    photo = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    generator = MaskGenerator(
        model, points_per_side=2, pred_iou_thresh=-9, stability_score_thresh=0, box_nms_thresh=1
    )
    found = generator.generate(photo)
    assert 0 < len(found) <= 12 and found.size == (50, 70)
