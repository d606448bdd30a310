"""SAM-HQ's outputs: which mask answers what, and what they are made of."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_modules import noise, random
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.model import BUILDERS, Model
from anymask.nn.sam_hq import HqDecoder, SamHq, build_sam_hq, build_sam_hq_light, chosen
from anymask.predict.everything import MaskGenerator
from anymask.predict.image import ImagePredictor
from anymask.variants import HQ_ALONE, VARIANTS, variant
from goldens.record_family import HERE, decoded, hq_side, prompts_of_sam

SIDE = 96
VIT = {"dim": 32, "depth": 4, "heads": 2, "global_blocks": (1, 3), "window": 4}
LIGHT = {"channels": (16, 24, 32, 64), "depths": (1, 1, 2, 1), "windows": (3, 3, 4, 3)}
SHARED = {"side": SIDE, "out_dim": 32, "hidden": 64}


def prompts(count: int, points: int = 2) -> tuple[Tensor, Tensor]:
    xy = torch.rand((count, points, 2), generator=torch.Generator().manual_seed(7)) * SIDE
    return xy, torch.tensor([[1, -1, 0][:points]] * count)


@pytest.fixture(scope="module", params=["sam_hq", "sam_hq_light"])
def network(request):
    shape = VIT if request.param == "sam_hq" else LIGHT
    return random(BUILDERS[request.param](**shape, **SHARED))


@pytest.fixture(scope="module")
@torch.inference_mode()
def features(network):
    return network.encode(noise(1, 3, SIDE, SIDE))


def small_model(network: SamHq) -> Model:
    """With a row as SAM-HQ's, at tiny size."""
    row = variant("sam-hq-vit-b")
    spec = replace(row.spec, side=SIDE, multiple=SIDE)
    return Model(network, replace(row, name="small-sam-hq", network={}, spec=spec))


def plain(network: SamHq, features, xy, labels, masks=None) -> tuple[Tensor, Tensor]:
    """All five masks as the formula has them, and SAM's four scores."""
    decoder, side = network.decoder, network.prompt_encoder
    embedding, fine = features
    tokens, image = decoder.transformer(
        *decoder.sides(embedding, side.grid(), side.dense(masks)),
        decoder.tokens(side.sparse(xy, labels)),
    )
    big = decoder.upscaled(image.transpose(1, 2).unflatten(2, embedding.shape[2:]))
    vectors = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.mask_mlps)], 1)
    sam = vectors[:, :4] @ big.flatten(2)
    hq = vectors[:, 4:] @ (decoder.convs(big) + fine).flatten(2)
    return torch.cat([sam, hq], 1).unflatten(2, big.shape[2:]), decoder.score_mlp(tokens[:, 0])


@torch.inference_mode()
def test_prompts_give_what_they_gave_when_it_was_proven():
    found = decoded(hq_side(), *prompts_of_sam())
    with np.load(HERE / "hq.npz") as wanted:
        assert set(found) == set(wanted)
        for name, values in found.items():
            bound = 5e-5 if "scores" in name else 1e-4 * np.abs(wanted[name]).max()
            assert np.abs(values - wanted[name]).max() <= bound, name


@torch.inference_mode()
def test_clear_prompts_get_mask_0_and_the_hq_mask(network, features):
    xy, labels = prompts(3)
    logits, scores = network.decode(features, xy, labels)
    masks, known = plain(network, features, xy, labels)
    assert torch.allclose(logits[:, 0], masks[:, 0] + masks[:, 4], atol=1e-4)
    assert torch.allclose(logits[:, 2], masks[:, 4], atol=1e-4)
    assert torch.equal(scores[:, 0], known[:, 0])


@torch.inference_mode()
def test_ambiguous_prompts_get_the_best_mask_and_the_hq_mask(network, features):
    xy, labels = prompts(5)
    logits, scores = network.decode(features, xy, labels)
    masks, known = plain(network, features, xy, labels)
    best = known[:, 1:].argmax(1) + 1
    wanted = masks[torch.arange(5), best] + masks[:, 4]
    assert torch.allclose(logits[:, 1], wanted, atol=1e-4)
    assert torch.equal(scores[:, 1], known[:, 1:].amax(1))


def test_each_of_the_three_can_be_the_best():
    scores = torch.tensor([[9.0, 3, 1, 2], [9, 1, 3, 2], [9, 1, 2, 3], [9, 3, 3, 3]])
    vectors = torch.arange(5.0)[None, :, None].expand(4, 5, 2)
    picked, known = chosen(vectors, scores)
    assert picked[:, :, 0].tolist() == [[0, 1, 4], [0, 2, 4], [0, 3, 4], [0, 1, 4]]
    assert known.tolist() == [[9, 3, 9, 3]] * 4


@torch.inference_mode()
def test_the_hq_mask_has_the_score_of_sams_mask(network, features):
    logits, scores = network.decode(features, *prompts(3))
    assert torch.equal(scores[:, :2], scores[:, 2:])
    assert torch.equal(logits[:, 2], logits[:, 3])


@torch.inference_mode()
def test_folding_the_vector_into_the_last_convolution_changes_nothing():
    decoder = random(HqDecoder(32, 64))
    for size in ((9, 7), (70, 3), (64, 2), (1, 1)):
        big, fine, vector = noise(3, 4, *size), noise(1, 4, *size, seed=2), noise(3, 4, seed=3)
        wanted = torch.einsum("nd,ndhw->nhw", vector, decoder.convs(big) + fine)
        assert torch.allclose(decoder.hq_mask(big, fine, vector), wanted, atol=1e-5)


@torch.inference_mode()
def test_early_features_are_those_of_the_first_global_block():
    trunk = random(build_sam_hq(**VIT, **SHARED)).encoder.trunk
    seen = []
    handle = trunk.blocks[1].register_forward_hook(lambda _m, _i, out: seen.append(out))
    early, embedding = trunk.levels(noise(2, 3, SIDE, SIDE))
    handle.remove()
    assert torch.equal(early, torch.stack(seen).permute(0, 3, 1, 2))
    assert torch.equal(embedding, trunk(noise(2, 3, SIDE, SIDE)))


@torch.inference_mode()
def test_light_takes_the_second_stage_merged():
    trunk = random(build_sam_hq_light(**LIGHT, **SHARED)).encoder.trunk
    seen = []
    handle = trunk.stages[1].register_forward_hook(lambda _m, _i, out: seen.append(out))
    early, _ = trunk.levels(noise(2, 3, SIDE, SIDE))
    handle.remove()
    assert early.shape == (2, LIGHT["channels"][2], SIDE // 16, SIDE // 16)
    assert torch.equal(early, torch.stack(seen).permute(0, 3, 1, 2))


@torch.inference_mode()
@pytest.mark.parametrize("masks", [None, noise(4, 1, SIDE // 4, SIDE // 4)])
def test_a_look_and_a_draw_give_what_decoding_gives(network, features, masks):
    xy, labels = prompts(4)
    logits, scores = network.decode(features, xy, labels, masks)
    state, known = network.look(features, xy, labels, masks)
    rows, outputs = torch.tensor([3, 0, 0, 1, 3]), torch.tensor([1, 0, 3, 2, 0])
    assert torch.allclose(known, scores, atol=1e-5)
    assert torch.allclose(network.draw(state, rows, outputs), logits[rows, outputs], atol=1e-4)
    assert network.draw(state, rows[:0], outputs[:0]).shape == (0, SIDE // 4, SIDE // 4)


@torch.inference_mode()
def test_no_prompts_at_all_give_nothing_of_full_shape(network, features):
    xy, labels = prompts(2)
    logits, scores = network.decode(features, xy[:0], labels[:0])
    assert logits.shape == (0, 4, SIDE // 4, SIDE // 4) and scores.shape == (0, 4)


def test_gradients_reach_all_but_masks_that_were_not_chosen():
    network = random(build_sam_hq(**VIT, **SHARED)).train()
    xy, labels = prompts(4, 3)
    features = network.encode(noise(1, 3, SIDE, SIDE))
    first, _ = network.decode(features, xy, labels)
    again, scores = network.decode(features, xy, torch.tensor([[2, 3, 1]] * 4), first[:, 1:2])
    (again.square().mean() + scores.square().mean()).backward()
    still = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name.rsplit(".", 3)[0] for name in still} < {
        f"decoder.mask_mlps.{i}" for i in (1, 2, 3)
    }


class Decode(nn.Module):
    """`SamHq.decode` as a module, which is what export takes."""

    def __init__(self, network: SamHq) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, embedding: Tensor, fine: Tensor, xy: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.network.decode((embedding, fine), xy, labels)


@pytest.mark.slow
@torch.no_grad()
def test_the_decoder_exports_for_any_number_of_prompts_and_points():
    network = random(build_sam_hq(**VIT, **SHARED))
    features = network.encode(noise(1, 3, SIDE, SIDE))
    p, n = torch.export.Dim("p", min=2, max=64), torch.export.Dim("n", min=2, max=64)
    shapes = (None, None, {0: p, 1: n}, {0: p, 1: n})
    program = torch.export.export(Decode(network), (*features, *prompts(3)), dynamic_shapes=shapes)
    more = (*features, *prompts(5, 3))
    for a, b in zip(program.module()(*more), Decode(network)(*more), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@torch.inference_mode()
def test_half_precision_of_the_encoder_stays_near(network, features):
    x = noise(1, 3, SIDE, SIDE)
    kept = network.encoder.state_dict()
    half = network.encoder.to(torch.bfloat16)(x.to(torch.bfloat16))
    network.encoder.to(torch.float32).load_state_dict(kept)
    for a, b in zip(half, features, strict=True):
        assert a.dtype == torch.bfloat16
        assert F.cosine_similarity(a.float().flatten(), b.flatten(), 0) > 0.99


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)


def test_a_user_gets_one_mask_a_prompt_and_may_give_it_back(network):
    predictor = ImagePredictor(small_model(network))
    embedding = predictor.encode(photo())
    asked = {"points": [[30, 20]]}
    many, one = (predictor.predict(embedding, **asked, multimask=m) for m in (True, False))
    assert many.masks.shape == one.masks.shape == (1, 50, 70)
    again = predictor.predict(embedding, **asked, masks=many.logits, multimask=False)
    assert not np.allclose(again.logits, one.logits, atol=1e-4)
    boxes = predictor.predict(embedding, boxes=[[5, 5, 40, 40], [20, 10, 69, 49]])
    assert boxes.masks.shape == (2, 1, 50, 70)


def test_the_hq_mask_alone_is_asked_of_the_same_embedding(network):
    model = small_model(network)
    alone = model.answering(HQ_ALONE)
    predictor, other = ImagePredictor(model), ImagePredictor(alone)
    embedding = predictor.encode(photo())
    xy = torch.tensor([[[30.0, 20], [0, 0]]]) * SIDE / 70 + 0.5
    for multimask, output in ((False, 2), (True, 3)):
        found = other.predict(embedding, points=[[30, 20]], multimask=multimask)
        both = predictor.predict(embedding, points=[[30, 20]], multimask=multimask)
        wanted, _ = model.decode(embedding.features, xy, torch.tensor([[1, -1]]))
        assert np.allclose(found.logits[0], wanted[0, output].numpy(), atol=2e-3)
        assert np.array_equal(found.scores, both.scores)
        assert not np.allclose(found.logits, both.logits, atol=1e-2)
    assert model.variant.outputs != alone.variant.outputs


def test_a_point_of_everything_mode_gives_one_mask(network):
    generator = MaskGenerator(
        small_model(network),
        points_per_side=3,
        pred_iou_thresh=-9,
        stability_score_thresh=0,
        box_nms_thresh=1,
    )
    found = generator.generate(photo())
    points = [tuple(p) for p in found.points.tolist()]
    assert 0 < len(points) <= 9 and len(set(points)) == len(points)


def test_rows_of_hq_networks_let_the_sum_answer():
    rows = [row for row in VARIANTS if row.builder.startswith("sam_hq")]
    assert len(rows) == 4
    for row in rows:
        assert row.outputs.of(multimask=True) == slice(1, 2)
        assert row.outputs.of(multimask=False) == slice(0, 1)
