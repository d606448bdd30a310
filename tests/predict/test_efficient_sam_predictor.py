"""EfficientSAM behind the predictor: stretched images, six points, no masks."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch

from anymask.errors import PromptError
from anymask.frame import Frame
from anymask.nn.resize import upscale
from anymask.predict.everything import MaskGenerator
from anymask.predict.image import ImagePredictor
from anymask.variants import variant
from tiny import tiny_model

SIZE = (40, 60)
OFFICIAL = variant("efficient-sam-ti")
ROW = replace(
    OFFICIAL,
    name="tiny-efficient-sam",
    network=MappingProxyType(
        {"dim": 24, "depth": 2, "heads": 3, "side": 64, "out_dim": 32, "hidden": 64}
    ),
    spec=replace(OFFICIAL.spec, side=64),
)


@pytest.fixture(scope="module")
def predictor():
    return ImagePredictor(tiny_model(ROW))


@pytest.fixture(scope="module")
def embedding(predictor):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    return predictor.encode(noise)


def test_the_image_is_stretched_to_a_square(embedding):
    assert embedding.frame.resized == embedding.frame.padded == (64, 64)
    assert embedding.frame.scale == (64 / 60, 64 / 40)
    assert Frame.fit((123, 4567), OFFICIAL.spec).resized == (1024, 1024)


def test_one_prompt_of_each_kind(predictor, embedding):
    for prompt in (
        {"points": [30, 20]},
        {"points": [[30, 20], [5, 5]], "labels": [1, 0]},
        {"boxes": [5, 5, 50, 30]},
        {"points": [[30, 20]] * 4, "boxes": [5, 5, 50, 30]},
    ):
        found = predictor.predict(embedding, **prompt)
        assert found.masks.shape == (3, *SIZE) and found.logits.shape == (3, 16, 16)
        frame = embedding.frame
        sizes = (frame.padded, frame.resized, frame.image, "bicubic")
        full = upscale(torch.from_numpy(found.logits), *sizes).numpy()
        sure = np.abs(full) > 1e-4
        assert np.array_equal(found.masks & sure, (full > 0) & sure)


def test_a_batch_gives_what_each_prompt_gives_alone(predictor, embedding):
    boxes = np.array([[5, 5, 50, 30], [0, 0, 20, 20], [30, 10, 60, 40]], np.float32)
    together = predictor.predict(embedding, boxes=boxes)
    for p, box in enumerate(boxes):
        alone = predictor.predict(embedding, boxes=box)
        assert np.allclose(together.logits[p], alone.logits, atol=1e-4)


def test_masks_as_prompts_are_an_error_that_says_what_to_do(predictor, embedding):
    logits = predictor.predict(embedding, points=[30, 20]).best_logits
    with pytest.raises(PromptError, match=r"mask-unsupported.*give points or boxes"):
        predictor.predict(embedding, points=[30, 20], masks=logits)


def test_seven_points_are_an_error_not_six(predictor, embedding):
    points = [[10 + i, 20] for i in range(7)]
    with pytest.raises(PromptError, match="too-many-points"):
        predictor.predict(embedding, points=points)
    with pytest.raises(PromptError, match="too-many-points"):
        predictor.predict(embedding, points=points[:5], boxes=[5, 5, 50, 30])
    with pytest.raises(PromptError, match="too-many-points"):
        predictor.predict_iter(embedding, points=[points, points])


def test_everything_is_found_without_masks_as_prompts(predictor):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    found = MaskGenerator(
        predictor.model, points_per_side=2, pred_iou_thresh=-9.0, stability_score_thresh=0.0
    ).generate(noise)
    assert found.size == SIZE
    with pytest.raises(PromptError, match=r"mask-unsupported.*use_m2m"):
        MaskGenerator(predictor.model, use_m2m=True)
