"""From a folder of pictures to a weight file that `load` takes, in each method."""

import io
import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import anymask.model_weights
from anymask import load
from anymask.errors import CheckpointError, DeviceError, OutputError, RunError
from anymask.model import Model
from anymask.model_options import Options
from anymask.train import finetune_drift, finetune_loop, finetune_run
from anymask.train.finetune import finetune
from anymask.train.finetune_data import Part, take_stock
from anymask.train.finetune_exam import Exam, Marks
from anymask.train.finetune_loop import Course, Learned, Lessons, learn
from anymask.train.finetune_methods import METHODS, method
from anymask.train.finetune_order import Order, prepare
from anymask.train.finetune_run import AGREEMENT, choose_method, refusal_of, run, save
from anymask.weights.card import Card, Figure, read_card
from conftest import SHARED
from finetune_sets import ROWS, shapes, small_model, write_set

pytestmark = pytest.mark.filterwarnings("ignore:mask-probability")  # random logits look like it
SHORT = Course(steps=3, views=1, masks=2, checks=1, rank=2, stored_views=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("data") / "discs", 9)


@pytest.fixture(autouse=True)
def one_small_photo(monkeypatch):
    """Instead of the bundled ones."""
    buffer = io.BytesIO()
    Image.fromarray(shapes(50).pixels).save(buffer, "PNG")
    monkeypatch.setattr(finetune_drift, "_photos", lambda: iter([buffer.getvalue()]))


@pytest.fixture
def order(data, tmp_path):
    return Order(
        data=data,
        output=tmp_path / "out.safetensors",
        model=small_model("sam"),
        course=SHORT,
        cache=tmp_path / "cache",
        force=True,
    )


@pytest.fixture
def known(monkeypatch):
    """The small rows are in the table."""
    rows = (*anymask.model_weights.VARIANTS, *ROWS.values())
    monkeypatch.setattr(anymask.model_weights, "VARIANTS", rows)


@pytest.mark.parametrize(
    ("kind", "name"),
    [*(("sam", row.name) for row in METHODS), ("nano", "lora"), ("sam2", "frozen")],
)
def test_a_set_becomes_a_weight_file_of_the_same_model(order, known, kind, name):
    order = replace(order, model=small_model(kind), method=name)
    former = {k: t.clone() for k, t in small_model(kind).network.state_dict().items()}
    told = []
    result = run(prepare(order), lambda *about: told.append(about[0]))
    save(result, order)
    loaded = load(checkpoint=order.output, device="cpu")
    assert loaded.variant.name == f"small-{kind}"
    for key, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, result.model.network.state_dict()[key])
    for key, tensor in small_model(kind).network.state_dict().items():
        assert torch.equal(tensor, former[key]), "the model that was given is nobody's to change"
    assert any(note.code == "weights-finetuned" for note in loaded.notes)
    assert {"steps", "pictures judged before (discs)", "pictures judged after (discs)"} <= set(told)
    assert (order.cache.exists() and any(order.cache.iterdir())) == (name == "frozen")


def test_the_card_tells_where_the_weights_come_from(order):
    result = run(prepare(replace(order, method="decoder")))
    save(result, order)
    card = read_card(order.output)
    assert card == result.card
    assert card.model == "small-sam" and card.start == small_model("sam").fingerprint
    assert (card.train, card.val, card.test) == (6, 1, 2) and card.categories == (("disc", 18),)
    assert [f.name for f in card.figures] == ["box", "click1", "click3", "click5"]
    assert all(0 <= f.before <= 1 and 0 <= f.after <= 1 for f in card.figures)
    assert dict(card.others)[AGREEMENT][0].before == 1.0
    with safe_open(order.output, framework="pt") as file:
        assert file.metadata()["format"] == "pt"
    assert "small-sam" in card.summary() and "discs" in card.summary()


def test_the_same_order_gives_the_same_weights(order):
    order = replace(order, method="lora")
    first, second = (run(prepare(order)).model for _ in range(2))
    assert first.fingerprint == second.fingerprint
    other = replace(order, course=replace(SHORT, seed=1))
    assert run(prepare(other)).model.fingerprint != first.fingerprint


@pytest.mark.slow
def test_a_decoder_learns_what_its_pictures_show(data):
    """Only that the loop moves weights the right way: a random network learns rectangles."""
    given = small_model("nano")
    model = Model(deepcopy(given.network), given.variant)
    record_set = prepare(Order(data=data, output=data.with_name("x.safetensors"))).train.data
    entries = take_stock(record_set).entries
    part = Part(data=record_set, ids=tuple(entry.image_id for entry in entries))
    course = Course(steps=60, views=1, masks=2, rate=3e-3, checks=4)
    exam = Exam(part, model, keep=False)
    learned = learn(model, method("full"), Lessons(part, entries, model, course), course, exam=exam)
    assert learned.start is not None and learned.best is not None
    assert learned.best.mean > learned.start.mean + 0.1
    assert exam.marks(model).mean == pytest.approx(learned.best.mean, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("tar", sorted((SHARED or Path()).glob("data/domains/em-neurites.tar")))
def test_nano_learns_cells_under_a_microscope_from_a_few_sections(tar, tmp_path):
    """Twenty steps of the bundled model on a real set; sections are never on both sides."""
    job = prepare(Order(data=tar, output=tmp_path / "out.safetensors", group=r"(sec\d+)"))
    model = load("nano", device="cpu")
    course = Course(steps=20, views=2, masks=6, checks=2)
    exam = Exam(job.val, model, keep=True)
    lessons = Lessons(job.train, job.entries, model, course)
    learned = learn(model, method("decoder"), lessons, course, exam=exam)
    assert learned.best.click1 > learned.start.click1 + 0.05
    assert learned.best.mean > learned.start.mean + 0.03


def test_f19_records_in_memory_are_bounded(data, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune_loop, "_MOST_IN_MEMORY", 2)
    job = prepare(Order(data=data, output=tmp_path / "out.safetensors"))
    lessons = Lessons(job.train, job.entries, small_model("sam"), SHORT)
    for step in range(12):
        lessons.draw(step, 0, None, through=False)
        assert len(lessons._read) <= 2


def test_what_is_best_is_kept_and_it_ends_when_nothing_gets_better(order, monkeypatch):
    marks = iter([0.5, 0.6, 0.55, 0.4, 0.3, 0.9])

    def told(self, model):
        value = next(marks)
        return Marks(box=value, click1=value, click3=value)

    monkeypatch.setattr(Exam, "marks", told)
    course = replace(SHORT, steps=30, checks=6, patience=3)
    result = run(prepare(replace(order, method="decoder", course=course)))
    assert result.learned.why == "no better" and result.learned.best.box == 0.6
    assert (result.learned.steps == 20 and result.refusal is None) or result.card.figures


@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_blend_lies_between_the_weights_of_the_start_and_the_new_ones(order, name):
    start = small_model("sam").network.state_dict()
    course = replace(SHORT, checks=0)
    new = run(prepare(replace(order, method=name, course=course))).model.network.state_dict()
    half = replace(order, method=name, course=replace(course, blend=0.5))
    middle = run(prepare(half)).model.network.state_dict()
    for key, tensor in middle.items():
        assert torch.allclose(tensor, (start[key] + new[key]) / 2, atol=1e-6)
    none = replace(order, method=name, course=replace(course, blend=0.0))
    same = run(prepare(none)).model.network.state_dict()
    assert all(torch.equal(same[key], start[key]) for key in start)


def test_minutes_end_it(order):
    course = replace(SHORT, minutes=0.0, steps=1000)
    result = run(prepare(replace(order, method="decoder", course=course)))
    assert result.learned.why == "time" and result.learned.steps == 1


def test_l3_a_stop_keeps_the_best_so_far_and_one_before_learning_writes_nothing(order):
    calls = iter(range(10**6))
    order = replace(order, method="decoder", course=replace(SHORT, steps=1000, patience=10**6))
    job = prepare(order)
    judged = len(job.judged.ids) + 1
    result = run(job, stop=lambda: next(calls) > judged + 8)
    assert result.learned.why == "stopped" and 1 <= result.learned.steps < 20
    assert all(figure.after is None for figure in result.card.figures)
    save(result, order)
    assert read_card(order.output).steps == result.learned.steps
    with pytest.raises(RunError, match="stopped"):
        run(job, stop=lambda: True)


def test_a_result_that_is_no_better_is_not_saved_without_force(order):
    result = run(prepare(replace(order, method="decoder", course=replace(SHORT, rate=0.0))))
    assert result.refusal is not None
    with pytest.raises(RunError, match="no-gain") as error:
        save(result, replace(order, force=False))
    assert "force" in str(error.value) and not order.output.exists()
    save(result, order)
    assert order.output.exists()


@pytest.mark.parametrize(
    ("before", "after", "better", "refused"),
    [
        (0.5, 0.6, True, False),
        (0.5, 0.5, True, False),
        (0.6, 0.5, True, True),
        (0.5, 0.6, False, True),
        (0.5, 0.6, None, False),
        (0.6, 0.5, None, True),
        (None, None, True, False),
    ],
)
def test_what_counts_as_no_better(before, after, better, refused):
    figures = (Figure(name="box", before=before, after=after),)
    learned = Learned(steps=1, seconds=0.0, start=None, best=None, better=better, why="done")
    assert (refusal_of(figures, learned) is not None) == refused


def test_o1_o2_a_file_that_came_meanwhile_stays(order):
    result = run(prepare(replace(order, method="decoder")))
    order.output.write_bytes(b"mine")
    with pytest.raises(OutputError, match="file-exists"):
        save(result, order)
    assert order.output.read_bytes() == b"mine"
    assert [p.name for p in order.output.parent.iterdir() if p.is_file()] == ["out.safetensors"]


def test_the_file_of_one_model_is_not_taken_for_another(order, known):
    save(run(prepare(replace(order, method="decoder"))), order)
    with pytest.raises(CheckpointError, match=r"wrong-variant.*small-sam.*nano"):
        load("nano", checkpoint=order.output)


def test_a_card_that_names_another_model_than_the_tensors_is_not_believed(order, known):
    from safetensors.torch import load_file, save_file

    save(run(prepare(replace(order, method="decoder"))), order)
    card = replace(read_card(order.output), model="nano")
    lying = order.output.with_name("lying.safetensors")
    save_file(load_file(order.output), lying, metadata=card.metadata())
    assert load(checkpoint=lying, device="cpu").variant.name == "small-sam"


@pytest.mark.parametrize("text", ["{", "[]", '{"card": 2}', '{"card": 1}', "null"])
def test_a_broken_card_is_as_none(tmp_path, text):
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"anymask-card": text})
    assert read_card(path) is None
    assert read_card(tmp_path) is None and read_card(tmp_path / "nothing") is None


def test_a_card_survives_its_header_whatever_its_words(tmp_path):
    card = Card(
        model="nano",
        start="0",
        method="lora",
        data='a "b" ü\n',
        data_sha256="1",
        train=1,
        val=0,
        test=1,
        categories=(("a/b", 1), ("", 2), ("名", 3)),
        steps=1,
        minutes=0.5,
        seed=0,
        figures=(Figure(name="box", before=0.5, after=None),),
        others=(("x", (Figure(name="box", before=None, after=0.25),)),),
    )
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata=card.metadata())
    assert read_card(path) == card == read_card(tmp_path)
    assert all(value.isascii() for value in card.metadata().values())
    json.dumps(card.metadata())


def test_a_model_in_halves_or_with_options_does_not_learn(order):
    given = small_model("sam")
    halves = deepcopy(given.network)
    halves.encoder.bfloat16()
    for model in (
        Model(given.network, given.variant, (), Options(autocast="bfloat16")),
        Model(halves, given.variant),
    ):
        with pytest.raises(DeviceError, match="model-fixed"):
            run(prepare(replace(order, model=model)))


@pytest.mark.parametrize(
    ("encode_s", "pictures", "name"),
    [(0.05, 30, "lora"), (0.05, 3, "decoder"), (0.4, 30, "decoder"), (5.0, 30, "frozen")],
)
def test_the_method_is_the_one_that_fits_the_time(encode_s, pictures, name):
    assert choose_method(encode_s, 10.0, pictures, 400, 2) == name


def test_as_many_views_are_kept_as_time_and_room_allow(order, monkeypatch):
    seen = []
    real = finetune_run.learn

    def spied(model, method, lessons, course, **more):
        seen.append(course.stored_views)
        return real(model, method, lessons, course, **more)

    monkeypatch.setattr(finetune_run, "learn", spied)
    order = replace(order, method="frozen", course=replace(SHORT, stored_views=8, steps=1))
    for cost in ((1e-3, 100), (25.0, 100), (1e-3, 10**8), (1e3, 10**9)):
        monkeypatch.setattr(finetune_run, "_cost", lambda job, model, cost=cost: cost)
        run(prepare(order))
    assert seen == [8, 2, 3, 1]


def test_too_few_to_stop_by_learn_to_the_end(tmp_path):
    data = write_set(tmp_path / "few", 3)
    order = Order(
        data=data, output=tmp_path / "out.safetensors", model=small_model("sam"), course=SHORT
    )
    result = run(prepare(replace(order, method="decoder", force=True)))
    assert result.learned.better is None and result.learned.why == "done"
    assert result.card.val == 0 and not result.split.val


def test_other_sets_are_judged_on_too_and_not_learnt_from(order, tmp_path):
    other = write_set(tmp_path / "other", 2)
    result = run(prepare(replace(order, method="decoder", also=(other,))))
    assert [name for name, _ in result.card.others] == ["other", AGREEMENT]
    assert len(dict(result.card.others)["other"]) == 4


def test_a_run_of_bad_steps_is_an_error(order, monkeypatch):
    real = finetune_loop._view_loss
    monkeypatch.setattr(finetune_loop, "_view_loss", lambda *a: real(*a) * float("nan"))
    with pytest.raises(RunError, match="loss-not-finite"):
        run(prepare(replace(order, method="decoder", course=replace(SHORT, steps=20))))


def test_the_public_function_does_it_all(data, tmp_path):
    output = tmp_path / "out.safetensors"
    result = finetune(
        data, output, model=small_model("sam"), method="decoder", minutes=0.02, force=True
    )
    assert read_card(output) == result.card and np.isfinite(result.minutes)
