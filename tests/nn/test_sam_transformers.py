"""SAM at tiny size equals transformers' SamModel with the same random weights."""

import pytest
import torch
from hugging_face import hold_names, hold_saved_file, small_pair

from anymask.nn.sam import build_sam
from anymask.weights.sam import HUGGING_FACE, LAYOUTS

SIDE = 96  # 6 x 6 cells: windows of 4 need padding


@pytest.fixture(scope="module")
def pair():
    return small_pair("Sam", build_sam, LAYOUTS, SIDE)


def test_the_table_has_their_names_and_no_others(pair):
    hold_names(pair[1].state_dict(), LAYOUTS, HUGGING_FACE)


def test_a_file_that_they_saved_holds_the_same_weights(pair, tmp_path):
    hold_saved_file(*pair, LAYOUTS, tmp_path)


@torch.inference_mode()
def test_the_embedding_is_the_same(pair):
    ours, theirs = pair
    x = torch.randn(2, 3, SIDE, SIDE)
    assert torch.allclose(ours.encode(x)[0], theirs.get_image_embeddings(x), atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["points", "box", "mask"])
def test_masks_and_scores_are_the_same(pair, kind):
    ours, theirs = pair
    embedding = torch.randn(1, 32, 6, 6)
    asked = {"multimask_output": True, "image_embeddings": embedding}
    masks = None
    if kind == "box":
        corners = torch.tensor([[[10.0, 12.0], [60.0, 70.0]]])
        asked["input_boxes"] = corners.view(1, 1, 4)
        points, labels = corners + 0.5, torch.tensor([[2, 3]])
    else:
        at = torch.tensor([[[20.0, 30.0], [50.0, 60.0]]])
        asked |= {"input_points": at[None], "input_labels": torch.tensor([[[1, 0]]])}
        points = torch.cat([at + 0.5, torch.zeros(1, 1, 2)], dim=1)
        labels = torch.tensor([[1, 0, -1]])
    if kind == "mask":
        masks = torch.randn(1, 1, 24, 24)
        asked["input_masks"] = masks
    want = theirs(**asked)
    logits, scores = ours.decode((embedding,), points, labels, masks)
    assert torch.allclose(logits[:, 1:], want.pred_masks[0], atol=1e-4)
    assert torch.allclose(scores[:, 1:], want.iou_scores[0], atol=1e-5)
