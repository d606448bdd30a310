"""SAM's image encoder is the plain formula, in parts that fit into little memory."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import random_modules
import torch
from random_modules import noise
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from anymask.nn import attention
from anymask.nn.attention import AttentionEverywhere, AttentionInWindows, RelativeAttention
from anymask.nn.encoders.vit import Block, ViTEncoder

DIM, HEADS = 24, 3


random = partial(random_modules.random, scale=0.3)


def plain(module: RelativeAttention, x: Tensor) -> Tensor:
    """The formula itself for a map (h, w, C): every bias by its own offset."""
    h, w, dim = x.shape
    q, k, v = module.qkv(x).view(h * w, 3, module.heads, -1).permute(1, 2, 0, 3)
    y, at_x = (t.flatten() for t in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    middle = (len(module.rel_pos_h) - 1) // 2
    table_y = module.rel_pos_h[y[:, None] - y + middle]
    table_x = module.rel_pos_w[at_x[:, None] - at_x + middle]
    bias = torch.einsum("nqc,qkc->nqk", q, table_y) + torch.einsum("nqc,qkc->nqk", q, table_x)
    scores = q @ k.transpose(1, 2) / (dim // module.heads) ** 0.5 + bias
    mixed: Tensor = module.proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(h, w, dim))
    return mixed


def plain_windows(module: AttentionInWindows, x: Tensor) -> Tensor:
    """The same in windows, with padding that goes through the linear layers as SAM has it."""
    (h, w, _), s = x.shape, module.side
    padded = F.pad(x, (0, 0, 0, -w % s, 0, -h % s))
    rows = [
        torch.cat([plain(module, window) for window in strip.split(s, 1)], 1)
        for strip in padded.split(s)
    ]
    return torch.cat(rows)[:h, :w]


@pytest.mark.parametrize(("h", "w"), [(8, 8), (5, 7), (7, 5), (1, 6)])
@pytest.mark.parametrize(("queries", "biases"), [(1024, 2**24), (10, 500), (1, 1)])
@torch.no_grad()
def test_everything_at_once_or_in_parts_is_the_formula(monkeypatch, h, w, queries, biases):
    monkeypatch.setattr(attention, "_QUERIES", queries)
    monkeypatch.setattr(attention, "_BIASES", biases)
    module = random(AttentionEverywhere(DIM, HEADS, 8))
    x = noise(h, w, DIM)
    for room in (None, torch.empty(module.biases(h, w))):
        assert torch.allclose(module(x, room), plain(module, x), atol=1e-5)


@pytest.mark.parametrize(("h", "w"), [(8, 8), (9, 9), (5, 7), (7, 5), (3, 2), (4, 13)])
@pytest.mark.parametrize("biases", [2**24, 2000, 1])
@torch.no_grad()
def test_windows_are_the_formula_with_padding_at_the_right_and_bottom(monkeypatch, h, w, biases):
    monkeypatch.setattr(attention, "_BIASES", biases)
    module = random(AttentionInWindows(DIM, HEADS, 4))
    x = noise(h, w, DIM)
    for room in (None, torch.empty(module.biases(h, w))):
        assert torch.allclose(module(x, room), plain_windows(module, x), atol=1e-5)


class Watch(TorchDispatchMode):
    """Notes the largest tensor, and how many rows go through which matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.rows: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and not func.is_view:
            self.largest = max(self.largest, out.numel())
        if func.overloadpacket in (torch.ops.aten.addmm, torch.ops.aten.linear):
            self.rows.append(out.numel() // out.shape[-1])
        return out


@torch.no_grad()
def test_no_linear_layer_runs_on_padding():
    module = random(AttentionInWindows(DIM, HEADS, 4))
    with Watch() as seen:
        module(noise(5, 7, DIM), torch.empty(module.biases(5, 7)))
    assert seen.rows == [5 * 7] * 4  # queries, keys, values, and the way back


@torch.no_grad()
def test_biases_of_all_queries_and_keys_never_exist_together(monkeypatch):
    monkeypatch.setattr(attention, "_QUERIES", 64)
    monkeypatch.setattr(attention, "_BIASES", 2**15)
    module = random(AttentionEverywhere(DIM, HEADS, 16))
    room = torch.empty(module.biases(16, 16))
    with Watch() as seen:
        module(noise(16, 16, DIM), room)
    assert room.numel() <= 2**15
    assert seen.largest <= 2**15 < HEADS * 16**4


def test_at_full_size_biases_take_64_mb_and_not_800():
    encoder = ViTEncoder(dim=768, depth=1, heads=12, global_blocks=(0,))
    assert encoder.biases * 4 <= 2**26 < 12 * 4096**2 * 4
    windowed = ViTEncoder(dim=768, depth=1, heads=12, global_blocks=())
    assert windowed.biases == 25 * 12 * 14**4


def tiny(seed: int = 0) -> ViTEncoder:
    encoder = ViTEncoder(
        dim=DIM, depth=3, heads=HEADS, global_blocks=(1,), side=96, window=4, out_dim=16
    )
    random(encoder, seed)
    return encoder


def test_gradients_change_no_number_and_reach_every_parameter():
    encoder, x = tiny(), noise(2, 3, 96, 96)
    out = encoder(x)
    with torch.inference_mode():
        assert torch.allclose(encoder(x), out, atol=1e-5)
    out.square().mean().backward()
    still = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_gradients_are_those_of_the_formula():
    module = random(AttentionInWindows(DIM, HEADS, 4))
    x = noise(5, 7, DIM)
    grads = []
    for way in (module, lambda m: plain_windows(module, m)):
        module.zero_grad()
        way(x).square().sum().backward()
        grads.append([p.grad.clone() for p in module.parameters()])
    for ours, theirs in zip(*grads, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_batch_gives_what_each_image_gives_alone():
    encoder, x = tiny(), noise(3, 3, 96, 96)
    assert torch.allclose(encoder(x), torch.cat([encoder(one[None]) for one in x]), atol=1e-5)


def test_threads_do_not_disturb_each_other():
    encoder = tiny()
    images = [noise(1, 3, 96, 96, seed=i) for i in range(4)]

    def encode(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return encoder(x)

    alone = [encode(x) for x in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encode, images * 5))
    assert all(torch.equal(a, b) for a, b in zip(alone * 5, together, strict=True))


@torch.inference_mode()
def test_what_goes_in_is_left_alone():
    block = random(Block(DIM, AttentionInWindows(DIM, HEADS, 4)))
    x = noise(6, 6, DIM)
    before = x.clone()
    block(x, torch.empty(block.attn.biases(6, 6)))
    assert torch.equal(x, before)


@pytest.mark.parametrize("grad", [True, False], ids=["with gradients", "without"])
def test_the_encoder_exports(grad):
    encoder, x = tiny(), noise(1, 3, 96, 96)
    with torch.set_grad_enabled(grad):
        program = torch.export.export(encoder, (x,))
        assert torch.allclose(program.module()(x), encoder(x), atol=1e-5)


@torch.inference_mode()
def test_half_precision_stays_near():
    encoder, x = tiny(), noise(1, 3, 96, 96)
    whole = encoder(x)
    half = encoder.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert (half.float() - whole).abs().mean() < 0.05 * whole.abs().mean()
