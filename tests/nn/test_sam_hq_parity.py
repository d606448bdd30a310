"""SAM-HQ gives the recorded numbers of the official code, part by part and as a whole."""

import pytest
import torch
from recorded_family import (
    CODES,
    EMBEDDING,
    NOT_PUBLIC,
    SCORES,
    Recorded,
    loaded,
    near,
    photos_of,
    watched,
)

from anymask.predict.image import ImagePredictor
from anymask.variants import HQ_ALONE

ROWS = {"sam_hq_vit_b": "sam-hq-vit-b", "sam_hq_vit_tiny": "sam-hq-light"}
LOGITS = 1e-2  # 1e-4 of their largest values, which are 70 to 100 where HQ masks are added

pytestmark = pytest.mark.slow


def of_vit(encoder):
    trunk = encoder.trunk
    found = {"patch_embed": trunk.patch_embed}
    for i, block in enumerate(trunk.blocks):
        found |= {f"block{i}": block, f"block{i}_attn": block.attn}
    for i, block in enumerate((2, 5, 8, 11)):
        found |= {f"interm{i}": trunk.blocks[block]}
    return found | {f"neck{i}": part for i, part in enumerate(trunk.neck)}


def of_tiny_vit(encoder):
    trunk = encoder.trunk
    stages = trunk.stages
    found = {f"neck{i}": part for i, part in enumerate(trunk.neck)}
    found |= {"patch_embed": trunk.embed, "layer0_downsample": stages[0].merge}
    found |= {f"layer{i}": stages[i] for i in range(4)} | {"interm0": stages[1]}
    return found | {f"layer{i}_block0": stages[i].blocks[0] for i in range(4)}


def rows(t):
    return t.flatten(0, 1)[None]


def channels_first(t):
    return t.permute(2, 0, 1)[None]


def last(t):
    return t.permute(0, 2, 3, 1)


TINY = {f"layer{i}": rows for i in range(4)} | {f"layer{i}_block0": rows for i in (1, 2, 3)}
TINY |= {"layer0_downsample": rows, "layer0_block0": channels_first}
TINY |= {"patch_embed": channels_first, "interm0": lambda t: t[None]}
VIT = {f"block{i}": lambda t: t[None] for i in range(12)} | {"patch_embed": last}
VIT |= {f"interm{i}": lambda t: t[None] for i in range(4)}
VIT |= {"block2_attn_global": lambda t: t[None]}
PARTS = {"sam_hq_vit_b": (of_vit, VIT, 14), "sam_hq_vit_tiny": (of_tiny_vit, TINY, 15)}


@pytest.fixture(scope="module", params=[(n, p) for n in ROWS for p in photos_of(n)], ids="-".join)
def case(request, tmp_path_factory):
    name, photo = request.param
    predictor = loaded(name, ROWS[name], tmp_path_factory.mktemp("weights"))
    found = Recorded(predictor, name, photo, PARTS[name][0], LOGITS)
    found.places, found.count = PARTS[name][1:]
    return found


def test_each_stage_of_the_encoder(case):
    assert case.check_stages(case.places) == case.count


def test_the_embedding(case):
    near(case.embedding.features[0][:, ::5, ::5, ::5], case.arrays["image_embedding"], EMBEDDING)


@torch.inference_mode()
def test_every_prompt_through_every_part(case):
    network, decoder = case.network, case.network.decoder
    checked = 0
    for name, prompt in case.prompts.items():
        wanted, seen = case.wanted(name), {}
        xy, kinds, masks = case.network_prompt(prompt)
        prompts = network.prompt_encoder
        near(prompts.sparse(xy, kinds), wanted["sparse"], CODES, name)
        if "dense" in wanted:
            near(prompts.dense(masks)[:, ::5, ::5, ::5], wanted["dense"], EMBEDDING, name)
        watch = {"layer0": decoder.transformer.layers[0], "transformer": decoder.transformer}
        with watched(watch, seen):
            logits, scores = network.decode(case.embedding.features, xy, kinds, masks)
        output = 2 * prompt.get("hq_token_only", False) + prompt["multimask_output"]
        near(scores[:, output].reshape(wanted["iou"].shape), wanted["iou"], SCORES, name)
        step = 11 if name.startswith("batch") else 5
        found = logits[:, output, ::step, ::step].reshape(wanted["low_res"].shape)
        near(found, wanted["low_res"], LOGITS, name)
        if "tokens_out" not in wanted:
            continue
        for stage, tokens, image in (
            ("layer0", "layer0_tokens", "layer0_image_tokens"),
            ("transformer", "tokens_out", "image_tokens_out"),
        ):
            near(seen[stage][0], wanted[tokens], EMBEDDING, name)
            near(seen[stage][1][:, ::41, ::7], wanted[image], EMBEDDING, name)
        check_inside(case, seen["transformer"], wanted, name)
        checked += 1
    assert checked == 2


def check_inside(case, mixed, wanted, name):
    """The upscaled map, the fine maps, and the five masks before any is chosen."""
    decoder, (tokens, image) = case.network.decoder, mixed
    big = decoder.upscaled(image.transpose(1, 2).unflatten(2, (64, 64)))
    near(big[:, :, ::13, ::13], wanted["upscaled"], EMBEDDING, name)
    fine = case.embedding.features[1]
    near(fine[:, :, ::13, ::13], wanted["hq_features"], EMBEDDING, name)
    vectors, scores = decoder.answers(tokens)
    near(scores, wanted["iou_all"], SCORES, name)
    masks = [
        vectors[:, :4] @ big.flatten(2),
        vectors[:, 4:] @ (decoder.convs(big) + fine).flatten(2),
    ]
    found = torch.cat(masks, 1).unflatten(2, (256, 256))[:, :, ::13, ::13]
    near(found, wanted["masks_all"], LOGITS, name)


@torch.inference_mode()
def test_a_look_and_a_draw_give_what_decoding_gives(case):
    prompt = case.prompts["batch2_two_points"]
    xy, kinds, _ = case.network_prompt(prompt)
    logits, scores = case.network.decode(case.embedding.features, xy, kinds)
    state, known = case.network.look(case.embedding.features, xy, kinds)
    near(known, scores.numpy(), SCORES)
    rows, outputs = torch.tensor([1, 0, 0, 1]), torch.tensor([3, 0, 1, 1])
    near(case.network.draw(state, rows, outputs), logits[rows, outputs].numpy(), LOGITS)


def test_every_prompt_from_the_photo_to_masks_of_its_size(case):
    alone = ImagePredictor(case.predictor.model.answering(HQ_ALONE))
    asked = {name: p for name, p in case.prompts.items() if name not in NOT_PUBLIC}
    assert sum("hqonly" in name for name in asked) == 4
    for name, prompt in asked.items():
        predictor = alone if prompt.get("hq_token_only") else case.predictor
        case.check_masks(name, case.predict(prompt, predictor))
