"""SamPredictor is used as the official predictor example uses it."""

import numpy as np
import pytest
import torch
from small_official import SIZE, picture, small_sam

from anymask.compat.segment_anything import SamPredictor
from anymask.predict.image import ImagePredictor

POINTS = np.array([[20.0, 30.0], [45.5, 10.0]])


@pytest.fixture
def predictor() -> SamPredictor:
    sam = small_sam()
    sam.to(device="cpu")
    predictor = SamPredictor(sam)
    predictor.set_image(picture())
    return predictor


def test_one_point_gives_three_masks_of_the_official_shapes_and_types(predictor):
    masks, scores, logits = predictor.predict(
        point_coords=POINTS[:1], point_labels=np.array([1]), multimask_output=True
    )
    assert masks.shape == (3, *SIZE) and masks.dtype == bool
    assert scores.shape == (3,) and scores.dtype == np.float32
    assert logits.shape == (3, 16, 16) and logits.dtype == np.float32


def test_answers_are_those_of_our_predictor_bit_for_bit(predictor):
    ours = ImagePredictor(predictor.model.model)
    embedding = ours.encode(picture())
    assert torch.equal(predictor.get_image_embedding(), embedding.features[0])
    for points, labels, box in (
        (POINTS, [1, 0], None),
        (None, None, [5, 3, 50, 38]),
        (POINTS[:1], [1], [5, 3, 50.5, 38]),
    ):
        expected = ours.predict(embedding, points=points, labels=labels, boxes=box)
        masks, scores, logits = predictor.predict(
            points,
            None if labels is None else np.array(labels),
            None if box is None else np.array(box),
        )
        assert np.array_equal(masks, expected.masks)
        assert np.array_equal(scores, expected.scores)
        assert np.array_equal(logits, expected.logits)


def test_the_best_logits_refine_the_next_answer(predictor):
    labels = np.array([1, 0])
    _, scores, logits = predictor.predict(POINTS[:1], labels[:1])
    known = logits[np.argmax(scores), :, :]
    masks, _, _ = predictor.predict(
        point_coords=POINTS,
        point_labels=labels,
        mask_input=known[None, :, :],
        multimask_output=False,
    )
    without, _, _ = predictor.predict(POINTS, labels, multimask_output=False)
    assert masks.shape == (1, *SIZE) and not np.array_equal(masks, without)


def test_a_box_may_have_a_leading_axis(predictor):
    box = np.array([5, 3, 50, 38])
    one = predictor.predict(box=box[None, :], multimask_output=False)
    other = predictor.predict(point_coords=None, point_labels=None, box=box, multimask_output=False)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_logits_at_the_image_size_are_above_the_threshold_where_masks_are(predictor):
    logits, _, _ = predictor.predict(POINTS[:1], np.array([1]), return_logits=True)
    masks, _, _ = predictor.predict(POINTS[:1], np.array([1]))
    assert logits.dtype == np.float32 and np.array_equal(logits > 0, masks)
    predictor.model.mask_threshold = 0.5
    masks, _, _ = predictor.predict(POINTS[:1], np.array([1]))
    assert np.array_equal(logits > 0.5, masks)


def test_many_boxes_at_once_are_what_each_gives_alone(predictor):
    boxes = torch.tensor([[5, 3, 50, 38], [0, 0, 30, 20]], device=predictor.device)
    scaled = predictor.transform.apply_boxes_torch(boxes, SIZE)
    masks, scores, low = predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=scaled, multimask_output=False
    )
    assert masks.shape == (2, 1, *SIZE) and masks.dtype == torch.bool
    assert scores.shape == (2, 1) and low.shape == (2, 1, 16, 16)
    for i, box in enumerate(boxes):
        alone, score, _ = predictor.predict(box=box.numpy(), multimask_output=False)
        assert np.array_equal(masks[i].numpy(), alone)
        assert torch.allclose(scores[i], torch.from_numpy(score), atol=1e-5)


def test_many_points_at_once_may_be_padded_with_labels_of_minus_one(predictor):
    coords = torch.tensor([[[20.0, 30], [0, 0]], [[45.5, 10], [12, 12]]])
    labels = torch.tensor([[1, -1], [1, 0]], dtype=torch.float32)
    masks, _, _ = predictor.predict_torch(coords, labels)
    assert masks.shape == (2, 3, *SIZE)
    elsewhere = coords.clone()
    elsewhere[0, 1] = 33.0  # padding has no place
    assert torch.equal(predictor.predict_torch(elsewhere, labels)[0], masks)


def test_nothing_and_a_mask_alone_are_prompts_too(predictor):
    masks, _, logits = predictor.predict(multimask_output=False)
    assert masks.shape == (1, *SIZE)
    again, _, _ = predictor.predict(mask_input=logits, multimask_output=False)
    assert again.shape == (1, *SIZE)


def test_an_image_in_blue_green_red_is_turned_round(predictor):
    embedding = predictor.get_image_embedding()
    predictor.set_image(picture()[..., ::-1], image_format="BGR")
    assert torch.equal(predictor.get_image_embedding(), embedding)


def test_an_embedding_kept_from_before_takes_the_place_of_an_image(predictor):
    expected = predictor.predict(POINTS[:1], np.array([1]))
    other = SamPredictor(predictor.model)
    other.features = predictor.features
    other.original_size, other.input_size = predictor.original_size, predictor.input_size
    other.is_image_set = True
    found = other.predict(POINTS[:1], np.array([1]))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_embedding_goes_into_a_loss(predictor):
    embedding = predictor.get_image_embedding()
    weight = torch.ones_like(embedding, requires_grad=True)
    (embedding * weight).sum().backward()
    assert torch.equal(weight.grad, embedding)


def test_what_is_asked_without_an_image_is_refused(predictor):
    predictor.reset_image()
    assert not predictor.is_image_set and predictor.features is None
    with pytest.raises(RuntimeError, match="set_image"):
        predictor.predict(POINTS, np.array([1, 0]))
    with pytest.raises(RuntimeError, match="set_image"):
        predictor.predict_torch(None, None)
    with pytest.raises(RuntimeError, match="set_image"):
        predictor.get_image_embedding()


def test_what_cannot_be_meant_is_refused_as_officially(predictor):
    with pytest.raises(AssertionError, match="labels"):
        predictor.predict(POINTS)
    with pytest.raises(AssertionError, match="labels"):
        predictor.predict_torch(torch.zeros(2, 1, 2), None)
    with pytest.raises(AssertionError, match="RGB"):
        predictor.set_image(picture(), image_format="GRB")
    with pytest.raises(AssertionError, match="64"):
        predictor.set_torch_image(torch.zeros(1, 3, 40, 60), SIZE)
    with pytest.raises(AssertionError):
        predictor.set_image(np.zeros((*SIZE, 4), np.uint8))
    with pytest.raises(RuntimeError, match="one box"):
        predictor.predict(box=np.array([[5, 3, 50, 38], [0, 0, 30, 20]]))
    with pytest.raises(RuntimeError, match="2 prompts"):
        predictor.predict_torch(torch.zeros(2, 1, 2), torch.ones(2, 1), torch.ones(3, 4))


def test_the_predictors_part_of_the_onnx_example(predictor):
    embedding = predictor.get_image_embedding().cpu().numpy()
    assert embedding.shape == (1, 32, 4, 4) and embedding.dtype == np.float32
    # an exported decoder takes points and a padding point, with a leading axis, as float32
    coords = np.concatenate([POINTS[:1], np.array([[0.0, 0.0]])], axis=0)[None, :, :]
    scaled = predictor.transform.apply_coords(coords, SIZE).astype(np.float32)
    assert scaled.shape == (1, 2, 2) and not scaled[0, 1].any()
    sam = predictor.model
    with torch.no_grad():
        points = torch.from_numpy(scaled[:, :1]), torch.ones(1, 1)
        sparse, dense = sam.prompt_encoder(points, None, None)
        low, scores = sam.mask_decoder.predict_masks(
            torch.from_numpy(embedding), sam.prompt_encoder.get_dense_pe(), sparse, dense
        )
    _, expected, logits = predictor.predict(POINTS[:1], np.array([1]))
    assert np.allclose(low[0, 1:].numpy(), logits, atol=1e-5)
    assert np.allclose(scores[0, 1:].numpy(), expected, atol=1e-5)
