"""SAM 2 in predictor and everything mode: a stretched image, and the answer to clear prompts."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch

from anymask.mask_rle import decode_rle
from anymask.model import BUILDERS, Model
from anymask.nn.resize import upscale
from anymask.predict.everything import MaskGenerator
from anymask.predict.image import ImagePredictor
from anymask.variants import variant

SIZE = (40, 60)


@pytest.fixture(scope="module")
def model():
    """A small random SAM 2 of 128 px; fine maps are large, so that some masks are stable."""
    network = {
        "dim": 16,
        "heads": 1,
        "depths": (1, 1, 2, 1),
        "windows": (8, 4, 4, 2),
        "global_blocks": (3,),
        "background": 7,
        "side": 128,
        "out_dim": 32,
        "hidden": 64,
    }
    row = variant("sam2.1-tiny")
    row = replace(row, network=MappingProxyType(network), spec=replace(row.spec, side=128))
    torch.manual_seed(3)
    built = BUILDERS[row.builder](**row.network)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        built.encoder.neck.fine[0].weight.mul_(40)
        built.encoder.neck.fine[0].bias.add_(20)
    return Model(built, row)


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(5).integers(0, 256, (*SIZE, 3), np.uint8)


def test_an_image_is_stretched_and_its_masks_have_its_size(model, photo):
    predictor = ImagePredictor(model)
    embedding = predictor.encode(photo)
    assert embedding.frame.resized == embedding.frame.padded == (128, 128)
    found = predictor.predict(embedding, points=[20, 30])
    assert found.masks.shape == (3, *SIZE)
    full = upscale(torch.from_numpy(found.logits), (128, 128), (128, 128), SIZE, "bilinear")
    sure = full.abs().numpy() > 1e-3
    assert np.array_equal(found.masks & sure, (full > 0).numpy() & sure)


def test_a_clear_prompt_gets_the_stable_mask_or_the_best_alternative(model, photo):
    predictor = ImagePredictor(model)
    embedding = predictor.encode(photo)
    points = np.random.default_rng(1).uniform(0, 40, (12, 1, 2))
    three = predictor.predict(embedding, points=points, multimask=True)
    one = predictor.predict(embedding, points=points, multimask=False)
    kept = 0
    for p in range(len(points)):
        best = three.scores[p].argmax()
        if np.array_equal(one.logits[p, 0], three.logits[p, best]):
            assert one.scores[p, 0] == three.scores[p, best]
            continue
        high, low = (one.logits[p, 0] > 0.05).sum(), (one.logits[p, 0] > -0.05).sum()
        assert low == 0 or high / low >= 0.98
        kept += 1
    assert 0 < kept < len(points)


@pytest.mark.parametrize("again", [False, True], ids=["once", "fed back"])
def test_everything_mode_with_one_mask_a_point_gives_what_the_predictor_gives(model, photo, again):
    generator = MaskGenerator(
        model,
        points_per_side=3,
        multimask_output=False,
        use_m2m=again,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
    )
    found = generator.generate(photo)
    predictor = ImagePredictor(model)
    embedding = predictor.encode(photo)
    assert len(found) > 3
    for rle, score, point in zip(found.rles, found.scores, found.points, strict=True):
        asked = {"points": [point], "labels": [1], "multimask": False}
        wanted = predictor.predict(embedding, **asked)
        if again:
            cut = wanted.logits.clip(-32, 32)
            wanted = predictor.predict(embedding, masks=cut, kind="logits", **asked)
        assert abs(wanted.scores[0] - score) < 1e-5
        assert (decode_rle(rle) != wanted.masks[0]).mean() < 0.01


def test_a_mask_alone_is_a_prompt_without_points(model, photo):
    predictor = ImagePredictor(model)
    embedding = predictor.encode(photo)
    logits = np.random.default_rng(0).normal(0, 5, (1, 32, 32)).astype(np.float32)
    found = predictor.predict(embedding, masks=logits, kind="logits")
    direct, _ = model.decode(
        embedding.features,
        torch.zeros(1, 0, 2),
        torch.zeros(1, 0, dtype=torch.int64),
        torch.from_numpy(logits)[None],
    )
    assert np.array_equal(found.logits, direct[0, 1:].numpy())
