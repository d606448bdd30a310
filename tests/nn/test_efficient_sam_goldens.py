"""The prompt side of EfficientSAM-Ti at full size: what the official code recorded, in small.

Where the numbers come from is told in `tests/goldens/record_efficient_sam.py`.
"""

import json

import numpy as np
import pytest
import torch

from goldens.record import STRIDE, random_embedding
from goldens.record_efficient_sam import DECODED, HERE, asked, prompt_side, slots

FACTS = json.loads((HERE / "prompts.json").read_text())
CODES, LOGITS, SCORES = 5e-6, 3e-3, 5e-5  # bounds of the reference data's own page


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(HERE / name) as file:
        return dict(file)


@pytest.fixture(scope="module")
def network():
    return prompt_side()


@torch.inference_mode()
@pytest.mark.parametrize("name", FACTS["prompts"])
def test_points_and_boxes_become_the_official_tokens(network, name):
    points, labels = asked(FACTS, FACTS["prompts"][name])
    found = network.prompt_encoder.sparse(points, labels)
    found = found[:, slots(FACTS["prompts"][name], labels[0])].numpy()
    wanted = arrays("prompts.npz")[f"{name}/sparse"]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= CODES


@torch.inference_mode()
def test_cells_have_the_official_codes(network):
    found = network.prompt_encoder.grid().permute(2, 0, 1)[None]
    wanted = arrays("prompts.npz")["dense_pe"]
    assert np.abs(found[:, ::5, ::5, ::5].numpy() - wanted).max() <= CODES


@torch.inference_mode()
@pytest.mark.parametrize("name", DECODED)
def test_the_decoder_makes_of_an_embedding_what_it_did_when_it_was_proven(network, name):
    wanted = arrays("decoder.npz")
    logits, scores = network.decode((random_embedding(),), *asked(FACTS, FACTS["prompts"][name]))
    found = logits[..., ::STRIDE, ::STRIDE].numpy()
    assert np.abs(found - wanted[f"{name}/logits"]).max() <= LOGITS
    assert np.abs(scores.numpy() - wanted[f"{name}/scores"]).max() <= SCORES
