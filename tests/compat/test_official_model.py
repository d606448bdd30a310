"""Sam and its parts are used as batched inference and fine-tuning scripts use them."""

import copy
import json

import numpy as np
import pytest
import torch
from small_official import picture, small_sam
from torch.nn import functional as F

from anymask.compat.segment_anything import SamPredictor
from anymask.compat.segment_anything.modeling import Sam
from anymask.compat.segment_anything.utils.transforms import ResizeLongestSide
from anymask.model import Model, blank
from anymask.variants import variant
from conftest import SHARED

MANIFEST = SHARED / "goldens" / "sam1" / "manifests" / "sam_vit_b.json" if SHARED else None


def prepared(image: np.ndarray, transform: ResizeLongestSide, sam: Sam) -> torch.Tensor:
    scaled = torch.as_tensor(transform.apply_image(image), device=sam.device)
    return scaled.permute(2, 0, 1).contiguous()


def test_images_of_different_sizes_in_one_call_give_what_a_predictor_gives():
    sam = small_sam()
    transform = ResizeLongestSide(sam.image_encoder.img_size)
    images = [picture((40, 60)), picture((90, 50), seed=1)]
    boxes = [
        torch.tensor([[5.0, 3, 50, 38], [0, 0, 30, 20]]),
        torch.tensor([[5.0, 30, 45, 80], [0, 0, 30, 20], [1, 1, 49, 89]]),
    ]
    batch = [
        {
            "image": prepared(image, transform, sam),
            "boxes": transform.apply_boxes_torch(some, image.shape[:2]),
            "original_size": image.shape[:2],
        }
        for image, some in zip(images, boxes, strict=True)
    ]
    results = sam(batch, multimask_output=False)
    predictor = SamPredictor(sam)
    for image, record, result in zip(images, batch, results, strict=True):
        count = len(record["boxes"])
        assert list(result) == ["masks", "iou_predictions", "low_res_logits"]
        assert result["masks"].shape == (count, 1, *image.shape[:2])
        assert result["masks"].dtype == torch.bool
        assert result["iou_predictions"].shape == (count, 1)
        assert result["low_res_logits"].shape == (count, 1, 16, 16)
        predictor.set_image(image)
        masks, scores, low = predictor.predict_torch(None, None, record["boxes"], None, False)
        assert torch.equal(masks, result["masks"])
        assert torch.equal(scores, result["iou_predictions"])
        assert torch.equal(low, result["low_res_logits"])


def test_points_and_masks_in_a_batch():
    sam = small_sam()
    transform = ResizeLongestSide(sam.image_encoder.img_size)
    record = {
        "image": prepared(picture(), transform, sam),
        "point_coords": torch.tensor([[[20.0, 30.0]], [[40.0, 10.0]]]),
        "point_labels": torch.tensor([[1], [0]]),
        "mask_inputs": torch.randn(2, 1, 16, 16),
        "original_size": (40, 60),
    }
    (result,) = sam([record], multimask_output=True)
    assert result["masks"].shape == (2, 3, 40, 60)


@pytest.mark.parametrize(
    ("points", "boxes", "masks"),
    [
        (2, False, False),
        (0, True, False),
        (2, True, False),
        (1, False, True),
        (0, True, True),
    ],
    ids=["points", "boxes", "both", "points and masks", "boxes and masks"],
)
def test_the_parts_one_after_the_other_give_what_the_whole_gives(points, boxes, masks):
    sam = small_sam()
    predictor = SamPredictor(sam)
    predictor.set_image(picture())
    given = (
        (torch.rand(3, points, 2) * 40, torch.ones(3, points, dtype=torch.int)) if points else None
    )
    corners = torch.tensor([[5.0, 3, 50, 38]] * 3) if boxes else None
    known = torch.randn(3, 1, 16, 16) if masks else None
    with torch.no_grad():
        sparse, dense = sam.prompt_encoder(points=given, boxes=corners, masks=known)
        low, scores = sam.mask_decoder(
            image_embeddings=predictor.get_image_embedding(),
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
    assert sparse.shape == (3, points + (2 if boxes else 1), 32)  # padding where there is no box
    assert dense.shape == (3, 32, 4, 4)
    assert sam.prompt_encoder.get_dense_pe().shape == (1, 32, 4, 4)
    expected = predictor.predict_torch(*(given or (None, None)), corners, known)
    assert torch.allclose(low, expected[2], atol=1e-5)
    assert torch.allclose(scores, expected[1], atol=1e-5)


def test_no_prompt_at_all_is_one_prompt_without_tokens():
    sparse, dense = small_sam().prompt_encoder(points=None, boxes=None, masks=None)
    assert sparse.shape == (1, 0, 32) and dense.shape == (1, 32, 4, 4)


def test_preprocess_and_encoder_give_the_predictors_embedding():
    sam = small_sam()
    predictor = SamPredictor(sam)
    predictor.set_image(picture())
    scaled = prepared(picture(), ResizeLongestSide(64), sam)
    x = sam.preprocess(scaled)
    assert x.shape == (3, 64, 64) and x.dtype == torch.float32
    expected = (scaled - sam.pixel_mean) / sam.pixel_std
    assert torch.equal(x[:, : scaled.shape[1]], expected)
    assert not x[:, scaled.shape[1] :].any()
    with torch.no_grad():
        embedding = sam.image_encoder(sam.preprocess(scaled[None]))
    assert torch.allclose(embedding, predictor.get_image_embedding(), atol=1e-6)


def test_a_fine_tuning_step_of_the_decoder_lowers_the_loss_of_the_predictor_too():
    sam = small_sam()
    sam.train()
    for name, parameter in sam.named_parameters():
        if name.startswith(("image_encoder", "prompt_encoder")):
            parameter.requires_grad_(False)
    predictor = SamPredictor(sam)
    predictor.set_image(picture())
    box = torch.tensor([[5.0, 3, 50, 38]])
    truth = (torch.arange(60) < 30).expand(1, 1, *(40, 60)).float()
    optimizer = torch.optim.SGD(sam.mask_decoder.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        with torch.no_grad():
            embedding = sam.image_encoder(
                sam.preprocess(prepared(picture(), predictor.transform, sam))[None]
            )
            sparse, dense = sam.prompt_encoder(points=None, boxes=box, masks=None)
        low, _ = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        full = sam.postprocess_masks(low, predictor.input_size, predictor.original_size)
        loss = F.binary_cross_entropy_with_logits(full, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    logits, _, _ = predictor.predict_torch(None, None, box, None, False, return_logits=True)
    assert F.binary_cross_entropy_with_logits(logits, truth) < losses[-1]
    assert all(p.grad is None for p in sam.image_encoder.parameters())


def test_the_image_encoder_learns_too():
    sam = small_sam()
    sam.image_encoder(sam.preprocess(torch.rand(2, 3, 64, 64) * 255)).square().sum().backward()
    assert all(p.grad is not None for p in sam.image_encoder.parameters())
    assert sam.image_encoder.blocks[0].attn.qkv.weight.grad.any()  # adapters look for these names


def test_several_embeddings_go_with_as_many_prompts():
    sam = small_sam()
    embeddings = torch.randn(2, 32, 4, 4)
    with torch.no_grad():
        sparse, dense = sam.prompt_encoder(None, torch.tensor([[5.0, 3, 50, 38]] * 2), None)
        pe = sam.prompt_encoder.get_dense_pe()
        both, _ = sam.mask_decoder(embeddings, pe, sparse, dense, False)
        for i in range(2):
            alone, _ = sam.mask_decoder(
                embeddings[i : i + 1], pe, sparse[i : i + 1], dense[i : i + 1], False
            )
            assert torch.allclose(both[i], alone[0], atol=1e-5)


def test_state_dicts_have_official_names_whole_and_in_parts(tmp_path):
    sam, other = small_sam(0), small_sam(1)
    state = sam.state_dict()
    assert "image_encoder.patch_embed.proj.weight" in state
    assert "mask_decoder.iou_prediction_head.layers.2.bias" in state
    assert "output_upscaling.0.weight" in sam.mask_decoder.state_dict()
    assert not any("inner" in name for name in state)
    torch.save(state, tmp_path / "tuned.pth")
    other.load_state_dict(torch.load(tmp_path / "tuned.pth", weights_only=True))
    assert all(
        torch.equal(a, b) for a, b in zip(state.values(), other.state_dict().values(), strict=True)
    )
    third = small_sam(2)
    third.mask_decoder.load_state_dict(sam.mask_decoder.state_dict())
    tokens = "mask_decoder.mask_tokens.weight"
    assert torch.equal(third.state_dict()[tokens], state[tokens])
    with pytest.raises(RuntimeError, match="strange"):
        other.load_state_dict(state | {"strange": torch.zeros(1)})
    del state[tokens]
    with pytest.raises(RuntimeError, match="Missing"):
        other.load_state_dict(state)


@pytest.mark.parametrize("name", ["nano", "mobile-sam", "sam-hq-vit-b", "sam-hq-light"])
def test_a_model_whose_tensors_are_not_the_official_ones_keeps_its_own_names(name):
    row = variant(name)
    sam = Sam(Model(blank(row), row))
    ours = sam.model.network.state_dict()
    assert sam.state_dict().keys() == ours.keys()
    sam.load_state_dict(ours)


@pytest.mark.parametrize("manifest", [MANIFEST] if MANIFEST else [])
def test_names_and_shapes_of_vit_b_are_those_of_the_official_state_dict(manifest):
    row = variant("sam-vit-b")
    state = Sam(Model(blank(row), row)).state_dict()
    listed = json.loads(manifest.read_text())["tensors"]
    assert {n: tuple(t.shape) for n, t in state.items()} == {
        t["name"]: tuple(t["shape"]) for t in listed
    }


def test_a_copy_shares_nothing_that_learns():
    sam = small_sam()
    twin = copy.deepcopy(sam)
    with torch.no_grad():
        twin.mask_decoder.inner.mask_tokens.add_(1)
    assert twin.model.network.decoder.mask_tokens is twin.mask_decoder.inner.mask_tokens
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = sam.image_encoder(x)
        twin.image_encoder.inner.pos_embed.add_(torch.randn_like(twin.image_encoder.pos_embed))
        assert not torch.allclose(twin.image_encoder(x), before)
        assert torch.equal(sam.image_encoder(x), before)
    assert not torch.equal(sam.mask_decoder.inner.mask_tokens, twin.mask_decoder.inner.mask_tokens)


def test_moving_and_casting_reach_every_tensor():
    sam = small_sam().double()
    assert {t.dtype for t in (*sam.parameters(), *sam.buffers())} == {torch.float64}
    assert sam.model._mean.dtype == torch.float64
    assert sam.to("cpu").device == torch.device("cpu")
