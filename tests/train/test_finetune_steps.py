"""Views and prompts as when a model is used, adapters that vanish, who learns in each method."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anymask.evaluate.interactive import tight_box
from anymask.formats.records import measured
from anymask.frame import Frame
from anymask.mask_rle import encode_rle
from anymask.model import Model
from anymask.predict.image import ImagePredictor
from anymask.train.finetune_methods import METHODS, head_of, method
from anymask.train.finetune_step import answer_loss, answers, chosen_iou, draw_kind
from anymask.train.finetune_store import FeatureStore, as_halves, encode_view
from anymask.train.finetune_views import Plan, cells, plan_view, plan_whole, see_masks, see_pixels
from anymask.train.lora import adaptable, add_adapters, merge_adapters
from finetune_sets import ROWS, SIZE, shapes, small_model

FAMILIES = sorted(ROWS)


def annotations(seed=0):
    return [measured(i, encode_rle(mask)) for i, mask in enumerate(shapes(seed).masks)]


def whole_view(model, seed=0):
    plan = plan_whole(SIZE, model.variant)
    return see_masks(annotations(seed), plan, model.variant, 8, np.random.default_rng(0))


def fresh(kind):
    """A small model that may be changed."""
    model = small_model(kind)
    return Model(deepcopy(model.network), model.variant)


@given(seed=st.integers(0, 2**32 - 1), size=st.tuples(st.integers(48, 90), st.integers(48, 90)))
def test_a_view_lies_in_its_picture_and_has_its_focus_wholly_where_it_fits(seed, size):
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, bool)
    y, x = rng.integers(0, size[0] - 20), rng.integers(0, size[1] - 20)
    mask[y : y + 16, x : x + 16] = True
    plan = plan_view(size, [measured(1, encode_rle(mask))], ROWS["sam"], rng)
    x0, y0, x1, y1 = plan.window
    assert 0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]
    assert mask[y0:y1, x0:x1].sum() == mask.sum()


def test_pixels_and_masks_of_a_view_are_mirrored_and_cut_alike():
    seen = shapes(3)
    plan = Plan(window=(5, 0, 60, 40), side=64, mirrored=True)
    pixels = see_pixels(seen.pixels, plan)
    view = see_masks(annotations(3), plan, ROWS["sam"], 8, np.random.default_rng(0))
    assert pixels.shape == (40, 55, 3) and view is not None
    for mask in view.masks:
        assert pixels[mask].min() > 100 and len(np.unique(pixels[mask], axis=0)) == 1


def test_a_view_that_shows_no_mask_well_is_none():
    plan = Plan(window=(0, 40, 64, 48), side=64)
    assert see_masks(annotations(0), plan, ROWS["sam"], 8, np.random.default_rng(0)) is None


@pytest.mark.parametrize("size", [(48, 64), (64, 64), (200, 150), (31, 64)])
def test_v08_cells_hold_the_share_of_the_object_and_none_in_the_padding(size):
    frame = Frame.fit(size, ROWS["sam"].spec)
    full = cells(np.ones(size, bool), frame)
    assert full.shape == frame.logits
    assert full.sum() * 16 == pytest.approx(frame.resized[0] * frame.resized[1])
    half = np.zeros(size, bool)
    half[:, : size[1] // 2] = True
    assert cells(half, frame).sum() / full.sum() == pytest.approx(half.mean(), abs=0.03)


@pytest.mark.parametrize("kind", FAMILIES)
def test_prompts_of_training_are_those_of_use(kind):
    """A box and an innermost click give what `ImagePredictor` gives for the same picture."""
    model = small_model(kind)
    view, seen = whole_view(model), shapes(0)
    features = encode_view(model, seen.pixels, view.frame)
    predictor = ImagePredictor(model, zoom=False)
    embedding = predictor.encode(seen.pixels)
    boxes = np.array([tight_box(mask) for mask in view.masks], np.float32)
    with torch.no_grad():
        (answer,) = answers(model, features, view, "box", 1, np.random.default_rng(0), sure=True)
    told = predictor.predict(embedding, boxes=boxes, multimask=False)
    assert np.allclose(answer.chosen.numpy(), told.logits[:, 0], atol=1e-4)
    with torch.no_grad():
        (answer,) = answers(model, features, view, "click", 1, np.random.default_rng(0), sure=True)
    deep = [np.argwhere(mask) for mask in view.masks]
    assert answer.ambiguous and all(len(d) for d in deep)
    assert answer.logits.shape[:2] == (2, 4)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("asked", ["box", "click", "clicks"])
def test_rounds_go_on_from_the_answers_and_their_loss_is_finite(kind, asked):
    model = small_model(kind)
    view = whole_view(model)
    features = encode_view(model, shapes(0).pixels, view.frame)
    truth = torch.from_numpy(view.truth)
    given_ = list(answers(model, features, view, asked, 4, np.random.default_rng(1)))
    assert len(given_) >= 2 and all(len(a.rows) <= 2 for a in given_)
    assert [a.ambiguous for a in given_] == [asked == "click", *[False] * (len(given_) - 1)]
    for answer in given_:
        assert torch.isfinite(answer_loss(model, answer, truth))
        assert ((chosen_iou(answer, truth) >= 0) & (chosen_iou(answer, truth) <= 1)).all()


def test_a_model_that_takes_so_many_points_is_asked_with_no_more():
    model = small_model("sam")
    spec = replace(model.variant.spec, most_points=3, mask_prompts=False)
    few = Model(model.network, replace(model.variant, spec=spec))
    view = whole_view(few)
    features = encode_view(few, shapes(0).pixels, view.frame)
    assert len(list(answers(few, features, view, "box", 4, np.random.default_rng(1)))) <= 2
    assert len(list(answers(few, features, view, "click", 6, np.random.default_rng(1)))) <= 3


def test_all_ways_of_asking_come_up():
    rng = np.random.default_rng(0)
    drawn = {draw_kind(rng) for _ in range(300)}
    assert {kind for kind, _ in drawn} == {"box", "click", "clicks"}
    assert {rounds for _, rounds in drawn} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", [row.name for row in METHODS])
def test_a_method_lets_learn_what_it_says_and_leaves_the_rest_bit_for_bit(kind, name):
    model, row = fresh(kind), method(name)
    former = {key: tensor.clone() for key, tensor in model.network.state_dict().items()}
    groups = row.choose(model.network, 2, 0)
    view = whole_view(model)
    features = encode_view(model, shapes(0).pixels, view.frame, through=row.through)
    truth = torch.from_numpy(view.truth)
    optimiser = torch.optim.AdamW(groups, lr=1e-2)
    for _ in range(2):  # adapters' first half learns when the second is no longer zero
        features = encode_view(model, shapes(0).pixels, view.frame, through=row.through)
        rounds = answers(model, features, view, "click", 2, np.random.default_rng(0))
        loss = torch.stack([answer_loss(model, a, truth) for a in rounds]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    row.finish(model.network)
    after = model.network.state_dict()
    assert {k: t.shape for k, t in after.items()} == {k: t.shape for k, t in former.items()}
    changed = {key for key in former if not torch.equal(former[key], after[key])}
    in_encoder = {key for key in changed if key.startswith("encoder.")}
    assert changed - in_encoder
    assert bool(in_encoder) == (name in ("lora", "full"))


def test_full_learns_slowest_where_pictures_come_in():
    model = fresh("sam")
    groups = method("full").choose(model.network, 2, 0)
    rates = [float(group["factor"]) for group in groups]
    assert rates[0] == 1.0 and rates[1:] == sorted(rates[1:]) and rates[1] < rates[-1] < 1
    known = sum(len(group["params"]) for group in groups)
    assert known == len(list(model.network.parameters()))
    assert len(groups[0]["params"]) == len(head_of(model.network))


@pytest.mark.parametrize("kind", FAMILIES)
def test_adapters_change_nothing_at_first_and_are_plain_weights_once_merged(kind):
    model = fresh(kind)
    pixels, frame = shapes(0).pixels, whole_view(model).frame
    before = encode_view(model, pixels, frame)
    names = {key: tensor.shape for key, tensor in model.network.state_dict().items()}
    added = add_adapters(model.network.encoder, 2, seed=1)
    assert added and all(p.requires_grad for p in added)
    learning = [p for p in model.network.encoder.parameters() if p.requires_grad]
    assert len(learning) == len(added)
    same = encode_view(model, pixels, frame)
    assert all(torch.equal(a, b) for a, b in zip(before, same, strict=True))
    with torch.no_grad():
        for parameter in added:
            parameter.add_(0.05)
    adapted = encode_view(model, pixels, frame)
    assert not all(torch.allclose(a, b) for a, b in zip(before, adapted, strict=True))
    merge_adapters(model.network)
    merged = encode_view(model, pixels, frame)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(adapted, merged, strict=True))
    assert {key: t.shape for key, t in model.network.state_dict().items()} == names


def test_adapters_go_where_they_are_smaller_than_the_layer():
    nn = torch.nn
    assert adaptable(nn.Linear(32, 32), 8) and not adaptable(nn.Linear(32, 4), 8)
    assert adaptable(nn.Conv2d(32, 32, 3), 8) and adaptable(nn.Conv2d(64, 32, 1), 8)
    assert not adaptable(nn.Conv2d(32, 32, 3, groups=32), 8)
    assert not adaptable(nn.LayerNorm(32), 1)


def test_f11_features_on_disk_are_made_once_and_again_for_other_pixels_or_weights(tmp_path):
    model, seen = fresh("sam"), shapes(0)
    frame = whole_view(model).frame
    store = FeatureStore(model, tmp_path, 10**8)
    first = store.get("a", lambda: seen.pixels, frame)
    again = store.get("a", lambda: 1 / 0, frame)  # its pixels are not read
    assert store.made == 1 and torch.equal(first[0], again[0])
    plain = encode_view(model, seen.pixels, frame)
    assert torch.allclose(first[0], plain[0], rtol=1e-3, atol=1e-3)
    assert FeatureStore(model, tmp_path, 10**8).get("b", lambda: seen.pixels, frame) is not None
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    store.get("other", lambda: shapes(1).pixels, frame)
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    changed = Model(model.network, model.variant)
    FeatureStore(changed, tmp_path, 10**8).get("a", lambda: seen.pixels, frame)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


def test_features_on_disk_keep_their_bound_and_those_dropped_are_made_again(tmp_path):
    model = small_model("sam")
    frame = whole_view(model).frame
    one = sum(t.numel() * 2 for t in encode_view(model, shapes(0).pixels, frame))
    store = FeatureStore(model, tmp_path, int(2.9 * (one + 500)))
    for turn in range(2):
        for number in range(4):
            store.get(number, lambda n=number: shapes(n).pixels, frame)
            assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 2.9 * (one + 500)
        assert store.made == 4 * (turn + 1)


def test_o4_a_disk_without_room_costs_time_and_not_the_run(tmp_path):
    model, seen = small_model("sam"), shapes(0)
    (tmp_path / "file").write_bytes(b"")
    store = FeatureStore(model, tmp_path / "file" / "cache", 10**8)
    frame = whole_view(model).frame
    assert store.get("a", lambda: seen.pixels, frame)[0].shape[0] == 1


def test_values_that_halves_cannot_hold_stay_as_they_are():
    small, large = as_halves((torch.ones(2), torch.full((2,), 1e5)))
    assert small.dtype == torch.float16 and large.dtype == torch.float32
