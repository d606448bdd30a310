"""SAM 2 at tiny size equals transformers' Sam2Model with the same random weights."""

import pytest
import torch

from anymask.nn.sam2 import build_sam2
from anymask.variant_sam2 import SAM2_ROWS
from anymask.weights.convert import Layout, convert, recognise
from anymask.weights.files import read_state
from anymask.weights.match import LAYOUTS
from anymask.weights.sam2_hf import SAM2

SIDE = 128  # 8 x 8 cells in the third stage: windows of 6 need padding
TRUNK = {
    "depths": (1, 2, 3, 2),
    "windows": (8, 4, 6, 3),
    "global_blocks": (4,),
    "background": 7,
}
OUTPUTS = SAM2_ROWS[0].outputs
MEMORY = {"dim": 32, "memory_dim": 64, "hidden": 64, "absent": True}


def settings(transformers, video=False):
    """Their configuration of the same network."""
    backbone = {
        "hidden_size": 16,
        "num_attention_heads": 1,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": list(TRUNK["depths"]),
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": list(TRUNK["windows"]),
        "global_attention_blocks": list(TRUNK["global_blocks"]),
        "window_positional_embedding_background_size": [7, 7],
    }
    parts = {
        "vision_config": transformers.Sam2VisionConfig(
            backbone_config=transformers.Sam2HieraDetConfig(**backbone),
            backbone_channel_list=[128, 64, 32, 16],
            backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
            fpn_hidden_size=32,
        ),
        "prompt_encoder_config": {"hidden_size": 32, "image_size": SIDE, "patch_size": 16},
        "mask_decoder_config": {"hidden_size": 32, "iou_head_hidden_dim": 32, "mlp_dim": 64},
    }
    if not video:
        return transformers.Sam2Config(**parts)
    return transformers.Sam2VideoConfig(
        **parts,
        image_size=SIDE,
        memory_attention_hidden_size=32,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=32,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=32,
        memory_fuser_embed_dim=32,
        memory_fuser_intermediate_dim=128,
        enable_temporal_pos_encoding_for_object_pointers=True,
        enable_occlusion_spatial_embedding=True,
    )


def stirred(network):
    """Their start leaves tables at 0, which would hide mistakes."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        one, other = network.shared_image_embedding, network.prompt_encoder.shared_embedding
        one.positional_embedding.copy_(other.positional_embedding)  # one in published files
    return network.eval()


def ours_of(memory=None):
    return build_sam2(
        dim=16, heads=1, side=SIDE, out_dim=32, hidden=64, memory=memory, **TRUNK
    ).eval()


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="a peer, for this comparison alone")


@pytest.fixture(scope="module")
def pair(transformers):
    torch.manual_seed(0)
    theirs = stirred(transformers.Sam2Model(settings(transformers)))
    ours = ours_of()
    ours.load_state_dict(convert(theirs.state_dict(), (SAM2,)), strict=True)
    return ours, theirs


@pytest.fixture(scope="module")
def video(transformers):
    return stirred(transformers.Sam2VideoModel(settings(transformers, video=True)))


def test_the_table_has_the_names_of_the_video_models_and_no_others(video):
    names = video.state_dict()
    assert recognise(names, LAYOUTS["sam2"]) is SAM2
    for pattern in SAM2.table:
        alone = Layout(name="alone", table={pattern: None})
        assert any(alone.knows(name) for name in names), pattern


def test_a_file_of_the_video_model_fills_every_tensor(video, tmp_path):
    video.save_pretrained(tmp_path)
    ours = ours_of(MEMORY)
    ours.load_state_dict(convert(read_state(tmp_path), (SAM2,)), strict=True)
    assert torch.equal(ours.memory.attention.norm.bias, video.memory_attention.layer_norm.bias)
    kinds = torch.cat(list(ours.prompt_encoder.kinds))
    assert torch.equal(kinds, video.prompt_encoder.point_embed.weight)


@torch.inference_mode()
def test_the_features_are_the_same(pair):
    ours, theirs = pair
    x = torch.randn(2, 3, SIDE, SIDE)
    embedding, fine0, fine1 = ours.encode(x)
    for found, wanted in zip(
        (fine0, fine1, embedding), theirs.get_image_embeddings(x), strict=True
    ):
        assert torch.allclose(found, wanted, atol=2e-5)


def prompt(kind):
    """The same prompt for them and for us."""
    corners = torch.tensor([[[10.0, 12.0], [60.0, 70.0]]])
    at = torch.tensor([[[20.0, 30.0], [50.0, 60.0]]])
    pad, masks = torch.zeros(1, 1, 2), None
    if kind == "box":
        asked = {"input_boxes": corners.view(1, 1, 4)}
        points, labels = torch.cat([corners + 0.5, pad], 1), torch.tensor([[2, 3, -1]])
    else:
        asked = {"input_points": at[None], "input_labels": torch.tensor([[[1, 0]]])}
        points, labels = torch.cat([at + 0.5, pad], 1), torch.tensor([[1, 0, -1]])
    if kind == "mask":
        masks = torch.randn(1, 1, 32, 32)
        asked["input_masks"] = masks
    return asked, (points, labels, masks)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["points", "box", "mask"])
def test_masks_and_scores_are_the_same(pair, kind):
    ours, theirs = pair
    features = [torch.randn(1, 4, 32, 32), torch.randn(1, 8, 16, 16), torch.randn(1, 32, 8, 8)]
    asked, given = prompt(kind)
    logits, scores = ours.decode((features[2], features[0], features[1]), *given)
    for multimask in (True, False):
        want = theirs(image_embeddings=features, multimask_output=multimask, **asked)
        found, known = OUTPUTS.answer(logits, scores, multimask)
        assert torch.allclose(found, want.pred_masks[0], atol=1e-4)
        assert torch.allclose(known, want.iou_scores[0], atol=1e-5)


@torch.inference_mode()
def test_unstable_answers_give_way_to_the_best_alternative_as_with_them(pair):
    ours, theirs = pair
    torch.manual_seed(2)
    chosen = set()
    for scale in (1.0, 1.0, 300.0, 300.0):  # large logits are stable
        features = [torch.randn(1, *s) for s in ((4, 32, 32), (8, 16, 16), (32, 8, 8))]
        features[0] = features[0].abs() * scale
        asked, given = prompt("points")
        logits, scores = ours.decode((features[2], features[0], features[1]), *given)
        threshold = theirs.mask_decoder.dynamic_multimask_stability_thresh
        assert threshold == OUTPUTS.stable
        want = theirs(image_embeddings=features, multimask_output=False, **asked)
        found, known = OUTPUTS.answer(logits, scores, False)
        assert torch.allclose(found, want.pred_masks[0], atol=1e-4 * scale)
        assert torch.allclose(known, want.iou_scores[0], atol=1e-5)
        chosen.add(int(OUTPUTS.steady(logits[:, 0], scores)))
    assert len(chosen) > 1
