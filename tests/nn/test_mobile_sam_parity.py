"""MobileSAM gives the recorded numbers of the official code, part by part and as a whole."""

import numpy as np
import pytest
import torch
from recorded_family import (
    CODES,
    EARLY,
    EMBEDDING,
    FOLDER,
    NOT_PUBLIC,
    SCORES,
    Recorded,
    loaded,
    near,
    photos_of,
    watched,
)

from anymask.nn.attention import cells_of_windows

NAME = "mobile_sam_vit_t"
LOGITS = 3e-3

pytestmark = pytest.mark.slow


def parts(encoder):
    stages = encoder.stages
    found = {f"neck{i}": part for i, part in enumerate(encoder.neck)}
    found |= {"patch_embed": encoder.embed, "layer0_downsample": stages[0].merge}
    found |= {f"layer{i}": stages[i] for i in range(4)}
    found |= {f"layer{i}_block0": stages[i].blocks[0] for i in range(4)}
    return found | {"layer1_block0_attn": stages[1].blocks[0].attn}


def rows(t):
    return t.flatten(0, 1)[None]  # the original has cells as rows from stage 0's end on


def channels_first(t):
    return t.permute(2, 0, 1)[None]


PLACES = {f"layer{i}": rows for i in range(4)} | {f"layer{i}_block0": rows for i in (1, 2, 3)}
PLACES |= {"layer0_downsample": rows, "layer0_block0": channels_first}
PLACES |= {"patch_embed": channels_first}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return loaded(NAME, "mobile-sam", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module", params=photos_of(NAME))
def case(request, predictor):
    return Recorded(predictor, NAME, request.param, parts, LOGITS)


def test_the_photo_is_scaled_and_normalised(case):
    near(case.seen["preprocessed"][:, :, ::31, ::31], case.arrays["input/preprocessed"], 1e-6)


def test_each_stage_of_the_encoder(case):
    assert case.check_stages(PLACES) == 14


def test_windows_where_they_show_the_photo(case):
    found = case.seen["layer1_block0_attn"]
    h, w, dim = found.shape
    cells = cells_of_windows(h, w, 7, found.device)
    padded = torch.cat([found.flatten(0, 1), torch.full((1, dim), torch.nan)])
    stage = "layer1_block0_attn_last_windows"
    facts = case.table["stages"][stage]
    assert [*cells.shape, dim] == facts["shape"]
    windows = padded[cells][tuple(slice(None, None, s) for s in facts["stride"])].numpy()
    wanted = case.arrays[f"stage/{stage}"]
    real = ~np.isnan(windows)
    assert real.mean() > 0.9
    assert np.abs(windows[real] - wanted[real]).max() <= EARLY * facts["absmax"]


def test_the_embedding(case):
    near(case.embedding.features[0][:, ::5, ::5, ::5], case.arrays["image_embedding"], EMBEDDING)


def test_stale_biases_give_the_other_embedding_that_was_recorded(case, predictor):
    """The original's, where its attention still holds the zeros of a new network."""
    file = FOLDER / NAME / f"{case.table['image']}_zero_attention_bias.npz"
    if not file.is_file():
        assert case.table["image"] != "truck"
        return
    with np.load(file) as arrays:
        wanted = arrays["image_embedding"]
    ours = case.embedding.features[0][:, ::5, ::5, ::5].numpy()
    assert np.abs(ours - wanted).max() > 0.1
    tables = [
        block.attn.biases
        for stage in predictor.model.network.encoder.stages[1:]
        for block in stage.blocks
    ]
    kept = [table.clone() for table in tables]
    try:
        for table in tables:
            table.zero_()
        with torch.inference_mode():
            near(
                predictor.model.network.encode(case.seen["preprocessed"])[0][:, ::5, ::5, ::5],
                wanted,
                EMBEDDING,
            )
    finally:
        for table, values in zip(tables, kept, strict=True):
            table.copy_(values)


@torch.inference_mode()
def test_every_prompt_through_every_part(case):
    decoder = case.network.decoder
    for name, prompt in case.prompts.items():
        wanted, seen = case.wanted(name), {}
        xy, kinds, masks = case.network_prompt(prompt)
        near(case.network.prompt_encoder.sparse(xy, kinds), wanted["sparse"], CODES, name)
        if "dense" in wanted:
            dense = case.network.prompt_encoder.dense(masks)
            near(dense[:, ::5, ::5, ::5], wanted["dense"], EMBEDDING, name)
        watch = {"layer0": decoder.transformer.layers[0], "transformer": decoder.transformer}
        with watched(watch, seen):
            logits, scores = case.network.decode(case.embedding.features, xy, kinds, masks)
        outputs = slice(1, 4) if prompt["multimask_output"] else slice(0, 1)
        near(scores[:, outputs].reshape(wanted["iou"].shape), wanted["iou"], SCORES, name)
        step = 11 if name.startswith("batch") else 5
        found = logits[:, outputs, ::step, ::step].reshape(wanted["low_res"].shape)
        near(found, wanted["low_res"], LOGITS, name)
        if "tokens_out" in wanted:
            for stage, tokens, image in (
                ("layer0", "layer0_tokens", "layer0_image_tokens"),
                ("transformer", "tokens_out", "image_tokens_out"),
            ):
                near(seen[stage][0], wanted[tokens], EMBEDDING, name)
                near(seen[stage][1][:, ::41, ::7], wanted[image], EMBEDDING, name)
            near(logits[:, :, ::13, ::13], wanted["masks_all"], LOGITS, name)
            near(scores, wanted["iou_all"], SCORES, name)


def test_every_prompt_from_the_photo_to_masks_of_its_size(case):
    asked = {name: p for name, p in case.prompts.items() if name not in NOT_PUBLIC}
    assert len(asked) > 10
    for name, prompt in asked.items():
        case.check_masks(name, case.predict(prompt))
