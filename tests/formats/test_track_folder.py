"""The folder of a tracked video: what is done stays, what is somebody else's is left alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from anymask.errors import AnymaskError, OutputError, RunError
from anymask.formats.run_manifest import Plan
from anymask.formats.track_folder import LINES, OVERLAY, TrackFolder
from anymask.formats.track_lines import TrackLine, track_line
from anymask.frame_masks import FrameMasks
from anymask.mask_rle import encode_rle


def plan(**changes: object) -> Plan:
    settings = {"model": "nano", "start": 0, **changes}
    return Plan(
        kind="track", version="0", settings=settings, machine={"device": "cpu"}, memory_mb=0
    )


def folder(root: Path, *, video: str = "v", overwrite: bool = False, **changes: object):
    return TrackFolder(root, plan=plan(**changes), video=("a.mp4", video), overwrite=overwrite)


def line(frame: int) -> TrackLine:
    mask = np.zeros((4, 6), bool)
    mask[1:3, frame % 5 : frame % 5 + 2] = True
    masks = FrameMasks(
        size=(4, 6),
        rles=(encode_rle(mask),),
        scores=np.array([0.5], np.float32),
        frame=frame,
        object_ids=(1,),
        presence=np.array([1], np.float32),
    )
    return track_line(masks, ["dog"])


def fill(root: Path, *frames: int) -> None:
    with folder(root) as run:
        for frame in frames:
            run.add(line(frame), b"png")
        run.save_state(b"state")


def test_f_the_same_command_goes_on_after_what_is_done(tmp_path):
    fill(tmp_path / "out", 0, 1)
    with folder(tmp_path / "out") as run:
        assert run.frames == [0, 1] and run.load_state() == b"state" and not run.complete
        run.add(line(2), b"png")
    lines = (tmp_path / "out" / LINES).read_text().splitlines()
    assert [json.loads(each)["frame"] for each in lines] == [0, 1, 2]
    assert (tmp_path / "out" / "masks" / "00002.png").read_bytes() == b"png"


def test_lines_are_read_from_both_ends(tmp_path):
    fill(tmp_path, 4, 5, 9)
    with folder(tmp_path) as run:
        assert [each.frame for each in run.lines()] == [4, 5, 9]
        assert [each.frame for each in run.lines(back=True)] == [9, 5, 4]


def test_o01_a_line_that_a_kill_cut_off_is_taken_away(tmp_path):
    fill(tmp_path, 0, 1)
    path = tmp_path / LINES
    path.write_bytes(path.read_bytes()[:-9])
    with folder(tmp_path) as run:
        assert run.frames == [0]
        run.add(line(5), None)
    with folder(tmp_path) as run:
        assert [each.frame for each in run.lines()] == [0, 5]


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"model": "sam2.1-tiny"}, "model: 'nano'"), ({"video": "w"}, "the video: a.mp4")],
)
def test_f_another_question_is_refused(tmp_path, changes, says):
    fill(tmp_path, 0)
    with pytest.raises(RunError) as caught, folder(tmp_path, **changes):
        pass
    assert caught.value.code == "run-changed" and says in str(caught.value)
    assert (tmp_path / LINES).exists()


def test_overwrite_begins_anew_and_removes_what_the_run_wrote(tmp_path):
    fill(tmp_path, 0, 1, 2)
    with folder(tmp_path, model="sam2.1-tiny", overwrite=True) as run:
        assert run.frames == [] and run.load_state() is None
        run.add(line(7), b"new")
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["00007.png"]


@pytest.mark.parametrize("name", [LINES, OVERLAY, "masks/00000.png"])
def test_o02_somebody_elses_files_are_refused_at_the_start_and_stay(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(OutputError) as caught, folder(tmp_path):
        pass
    assert caught.value.code == "file-exists"
    assert path.read_text() == "mine" and not (tmp_path / ".anymask").exists()


def test_o02_a_map_that_somebody_puts_there_meanwhile_stays(tmp_path):
    with folder(tmp_path) as run:
        run.add(line(0), b"png")
        (tmp_path / "masks" / "00001.png").write_text("mine")
        with pytest.raises(OutputError):
            run.add(line(1), b"png")
    assert (tmp_path / "masks" / "00001.png").read_text() == "mine"


def test_a_final_file_replaces_an_earlier_one_of_the_run_alone(tmp_path):
    with folder(tmp_path) as run:
        run.add(line(0), None)
        for content in (b"one", b"two"):
            run.part("film").write_bytes(content)
            run.final(OVERLAY, run.part("film"), complete=False)
    assert (tmp_path / OVERLAY).read_bytes() == b"two"
    (tmp_path / OVERLAY).write_bytes(b"worked on")
    with folder(tmp_path) as run, pytest.raises(AnymaskError) as caught:
        run.check_final(OVERLAY)
    assert caught.value.code == "result-changed"


def test_a_whole_run_is_known_as_such_and_forgets_its_state(tmp_path):
    with folder(tmp_path) as run:
        run.add(line(0), None)
        run.save_state(b"state")
        run.finish()
    with folder(tmp_path) as run:
        assert run.complete and run.load_state() is None


def test_a_run_without_results_leaves_nothing(tmp_path):
    with folder(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()


def test_f_two_runs_do_not_work_in_one_folder(tmp_path):
    with folder(tmp_path) as run:
        run.add(line(0), None)
        with pytest.raises(RunError) as caught, folder(tmp_path):
            pass
    assert caught.value.code == "run-locked"
