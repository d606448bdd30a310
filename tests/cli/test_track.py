"""`anymask track`: files as frames are done, going on after a stop, and what is refused before."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_calls import calls_of
from PIL import Image

from anymask.cli import track_start
from anymask.formats.davis import davis_png
from anymask.formats.track_lines import read_track
from anymask.frames import open_frames
from anymask.predict import video_follow
from tiny_video import SIZE, tiny_video_model, write_clip
from trees import results

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(track_start, "load_model", lambda *_: tiny_video_model())
    return calls_of(capsys, "track")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip")


def test_a_clip_becomes_a_film_label_maps_and_lines(run, clip, tmp_path):
    out = tmp_path / "out"
    code, printed, said = run(clip, "--box", "0:4,12,24,32", "-o", out)
    assert code == 0, said
    assert printed.split() == [str(out / name) for name in ("overlay.mp4", "masks", "tracks.jsonl")]
    lines = list(read_track(out / "tracks.jsonl"))
    assert [line.frame for line in lines] == [0, 1, 2, 3, 4]
    assert [line.file for line in lines] == [f"{i:05d}.png" for i in range(5)]
    assert [one.name for one in lines[0].objects] == ["1"]
    for line in lines:
        with Image.open(out / "masks" / f"{line.frame:05d}.png") as picture:
            labels = np.asarray(picture)
            assert picture.mode == "P"
        assert np.array_equal(labels == 1, line.masks()[0])
    with open_frames(out / "overlay.mp4") as film:
        assert film.counted() == 5 and film.size == SIZE
    assert "1: on 5 frames" in said


def test_named_objects_and_corrections_on_later_frames(run, clip, tmp_path):
    code, _, said = run(
        clip, "--point", "0:10,20", "--object", "cat", "--box", "1:30,30,60,45",
        "--negative", "1:5,5", "--object", "dog", "--point", "3:20,20", "--object", "cat",
        "-o", tmp_path / "out", "--no-overlay",
    )  # fmt: skip
    assert code == 0, said
    lines = list(read_track(tmp_path / "out" / "tracks.jsonl"))
    # nobody has pointed at the dog on frame 0
    assert [[one.name for one in line.objects] for line in lines] == [["cat"]] + [
        ["cat", "dog"]
    ] * 4
    assert not (tmp_path / "out" / "overlay.mp4").exists()


def test_a_label_map_keeps_its_numbers(run, clip, tmp_path):
    labels = np.zeros(SIZE, np.uint8)
    labels[12:32, 4:24], labels[36:46, 30:60] = 9, 4
    (tmp_path / "first.png").write_bytes(davis_png(labels))
    code, _, said = run(clip, "--mask", f"0:{tmp_path / 'first.png'}", "-o", tmp_path / "out")
    assert code == 0, said
    with Image.open(tmp_path / "out" / "masks" / "00000.png") as picture:
        first = np.asarray(picture)
    assert set(np.unique(first)) == {0, 4, 9}
    line = next(iter(read_track(tmp_path / "out" / "tracks.jsonl")))
    assert [one.id for one in line.objects] == [4, 9]


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        (["--point", "1:10,20", "--stop", "4"], [1, 2, 3]),
        (["--point", "10,20", "--start", "2"], [2, 3, 4]),
        (["--point", "0:10,20", "--every", "2"], [0, 2, 4]),
        (["--point", "3:10,20", "--reverse"], [3, 2, 1, 0]),
        (["--point", "4:10,20", "--reverse", "--start", "2", "--every", "2"], [4, 2]),
    ],
    ids=["stop", "start", "every", "reverse", "all"],
)
def test_frames_are_taken_as_asked_and_keep_their_numbers(run, clip, tmp_path, options, frames):
    out = tmp_path / "out"
    code, _, said = run(clip, *options, "-o", out)
    assert code == 0, said
    assert [line.frame for line in read_track(out / "tracks.jsonl")] == frames
    assert sorted(path.stem for path in (out / "masks").iterdir()) == sorted(
        f"{frame:05d}" for frame in frames
    )
    with open_frames(out / "overlay.mp4") as film:
        assert film.counted() == len(frames)


def stopping(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C comes while a frame is worked on."""
    real = video_follow.PointedFollower.results

    def results(self: Any) -> Any:
        for count, found in enumerate(real(self), 1):
            if count == after:
                signal.raise_signal(signal.SIGINT)
            yield found

    monkeypatch.setattr(video_follow.PointedFollower, "results", results)


@pytest.mark.parametrize("reverse", [False, True])
def test_l03_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    run, clip, tmp_path, monkeypatch, reverse
):
    way = ["--point", "4:20,20", "--reverse"] if reverse else ["--box", "0:4,12,24,32"]
    assert run(clip, *way, "-o", tmp_path / "whole")[0] == 0
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stopping(patch, 3)
        code, _, said = run(clip, *way, "-o", out)
    assert code == 130 and "stopped: 3 of 5 frames are done" in said and "goes on" in said
    assert len(list(read_track(out / "tracks.jsonl"))) == 3
    assert (out / "overlay.mp4").exists() != reverse
    code, _, said = run(clip, *way, "-o", out)
    assert code == 0 and "going on after 3 frames" in said
    assert results(out) == results(tmp_path / "whole")


def test_f_a_kill_between_two_files_loses_nothing(run, clip, tmp_path, monkeypatch):
    """Without a state, with a cut line, a missing label map and no film: all comes out the same."""
    asked = [clip, "--box", "0:4,12,24,32", "-o"]
    assert run(*asked, tmp_path / "whole")[0] == 0
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stopping(patch, 4)
        run(*asked, out)
    (out / ".anymask" / "state").unlink()
    (out / "masks" / "00001.png").unlink()
    (out / "overlay.mp4").unlink()
    lines = (out / "tracks.jsonl").read_bytes()
    (out / "tracks.jsonl").write_bytes(lines[:-20])
    (out / "masks" / "00003.png").unlink()  # its line was cut, so it was not there yet
    code, _, said = run(*asked, out)
    assert code == 0 and "3 frames are done; they are tracked again" in said
    assert results(out) == results(tmp_path / "whole")


def test_a_run_that_is_done_is_not_done_again(run, clip, tmp_path):
    asked = [clip, "--point", "0:10,20", "-o", tmp_path / "out"]
    run(*asked)
    before = results(tmp_path / "out")
    (tmp_path / "out" / "masks" / "00002.png").unlink()
    code, printed, said = run(*asked)
    assert code == 0 and "skipped" in said and "tracks.jsonl" in printed
    assert results(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (["--point", "0:11,20"], 4, "run-changed"),
        (["--point", "0:10,20", "--every", "2"], 4, "run-changed"),
    ],
)
def test_f_another_question_in_the_same_folder_is_refused(run, clip, tmp_path, change, code, says):
    out = tmp_path / "out"
    run(clip, "--point", "0:10,20", "-o", out)
    before = results(out)
    found, _, said = run(clip, *change, "-o", out)
    assert (found, says in said) == (code, True)
    assert results(out) == before
    assert run(clip, *change, "-o", out, "--overwrite")[0] == 0


@pytest.mark.parametrize("name", ["overlay.mp4", "tracks.jsonl", "masks/00000.png"])
def test_o02_files_in_the_way_are_refused_before_the_model_is_loaded(
    run, clip, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(track_start, "load_model", lambda *_: pytest.fail("loaded"))
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    code, _, said = run(clip, "--point", "0:10,20", "-o", tmp_path / "out")
    assert code == 4 and "file-exists" in said and path.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--json"], 2, "nothing was pointed at"),
        (["--point", "0:10,20"], 2, "say where the results go"),
        (["--point", "0:10", "--json"], 2, "FRAME:X,Y"),
        (["--point", "0:10,20", "--start", "3", "--stop", "2", "--json"], 2, "--stop"),
        (["--point", "1:10,20", "--every", "2", "--json"], 3, "prompt-frame"),
        (["--point", "9:10,20", "--json"], 3, "prompt-frame"),
        (["--point", "0:10,200", "--json"], 3, "point-outside"),
        (["--point", "0:10,20", "--text", "cat", "--json"], 2, "words find their objects alone"),
        (["--text", " ", "--json"], 3, "text-empty"),
        (["--point", "0:10,20", "--model", "nanno", "--json"], 2, "unknown-model"),
        (["--point", "0:10,20", "--model", "sam-vit-b", "--json"], 4, "no-video"),
        (["--point", "0:10,20", "--pooint", "1", "--json"], 2, "--point"),
        (["--point", "0:1,2", "--object", "a", "--point", "0:3,4", "--json"], 2, "each name needs"),
    ],
)
def test_l07_what_is_wrong_is_said_before_the_model_is_loaded(
    run, clip, monkeypatch, options, code, says
):
    monkeypatch.setattr(track_start, "load_model", lambda *_: pytest.fail("loaded"))
    found, out, said = run(clip, *options)
    assert found == code and says in out + said


def test_l07_a_missing_video_is_wrong_input(run, tmp_path):
    code, _, said = run(tmp_path / "gone.mp4", "--point", "0:1,1", "-o", tmp_path / "out")
    assert code == 3 and "video-missing" in said and not (tmp_path / "out").exists()


def test_l08_json_holds_every_frame_and_nothing_else(run, clip, tmp_path):
    code, printed, _ = run(clip, "--point", "0:10,20", "--json")
    frames = json.loads(printed)["frames"]
    assert code == 0 and [each["frame"] for each in frames] == [0, 1, 2, 3, 4]
    with_files = run(clip, "--point", "0:10,20", "--json", "-o", tmp_path / "out")[1]
    assert json.loads(with_files)["frames"] == frames
    again = run(clip, "--point", "0:10,20", "--json", "-o", tmp_path / "out")[1]
    assert json.loads(again)["frames"] == frames


def test_v05_frames_before_a_broken_one_are_kept(run, clip, tmp_path):
    broken = clip / "00003.png"
    broken.write_bytes(broken.read_bytes()[:60])
    out = tmp_path / "out"
    code, _, said = run(clip, "--point", "0:10,20", "-o", out)
    assert code == 1 and "video-damaged" in said and "index 3" in said
    assert [line.frame for line in read_track(out / "tracks.jsonl")] == [0, 1, 2]
    with open_frames(out / "overlay.mp4") as film:
        assert film.counted() == 3
