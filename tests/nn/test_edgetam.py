"""EdgeTAM at tiny size: its trunk against the form for training, all of it against transformers."""

from types import SimpleNamespace

import pytest
import torch
from repvit_for_training import RepViTForTraining, stirred
from torch import nn

from anymask.nn.encoders.repvit import RepViT
from anymask.nn.sam2 import build_edgetam
from anymask.variant_sam2 import SAM2_ROWS
from anymask.weights.convert import Layout, convert, recognise
from anymask.weights.edgetam import OFFICIAL, merge, trunk
from anymask.weights.match import LAYOUTS
from anymask.weights.sam2_hf import EDGETAM

SIDE = 128
DIMS, DEPTHS, SQUEEZES = (8, 16, 32, 64), (1, 2, 3, 2), (8, 8, 8, 16)
OUTPUTS = SAM2_ROWS[-1].outputs
PREFIX = "encoder.trunk."


def training_trunk():
    torch.manual_seed(0)
    return stirred(RepViTForTraining(DIMS, DEPTHS, SQUEEZES))


def converted(theirs):
    """Their tensors, as ours."""
    layout = Layout(name="trunk", table=trunk("t"), finish=merge)
    ours = convert({f"t.{name}": tensor for name, tensor in theirs.state_dict().items()}, (layout,))
    return {name.removeprefix(PREFIX): tensor for name, tensor in ours.items()}


@torch.inference_mode()
def test_the_form_for_inference_computes_what_the_form_for_training_does():
    theirs = training_trunk()
    ours = RepViT(DIMS, DEPTHS).eval()
    ours.load_state_dict(converted(theirs), strict=True)
    x = torch.randn(2, 3, SIDE, SIDE)
    for found, wanted in zip(ours(x), theirs(x), strict=True):
        assert torch.allclose(found.permute(0, 3, 1, 2), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("lost", ["conv1.c.weight", "conv.bn.running_var", "conv1.bn.bias"])
def test_branches_that_are_not_all_there_are_left_for_the_comparison_to_name(lost):
    state = training_trunk().state_dict()
    name = f"stages_2.blocks.1.token_mixer.{lost}"
    whole = SimpleNamespace(state_dict=lambda: state)
    wanted = set(RepViT(DIMS, DEPTHS).state_dict())
    assert converted(whole).keys() == wanted
    del state[name]
    missing = wanted - converted(whole).keys()
    assert missing == {"stages.2.1.near.weight", "stages.2.1.near.bias"}


@pytest.fixture(scope="module")
def pair():
    """Theirs and ours; the trunk, which they take from another package, is the one above."""
    transformers = pytest.importorskip("transformers", reason="a peer, for this comparison alone")
    from transformers.models.edgetam import modeling_edgetam

    class Trunk(nn.Module):
        def __init__(self):
            super().__init__()
            self.timm_model = training_trunk()

        def forward(self, x, **_):
            return SimpleNamespace(last_hidden_state=self.timm_model(x), hidden_states=None)

    class Models:
        @staticmethod
        def from_config(config):
            if "Timm" in type(config).__name__:
                return Trunk()
            return transformers.AutoModel.from_config(config)

    torch.manual_seed(1)
    settings = transformers.EdgeTamConfig(
        vision_config={
            "backbone_channel_list": list(reversed(DIMS)),
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE, "patch_size": 16},
        mask_decoder_config={"hidden_size": 32, "iou_head_hidden_dim": 32, "mlp_dim": 64},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_edgetam, "AutoModel", Models)
        theirs = transformers.EdgeTamModel(settings).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "timm_model" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        one, other = theirs.shared_image_embedding, theirs.prompt_encoder.shared_embedding
        one.positional_embedding.copy_(other.positional_embedding)  # one in published files
    ours = build_edgetam(dims=DIMS, depths=DEPTHS, side=SIDE, out_dim=32, hidden=64).eval()
    ours.load_state_dict(convert(theirs.state_dict(), (EDGETAM,)), strict=True)
    return ours, theirs


def test_their_names_are_those_of_the_table(pair):
    assert recognise(pair[1].state_dict(), LAYOUTS["edgetam"]) is EDGETAM
    assert OFFICIAL is LAYOUTS["edgetam"][0]


@torch.inference_mode()
def test_features_masks_and_scores_are_those_of_transformers(pair):
    ours, theirs = pair
    x = torch.randn(1, 3, SIDE, SIDE)
    embedding, fine0, fine1 = ours.encode(x)
    wanted = theirs.get_image_embeddings(x)
    for found, want in zip((fine0, fine1, embedding), wanted, strict=True):
        assert torch.allclose(found, want, atol=1e-4, rtol=1e-4)
    at = torch.tensor([[[20.0, 30.0], [50.0, 60.0]]])
    asked = {"input_points": at[None], "input_labels": torch.tensor([[[1, 0]]])}
    points, labels = torch.cat([at + 0.5, torch.zeros(1, 1, 2)], 1), torch.tensor([[1, 0, -1]])
    logits, scores = ours.decode((embedding, fine0, fine1), points, labels)
    for multimask in (True, False):
        want = theirs(image_embeddings=list(wanted), multimask_output=multimask, **asked)
        found, known = OUTPUTS.answer(logits, scores, multimask)
        assert torch.allclose(found, want.pred_masks[0], atol=1e-3, rtol=1e-3)
        assert torch.allclose(known, want.iou_scores[0], atol=1e-4)
