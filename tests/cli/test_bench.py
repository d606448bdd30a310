"""`anymask bench` times the steps of a model."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from anymask import model as models
from anymask.cli import main
from anymask.cli.bench import sample_picture, spread
from anymask.predict import image as predicting

TIMES = {"median", "min", "max"}


class Counting:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, model: object) -> "Counting":
        return self

    def encode(self, picture: object) -> str:
        self.calls.append("encode")
        return "embedding"

    def predict(self, embedding: str, *, points=None, boxes=None, multimask=True) -> None:
        self.calls.append("point" if points is not None else "box")
        assert multimask is (points is not None)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    predictor = Counting()
    loaded = SimpleNamespace(device=torch.device("cpu"))
    monkeypatch.setattr(models, "load", lambda *_, **__: loaded)
    monkeypatch.setattr(predicting, "ImagePredictor", predictor)
    return predictor


def test_json_tells_times_threads_and_memory(
    counting: Counting, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    try:
        assert main(["bench", "--runs", "3", "--warmup", "2", "--threads", "1", "--json"]) == 0
    finally:
        torch.set_num_threads(threads)
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"] == "nano"
    assert facts["threads"] == 1
    assert facts["device"] == "cpu"
    assert facts["picture"] == [1000, 1500]
    assert facts["runs"] == 3
    assert facts["peak_mib"] > 10
    assert {name: set(times) for name, times in facts["times_ms"].items()} == {
        "encode": TIMES,
        "point": TIMES,
        "box": TIMES,
    }
    # one embedding to decode from, then each step with its warm-up
    assert counting.calls == ["encode"] * 6 + ["point"] * 5 + ["box"] * 5


def test_a_table_is_printed_for_people(
    counting: Counting, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--runs", "1", "--warmup", "0"]) == 0
    out = capsys.readouterr().out
    assert "nano on cpu" in out
    for word in ("encode", "point, 3 masks", "box, 1 mask", "median, ms"):
        assert word in out


def test_a_picture_of_ones_own_is_timed(
    counting: Counting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    assert main(["bench", str(tmp_path / "a.png"), "--runs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"] == [20, 30]


@pytest.mark.parametrize(
    ("args", "code"),
    [(["-m", "nan"], 2), (["--runs", "0"], 2), (["missing.jpg"], 3)],
    ids=["model", "runs", "picture"],
)
def test_h2_what_is_wrong_is_refused_before_a_model_is_loaded(
    args: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    assert main(["bench", *args]) == code


def test_the_median_is_reported_not_the_mean() -> None:
    assert spread([0.001, 0.002, 1.0]) == {"median": 2.0, "min": 1.0, "max": 1000.0}


def test_the_sample_picture_is_the_same_each_time_and_shows_an_object_in_its_middle() -> None:
    pixels = sample_picture()
    assert np.array_equal(pixels, sample_picture())
    assert pixels[500, 750].tolist() == [220, 170, 60]
    assert pixels[10, 10].max() < 100
