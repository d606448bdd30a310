"""`anymask finetune`: what is told and written, how it ends, what is refused before any work."""

import io
import json
import os
import signal

import pytest
from PIL import Image

import anymask.model_weights
from anymask.cli import main
from anymask.train import finetune_drift, finetune_loop, finetune_run
from anymask.weights.card import read_card
from finetune_sets import ROWS, shapes, small_model, write_set

pytestmark = pytest.mark.filterwarnings("ignore:mask-probability")  # random logits look like it
QUICK = ("--steps", "2", "--method", "decoder")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Whatever is asked for is a small random model; one small photo stands for the bundled."""
    rows = (*anymask.model_weights.VARIANTS, *ROWS.values())
    monkeypatch.setattr(anymask.model_weights, "VARIANTS", rows)

    def loaded(order):
        from dataclasses import replace

        return real(replace(order, model=small_model("sam")))

    real = finetune_run._loaded
    monkeypatch.setattr(finetune_run, "_loaded", loaded)
    buffer = io.BytesIO()
    Image.fromarray(shapes(50).pixels).save(buffer, "PNG")
    monkeypatch.setattr(finetune_drift, "_photos", lambda: iter([buffer.getvalue()]))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("data") / "discs", 9)


def tree(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_folder_becomes_a_weight_file_and_its_figures_are_shown(data, tmp_path, capsys):
    before, target = tree(data), tmp_path / "new" / "out.safetensors"
    assert main(["finetune", str(data), "-o", str(target), "--force", *QUICK]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(target) and read_card(target).steps == 2
    for words in (
        "6 pictures to learn from, 1 to stop by, 2 to judge on",
        "before",
        "discs, kept aside",
        "click3",
        "bundled photos",
        "decoder: 2 steps",
        "MiB at most",
    ):
        assert words in told.err, words
    assert tree(data) == before


def test_l8_json_tells_the_card_the_split_and_the_way_it_ended(data, tmp_path, capsys):
    target = tmp_path / "out.safetensors"
    assert main(["finetune", str(data), "-o", str(target), "--json", "--force", *QUICK]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["output"] == str(target) and facts["ended"] == "done" and facts["refused"] is None
    assert facts["card"]["model"] == "small-sam" and len(facts["card"]["figures"]) == 4
    names = sorted(name for part in facts["split"].values() for name in part)
    assert names == [f"p{i:02}" for i in range(9)]


def test_l7_what_is_no_better_is_not_saved_and_ends_with_1(data, tmp_path, capsys):
    target = tmp_path / "out.safetensors"
    args = ["finetune", str(data), "-o", str(target), "--rate", "0", *QUICK]
    assert main(args) == 1
    told = capsys.readouterr()
    assert "no-gain" in told.err and "--force" in told.err and not told.out
    assert "before" in told.err and not target.exists()
    assert main([*args, "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["output"] is None and "no-gain" in facts["refused"]
    assert main([*args, "--force"]) == 0 and target.exists()


def test_l7_a_picture_that_cannot_be_read_is_told_and_ends_with_1(tmp_path, capsys):
    root = write_set(tmp_path / "set", 10)
    (root / "p03.png").write_bytes(b"no picture")
    target = tmp_path / "out.safetensors"
    assert main(["finetune", str(root), "-o", str(target), "--force", *QUICK]) == 1
    assert "p03" in capsys.readouterr().err and target.exists()


def test_l3_ctrl_c_keeps_the_best_so_far_and_ends_with_130(data, tmp_path, capfd, monkeypatch):
    steps = iter(range(1000))
    real = finetune_loop._height

    def interrupted(share):
        if next(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return real(share)

    monkeypatch.setattr(finetune_loop, "_height", interrupted)
    target = tmp_path / "out.safetensors"
    args = ["finetune", str(data), "-o", str(target), "--force", "--method", "decoder"]
    assert main(args) == 130
    told = capfd.readouterr()
    assert "stopping after this step" in told.err and "not judged after" in told.err
    assert read_card(target).steps == 4 and told.out.strip() == str(target)


def test_l3_ctrl_c_before_anything_is_learnt_writes_nothing(data, tmp_path, capfd, monkeypatch):
    real = finetune_run._figures

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(finetune_run, "_figures", interrupted)
    target = tmp_path / "out.safetensors"
    assert main(["finetune", str(data), "-o", str(target), *QUICK]) == 130
    assert "nothing was written" in capfd.readouterr().err and not target.exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--method", "lorra"), 2, "did you mean lora?"),
        (("-o", "out.pth"), 2, ".safetensors"),
        (("-m", "sam-vit-x"), 2, "sam-vit-b"),
        (("--from", "cocoa"), 3, "format-unknown"),
        (("--held-out", "nowhere"), 3, "set-missing"),
        (("--also", "nowhere"), 3, "set-missing"),
        (("--group", "("), 3, "group-pattern"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_l1_what_is_wrong_is_told_before_a_model_is_loaded(
    data, tmp_path, capsys, monkeypatch, options, code, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finetune_run, "_loaded", lambda order: pytest.fail("a model was loaded"))
    assert main(["finetune", str(data), "-o", "out.safetensors", *options]) == code
    told = capsys.readouterr()
    assert words in told.err and not told.out and not tree(tmp_path)


def test_o2_o3_the_place_of_the_result_is_looked_at_first(tmp_path, capsys):
    (tmp_path / "out.safetensors").write_bytes(b"mine")
    for target in ("out.safetensors", "out.safetensors/new.safetensors"):
        assert main(["finetune", "nowhere", "-o", str(tmp_path / target)]) == 4
        assert "out.safetensors" in capsys.readouterr().err
    assert (tmp_path / "out.safetensors").read_bytes() == b"mine"
