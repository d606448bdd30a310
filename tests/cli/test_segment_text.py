"""`anymask segment --text`: words on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_calls import calls_of
from fake_detector import FakeDetector
from PIL import Image

from anymask.cli import segment, segment_text
from anymask.predict.image import ImagePredictor
from anymask.predict.text import TextPredictor
from tiny import tiny_sam

FOUND = {"dog": [[5, 5, 25, 20], [30, 10, 50, 30]], "red car": [[0, 0, 60, 40]]}


class Pretender(FakeDetector):
    """Finds two dogs and a car in any picture."""

    def __init__(self) -> None:
        super().__init__(lambda phrase: FOUND.get(phrase, []), 0.5)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(segment, "_load", lambda *_: ImagePredictor(tiny_sam()))
    monkeypatch.setattr(
        segment_text, "load_words", lambda predictor, *_: TextPredictor(predictor, Pretender())
    )
    return calls_of(capsys, "segment")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "pets.png"
    path.parent.mkdir()
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(path)
    return path


def test_words_give_an_overlay_with_names_and_json(run, photo, tmp_path):
    out = tmp_path / "out"
    code, printed, said = run(photo, "--text", "dog", "--text", "red car", "-o", out)
    assert code == 0 and "3 masks" in said
    assert printed.split() == [str(out / f"pets.png.{kind}") for kind in ("overlay.png", "json")]
    (image,) = json.loads((out / "pets.png.json").read_text())["images"]
    asked = [mask["prompts"] for mask in image["masks"]]
    assert [one["text"] for one in asked] == ["dog", "dog", "red car"]
    assert {tuple(one["box"]) for one in asked[:2]} == {tuple(map(float, b)) for b in FOUND["dog"]}
    assert all(one["name"] == one["text"] and one["detector_score"] == 0.5 for one in asked)
    assert all(0 <= mask["score"] <= 0.5 for mask in image["masks"])
    with Image.open(out / "pets.png.overlay.png") as overlay:
        assert overlay.size == (60, 40)


def test_t06_nothing_found_is_no_error(run, photo, tmp_path):
    code, _, said = run(photo, "--text", "unicorn", "-o", tmp_path / "out")
    assert code == 0
    assert "0 masks" in said and "best score 0.10" in said
    (image,) = json.loads((tmp_path / "out" / "pets.png.json").read_text())["images"]
    assert image["masks"] == [] and image["notes"][0]["code"] == "nothing-found"


def test_words_as_json_on_stdout(run, photo):
    code, printed, _ = run(photo, "--text", "dog", "--json")
    assert code == 0
    assert len(json.loads(printed)["images"][0]["masks"]) == 2


@pytest.mark.parametrize(
    ("options", "exit_code", "says"),
    [
        (["--text", ""], 3, "text-empty"),
        (["--text", "dog\x07"], 3, "text-control"),
        (["--text", "dog", "--point", "3,3"], 2, "words find their objects alone"),
        (["--text", "dog", "--detector", "dino"], 3, "unknown-detector"),
    ],
)
def test_t02_t04_what_cannot_be_asked_is_refused_before_work(
    run, photo, tmp_path, options, exit_code, says
):
    code, printed, said = run(photo, *options, "-o", tmp_path / "out")
    assert code == exit_code and says in said and not printed
    assert not (tmp_path / "out").exists()
