"""Nano's memory: laws of matching, of histories side by side, of what is answered."""

import pytest
import torch
from torch import Tensor

from anymask.nn.memory import MemoryBank
from anymask.nn.nano import build_nano
from anymask.nn.nano_video import NanoVideo, box_around, build_nano_video

ROWS = 4
SIZE = (64, 96)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def untaught() -> NanoVideo:
    torch.manual_seed(0)
    return build_nano_video(build_nano(), rows=ROWS).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> NanoVideo:
    torch.manual_seed(0)
    made = build_nano_video(build_nano(), rows=ROWS).eval().requires_grad_(False)
    # zero-initialised layers would hide mistakes behind them
    for parameter in (*made.memory.parameters(), *made.decoder.parameters()):
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return made


@pytest.fixture(scope="module")
def frames(network: NanoVideo) -> list[tuple[Tensor, ...]]:
    x = torch.randn(3, 3, *SIZE, generator=seeded(1))
    with torch.inference_mode():
        return [network.maps(x[t : t + 1]) for t in range(3)]


def logits(n: int, seed: int = 2) -> Tensor:
    return 4 * torch.randn(n, 1, *SIZE, generator=seeded(seed))


def bank(*histories: list[tuple[Tensor, int]]) -> MemoryBank:
    """Of each object, memories with their rows; shorter histories are padded."""
    most = max(map(len, histories))
    spatial, rows, valid = [], [], []
    for one in histories:
        missing = most - len(one)
        spatial.append(torch.stack([m for m, _ in one] + [torch.zeros_like(one[0][0])] * missing))
        rows.append([row for _, row in one] + [0] * missing)
        valid.append([True] * len(one) + [False] * missing)
    n = len(histories)
    return MemoryBank(
        spatial=torch.stack(spatial),
        rows=torch.tensor(rows),
        spatial_valid=None if all(map(all, valid)) else torch.tensor(valid),
        pointers=torch.zeros(n, 0, 1),
        gaps=torch.zeros(n, 0),
        pointer_valid=None,
    )


def nothing_asked(n: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(n, 1, 2), torch.full((n, 1), -1)


@torch.inference_mode()
def test_an_untaught_memory_finds_a_mask_where_it_was_on_the_same_frame(untaught):
    x = torch.randn(1, 3, *SIZE, generator=seeded(3))
    f16, f8, f4, k16, _, k4 = untaught.maps(x)
    # keys that differ from cell to cell, as those of a trained network do
    k8 = torch.nn.functional.normalize(torch.randn(1, 32, 8, 12, generator=seeded(4)), dim=1)
    maps = (f16, f8, f4, k16, k8, k4)
    mask = -torch.ones(1, 1, *SIZE)
    mask[..., 16:40, 24:64] = 1
    memory = untaught.remember(maps, mask, torch.ones(1), True)
    features = untaught.recall(maps, bank([(memory[0], ROWS - 1)]))
    guess = features[6]
    assert ((guess > 0) == (mask[..., ::4, ::4] > 0)).all()
    for moved, part in zip(features[:6], maps, strict=True):
        assert torch.equal(moved, part)  # nothing is moved before anything was learnt


@torch.inference_mode()
def test_objects_together_equal_one_by_one_however_long_their_histories(network, frames):
    many = [
        network.remember(frames[t], logits(3, t), torch.tensor([1.0, -1.0, 2.0]), False)
        for t in range(2)
    ]
    first, last = ROWS - 1, 0
    histories = [
        [(many[0][0], first), (many[1][0], last)],
        [(many[0][1], first)],
        [(many[1][2], first), (many[0][2], 1)],
    ]
    together = network.recall(frames[2], bank(*histories))
    answers = network.answer(together, *nothing_asked(3), None)
    for i, history in enumerate(histories):
        alone = network.recall(frames[2], bank(history))
        for whole, one in zip(together, alone, strict=True):
            row = whole[i : i + 1] if len(whole) == 3 else whole
            assert torch.allclose(row, one, atol=1e-4)
        for whole, one in zip(answers, network.answer(alone, *nothing_asked(1), None), strict=True):
            assert torch.allclose(whole[i : i + 1], one, atol=2e-4)


@torch.inference_mode()
def test_memories_of_the_same_frames_are_compared_once_to_the_same_effect(network, frames):
    memory = network.memory
    kept = [memory.remember(frames[t], torch.rand(2, 1, 16, 24)) for t in range(2)]
    spatial, rows = torch.stack(kept, 1), torch.tensor([ROWS - 1, 0])
    once = memory.recall_together(frames[2], spatial, rows)
    valid = torch.ones(2, 2, dtype=torch.bool)
    each = memory.recall(frames[2], spatial, rows.expand(2, -1), valid)
    for a, b in zip((*once.shifts, *once[1:]), (*each.shifts, *each[1:]), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@torch.inference_mode()
def test_only_the_last_frames_are_searched_near_by(network, frames):
    memory = network.memory
    d = torch.nn.functional.one_hot(torch.arange(96), 96).float()  # which cell was read
    keys = memory.keys(frames[0])
    known = keys.flatten(2).transpose(1, 2)[:, None]
    far = []
    for row in range(ROWS):
        weights, _ = memory.match(keys, known, d[None, None], torch.tensor([[row]]))
        y, x = torch.arange(96) // 12, torch.arange(96) % 12
        apart = ((y[:, None] - y) ** 2 + (x[:, None] - x) ** 2).float()
        far.append(float((weights[0, 0] * apart).sum(1).mean()))
    assert far[-1] > 2 * max(far[:-1])


@torch.inference_mode()
def test_what_is_out_of_sight_leaves_no_mask(network, frames):
    shown = network.remember(frames[0], logits(1), torch.ones(1), False)
    gone = network.remember(frames[0], logits(1), -torch.ones(1), False)
    assert shown[..., 64:68].any() and not gone[..., 64:68].any()
    assert torch.equal(shown[..., :64], gone[..., :64])  # keys are the frame's


@torch.inference_mode()
def test_masks_somebody_made_are_remembered_as_in_or_out(network, frames):
    soft = network.remember(frames[0], logits(1), torch.ones(1), False)[..., 64:68]
    hard = network.remember(frames[0], logits(1), torch.ones(1), True)[..., 64:68]
    assert not torch.equal(soft, hard)
    assert torch.allclose((16 * hard).round(), 16 * hard)  # of 16 px a cell


@torch.inference_mode()
def test_without_memory_the_answer_is_that_of_an_image(network, frames):
    points, labels = torch.tensor([[[30.0, 20.0]]]), torch.ones(1, 1, dtype=torch.long)
    maps = network.forget(frames[0])
    found, scores, _, present = network.answer(maps, points, labels, None)
    plain, known = network.decode(frames[0], points, labels)
    assert torch.equal(found, plain) and torch.equal(scores, known) and present > 0


@torch.inference_mode()
def test_who_points_at_a_followed_object_says_that_it_is_there_and_moves_its_mask(network, frames):
    kept = network.remember(frames[0], logits(1), torch.ones(1), False)
    features = network.recall(frames[1], bank([(kept[0], ROWS - 1)]))
    *parts, _, _ = features
    gone = (*parts, features[6], torch.full((1,), -3.0))
    asked = torch.tensor([[[50.0, 30.0]]]), torch.ones(1, 1, dtype=torch.long)
    followed, _, _, absent = network.answer(gone, *nothing_asked(1), None)
    pointed, _, _, present = network.answer(gone, *asked, None)
    assert absent < 0 < present
    assert not torch.allclose(followed, pointed, atol=1e-2)
    assert torch.equal(followed[:, :1].expand(-1, 4, -1, -1), followed)  # one answer, not four


def test_a_box_holds_the_likely_cells_and_is_never_empty():
    guess = torch.full((2, 1, 16, 24), -3.0)
    guess[0, 0, 4:8, 10:20] = 2
    guess[1, 0, 3, 5] = -1  # all is unlikely: the least unlikely cell
    box = box_around(guess)
    assert torch.allclose(box[0], torch.tensor([[34.0, 11.2], [86.0, 36.8]]))
    assert (box[1, 0] <= torch.tensor([20.0, 12.0])).all()
    assert (box[1, 1] >= torch.tensor([24.0, 16.0])).all()


@torch.inference_mode()
def test_a_made_mask_becomes_logits_of_the_same_cells(network):
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., 8:20, 4:44] = 1
    assert ((network.coded(mask) > 0) == (mask[..., ::4, ::4] > 0)).all()


@torch.inference_mode()
def test_inputs_stay_as_they_are(network, frames):
    kept = network.remember(frames[0], logits(1), torch.ones(1), False)
    given = (*frames[1], kept)
    before = [part.clone() for part in given]
    features = network.recall(frames[1], bank([(kept[0], ROWS - 1)]))
    network.answer(features, *nothing_asked(1), None)
    assert all(torch.equal(a, b) for a, b in zip(before, given, strict=True))


@pytest.mark.slow
def test_recall_and_answer_can_be_exported(network, frames):
    class Follow(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *given: Tensor) -> Tensor:
            *maps, spatial, rows = given
            n = spatial.shape[0]
            memories = MemoryBank(
                spatial, rows, None, spatial.new_zeros(n, 0, 1), spatial.new_zeros(n, 0), None
            )
            features = self.network.recall(tuple(maps), memories)
            return self.network.answer(features, *nothing_asked(n), None)[0]

    with torch.no_grad():
        kept = network.remember(frames[0], logits(1), torch.ones(1), False)
        given = (*frames[1], kept[:, None], torch.tensor([[ROWS - 1]]))
        exported = torch.export.export(Follow(), given, strict=False)
        assert torch.allclose(exported.module()(*given), Follow()(*given), atol=1e-4)


@torch.inference_mode()
def test_objects_that_recall_the_same_frames_are_answered_as_one_by_one(network, frames):
    kept = [network.memory.remember(frames[t], torch.rand(3, 1, 16, 24)) for t in range(2)]
    history = [[(kept[0][i], ROWS - 1), (kept[1][i], 0)] for i in range(3)]
    together = network.recall(frames[2], bank(*history)._replace(same_frames=True))
    for i, one in enumerate(history):
        alone = network.recall(frames[2], bank(one))
        for whole, single in zip(together, alone, strict=True):
            row = whole[i : i + 1] if len(whole) == 3 else whole
            assert torch.allclose(row, single, atol=1e-4)
