"""The second look: where it goes, what it moves, and that large objects are left alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import ROWS, picture, small_model

from anymask.frame import Frame
from anymask.model import Model
from anymask.nn.resize import upscale
from anymask.predict.image import ImagePredictor
from anymask.predict.refine import (
    Window,
    choose_window,
    look_closer,
    mask_box,
    move,
    resample,
)
from anymask.prompts import Prompts
from anymask.variants import Zoom

SPEC = ROWS["nano"].spec
ZOOM = Zoom(below=0.5, margin=2.0, side=64)
BIG = (120, 160)  # (H, W)


def zooming(kind, zoom=ZOOM):
    model = small_model(kind)
    return ImagePredictor(Model(model.network, replace(model.variant, zoom=zoom)))


@pytest.fixture(params=("sam", "nano"), scope="module")
def pair(request):
    """A predictor that zooms, one that does not, and an embedding for both."""
    close = zooming(request.param)
    return close, ImagePredictor(close.model, zoom=False), close.encode(picture(BIG))


def parse(size, **given_):
    return Prompts.parse(size=size, frame=Frame.fit(size, SPEC), **given_)


def holds(window, box):
    x0, y0, x1, y1 = box
    return window.x0 <= x0 and window.y0 <= y0 and x1 <= window.x1 and y1 <= window.y1


coordinate = st.floats(0, 1, width=32)


@given(
    size=st.tuples(st.integers(20, 3000), st.integers(20, 3000)),
    a=coordinate,
    b=coordinate,
    w=st.floats(0.001, 1),
    h=st.floats(0.001, 1),
    margin=st.floats(1, 3),
)
def test_the_window_holds_the_object_and_lies_in_the_image(size, a, b, w, h, margin):
    height, width = size
    x0, y0 = a * 0.99 * width, b * 0.99 * height
    box = (x0, y0, min(width, x0 + w * width), min(height, y0 + h * height))
    zoom = replace(ZOOM, margin=margin)
    prompt = parse(size, boxes=box)
    box = tuple(float(v) for v in prompt.boxes[0])
    window = choose_window(box, prompt, size, zoom)
    share = ((box[2] - box[0]) * (box[3] - box[1]) / (height * width)) ** 0.5
    if window is None:
        enough = margin * max(box[2] - box[0], box[3] - box[1]) >= min(size) or min(size) <= 16
        assert share >= zoom.below * 0.999 or enough
        return
    assert share < zoom.below and holds(window, box)
    assert 0 <= window.x0 < window.x1 <= width and 0 <= window.y0 < window.y1 <= height
    assert window.size != size
    inner = window.x0 > 0 and window.x1 < width and window.y0 > 0 and window.y1 < height
    if inner:  # the crop's longest side is margin times the object's, but for whole pixels
        longest = max(box[2] - box[0], box[3] - box[1])
        assert max(window.size) == pytest.approx(max(margin * longest, 16), abs=2)


def test_the_window_holds_every_point_on_the_object():
    prompt = parse(BIG, points=[(20, 20), (40, 25), (150, 110)], labels=[1, 1, 0])
    window = choose_window((18.0, 18.0, 24.0, 24.0), prompt, BIG, ZOOM)
    assert holds(window, (20, 20, 41, 26)) and window.x1 < 150


def test_points_and_box_move_with_the_window_and_points_outside_are_left_out():
    prompt = parse(
        BIG, points=[(20, 20), (150, 110), (30, 15)], labels=[1, 0, 0], boxes=(12, 11, 50, 40)
    )
    moved = move(prompt, Window(x0=10, y0=5, x1=60, y1=50))
    assert moved.points[0].tolist() == [[10, 15], [20, 10]]
    assert moved.labels[0].tolist() == [1, 0]
    assert moved.boxes.tolist() == [[2, 6, 40, 35]]


@given(
    size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    a=st.floats(-0.3, 0.3),
    b=st.floats(-0.3, 0.3),
    c=st.floats(-1, 1),
)
def test_p10_logits_keep_their_places_in_another_frame(size, a, b, c):
    """A ramp over the image is the same ramp in a crop's frame, at every cell in the image."""
    height, width = size
    whole = Frame.fit(size, SPEC)
    x0, y0 = width // 4, height // 4
    window = Window(x0=x0, y0=y0, x1=max(x0 + 1, width // 2), y1=max(y0 + 1, height // 2))
    crop = Frame.fit(window.size, SPEC)

    def ramp(frame, left, top):
        (h, w), (across, down) = frame.logits, frame.cell
        xs = (torch.arange(w) + 0.5) * across + left
        ys = (torch.arange(h) + 0.5) * down + top
        return (a * xs[None, :] / width + b * ys[:, None] / height + c)[None]

    for source, target, shift, start in (
        (whole, crop, (x0, y0), (0, 0)),
        (crop, whole, (-x0, -y0), (x0, y0)),
    ):
        found = resample(ramp(source, *start), source, target, shift)
        wanted = ramp(target, start[0] + shift[0], start[1] + shift[1])
        # cells near the source's edge repeat its outermost values
        (h, w), (across, down) = source.logits, source.cell
        xs = (torch.arange(target.logits[1]) + 0.5) * target.cell[0] + shift[0]
        ys = (torch.arange(target.logits[0]) + 0.5) * target.cell[1] + shift[1]
        edge_x = max(across, target.cell[0]) / 2 + across / 2
        edge_y = max(down, target.cell[1]) / 2 + down / 2
        inside = ((ys >= edge_y) & (ys <= h * down - edge_y))[:, None] & (
            (xs >= edge_x) & (xs <= w * across - edge_x)
        )
        assert found.shape == wanted.shape
        assert ((found - wanted).abs() * inside).max() < 1e-3


def test_logits_in_their_own_frame_stay_as_they_are():
    frame = Frame.fit(BIG, SPEC)
    logits = torch.randn(3, *frame.logits)
    assert (resample(logits, frame, frame, (0, 0)) - logits).abs().max() < 1e-4


def test_the_box_of_a_mask_is_that_of_its_pixels():
    frame = Frame.fit(BIG, SPEC)
    logits = torch.full(frame.logits, -1.0)
    assert mask_box(logits, frame) is None
    logits[3:5, 2:9] = 1.0
    logits[frame.covered[0] :, :] = 5.0  # padding
    box = mask_box(logits, frame)
    assert box == pytest.approx((2 * 10.0, 3 * 10.0, 9 * 10.0, 5 * 10.0))


def test_an_object_smaller_than_a_cell_is_not_lost_in_what_is_fed_back():
    close = zooming("nano", Zoom(below=0.5, margin=2.0, side=64))
    size = (3000, 4000)
    embedding = close.encode(np.zeros((*size, 3), np.uint8))
    for x, y in ((1210, 900), (1, 1), (3990, 2990)):
        found = close.predict(embedding, boxes=(x, y, x + 8, y + 8), multimask=False)
        if found.masks.any():
            assert (found.logits > 0).any()
            ys, xs = np.nonzero(found.logits[0] > 0)
            assert abs(xs.mean() * embedding.frame.cell[0] - x) <= 250  # a cell
            assert abs(ys.mean() * embedding.frame.cell[1] - y) <= 250


@pytest.mark.parametrize(
    "given_",
    [
        {"boxes": (5, 5, 150, 110)},
        {"boxes": [(0, 0, 160, 120), (5, 5, 150, 110)]},
        {"points": [(5, 5)], "boxes": (0, 0, 160, 120), "multimask": False},
    ],
)
def test_large_objects_are_not_looked_at_again(pair, given_):
    close, plain, embedding = pair
    a, b = close.predict(embedding, **given_), plain.predict(embedding, **given_)
    assert np.array_equal(a.logits, b.logits) and np.array_equal(a.masks, b.masks)
    assert np.array_equal(a.scores, b.scores)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("extra", [{}, {"points": [[(70, 60), (150, 5)]], "labels": [[1, 0]]}])
def test_a_small_object_is_looked_at_again_within_its_window(pair, multimask, extra):
    close, plain, embedding = pair
    given_ = {"boxes": [(60, 50, 80, 70)], "multimask": multimask, **extra}
    a, b = close.predict(embedding, **given_), plain.predict(embedding, **given_)
    assert a.masks.shape == b.masks.shape and a.logits.shape == b.logits.shape
    changed = [
        m for m, (x, y) in enumerate(zip(a.logits[0], b.logits[0], strict=True)) if (x != y).any()
    ]
    assert changed == [b.best[0]]
    window = choose_window((60.0, 50.0, 80.0, 70.0), parse(BIG, boxes=(60, 50, 80, 70)), BIG, ZOOM)
    for m in range(a.masks.shape[1]):
        outside = a.masks[0, m].copy()
        outside[window.y0 : window.y1, window.x0 : window.x1] = False
        if m in changed:
            assert not outside.any()
            ys, xs = np.mgrid[: a.logits.shape[2], : a.logits.shape[3]]
            (across, down), frame = embedding.frame.cell, embedding.frame
            far = (xs + 1) * across < window.x0
            far |= (ys + 1) * down < window.y0
            assert (a.logits[0, m][far] < 0).all()
            full = upscale(
                torch.from_numpy(a.logits[0, m : m + 1]), frame.padded, frame.resized, frame.image
            )
            agree = ((full[0].numpy() > 0) == a.masks[0, m]).mean()
            assert agree > 0.9  # what is fed back is what was shown
        else:
            assert np.array_equal(a.masks[0, m], b.masks[0, m])


def test_a_second_look_gives_the_same_in_a_batch_and_alone(pair):
    close, _, embedding = pair
    boxes = [(60, 50, 80, 70), (5, 5, 150, 110), (1, 1, 30, 20), (100, 80, 130, 119)]
    many = close.predict(embedding, boxes=boxes)
    for p, box in enumerate(boxes):
        one = close.predict(embedding, boxes=box)
        assert np.abs(one.logits - many.logits[p]).max() <= 1e-4
        assert (one.masks != many.masks[p]).mean() < 1e-3


@settings(max_examples=15)
@given(x=st.integers(2, 159), y=st.integers(2, 119), seed=st.integers(0, 9))
def test_any_click_and_any_fed_back_mask_survive_the_second_look(x, y, seed):
    close = zooming("nano", Zoom(below=0.9, margin=1.5, side=64))
    embedding = close.encode(picture(BIG))
    rng = np.random.default_rng(seed)
    blob = np.full(embedding.frame.logits, -2.0, np.float32)
    blob[rng.integers(0, 8) :, rng.integers(0, 8) :][:3, :3] = 2.5
    blob[0, 0] = -1
    for given_ in ({"points": (x, y)}, {"points": (x, y), "labels": 0}, {}):
        if given_.get("labels") == 0:
            given_["boxes"] = (0, 0, 40, 40)
        found = close.predict(embedding, masks=blob, **given_)
        assert np.isfinite(found.logits).all() and found.masks.shape == (3, *BIG)


def test_pixels_of_the_original_are_what_the_second_look_sees(monkeypatch):
    close = zooming("nano")
    pixels = np.array(picture((600, 800)))
    embedding = close.encode(pixels)
    seen = []
    encode = Model.encode
    monkeypatch.setattr(
        Model, "encode", lambda self, x: seen.append(x.numpy().copy()) or encode(self, x)
    )
    close.predict(embedding, boxes=(400, 300, 416, 316), multimask=False)
    (crop,) = seen
    assert crop.shape[1:3] == (64, 64)
    assert np.abs(crop[0, 16:48, 16:48].mean() - pixels[300:316, 400:416].mean()) < 8


@pytest.mark.parametrize(
    ("prompt", "masks"),
    [
        ({"points": [(40, 30)]}, 3),
        ({"points": [(40, 30), (44, 33)], "labels": [1, 1]}, 1),
        ({"points": [(40, 30), (90, 70)], "labels": [1, 0]}, 1),
        ({"boxes": [30, 20, 50, 40]}, 1),
    ],
    ids=["a lone point", "two points", "a point off it", "a box"],
)
def test_only_what_a_lone_point_may_mean_is_all_read_anew(prompt, masks):
    close = zooming("nano")
    embedding = close.encode(picture(BIG))
    asked = close.prompts(embedding, **prompt).take([0])
    first = torch.full(embedding.frame.logits, -5.0)
    x, y = (round(v / c) for v, c in zip((40, 30), embedding.frame.cell, strict=True))
    first[y - 1 : y + 2, x - 1 : x + 2] = 5.0
    zoom = replace(ZOOM, alternatives=True)

    def seen(zoom, multimask):
        with torch.inference_mode():
            return look_closer(close.model, embedding, asked, first, zoom, multimask)

    look = seen(zoom, True)
    assert len(look.masks) == len(look.logits) == len(look.scores) == len(look.found) == masks
    for plain in (seen(zoom, False), seen(ZOOM, True)):
        assert len(plain.masks) == 1 and torch.equal(plain.logits, seen(ZOOM, False).logits)


def test_a_box_that_is_decoded_twice_is_decoded_with_its_own_answer():
    model = small_model("nano")
    once = ImagePredictor(model.answering(replace(model.variant.outputs, box_passes=1)), zoom=False)
    twice = ImagePredictor(
        model.answering(replace(model.variant.outputs, box_passes=2)), zoom=False
    )
    embedding, box = once.encode(picture(BIG)), [30, 20, 120, 100]
    first = once.predict(embedding, boxes=box, multimask=False)
    by_hand = once.predict(embedding, boxes=box, masks=first.logits, kind="logits", multimask=False)
    answer = twice.predict(embedding, boxes=box, multimask=False)
    assert np.allclose(answer.logits, by_hand.logits, atol=1e-5)
    assert not np.allclose(answer.logits, first.logits, atol=1e-5)
    for asked in ({"points": [[40, 30]]}, {"boxes": box, "masks": first.logits, "kind": "logits"}):
        same = [p.predict(embedding, **asked, multimask=False).logits for p in (once, twice)]
        assert np.array_equal(*same)
