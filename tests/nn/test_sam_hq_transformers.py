"""SAM-HQ takes the weights that transformers' SamHQModel saves.

Names and what does not depend on the HQ mask are compared: masks of transformers 5.23 are not those
of the original, for its decoder goes on with the image as it was before the transformer.
"""

import pytest
import torch
from hugging_face import hold_names, hold_saved_file, small_pair

from anymask.nn.sam_hq import build_sam_hq
from anymask.weights.sam_hq import HUGGING_FACE, LAYOUTS

SIDE = 96  # 6 x 6 cells: windows of 4 need padding


@pytest.fixture(scope="module")
def pair():
    return small_pair("SamHQ", build_sam_hq, LAYOUTS, SIDE, vit_dim=32)


def test_the_table_has_their_names_and_no_others(pair):
    hold_names(pair[1].state_dict(), LAYOUTS, HUGGING_FACE)


def test_a_file_that_they_saved_holds_the_same_weights(pair, tmp_path):
    hold_saved_file(*pair, LAYOUTS, tmp_path)


@torch.inference_mode()
def test_embedding_and_early_features_are_the_same(pair):
    ours, theirs = pair
    x = torch.randn(2, 3, SIDE, SIDE)
    embedding, early = theirs.get_image_embeddings(x)
    found = ours.encoder.trunk.levels(x)
    assert torch.allclose(found[1], embedding, atol=1e-5)
    assert torch.allclose(found[0].permute(0, 2, 3, 1), early[0], atol=1e-5)


@torch.inference_mode()
def test_the_fine_maps_are_what_their_layers_give(pair):
    ours, theirs = pair
    early, embedding = torch.randn(1, 32, 6, 6), torch.randn(1, 32, 6, 6)
    decoder = theirs.mask_decoder

    def enlarged(x, first, norm, second):
        return second(torch.nn.functional.gelu(norm(first(x))))

    wanted = enlarged(
        embedding, decoder.encoder_conv1, decoder.encoder_norm, decoder.encoder_conv2
    ) + enlarged(
        early, decoder.compress_vit_conv1, decoder.compress_vit_norm, decoder.compress_vit_conv2
    )
    found = ours.encoder.late(embedding) + ours.encoder.early(early)
    assert torch.allclose(found, wanted, atol=1e-5)


@torch.inference_mode()
def test_scores_of_clear_prompts_are_the_same(pair):
    ours, theirs = pair
    x = torch.randn(1, 3, SIDE, SIDE)
    at = torch.tensor([[[20.0, 30.0], [50.0, 60.0]]])
    want = theirs(
        pixel_values=x,
        input_points=at[None],
        input_labels=torch.tensor([[[1, 0]]]),
        multimask_output=False,
    )
    points = torch.cat([at + 0.5, torch.zeros(1, 1, 2)], dim=1)
    _, scores = ours.decode(ours.encode(x), points, torch.tensor([[1, 0, -1]]))
    assert torch.allclose(scores[:, :1], want.iou_scores[0], atol=1e-5)
