"""SAM 2's parts: what the official code recorded of small inputs, and what callers may rely on."""

import numpy as np
import pytest
import torch

from anymask.nn.encoders.hiera import Hiera, halve
from anymask.nn.resize import smooth
from anymask.nn.sam2 import as_cells, build_sam2
from anymask.variants import variant
from anymask.weights.convert import convert
from anymask.weights.sam2 import OFFICIAL
from goldens.record_sam2 import functions, synthetic

SIDE = 128
TINY = {
    "dim": 16,
    "heads": 1,
    "depths": (1, 2, 3, 2),
    "windows": (8, 4, 6, 3),
    "global_blocks": (4,),
    "background": 7,
}
FEATURES = 1e-5  # of the largest value
ROW = variant("sam2.1-tiny")


@pytest.fixture(scope="module")
def recorded():
    return functions()


@pytest.fixture(scope="module")
def trunk():
    """The tiny trunk at full width, with synthetic weights."""
    state = convert(synthetic("sam2.1_hiera_tiny", "image_encoder.trunk."), (OFFICIAL,))
    network = Hiera(**{k: v for k, v in ROW.network.items() if k != "memory"}).eval()
    prefix = "encoder.trunk."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items()}, strict=True)
    return network


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    found = build_sam2(**TINY, side=SIDE, out_dim=32, hidden=64).eval().requires_grad_(False)
    for parameter in found.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return found


@torch.inference_mode()
@pytest.mark.parametrize(("name", "strides"), [
    ("hiera_small", [(4, 1)] * 4),
    ("hiera_160", [(8, 2), (8, 2), (8, 1), (8, 1)]),
])  # fmt: skip
def test_windows_that_do_not_fit_the_map_are_filled_as_the_official_trunk_fills_them(
    trunk, recorded, name, strides
):
    maps = trunk(torch.from_numpy(recorded[f"{name}_input"]))
    for i, ((channels, cells), found) in enumerate(zip(strides, maps, strict=True)):
        wanted = recorded[f"{name}_out{i}"]
        some = found.permute(0, 3, 1, 2)[:, ::channels, ::cells, ::cells].numpy()
        assert some.shape == wanted.shape
        assert np.abs(some - wanted).max() <= FEATURES * np.abs(wanted).max()


@torch.inference_mode()
@pytest.mark.parametrize(("size", "step"), [((128, 128), 8), ((160, 96), (10, 6)), ((40, 40), 2)])
def test_positions_are_those_of_the_official_trunk(trunk, recorded, size, step):
    rows, columns = step if isinstance(step, tuple) else (step, step)
    found = trunk.positions(*size)[None, ::rows, ::columns, ::8].numpy()
    wanted = recorded[f"hiera_pos_tiny_{size[0]}x{size[1]}"]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-6


def test_positions_of_a_map_that_is_no_multiple_of_a_window_are_refused(trunk):
    with pytest.raises(RuntimeError, match="size of tensor"):
        trunk.positions(100, 100)


def test_pixels_are_scaled_with_antialias_as_floats(recorded):
    pixels = torch.from_numpy(recorded["preprocess_down_u8"])
    mean, std = torch.tensor(ROW.spec.mean), torch.tensor(ROW.spec.std)
    found = ((smooth(pixels, (64, 64)) - mean) / std).permute(2, 0, 1)
    assert np.abs(found.numpy() - recorded["preprocess_down_out"]).max() <= 2e-6


def test_the_answer_to_a_clear_prompt_is_stable_or_the_best_alternative(recorded):
    logits, scores = (
        torch.from_numpy(recorded[f"dynamic_multimask_{k}"]) for k in ("logits", "iou")
    )
    found, known = ROW.outputs.answer(logits, scores, False)
    assert np.array_equal(found.numpy(), recorded["dynamic_multimask_out"])
    assert np.array_equal(known.numpy(), recorded["dynamic_multimask_iou_out"])
    three, of_three = ROW.outputs.answer(logits, scores, True)
    assert torch.equal(three, logits[:, 1:])
    assert torch.equal(of_three, scores[:, 1:])


def test_a_mask_without_any_cell_counts_as_stable():
    logits = torch.full((1, 4, 8, 8), -9.0)
    assert ROW.outputs.steady(logits[:, 0], torch.rand(1, 4)).tolist() == [0]


def prompt(count=3, masks=False):
    draw = torch.Generator().manual_seed(1)
    points = torch.rand((count, 3, 2), generator=draw) * SIDE
    labels = torch.tensor([[1, 0, -1]]).expand(count, -1)
    given = torch.randn((count, 1, 32, 32), generator=draw) * 40 if masks else None
    return points, labels, given


@torch.inference_mode()
@pytest.mark.parametrize("masks", [False, True])
def test_a_look_and_a_draw_give_what_decoding_gives(network, masks):
    features = network.encode(torch.randn(1, 3, SIDE, SIDE))
    logits, scores = network.decode(features, *prompt(masks=masks))
    state, known = network.look(features, *prompt(masks=masks))
    rows, outputs = torch.tensor([2, 0, 2, 1]), torch.tensor([3, 0, 1, 2])
    assert torch.allclose(known, scores, atol=1e-5)
    assert torch.allclose(network.draw(state, rows, outputs), logits[rows, outputs], atol=1e-3)


@torch.inference_mode()
def test_images_of_a_batch_are_encoded_as_if_alone(network):
    x = torch.randn(2, 3, SIDE, SIDE)
    for i in range(2):
        for whole, alone in zip(network.encode(x), network.encode(x[i : i + 1]), strict=True):
            assert torch.allclose(whole[i : i + 1], alone, atol=1e-5)


@torch.inference_mode()
def test_the_order_of_points_is_of_no_effect(network):
    features = network.encode(torch.randn(1, 3, SIDE, SIDE))
    points, labels, _ = prompt()
    logits, scores = network.decode(features, points, labels)
    order = [2, 0, 1]
    other, known = network.decode(features, points[:, order], labels[:, order])
    assert torch.allclose(other, logits, atol=1e-3)
    assert torch.allclose(known, scores, atol=1e-5)


@torch.inference_mode()
def test_masks_as_prompts_are_cut_to_what_the_official_predictor_hands_out(network):
    features = network.encode(torch.randn(1, 3, SIDE, SIDE))
    points, labels, masks = prompt(masks=True)
    assert masks.abs().max() > 32
    logits, _ = network.decode(features, points, labels, masks)
    cut, _ = network.decode(features, points, labels, masks.clamp(-32, 32))
    assert torch.equal(logits, cut)


@torch.inference_mode()
def test_images_get_the_vector_of_no_memory_and_videos_the_map_before_it(network):
    x = torch.randn(1, 3, SIDE, SIDE)
    before, after = network.maps(x), network.encode(x)
    assert torch.equal(after[0], before[0] + network.no_memory.view(1, -1, 1, 1))
    assert all(torch.equal(a, b) for a, b in zip(after[1:], before[1:], strict=True))


def test_maxima_of_cells_are_those_of_pooling():
    x = torch.randn(2, 7, 6, 5)
    wanted = torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    assert torch.equal(halve(x), wanted)


def test_fine_maps_as_cells_hold_each_place_once_in_the_decoders_order(network):
    fine = torch.arange(4.0 * 16 * 16).view(1, 4, 16, 16)
    cells = as_cells(fine, 2)  # 4 x 4 cells, quarters, quarters of quarters
    assert cells.shape == (1, 4 * 4 * 4, 4 * 4)
    assert sorted(cells.flatten().tolist()) == fine.flatten().tolist()
    second_quarter = cells[0, 1].view(4, 4)[:, 0]  # of the first cell: above right
    assert torch.equal(second_quarter, fine[0, 0, 0:2, 2:4].flatten())
