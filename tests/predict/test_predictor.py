"""Predictions: shapes, batches, order, threads, and what they say of their inputs."""

import concurrent.futures
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import SIZE, picture, small_model

from anymask import load
from anymask.errors import AnymaskWarning, PromptError
from anymask.image import Picture
from anymask.model import Model
from anymask.predict.image import ImagePredictor
from conftest import PHOTOS

KINDS = ("sam", "nano")
H, W = SIZE

xy = st.tuples(st.floats(0, W - 1, width=32), st.floats(0, H - 1, width=32))
prompt = st.lists(st.tuples(xy, st.integers(0, 1)), min_size=1, max_size=4)

# Most prompts here are drawn, and some of them are odd.
pytestmark = pytest.mark.filterwarnings("ignore::anymask.AnymaskWarning")


@pytest.fixture(params=KINDS, scope="module")
def predictor(request):
    return ImagePredictor(small_model(request.param))


@pytest.fixture(scope="module")
def embedding(predictor):
    return predictor.encode(picture())


def close(a, b):
    """Same in the sense of the specification: logits to 1e-4 and masks but for such pixels."""
    assert np.abs(a.logits - b.logits).max(initial=0) <= 1e-4
    assert np.abs(a.scores - b.scores).max(initial=0) <= 1e-4
    assert (a.masks != b.masks).mean() <= 1e-3 if a.masks.size else a.masks.shape == b.masks.shape


def row(prediction, p):
    """One prompt's part of a prediction, as a plain record."""
    return type(prediction)(
        masks=prediction.masks[p], scores=prediction.scores[p], logits=prediction.logits[p]
    )


def test_one_prompt_gives_three_masks_or_one_and_many_a_leading_axis(predictor, embedding):
    low = embedding.frame.logits
    for points in ((9, 9), [(9, 9)], [(9, 9), (12, 30)]):
        for multimask, count in ((True, 3), (False, 1)):
            one = predictor.predict(embedding, points=points, multimask=multimask)
            assert one.masks.shape == (count, H, W) and one.masks.dtype == bool
            assert one.scores.shape == (count,) and one.scores.dtype == np.float32
            assert one.logits.shape == (count, *low) and one.logits.dtype == np.float32
    many = predictor.predict(embedding, boxes=[(1, 1, 20, 20), (5, 5, 50, 30)])
    assert many.masks.shape == (2, 3, H, W) and many.logits.shape == (2, 3, *low)
    mixed = predictor.predict(
        embedding, points=[(9, 9)], boxes=(1, 1, 20, 20), masks=many.logits[0, :1]
    )
    assert mixed.masks.shape == (3, H, W)


def test_output_0_answers_clear_prompts_and_1_to_3_ambiguous_ones(predictor, embedding):
    single = predictor.predict(embedding, points=(9, 9), multimask=False)
    three = predictor.predict(embedding, points=(9, 9))
    points, labels = torch.tensor([[[9.0, 9.0]]]), torch.tensor([[1]])
    spec, scale = predictor.model.variant.spec, 64 / 60
    net = (points + spec.point_shift_px) * torch.tensor([scale, 43 / 40]) + spec.point_shift_net
    if spec.padding(1, False):
        net = torch.cat([net, torch.zeros(1, 1, 2)], 1)
        labels = torch.tensor([[1, -1]])
    with torch.inference_mode():
        logits, scores = predictor.model.decode(embedding.features, net, labels)
    assert np.abs(single.logits - logits[0, :1].numpy()).max() < 1e-4
    assert np.abs(three.logits - logits[0, 1:].numpy()).max() < 1e-4
    assert np.abs(three.scores - scores[0, 1:].numpy()).max() < 1e-4


def test_the_best_mask_is_the_first_of_the_highest_score(predictor, embedding):
    one = predictor.predict(embedding, points=(9, 9))
    assert one.best == int(one.scores.argmax())
    assert np.array_equal(one.best_mask, one.masks[one.best])
    many = predictor.predict(embedding, points=[[(9, 9)], [(50, 30)], [(2, 38)]])
    assert many.best.tolist() == many.scores.argmax(1).tolist()
    for p, best in enumerate(many.best):
        assert np.array_equal(many.best_mask[p], many.masks[p, best])
        assert np.array_equal(many.best_logits[p], many.logits[p, best])
    equal = type(one)(masks=one.masks, scores=np.float32([0.5, 0.7, 0.7]), logits=one.logits)
    assert equal.best == 1


def test_p04_no_prompts_give_full_shapes_of_zero_objects(predictor, embedding):
    for given_ in ({"points": []}, {"boxes": np.zeros((0, 4))}):
        for multimask, count in ((True, 3), (False, 1)):
            none = predictor.predict(embedding, multimask=multimask, **given_)
            assert none.masks.shape == (0, count, H, W) and none.scores.shape == (0, count)
            assert none.best.shape == (0,) and none.best_mask.shape == (0, H, W)
    assert list(predictor.predict_iter(embedding, points=[])) == []
    with pytest.raises(PromptError, match="no-prompt"):
        predictor.predict(embedding)


@pytest.mark.parametrize("given_", [{"points": (99, 9)}, {"boxes": (9, 9, 1, 1)}, {"points": "x"}])
def test_h2_bad_prompts_fail_before_any_work_of_the_model(
    monkeypatch, predictor, embedding, given_
):
    def work(*args, **kwargs):
        raise RuntimeError("the model was asked")

    monkeypatch.setattr(Model, "decode", work)
    for ask in (predictor.predict, predictor.predict_iter):
        with pytest.raises(PromptError):
            ask(embedding, **given_)


@settings(max_examples=25)
@given(prompts=st.lists(prompt, min_size=1, max_size=5), boxed=st.booleans(), multi=st.booleans())
def test_p14_a_ragged_batch_gives_what_single_calls_give(
    predictor, embedding, prompts, boxed, multi
):
    points = [[at for at, _ in one] for one in prompts]
    labels = [[label for _, label in one] for one in prompts]
    boxes = [(1, 2, 30 + i, 33) for i in range(len(prompts))] if boxed else None
    many = predictor.predict(embedding, points=points, labels=labels, boxes=boxes, multimask=multi)
    for p in range(len(prompts)):
        one = predictor.predict(
            embedding,
            points=points[p],
            labels=labels[p],
            boxes=boxes[p] if boxed else None,
            multimask=multi,
        )
        close(row(many, p), one)


@settings(max_examples=25)
@given(order=st.permutations(range(4)))
def test_x06_the_order_of_prompts_and_points_does_not_matter(predictor, embedding, order):
    points = np.array([(3, 4), (50, 9), (30, 30), (9, 35)], np.float32)
    labels = np.array([1, 0, 1, 0])
    straight = predictor.predict(embedding, points=points, labels=labels)
    shuffled = predictor.predict(embedding, points=points[order], labels=labels[order])
    close(straight, shuffled)
    many = predictor.predict(embedding, points=points[:, None])
    turned = predictor.predict(embedding, points=points[order][:, None])
    for p, q in enumerate(order):
        close(row(turned, p), row(many, q))


def test_p15_points_box_and_mask_refine_one_object(predictor, embedding):
    first = predictor.predict(embedding, points=(9, 9), multimask=False)
    given_ = {"points": [(9, 9)], "boxes": (1, 1, 30, 30), "masks": first.logits}
    whole = predictor.predict(embedding, multimask=False, **given_)
    for name in given_:
        rest = {key: value for key, value in given_.items() if key != name}
        less = predictor.predict(embedding, multimask=False, **rest)
        assert np.abs(less.logits - whole.logits).max() > 1e-6  # each part says something
    with pytest.raises(PromptError, match="object-counts"):
        predictor.predict(embedding, points=[[(9, 9)]], boxes=[(1, 1, 30, 30)] * 2)


def test_logits_are_fed_back_for_one_prompt_and_for_many(predictor, embedding):
    one = predictor.predict(embedding, points=(9, 9))
    many = predictor.predict(embedding, points=[[(9, 9)], [(30, 20)]])
    again = predictor.predict(embedding, points=[(9, 9)], masks=one.best_logits)
    both = predictor.predict(embedding, points=[[(9, 9)], [(30, 20)]], masks=many.best_logits)
    close(row(both, 0), again)
    alone = predictor.predict(embedding, masks=one.best_logits)
    assert alone.masks.shape == (3, H, W)


def test_p16_any_bound_of_memory_gives_the_same_masks(predictor, embedding):
    rng = np.random.default_rng(2)
    points = [rng.uniform(0, 39, (n, 2)) for n in rng.integers(1, 4, 30)]
    whole = predictor.predict(embedding, points=points)
    one_by_one = ImagePredictor(predictor.model, max_bytes=1)
    close(one_by_one.predict(embedding, points=points), whole)
    parts = list(one_by_one.predict_iter(embedding, points=points))
    assert [len(part.scores) for part in parts] == [1] * 30
    for p, part in enumerate(parts):
        close(row(part, 0), row(whole, p))


def test_p16_ten_thousand_prompts_go_through_in_bounded_parts(monkeypatch):
    predictor = ImagePredictor(small_model("sam"), max_bytes=2**26)
    embedding = predictor.encode(picture())
    sizes, decode = [], Model.decode

    def counted(self, features, points, *rest):
        sizes.append(len(points))
        return decode(self, features, points, *rest)

    monkeypatch.setattr(Model, "decode", counted)
    points = np.random.default_rng(0).uniform(0, 39, (10_000, 1, 2))
    seen, first = 0, None
    for part in predictor.predict_iter(embedding, points=points, multimask=False):
        first = part if first is None else first
        seen += len(part.scores)
        assert part.masks.shape[1:] == (1, H, W)
    assert seen == 10_000 and 1 < max(sizes) < 600
    close(row(first, 3), predictor.predict(embedding, points=points[3], multimask=False))


def test_p11_only_negative_points_give_a_result_and_a_note(predictor, embedding):
    found = predictor.predict(embedding, points=[(9, 9), (30, 20)], labels=[0, 0])
    assert found.masks.shape == (3, H, W)
    assert [note.code for note in found.notes] == ["only-negative"]


def test_h3_notes_of_image_and_prompts_are_in_the_result_and_warned_of_once(predictor):
    import anymask.errors

    anymask.errors._warned.clear()
    grey = Picture(pixels=np.array(picture()), notes=(anymask.errors.Note("image-test", "odd"),))
    with pytest.warns(AnymaskWarning, match="image-test"):
        embedding = predictor.encode(grey)
    with pytest.warns(AnymaskWarning, match="box-clipped"):
        found = predictor.predict(embedding, boxes=(-5, 1, 20, 20))
    assert [note.code for note in found.notes] == ["image-test", "box-clipped"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.predict(embedding, boxes=(-5, 1, 20, 20))


def test_an_embedding_of_another_model_is_refused_and_both_are_named():
    sam, nano = (ImagePredictor(small_model(kind)) for kind in KINDS)
    with pytest.raises(PromptError, match=r"small-sam.*small-nano") as caught:
        nano.predict(sam.encode(picture()), points=(9, 9))
    assert caught.value.code == "other-model"
    other = ImagePredictor(small_model("sam", seed=1))
    with pytest.raises(PromptError, match=f"{other.model.fingerprint[:8]}"):
        other.predict(sam.encode(picture()), points=(9, 9))


def test_an_embedding_does_not_change_when_the_callers_array_does(predictor):
    mine = np.array(picture())
    embedding = predictor.encode(mine)
    assert mine.flags.writeable and not embedding.pixels.flags.writeable
    mine[:] = 0
    assert np.array_equal(embedding.pixels, picture())
    with pytest.raises(ValueError, match="read-only"):
        embedding.pixels[0, 0] = 0


def test_predicting_does_not_write_to_features_or_prompts(predictor, embedding):
    before = [feature.clone() for feature in embedding.features]
    points, logits = np.array([[9.0, 9.0]]), np.zeros((1, *embedding.frame.logits), np.float32)
    logits[0, 3:5] = 0.25
    logits[0, 7] = -2
    points.flags.writeable = logits.flags.writeable = False
    predictor.predict(embedding, points=points, masks=logits)
    assert all(torch.equal(a, b) for a, b in zip(before, embedding.features, strict=True))


def test_eight_threads_on_one_embedding_give_the_bits_of_one(predictor, embedding):
    rng = np.random.default_rng(4)
    asked = [rng.uniform(0, 39, (1 + i % 3, 2)) for i in range(48)]
    alone = [predictor.predict(embedding, points=points) for points in asked]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda points: predictor.predict(embedding, points=points), asked)
        for a, b in zip(alone, found, strict=True):
            assert np.array_equal(a.logits, b.logits) and np.array_equal(a.masks, b.masks)
        embeddings = list(pool.map(lambda _: predictor.encode(picture()), range(8)))
    for each in embeddings:
        for a, b in zip(each.features, embedding.features, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (2, 3)])
def test_i16_tiny_and_narrow_images_give_masks_of_their_shape(predictor, size):
    embedding = predictor.encode(np.full((*size, 3), 99, np.uint8))
    found = predictor.predict(embedding, points=(0, 0))
    assert found.masks.shape == (3, *size)
    assert predictor.predict(embedding, boxes=(0, 0, *size[::-1])).masks.shape == (3, *size)


@pytest.fixture(scope="module")
def nano():
    """The bundled weights: what a trained model does."""
    predictor = ImagePredictor(load("nano", device="cpu"))
    return predictor, predictor.encode(PHOTOS / "truck.png")


@pytest.mark.parametrize("points", [[(224, 235)], [(397, 171)], [(224, 235), (397, 171)]])
def test_p11_a_negative_point_lowers_the_logit_there(nano, points):
    predictor, embedding = nano
    labels = [1] * len(points)
    before = predictor.predict(embedding, points=points, labels=labels, multimask=False)
    low = before.logits[0]
    rows, columns = embedding.frame.covered
    at = np.unravel_index(low[:rows, :columns].argmax(), (rows, columns))
    x, y = ((at[1 - axis] + 0.5) * embedding.frame.cell[axis] for axis in (0, 1))
    after = predictor.predict(
        embedding, points=[*points, (x, y)], labels=[*labels, 0], multimask=False
    )
    assert after.logits[0][at] < low[at]


def test_a_click_on_a_photo_finds_something_around_the_click(nano):
    predictor, embedding = nano
    found = predictor.predict(embedding, points=(224, 235))
    assert found.best_mask[235, 224] and 0.001 < found.best_mask.mean() < 0.6
