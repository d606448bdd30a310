"""`refine="crop"`: which objects are looked at again, how, and with every kind of model."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch
from small_models import picture, small_model

from anymask.errors import PromptError
from anymask.frame import Frame
from anymask.model import Model, blank, fill
from anymask.predict.image import ImagePredictor
from anymask.predict.refine import choose_window, zoom_of
from anymask.prompts import Prompts
from anymask.variants import HQ_ALONE, Outputs, variant
from tiny import tiny_state

BIG = (120, 160)  # (H, W)
BOX = (30, 20, 120, 90)  # more than half of the image's side


def small_efficient_sam() -> Model:
    """A model that takes no masks."""
    official = variant("efficient-sam-ti")
    row = replace(
        official,
        network=MappingProxyType(
            {"dim": 24, "depth": 2, "heads": 3, "side": 64, "out_dim": 32, "hidden": 64}
        ),
        spec=replace(official.spec, side=64),
    )
    network = blank(row)
    fill(network, tiny_state(row), torch.float32)
    return Model(network, row)


MODELS = {
    "nano": lambda: small_model("nano"),
    "sam": lambda: small_model("sam"),
    "efficient-sam": small_efficient_sam,
}


@pytest.fixture(params=MODELS, scope="module")
def looked_at(request):
    """A predictor of each kind, and an embedding."""
    predictor = ImagePredictor(MODELS[request.param]())
    return predictor, predictor.encode(picture(BIG))


def window_of(model, prompts):
    zoom = zoom_of(model, Frame.fit(BIG, model.variant.spec), prompts, True, "crop")
    return choose_window(tuple(prompts.boxes[0].tolist()), prompts, BIG, zoom)


def test_a_large_object_in_a_box_is_looked_at_again(looked_at):
    predictor, embedding = looked_at
    before = predictor.predict(embedding, boxes=BOX)
    after = predictor.predict(embedding, boxes=BOX, refine="crop")
    changed = [not np.array_equal(a, b) for a, b in zip(after.logits, before.logits, strict=True)]
    assert changed == [m == before.best for m in range(len(before.scores))]
    window = window_of(predictor.model, predictor.prompts(embedding, boxes=BOX))
    outside = after.masks[before.best].copy()
    outside[window.y0 : window.y1, window.x0 : window.x1] = False
    assert not outside.any() and np.isfinite(after.logits).all()


def test_the_crop_is_encoded_at_the_whole_input(looked_at, monkeypatch):
    predictor, embedding = looked_at
    sizes = []
    encode = Model.encode
    monkeypatch.setattr(
        Model, "encode", lambda self, x: sizes.append(tuple(x.shape)) or encode(self, x)
    )
    predictor.predict(embedding, boxes=BOX, refine="crop")
    window = window_of(predictor.model, predictor.prompts(embedding, boxes=BOX))
    (shape,) = sizes
    assert shape[1:3] == Frame.fit(window.size, predictor.model.variant.spec).resized


def test_a_box_around_everything_leaves_nothing_to_crop(looked_at):
    predictor, embedding = looked_at
    box = (0, 0, 160, 120)
    before, after = (predictor.predict(embedding, boxes=box, refine=how) for how in (None, "crop"))
    assert np.array_equal(before.logits, after.logits)


def test_parts_and_the_whole_are_refined_alike(looked_at):
    predictor, embedding = looked_at
    boxes = [BOX, (5, 5, 60, 50), (100, 80, 130, 119)]
    whole = predictor.predict(embedding, boxes=boxes, refine="crop", multimask=False)
    few = ImagePredictor(predictor.model, max_bytes=1)  # a prompt at a time
    parts = list(few.predict_iter(embedding, boxes=boxes, refine="crop", multimask=False))
    assert len(parts) == 3
    logits = np.concatenate([part.logits for part in parts])
    assert np.abs(logits - whole.logits).max() < 1e-3


def chosen(size=BIG, row_zoom=None, always=True, refine="crop", **given):
    """The way prompts on an image of some size are looked at again, by a model of 64 px."""
    model = small_model("nano")
    model = Model(model.network, replace(model.variant, zoom=row_zoom))
    frame = Frame.fit(size, model.variant.spec)
    return zoom_of(model, frame, Prompts.parse(size=size, frame=frame, **given), always, refine)


def test_clicked_objects_are_cropped_where_the_image_is_twice_the_input():
    row = variant("nano").zoom
    for size, cropped in (((40, 60), False), ((96, 120), False), ((96, 128), True), (BIG, True)):
        zoom = chosen(size, row, points=(30, 30))
        assert (zoom is row) != cropped
        assert chosen(size, row, boxes=(10, 10, 30, 30)) is not row
        assert chosen(size, row, boxes=(10, 10, 30, 30), points=(20, 20)) is not row


def test_the_crop_replaces_the_own_second_look_of_a_row():
    row = variant("nano").zoom
    assert chosen(row_zoom=row, refine=None, boxes=BOX) is row
    assert chosen(row_zoom=row, refine=None, always=False, boxes=BOX) is None
    zoom = chosen(row_zoom=row, boxes=BOX)
    assert zoom == chosen(row_zoom=row, always=False, boxes=BOX) == chosen(boxes=BOX) != row
    assert chosen((40, 60), row, always=False, points=(30, 30)) is None


def test_the_output_for_clear_prompts_answers():
    """With outputs chosen otherwise the second look takes the one that the row names."""
    found = {}
    for name, outputs in {"first": Outputs(), "third": HQ_ALONE}.items():
        model = small_model("sam")
        predictor = ImagePredictor(Model(model.network, replace(model.variant, outputs=outputs)))
        embedding = predictor.encode(picture(BIG))
        found[name] = predictor.predict(embedding, boxes=BOX, multimask=False, refine="crop")
    assert not np.array_equal(found["first"].logits, found["third"].logits)


@pytest.mark.parametrize("how", ["", "Crop", "sharp"])
def test_another_way_to_refine_is_refused_before_any_work(looked_at, monkeypatch, how):
    predictor, embedding = looked_at
    monkeypatch.setattr(Model, "decode", lambda *_: pytest.fail("the model worked"))
    for call in (predictor.predict, predictor.predict_iter):
        with pytest.raises(PromptError) as caught:
            call(embedding, boxes=BOX, refine=how)
        assert caught.value.code == "setting" and "crop" in caught.value.hint
