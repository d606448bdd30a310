"""Many prompts on one image give, without maps, what the plain transformer gives with them."""

import pytest
import torch
from torch import Tensor

from anymask.nn.two_way import TwoWayTransformer
from anymask.nn.two_way_shared import ImageMaps, look_shared, share

DIM, CELLS = 32, 30


def noise(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made * scale


def transformer(depth: int = 2, heads: int = 4) -> TwoWayTransformer:
    made = TwoWayTransformer(DIM, heads=heads, hidden=48, depth=depth).double().eval()
    with torch.no_grad():  # biases and gains that a mistake could not hide behind
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=i, scale=0.5) + 0.2)
    return made


def given(prompts: int = 3, tokens: int = 5, level: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    image, pos = noise(1, CELLS, DIM, seed=101) + level, noise(1, CELLS, DIM, seed=102)
    return image, pos, noise(prompts, tokens, DIM, seed=103)


@torch.inference_mode()
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("tokens", [1, 7, 40])
def test_in_double_precision_tokens_and_maps_are_those_of_the_plain_form(depth, tokens):
    both = transformer(depth)
    image, pos, asked = given(tokens=tokens)
    wanted, maps = both(image, pos, asked)
    found, mixed = look_shared(both, share(both, image, pos), asked)
    assert (found - wanted).abs().max() < 1e-12
    assert (mixed.dense() - maps).abs().max() < 1e-12


@torch.inference_mode()
@pytest.mark.parametrize("level", [0.0, 30.0], ids=["as usual", "far from zero"])
def test_in_single_precision_it_is_as_near_the_truth_as_the_plain_form(level):
    both = transformer()
    image, pos, asked = given(prompts=8, level=level)
    true = both(image, pos, asked)
    single = transformer().float()
    image, pos, asked = image.float(), pos.float(), asked.float()
    plain = single(image, pos, asked)
    tokens, maps = look_shared(single, share(single, image, pos), asked)
    for truth, a, b in zip(true, plain, (tokens, maps.dense()), strict=True):
        assert (b - truth).abs().max() <= 3 * (a - truth).abs().max()


@torch.inference_mode()
def test_prompts_together_are_prompts_alone():
    both = transformer()
    image, pos, asked = given()
    shared = share(both, image, pos)
    tokens, maps = look_shared(both, shared, asked)
    alone = [look_shared(both, shared, one) for one in asked.split(1)]
    assert torch.allclose(torch.cat([t for t, _ in alone]), tokens)
    joined = ImageMaps.join([m for _, m in alone])
    assert torch.allclose(joined.dense(), maps.dense())
    assert torch.allclose(maps.take(torch.tensor([2, 0])).dense(), maps.dense()[[2, 0]])


@torch.inference_mode()
def test_a_linear_layer_of_maps_is_that_of_each_cell():
    both = transformer()
    image, pos, asked = given()
    _, maps = look_shared(both, share(both, image, pos), asked)
    weight, bias = noise(8, DIM, seed=7), noise(8, seed=8)
    wanted = torch.nn.functional.linear(maps.dense(), weight, bias)
    assert torch.allclose(maps.through(weight, bias).dense(), wanted)
    plain = ImageMaps.plain(maps.dense(), len(asked))
    assert torch.allclose(plain.through(weight, bias).dense(), wanted)


@torch.inference_mode()
def test_no_map_is_made_for_a_prompt():
    both = transformer().float()
    image, pos, asked = (x.float() for x in given(prompts=2, tokens=2))
    _, maps = look_shared(both, share(both, image, pos), asked)
    assert maps.base.shape == (1, CELLS, DIM)
    rows = 2 * 4 * 2  # of two layers, four heads, two tokens
    assert maps.mix.shape == (2, rows, CELLS) and maps.rows.shape == (2, rows, DIM)


class Look(torch.nn.Module):
    """Both steps as a module, which is what export takes."""

    def __init__(self, both: TwoWayTransformer) -> None:
        super().__init__()
        self.both = both

    def forward(self, image: Tensor, pos: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        tokens, maps = look_shared(self.both, share(self.both, image, pos), tokens)
        return tokens, maps.dense()


@torch.no_grad()
def test_it_exports_for_any_number_of_prompts():
    looking = Look(transformer().float())
    first = tuple(x.float() for x in given())
    shapes = (None, None, {0: torch.export.Dim("p", min=2, max=64)})
    program = torch.export.export(looking, first, dynamic_shapes=shapes)
    more = tuple(x.float() for x in given(prompts=6))
    for a, b in zip(program.module()(*more), looking(*more), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_gradients_are_those_of_the_plain_form():
    both = transformer()
    image, pos, asked = given()
    gradients = []
    for way in (both, Look(both)):
        both.zero_grad()
        tokens, maps = way(image, pos, asked)
        (tokens.square().sum() + maps.square().mean()).backward()
        gradients.append([p.grad.clone() for p in both.parameters()])
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(*gradients, strict=True))
