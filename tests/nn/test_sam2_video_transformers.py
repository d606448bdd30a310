"""SAM 2 and EdgeTAM on videos at tiny size equal transformers with the same random weights.

Theirs keep memories in bfloat16 as ours do (EdgeTAM's in float32): a value that the two round to
different sides is 2^-8 apart, which shows in what is made of it later.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_edgetam import DEPTHS, DIMS, training_trunk
from test_sam2_transformers import SIDE, TRUNK, stirred
from torch import nn

from anymask.model import Model
from anymask.nn.sam2 import build_edgetam, build_sam2
from anymask.predict.video_recall import RecallRules, memories, pointers
from anymask.predict.video_step import Answer, FrameMemory, Recall, memorise, prompt, track
from anymask.variant_sam2 import SAM2_ROWS
from anymask.weights.convert import convert
from anymask.weights.match import LAYOUTS

DIM, FRAMES, ALONE = 128, 9, "a peer, for this comparison alone"
LOGITS, POINTERS, MEMORY = 1e-3, 2e-4, 2.0**-8  # of the largest value; see above
SHARED = {
    "prompt_encoder_config": {"hidden_size": DIM, "image_size": SIDE, "patch_size": 16},
    "mask_decoder_config": {"hidden_size": DIM, "iou_head_hidden_dim": DIM, "mlp_dim": 64},
    "image_size": SIDE,
    "memory_attention_hidden_size": DIM,
    "memory_attention_rope_feat_sizes": [8, 8],
    "memory_encoder_hidden_size": DIM,
    "mask_downsampler_embed_dim": DIM,
    "memory_fuser_embed_dim": DIM,
    "memory_fuser_intermediate_dim": 4 * DIM,
}
MEMORIES = {"dim": DIM, "memory_dim": 64, "hidden": 96, "depth": 2}


def sam2_video(transformers: Any, with_times: bool) -> nn.Module:
    """Theirs, of SAM 2.1 or of 2."""
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=16,
        num_attention_heads=1,
        image_size=[SIDE, SIDE],
        blocks_per_stage=list(TRUNK["depths"]),
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=list(TRUNK["windows"]),
        global_attention_blocks=list(TRUNK["global_blocks"]),
        window_positional_embedding_background_size=[7, 7],
    )
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=DIM,
    )
    settings = transformers.Sam2VideoConfig(
        vision_config=vision,
        **SHARED,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=96,
        enable_temporal_pos_encoding_for_object_pointers=with_times,
        enable_occlusion_spatial_embedding=with_times,
    )
    return stirred(transformers.Sam2VideoModel(settings))


def edgetam_video(transformers: Any) -> nn.Module:
    """Theirs, of EdgeTAM; its trunk, which they take from another package, is that of our tests."""
    from types import SimpleNamespace

    from transformers.models.edgetam import modeling_edgetam

    class Trunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.timm_model = training_trunk()

        def forward(self, x: torch.Tensor, **_: Any) -> SimpleNamespace:
            return SimpleNamespace(last_hidden_state=self.timm_model(x), hidden_states=None)

    class Models:
        @staticmethod
        def from_config(config: Any) -> nn.Module:
            if "Timm" in type(config).__name__:
                return Trunk()
            return transformers.AutoModel.from_config(config)

    settings = transformers.EdgeTamVideoConfig(
        vision_config=transformers.EdgeTamVisionConfig(
            backbone_channel_list=list(reversed(DIMS)),
            backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
            fpn_hidden_size=DIM,
        ),
        **SHARED,
        memory_attention_num_layers=2,
        memory_attention_mlp_hidden_size=96,
        memory_attention_rope_k_sizes=[4, 4],
        perceiver_resampler_num_latents=6,
        perceiver_resampler_num_latents_2d=16,
        enable_temporal_pos_encoding_for_object_pointers=False,
        enable_occlusion_spatial_embedding=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_edgetam, "AutoModel", Models)
        theirs = transformers.EdgeTamVideoModel(settings).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "timm_model" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        one, other = theirs.shared_image_embedding, theirs.prompt_encoder.shared_embedding
        one.positional_embedding.copy_(other.positional_embedding)  # one in published files
    return theirs


def pair(kind: str) -> tuple[Model, Any]:
    """Ours and theirs with one set of weights."""
    transformers = pytest.importorskip("transformers", reason=ALONE)
    torch.manual_seed(3)
    sides = {"side": SIDE, "out_dim": DIM, "hidden": 64}
    if kind == "edgetam":
        theirs, row = edgetam_video(transformers), SAM2_ROWS[-1]
        memory = {**MEMORIES, "latents": (6, 16)}
        network = build_edgetam(dims=DIMS, depths=DEPTHS, memory=memory, **sides)
        row = replace(row, video=replace(row.video, keep="float32"))
    else:
        theirs, row = sam2_video(transformers, kind == "2.1"), SAM2_ROWS[0]
        memory = {**MEMORIES, "absent": kind == "2.1"}
        network = build_sam2(dim=16, heads=1, memory=memory, **sides, **TRUNK)
    network.load_state_dict(convert(theirs.state_dict(), LAYOUTS[row.builder]), strict=True)
    row = replace(row, spec=replace(row.spec, side=SIDE), video=replace(row.video, step=SIDE))
    return Model(network, row), theirs


def followed_by_theirs(theirs: Any, kind: str, video: torch.Tensor, at: list) -> list[Any]:
    """What their session holds of each frame."""
    import transformers

    name = "EdgeTamVideoInferenceSession" if kind == "edgetam" else "Sam2VideoInferenceSession"
    session = getattr(transformers, name)(
        video=video, video_height=SIDE, video_width=SIDE, dtype=torch.float32
    )
    one = session.obj_id_to_idx(1)
    asked = {"point_coords": torch.tensor([[at]]), "point_labels": torch.ones(1, 1, len(at)).int()}
    session.add_point_inputs(one, 0, asked)
    session.obj_with_new_inputs = [1]
    for frame in range(len(video)):
        theirs(inference_session=session, frame_idx=frame)
    kept = session.output_dict_per_obj[one]
    return [
        {**kept["cond_frame_outputs"], **kept["non_cond_frame_outputs"]}[f]
        for f in range(len(video))
    ]


def followed_by_ours(
    model: Model, video: torch.Tensor, at: list
) -> list[tuple[Answer, FrameMemory]]:
    """Answers and memories of each frame."""
    found: list[tuple[Answer, FrameMemory]] = []
    points = torch.tensor([[x + 0.5, y + 0.5] for x, y in at] + [[0.0, 0.0]])
    labels = torch.tensor([1] * len(at) + [-1])
    rules = RecallRules()
    for frame, image in enumerate(video):
        maps = model.network.maps(image[None])
        if frame == 0:
            answer = prompt(model, maps, points, labels, clear=len(at) > 1)
        else:
            around = (frame, [0], range(1, frame), rules)
            told = pointers(*around, count=len(video))
            recall = Recall(
                spatial=tuple((found[s.frame][1], s.row) for s in memories(*around)),
                pointers=tuple((found[p.frame][1], p.gap / rules.reach(len(video))) for p in told),
            )
            (answer,) = track(model, maps, [recall])
        (memory,) = memorise(model, maps, [answer], frame, prompted=frame == 0)
        found.append((answer, memory))
    return found


@torch.inference_mode()
@pytest.mark.parametrize("at", [[[40.0, 50.0]], [[40.0, 50.0], [90.0, 70.0]]], ids=["1", "2"])
@pytest.mark.parametrize("kind", ["2.1", "2", "edgetam"])
def test_objects_are_followed_as_transformers_does(kind, at):
    model, theirs = pair(kind)
    video = torch.randn(FRAMES, 3, SIDE, SIDE)
    wanted = followed_by_theirs(theirs, kind, video, at)
    for want, (answer, memory) in zip(wanted, followed_by_ours(model, video, at), strict=True):
        parts = (
            (answer.logits, want["pred_masks"], LOGITS),
            (answer.pointer, want["object_pointer"], POINTERS),
            (memory.spatial, want["maskmem_features"], MEMORY),
            (torch.tensor(answer.present), want["object_score_logits"], LOGITS),
        )
        for found, known, most in parts:
            known = known.float().reshape(found.shape)
            assert (found.float() - known).abs().max() <= most * max(1, known.abs().max())
