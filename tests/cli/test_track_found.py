"""Videos in which nobody points: `anymask everything` on a video, `anymask track --text`."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_calls import calls_of
from fake_detector import FakeDetector
from PIL import Image

from anymask.cli import segment_text, track_start
from anymask.cli.everything_video import is_video
from anymask.formats.mp4 import Mp4Writer
from anymask.formats.track_lines import read_track
from anymask.generated import GeneratedMasks
from anymask.mask_rle import encode_rle
from anymask.predict.text import TextPredictor
from anymask.text_boxes import TextBoxes
from tiny_video import SIZE, clip, tiny_video_model, write_clip

Run = Callable[..., tuple[int, str, str]]


class Finds:
    """Finds the bright square, and on dark frames nothing."""

    def __init__(self, model: Any, **options: Any) -> None:
        self.model = SimpleNamespace(notes=())

    def generate(self, image: Any) -> GeneratedMasks:
        bright = np.asarray(image)[..., 0] > 200
        count = int(bright.any())
        return GeneratedMasks(
            size=bright.shape,
            rles=tuple([encode_rle(bright)][:count]),
            scores=np.ones(count, np.float32),
            stability=np.ones(count, np.float32),
            points=np.zeros((count, 2)),
            crop_boxes=np.zeros((count, 4), np.int64),
        )


class Detects(FakeDetector):
    """Sees one person on every frame, and one more from the fourth frame on."""

    def __init__(self) -> None:
        super().__init__(self.people, 0.9)
        self.looks = 0

    def people(self, phrase: str) -> list[list[int]]:
        found = [[4, 12, 24, 32], [40, 34, 60, 46]][: self.looks]
        return found if phrase == "person" else []

    def detect(self, pixels: Any, phrases: Any, least: float) -> TextBoxes:
        self.looks += 1
        return super().detect(pixels, phrases, least)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(track_start, "load_model", lambda *_: tiny_video_model())
    monkeypatch.setattr("anymask.predict.everything.MaskGenerator", Finds)
    monkeypatch.setattr(
        segment_text, "load_words", lambda predictor, *_: TextPredictor(predictor, Detects())
    )
    return calls_of(capsys)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with Mp4Writer(path, rate=10) as writer:
        for picture in clip(5):
            writer.add(picture)
    return path


def test_everything_in_a_video_is_tracked_from_its_first_frame(run, film, tmp_path):
    out = tmp_path / "out"
    code, printed, said = run("everything", film, "-o", out, "--look-every", "2")
    assert code == 0, said
    assert str(out / "overlay.mp4") in printed
    lines = list(read_track(out / "tracks.jsonl"))
    assert [line.frame for line in lines] == [0, 1, 2, 3, 4]
    first = lines[0].objects[0]
    assert first.name is None and first.id == 1 and abs(first.area - 400) < 60 and not first.lost
    assert run("everything", film, "-o", out, "--look-every", "2")[0] == 0
    assert run("everything", film, "-o", out, "--look-every", "3")[0] == 4  # another question


def test_a_folder_is_a_video_where_that_is_said(run, tmp_path):
    folder = write_clip(tmp_path / "clip", 2)
    code, printed, said = run("everything", folder, "--video", "-o", tmp_path / "out", "--json")
    assert code == 0, said
    assert [each["frame"] for each in json.loads(printed)["frames"]] == [0, 1]


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--roi", "0,0,9,9"], "--roi"), (["--format", "coco"], "--format"), (["x.mp4"], "one video")],
)
def test_l01_options_for_pictures_are_refused_with_a_video(run, film, tmp_path, options, says):
    code, _, said = run("everything", film, *options, "-o", tmp_path / "out")
    assert code == 2 and says in said and not (tmp_path / "out").exists()


def test_films_are_videos_and_pictures_are_not(film, tmp_path):
    frames = [Image.new("RGB", (8, 8), shade) for shade in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "a.txt").write_text("a.mp4")
    assert is_video(str(film))
    for name in ("a.gif", "a.txt", "gone.mp4", "."):
        assert not is_video(str(tmp_path / name))


def test_words_are_tracked_and_new_ones_begin_at_a_later_look(run, tmp_path):
    folder, out = write_clip(tmp_path / "clip"), tmp_path / "out"
    code, _, said = run("track", folder, "-t", "person", "--look-every", "3", "-o", out)
    assert code == 0, said
    lines = list(read_track(out / "tracks.jsonl"))
    assert [len(line.objects) for line in lines][:3] == [1, 1, 1]
    assert {one.name for line in lines for one in line.objects} == {"person"}
    assert lines[0].size == SIZE and "person 1: on" in said


def test_t06_words_that_find_nothing_let_the_video_go_on(run, tmp_path):
    folder, out = write_clip(tmp_path / "clip", 3), tmp_path / "out"
    code, _, said = run("track", folder, "-t", "unicorn", "-o", out)
    assert code == 0, said
    assert [line.objects for line in read_track(out / "tracks.jsonl")] == [(), (), ()]
    with Image.open(out / "masks" / "00002.png") as picture:
        assert not np.asarray(picture).any()


def test_t02_wrong_words_are_refused_before_the_model_is_loaded(run, tmp_path, monkeypatch):
    monkeypatch.setattr(track_start, "load_model", lambda *_: pytest.fail("loaded"))
    folder = write_clip(tmp_path / "clip", 2)
    assert run("track", folder, "-t", "", "-o", tmp_path / "out")[0] == 3
    assert run("track", folder, "-t", "cat", "--reverse", "-o", tmp_path / "out")[0] == 2
    assert not (tmp_path / "out").exists()
