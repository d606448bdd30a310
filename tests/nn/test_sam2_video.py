"""SAM 2's and EdgeTAM's memory at tiny size: what holds whatever the weights are."""

from dataclasses import replace

import pytest
import torch

from anymask.errors import CheckpointError
from anymask.model import Model
from anymask.model_video import maps_of, video_spec
from anymask.nn.memory import Memory, MemoryBank
from anymask.nn.memory_attention import mix
from anymask.nn.memory_blocks import gathered, mix_blocks, plain_blocks
from anymask.nn.sam2 import build_sam2
from anymask.predict.video_step import (
    FrameMemory,
    Recall,
    bank_of,
    memorise,
    prompt,
    prompt_mask,
    track,
)
from anymask.variant_sam2 import SAM2_ROWS
from anymask.variant_sizes import sized

SIDE, DIM, WIDTH = 128, 64, 16  # 8 x 8 cells; channels of maps and of memories
TRUNK = {
    "dim": 16,
    "heads": 1,
    "depths": (1, 2, 3, 2),
    "windows": (8, 4, 6, 3),
    "global_blocks": (4,),
    "background": 7,
}
KINDS = {
    "2.1": {"absent": True},
    "2": {},
    "edgetam": {"depth": 2, "latents": (6, 16)},
}
CLOSE = 1e-4


def memory_of(kind: str) -> dict:
    return {"depth": 2, **KINDS[kind], "dim": DIM, "memory_dim": WIDTH, "hidden": 96}


def model_of(kind: str) -> Model:
    """A network whose tensors are all random, with the row of its like."""
    torch.manual_seed(0)
    network = build_sam2(side=SIDE, out_dim=DIM, hidden=64, memory=memory_of(kind), **TRUNK)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    row = SAM2_ROWS[-1 if kind == "edgetam" else 0]
    video = replace(row.video, step=SIDE)
    return Model(network, replace(row, spec=replace(row.spec, side=SIDE), video=video))


@pytest.fixture(scope="module", params=KINDS)
def model(request) -> Model:
    return model_of(request.param)


@pytest.fixture(scope="module")
def maps(model) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    with torch.inference_mode():
        return model.network.maps(torch.randn(1, 3, SIDE, SIDE))


def kept(model: Model, frame: int) -> FrameMemory:
    """A memory of anything."""
    tokens = 22 if model.network.memory.perceiver else 64
    return FrameMemory(
        frame=frame,
        spatial=torch.randn(tokens, WIDTH).bfloat16(),
        pointer=torch.randn(DIM),
        present=1.0,
        logits=torch.randn(SIDE // 4, SIDE // 4),
        score=0.5,
        prompted=False,
    )


def history(model: Model, memories: int, pointers: int) -> Recall:
    past = [kept(model, i) for i in range(max(memories, pointers))]
    rows = [6, *range(5, -1, -1)]
    return Recall(
        spatial=tuple(zip(past[:memories], rows, strict=False)),
        pointers=tuple((one, i / 15) for i, one in enumerate(past[:pointers])),
    )


@torch.inference_mode()
def test_objects_with_histories_of_any_length_are_followed_as_each_alone(model, maps):
    torch.manual_seed(2)
    recalls = [history(model, *counts) for counts in ((7, 9), (1, 1), (3, 0), (7, 9), (2, 5))]
    network = model.network
    together = network.recall(maps, bank_of(recalls, model.device))[0]
    alone = [network.recall(maps, bank_of([one], model.device))[0] for one in recalls]
    assert (together - torch.cat(alone)).abs().max() <= CLOSE
    for found, one in zip(track(model, maps, recalls), recalls, strict=True):
        (single,) = track(model, maps, [one])
        assert (found.logits - single.logits).abs().max() <= CLOSE
        assert (found.pointer - single.pointer).abs().max() <= CLOSE
        assert abs(found.present - single.present) <= CLOSE
        assert abs(found.score - single.score) <= CLOSE


@torch.inference_mode()
def test_memories_of_several_objects_are_those_of_each_alone(model, maps):
    answers = track(model, maps, [history(model, 3, 3) for _ in range(3)])
    gone = replace(answers[0], present=-1.0)
    together = memorise(model, maps, [*answers, gone], 5, prompted=False)
    for one, found in zip([*answers, gone], together, strict=True):
        (alone,) = memorise(model, maps, [one], 5, prompted=False)
        assert (found.spatial.float() - alone.spatial.float()).abs().max() <= 2**-6
        assert found.spatial.dtype == torch.bfloat16 and found.frame == 5


@torch.inference_mode()
def test_a_network_remembers_many_masks_at_once_as_one_by_one(model, maps):
    """The official perceiver fails with more than one."""
    masks, present = torch.randn(3, 1, SIDE, SIDE) * 4, torch.tensor([1.0, -1.0, 1.0])
    together = model.network.remember(maps, masks, present, False)
    for i, found in enumerate(together):
        alone = model.network.remember(maps, masks[i : i + 1], present[i : i + 1], False)[0]
        assert (found - alone).abs().max() <= CLOSE


@torch.inference_mode()
def test_what_is_kept_of_one_object_holds_no_memory_of_the_others(model, maps):
    answers = track(model, maps, [history(model, 2, 1) for _ in range(3)])
    for one in memorise(model, maps, answers, 5, prompted=False):
        for part in (one.spatial, one.pointer, one.logits):
            assert part.untyped_storage().nbytes() == part.numel() * part.element_size()


@torch.inference_mode()
def test_keys_of_rows_give_what_keys_of_all_cells_do(model, maps):
    """Where enough tokens share a row, its turn is made to the queries."""
    torch.manual_seed(3)
    memory = model.network.memory
    for counts in ((7, 9), (6, 0), (5, 2)):
        recalls = [history(model, *counts), history(model, *counts)]
        bank = bank_of(recalls, model.device)
        if counts == (5, 2):  # a memory and a pointer that are not there
            bank = bank._replace(
                spatial_valid=torch.tensor([[True] * 5, [True, False, True, True, False]]),
                pointer_valid=torch.tensor([[True, True], [True, False]]),
            )
        tokens = memory.tokens(maps[0], bank)
        if tokens.still:
            continue
        layer = memory.attention.layers[0].cross_attn
        queries = torch.randn(2, 64, DIM)
        by_rows = layer.by_rows(queries, tokens)
        plain = mix(queries, layer.keys(tokens), tokens.seen, tokens.bias)
        assert (by_rows - plain).abs().max() <= CLOSE


def test_blocks_give_what_pytorch_gives():
    torch.manual_seed(4)
    q, k, v = torch.randn(2, 700, 32) * 3, torch.randn(2, 1300, 32), torch.randn(2, 1300, 8)
    bias = torch.zeros(2, 1, 1300).masked_fill(torch.rand(2, 1, 1300) < 0.3, float("-inf"))
    for extra in (None, bias):
        plain = mix(q, k, v, extra)  # gradients are wanted, so that is PyTorch's
        with torch.inference_mode():
            assert (mix(q, k, v, extra) - plain).abs().max() <= CLOSE
    with torch.inference_mode():
        far = mix_blocks(q[0] * 1e3, k[0], v[0], None)
        assert far.isfinite().all()  # exponentials of large products
        nothing = torch.full((1, 1300), float("-inf"))
        nothing[:, 1299] = 0  # whole blocks are masked before one token is not
        some = gathered(plain_blocks(q[0], k[0], v[0], nothing), q[0], 8)
        assert torch.allclose(some, v[0, 1299].expand_as(some))


@torch.inference_mode()
def test_an_object_that_is_not_there_has_one_pointer_and_no_mask(model, maps):
    network = model.network
    bias = network.decoder.object_mlp.layers[-1].bias
    before = bias.clone()
    try:
        bias.copy_(torch.tensor([-1e3]))
        (gone,) = track(model, maps, [history(model, 2, 2)])
        bias.copy_(torch.tensor([1e3]))
        (there,) = track(model, maps, [history(model, 2, 2)])
    finally:
        bias.copy_(before)
    assert (gone.logits == -1024).all() and gone.present < 0
    assert torch.equal(gone.pointer, network.memory.no_pointer[0])
    assert there.logits.abs().max() < 1024 and there.present > 0
    assert not torch.equal(there.pointer, network.memory.no_pointer[0])


@torch.inference_mode()
def test_only_2_1_marks_memories_of_frames_without_the_object(model, maps):
    low = torch.randn(1, 1, SIDE, SIDE)
    gone, there = (
        model.network.remember(maps, low, torch.tensor([score]), False) for score in (-1.0, 1.0)
    )
    absent = model.network.memory.absent
    if absent is None:
        assert torch.equal(gone, there)
    else:
        assert torch.allclose(gone - there, absent.expand_as(gone), atol=1e-5)


@torch.inference_mode()
def test_a_mask_is_its_own_answer(model, maps):
    masks = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    masks[0, 20:70, 30:90] = True
    masks[1] = True
    first, whole, nothing = prompt_mask(model, maps, masks)
    inside, outside = first.logits[7:15, 10:20], first.logits[25:]
    assert (inside - 10).abs().max() <= 1e-5 and (outside + 10).abs().max() <= 1e-5
    assert (whole.logits - 10).abs().max() <= 1e-5 and (nothing.logits + 10).abs().max() <= 1e-5
    assert [one.present for one in (first, whole, nothing)] == [10, 10, -10]
    assert torch.equal(nothing.pointer, model.network.memory.no_pointer[0])
    alone = prompt_mask(model, maps, masks[:1])[0]
    assert (alone.pointer - first.pointer).abs().max() <= CLOSE


POINTS = torch.tensor([[40.5, 50.5], [0.0, 0.0]]), torch.tensor([1, -1])


@torch.inference_mode()
def test_logits_of_an_answer_that_is_refined_are_cut(model, maps):
    far = torch.randn(SIDE // 4, SIDE // 4) * 1000
    found = prompt(model, maps, *POINTS, clear=False, before=far)
    cut = prompt(model, maps, *POINTS, clear=False, before=far.clamp(-32, 32))
    assert torch.equal(found.logits, cut.logits)


@torch.inference_mode()
def test_a_lone_point_gets_the_best_alternative_and_a_clear_prompt_the_first_output(model, maps):
    network, outputs = model.network, model.variant.outputs
    features = network.forget(maps)
    points, labels = (part[None] for part in POINTS)
    logits, scores, vectors, present = network.answer(features, points, labels)
    best = 1 + int(scores[0, 1:].argmax())
    lone = prompt(model, maps, *POINTS, clear=False)
    clear = prompt(model, maps, *POINTS, clear=True)
    steady = int(outputs.steady(logits[:, 0], scores))
    there = present > 0
    for found, output, speaks in ((lone, best, best), (clear, steady, 0)):
        assert abs(found.score - float(scores[0, output])) <= CLOSE
        wanted = logits[0, output] if there else torch.full_like(logits[0, 0], -1024)
        assert torch.allclose(found.logits, wanted, atol=CLOSE)
        assert torch.allclose(found.pointer, network.pointers(vectors[:, speaks], present)[0])


@torch.inference_mode()
def test_objects_that_recall_nothing_are_looked_for_as_on_a_first_frame(model, maps):
    recalls = [Recall(spatial=()), history(model, 2, 1), Recall(spatial=())]
    found = track(model, maps, recalls)
    nothing = model.network.answer(
        model.network.forget(maps), torch.zeros(1, 2, 2), torch.full((1, 2), -1)
    )
    assert abs(found[0].present - float(nothing[3])) <= CLOSE
    assert torch.equal(found[0].logits, found[2].logits)
    assert not torch.equal(found[0].pointer, found[1].pointer)


@torch.inference_mode()
def test_masks_that_somebody_made_are_remembered_as_in_or_out(model, maps):
    (answer,) = track(model, maps, [history(model, 2, 1)])
    faint = replace(answer, logits=torch.randn(SIDE // 4, SIDE // 4) * 0.1, present=1.0)
    bold = replace(faint, logits=faint.logits * 1e4)
    faint, bold = (memorise(model, maps, [one], 0, prompted=True)[0] for one in (faint, bold))
    assert torch.equal(faint.spatial, bold.spatial)


def test_an_input_size_that_a_perceivers_windows_do_not_fit_is_refused():
    for row, size, fits in ((SAM2_ROWS[0], 544, True), (SAM2_ROWS[-1], 544, False)):
        other = sized(row, size)
        if fits:
            assert video_spec(other) is other.video
            continue
        with pytest.raises(CheckpointError) as caught:
            video_spec(other)
        assert caught.value.code == "video-size" and "256" in str(caught.value)
        assert video_spec(sized(row, 512)).step == 256


@torch.inference_mode()
def test_an_encoder_in_halves_serves_videos_too():
    model = model_of("2.1")
    model.network.encoder.bfloat16()
    pixels = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    maps = maps_of(model, pixels)
    assert {part.dtype for part in maps} == {torch.float32}
    (answer,) = track(model, maps, [history(model, 2, 2)])
    assert answer.logits.dtype == torch.float32 and answer.logits.isfinite().all()


def test_the_memory_takes_gradients(model):
    memory = model.network.memory.requires_grad_(True)
    try:
        embedding = torch.randn(1, DIM, 8, 8)
        spatial = memory.remember(embedding, torch.randn(1, 1, SIDE, SIDE), torch.ones(1), False)
        bank = MemoryBank(
            spatial=spatial[:, None],
            rows=torch.tensor([[6]]),
            spatial_valid=None,
            pointers=memory.pointers(torch.randn(1, DIM), torch.ones(1))[:, None],
            gaps=torch.tensor([[0.1]]),
            pointer_valid=None,
        )
        memory.recall(embedding, bank).square().sum().backward()
        unused = {"no_position", "no_pointer", "absent", "mask_down.weight", "mask_down.bias"}
        for name, parameter in memory.named_parameters():
            flows = parameter.grad is not None and bool(parameter.grad.any())
            assert flows == (name not in unused), name
    finally:
        memory.requires_grad_(False)
        memory.zero_grad()


@pytest.mark.parametrize("kind", ["2.1", pytest.param("edgetam", marks=pytest.mark.slow)])
def test_the_memory_can_be_exported(kind):
    """Attention and encoder, with real numbers alone."""

    class Both(torch.nn.Module):
        def __init__(self, memory: Memory) -> None:
            super().__init__()
            self.memory = memory

        def forward(self, embedding, masks, present, rows, pointers, gaps):
            spatial = self.memory.remember(embedding, masks, present, True)
            bank = MemoryBank(spatial[:, None], rows, None, pointers, gaps, None)
            return self.memory.recall(embedding, bank)

    inputs = (
        torch.randn(1, DIM, 8, 8),
        torch.randn(2, 1, SIDE, SIDE),
        torch.tensor([1.0, -1.0]),
        torch.tensor([[6], [0]]),
        torch.randn(2, 3, DIM),
        torch.rand(2, 3),
    )
    both = Both(model_of(kind).network.memory).eval()
    exported = torch.export.export(both, inputs)
    kinds = {
        node.meta["val"].dtype
        for node in exported.graph.nodes
        if isinstance(node.meta.get("val"), torch.Tensor)
    }
    assert not any(kind.is_complex for kind in kinds)
    with torch.inference_mode():
        wanted = both(*inputs)
    assert (exported.module()(*inputs) - wanted).abs().max() <= CLOSE
