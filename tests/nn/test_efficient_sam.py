"""EfficientSAM's parts are what its head says, at a small size."""

from functools import partial

import pytest
import random_modules
import torch
from random_modules import noise
from torch import Tensor
from torch.nn import functional as F

from anymask.nn.efficient_sam import PointEncoder, ResidualTwoWayBlock, build_efficient_sam
from anymask.nn.encoders.plain_vit import PlainAttention, PlainViTEncoder

SIDE, CELLS, DIM = 64, 4, 32


random = partial(random_modules.random, scale=0.3)


@pytest.fixture(scope="module")
def network():
    return random(
        build_efficient_sam(dim=24, depth=2, heads=3, side=SIDE, out_dim=DIM, hidden=64, table=3)
    )


@pytest.fixture(scope="module")
def points():
    return random(PointEncoder(DIM, SIDE, CELLS))


def prompts(count: int) -> tuple[Tensor, Tensor]:
    """Prompts of six: a click, a click off the object, corners, padding."""
    labels = torch.tensor([1, 0, 2, 3, -1, -1]).expand(count, -1)
    return noise(count, 6, 2, seed=3).abs() * 20 + 1, labels


@torch.inference_mode()
def test_attention_is_the_plain_formula():
    module, x = random(PlainAttention(24, 3)), noise(4, 5, 24)
    q, k, v = module.qkv(x).view(20, 3, 3, 8).permute(1, 2, 0, 3)
    mixed = (q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v
    wanted = module.proj(mixed.transpose(0, 1).reshape(4, 5, 24))
    assert torch.allclose(module(x), wanted, atol=1e-5)


@torch.inference_mode()
def test_the_position_table_loses_its_first_row_and_fits_any_map():
    encoder = random(PlainViTEncoder(dim=24, depth=1, heads=3, table=3, out_dim=DIM))
    same = encoder.positions(3, 3)
    assert torch.allclose(same, encoder.pos_embed[:, 1:].view(1, 3, 3, 24), atol=1e-6)
    assert encoder.positions(4, 6).shape == (1, 4, 6, 24)
    assert encoder(noise(1, 3, 32, 48)).shape == (1, DIM, 2, 3)


@torch.inference_mode()
def test_a_batch_is_encoded_one_by_one(network):
    images = noise(2, 3, SIDE, SIDE)
    (both,) = network.encode(images)
    for i in range(2):
        (alone,) = network.encode(images[i : i + 1])
        assert torch.allclose(both[i : i + 1], alone, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("first", [True, False])
def test_blocks_are_the_plain_formula(first):
    block = random(ResidualTwoWayBlock(DIM, 4, 64, first))
    tokens, image, image_pos = noise(2, 5, DIM), noise(2, 16, DIM, seed=2), noise(1, 16, DIM)
    tokens_pos = noise(2, 5, DIM, seed=5)
    x = tokens if first else tokens + tokens_pos
    x = block.norm1(x + block.self_attn(x, x, x))
    x = block.norm2(x + block.token_to_image(x + tokens_pos, image + image_pos, image))
    x = block.norm3(x + block.lin2(F.gelu(block.lin1(x))))
    y = block.norm4(image + block.image_to_token(image + image_pos, x + tokens_pos, x))
    found_x, found_y = block(tokens, image, tokens_pos, image_pos)
    assert torch.allclose(found_x, x, atol=1e-5)
    assert torch.allclose(found_y, y, atol=1e-5)


@torch.inference_mode()
def test_the_upscaled_map_is_normed_over_channels_and_cells_together(network):
    decoder = network.decoder
    up = decoder.up1(noise(2, DIM, CELLS, CELLS))
    flat = up.flatten(1)
    spread = (flat.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    wanted = ((flat - flat.mean(1, keepdim=True)) / spread).view(up.shape)
    wanted = wanted * decoder.up_norm.weight[:, None, None] + decoder.up_norm.bias[:, None, None]
    assert torch.allclose(decoder.up_norm(up), wanted, atol=1e-5)


@torch.inference_mode()
def test_coordinates_below_zero_become_the_padding_s(points):
    xy = torch.tensor([[[-7.0, 20.0], [-0.5, 20.0], [0.4, 20.0], [0.5, 20.0]]])
    found = points.sparse(xy, torch.ones(1, 4, dtype=torch.int64))[0]
    assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])
    assert not torch.equal(found[2], found[3])


@torch.inference_mode()
def test_padding_has_a_place_and_it_does_not_matter_where_it_was(points):
    xy = torch.tensor([[[0.0, 0.0], [30.0, 9.0]]])
    found = points.sparse(xy, torch.full((1, 2), -1))[0]
    place = points.position(torch.tensor([[-0.5, -0.5]]) / SIDE)
    assert torch.allclose(found, place + points.padding, atol=1e-6)


@torch.inference_mode()
def test_a_point_off_the_object_is_its_place_alone(points):
    xy = torch.tensor([[[30.0, 9.0]]])
    found = points.sparse(xy, torch.zeros(1, 1, dtype=torch.int64))
    assert torch.equal(found, points.position(xy / SIDE))


@torch.inference_mode()
def test_a_look_and_a_draw_are_a_decode(network):
    features = network.encode(noise(1, 3, SIDE, SIDE))
    logits, scores = network.decode(features, *prompts(3))
    assert logits.shape == (3, 4, 4 * CELLS, 4 * CELLS) and scores.shape == (3, 4)
    state, known = network.look(features, *prompts(3))
    assert torch.allclose(known, scores, atol=1e-5)
    rows, outputs = torch.tensor([2, 0, 2, 1]), torch.tensor([1, 0, 3, 1])
    drawn = network.draw(state, rows, outputs)
    assert torch.allclose(drawn, logits[rows, outputs], atol=1e-5)


@torch.inference_mode()
def test_the_order_of_points_corners_and_padding_does_not_matter(network):
    features = network.encode(noise(1, 3, SIDE, SIDE))
    xy, labels = prompts(2)
    order = torch.tensor([4, 2, 3, 0, 5, 1])
    one, other = (
        network.decode(features, x, kinds)
        for x, kinds in ((xy, labels), (xy[:, order], labels[:, order]))
    )
    assert torch.allclose(one[0], other[0], atol=1e-4)
    assert torch.allclose(one[1], other[1], atol=1e-4)


def test_masks_are_refused(network):
    with pytest.raises(ValueError, match="no masks"):
        network.decode((noise(1, DIM, CELLS, CELLS),), *prompts(1), noise(1, 1, 16, 16))


def test_both_halves_export(network):
    image = noise(1, 3, SIDE, SIDE)
    with torch.no_grad():
        encoder = torch.export.export(network.encoder, (image,)).module()
        assert torch.allclose(encoder(image), network.encoder(image), atol=1e-5)

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, embedding, xy, labels):
            return self.network.decode((embedding,), xy, labels)

    given = (noise(1, DIM, CELLS, CELLS), *prompts(2))
    with torch.no_grad():
        found = torch.export.export(Decoder(), given).module()(*given)
        wanted = Decoder()(*given)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted, strict=True))
