"""Nano's networks: the trunks against recorded numbers, the decoder against its laws."""

import pytest
import torch
from torch import Tensor

from anymask.nn.nano import Nano, build_nano, split_box
from anymask.nn.prompt_maps import box_inside, click_distances, where_maps


@pytest.fixture(scope="module")
def network() -> Nano:
    torch.manual_seed(0)
    made = build_nano().eval()
    # zero-initialised layers would hide mistakes behind them
    for parameter in made.decoder.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return made


@pytest.fixture(scope="module")
def features(network: Nano) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        return network.encode(torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)))


def clicks(*rows: tuple[float, float, int]) -> tuple[Tensor, Tensor]:
    table = torch.tensor(rows, dtype=torch.float32)
    return table[:, :2], table[:, 2].long()


def test_encode_gives_parts_and_unit_keys_at_strides_16_8_4(features):
    assert [tuple(f.shape[1:]) for f in features] == [
        (96, 4, 6),
        (48, 8, 12),
        (16, 16, 24),
        (32, 4, 6),
        (32, 8, 12),
        (16, 16, 24),
    ]
    for keys in features[3:]:
        assert torch.allclose(keys.norm(dim=1), torch.ones(()), atol=1e-5)


@torch.inference_mode()
def test_many_prompts_at_once_equal_one_by_one(network, features):
    a, la = clicks((10, 10, 1), (40, 20, 0))
    b, lb = clicks((70, 50, 2), (90, 60, 3))
    points, labels = torch.stack([a, b]), torch.stack([la, lb])
    masks = torch.randn(2, 1, 16, 24)
    logits, scores = network.decode(features, points, labels, masks)
    assert logits.shape == (2, 4, 16, 24) and scores.shape == (2, 4)
    for i in range(2):
        one, score = network.decode(
            features, points[i : i + 1], labels[i : i + 1], masks[i : i + 1]
        )
        assert torch.allclose(one[0], logits[i], atol=1e-4)
        assert torch.allclose(score[0], scores[i], atol=1e-5)


@torch.inference_mode()
def test_order_of_clicks_and_padding_change_nothing(network, features):
    a, la = clicks((10, 10, 1), (40, 20, 0), (50, 30, 1))
    plain = network.decode(features, a[None], la[None])[0]
    turned = network.decode(features, a[None].flip(1), la[None].flip(1))[0]
    padded = network.decode(
        features,
        torch.cat([a, torch.full((2, 2), 7.0)])[None],
        torch.cat([la, torch.tensor([-1, -1])])[None],
    )[0]
    assert torch.allclose(plain, turned, atol=1e-4)
    assert torch.allclose(plain, padded, atol=1e-4)


@torch.inference_mode()
def test_several_images_decode_as_each_alone(network):
    images = torch.randn(2, 3, 64, 64)
    both = network.encode(images)
    points = torch.rand(2, 3, 2, 2) * 64
    labels = torch.randint(0, 2, (2, 3, 2))
    logits, scores = network.decoder(both, points, labels, None)
    for i in range(2):
        alone = network.encode(images[i : i + 1])
        one, score = network.decode(alone, points[i], labels[i])
        assert torch.allclose(one, logits[i], atol=1e-3)
        assert torch.allclose(score, scores[i], atol=1e-4)


def test_scores_do_not_teach_the_masks(network, features):
    points, labels = clicks((10, 10, 1))
    _, scores = network.decode(features, points[None], labels[None])
    (gradient,) = torch.autograd.grad(
        scores.sum(), network.decoder.logits.weight, allow_unused=True
    )
    assert gradient is None


def test_distance_is_to_the_nearest_click_of_its_kind_from_cell_centres():
    points = torch.tensor([[[6.0, 2.0], [30.0, 30.0]]])
    found = click_distances(points, torch.tensor([[1.0, 0.0]]), 2, 3, 4)
    assert found[0, 0, 1] == 0  # the centre of cell (row 0, column 1) is (6, 2)
    assert found[0, 1, 1] == 16
    assert (click_distances(points, torch.zeros(1, 2), 2, 3, 4) == 1e6).all()


def test_box_distance_is_positive_inside_and_negative_outside():
    found = box_inside(torch.tensor([[4.0, 4.0, 12.0, 12.0]]), 4, 4, 4)
    assert found[0, 1, 1] == 2 and found[0, 0, 0] == -2


def test_box_corners_are_read_from_labels_wherever_they_stand():
    points, labels = clicks((5, 6, 1), (10, 20, 2), (30, 40, 3))
    box, has = split_box(points[None], labels[None])
    assert box.tolist() == [[10, 20, 30, 40]] and has.tolist() == [1]
    box, has = split_box(points[:1][None], labels[:1][None])
    assert box.tolist() == [[0, 0, 0, 0]] and has.tolist() == [0]


def test_without_prompts_of_a_kind_its_maps_are_flat():
    points, labels = clicks((5, 6, 1))
    maps, guess, other = where_maps(
        points[None],
        labels[None],
        torch.zeros(1, 4),
        torch.zeros(1),
        torch.full((1, 4, 4), 0.5),
        torch.zeros(1),
        8,
    )
    assert maps.shape == (1, 10, 4, 4)
    assert (maps[:, 5:] == 0).all()  # box and previous mask
    assert guess[0, 0, 0] == guess.amax()
    assert (other < 1e-3).all()


@torch.inference_mode()
def test_a_look_and_a_draw_are_a_decode(network, features):
    points, labels = torch.rand(6, 2, 2) * 64, torch.tensor([[1, -1], [0, 1], [2, 3]] * 2)
    logits, scores = network.decode(features, points, labels)
    state, known = network.look(features, points, labels)
    rows, outputs = torch.tensor([2, 0, 2, 5]), torch.tensor([1, 0, 3, 1])
    assert torch.allclose(known, scores, atol=1e-5)
    assert torch.allclose(network.draw(state, rows, outputs), logits[rows, outputs], atol=1e-4)
