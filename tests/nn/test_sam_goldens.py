"""The prompt side of ViT-B at full size: what the official code recorded, in small.

Where the numbers come from is told in `tests/goldens/record.py`.
"""

import json

import numpy as np
import pytest
import torch

from goldens.record import DECODED, HERE, STRIDE, asked, prompt_side, random_embedding

FACTS = json.loads((HERE / "prompts.json").read_text())
CODES, LOGITS, SCORES = 5e-6, 3e-3, 5e-5  # bounds of the reference data's own page


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(HERE / name) as file:
        return dict(file)


@pytest.fixture(scope="module")
def network():
    return prompt_side()


@pytest.fixture(scope="module")
def mask():
    return arrays("mask.npz")["mask"]


@pytest.fixture(scope="module")
def recorded():
    return arrays("prompts.npz")


@torch.inference_mode()
@pytest.mark.parametrize("name", FACTS["prompts"])
def test_points_and_boxes_become_the_official_tokens(network, mask, recorded, name):
    points, labels, _ = asked(FACTS, FACTS["prompts"][name], mask)
    found = network.prompt_encoder.sparse(points, labels).numpy()
    wanted = recorded[f"{name}/sparse"]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max(initial=0) <= CODES


@torch.inference_mode()
def test_a_mask_becomes_the_official_map(network, mask, recorded):
    _, _, masks = asked(FACTS, FACTS["prompts"]["mask_only"], mask)
    found = network.prompt_encoder.dense(masks)[:, ::5, ::5, ::5].numpy()
    assert np.abs(found - recorded["mask_only/dense"]).max() <= CODES


@torch.inference_mode()
def test_cells_have_the_official_codes(network, recorded):
    found = network.prompt_encoder.grid().permute(2, 0, 1)[None]
    assert np.abs(found[:, ::5, ::5, ::5].numpy() - recorded["dense_pe"]).max() <= CODES


def look_and_draw(network, features, points, labels, masks):
    """Both halves, of every output of every prompt."""
    state, scores = network.look(features, points, labels, masks)
    rows, outputs = (index.flatten() for index in torch.ones_like(scores).nonzero().unbind(1))
    logits = network.draw(state, rows, outputs)
    return logits.view(*scores.shape, *logits.shape[1:]), scores


@torch.inference_mode()
@pytest.mark.parametrize("name", DECODED)
@pytest.mark.parametrize("way", ["decode", "look and draw"])
def test_the_decoder_makes_of_an_embedding_what_it_did_when_it_was_proven(network, mask, name, way):
    wanted = arrays("decoder.npz")
    prompt = asked(FACTS, FACTS["prompts"][name], mask)
    if way == "decode":
        logits, scores = network.decode((random_embedding(),), *prompt)
    else:
        logits, scores = look_and_draw(network, (random_embedding(),), *prompt)
    found = logits[..., ::STRIDE, ::STRIDE].numpy()
    assert np.abs(found - wanted[f"{name}/logits"]).max() <= LOGITS
    assert np.abs(scores.numpy() - wanted[f"{name}/scores"]).max() <= SCORES
