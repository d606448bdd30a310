"""Tracked videos as JSON lines: whole lines only, whatever happens (rows O1 to O4, V11, V13)."""

import errno
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymask.errors import DataError, OutputError
from anymask.formats.track_lines import (
    TrackWriter,
    line_table,
    mend_lines,
    parse_line,
    read_track,
    track_line,
)
from anymask.frame_masks import FrameMasks
from anymask.frames_source import FrameFacts
from anymask.mask_rle import encode_rle
from faults import Faults, faults_below  # noqa: F401 - the fixture `faults`


def tracked(frame: int, count: int = 2, size: tuple[int, int] = (6, 9)) -> FrameMasks:
    """Objects of which the last is out of sight."""
    chance = np.random.default_rng(frame)
    bits = chance.random((count, *size)) < 0.4
    bits[-1:] = False
    return FrameMasks(
        size=size,
        rles=tuple(encode_rle(mask) for mask in bits),
        scores=chance.random(count, np.float32),
        frame=frame,
        object_ids=tuple(range(1, count + 1)),
        presence=np.array([0.9] * (count - 1) + [0.1] * min(count, 1), np.float32),
    )


def table(frame: int) -> dict[str, object]:
    return line_table(track_line(tracked(frame), ["dog", None]))


@given(frame=st.integers(0, 10**6), count=st.integers(0, 4), pts=st.none() | st.integers())
def test_what_was_written_is_read_back(frame: int, count: int, pts: int | None):
    facts = FrameFacts(index=frame, pts=pts, time_s=None if pts is None else 0.04, name="a.jpg")
    line = track_line(tracked(frame, count), [f"n{i}" for i in range(count)], facts)
    back = parse_line(json.loads(json.dumps(line_table(line))), "here")
    assert (back.frame, back.size, back.pts, back.file) == (frame, (6, 9), pts, "a.jpg")
    masks, found = tracked(frame, count), back.masks()
    assert found.rles == masks.rles and found.object_ids == masks.object_ids
    assert np.allclose(found.scores, masks.scores, atol=1e-5)
    assert [each.name for each in back.objects] == [f"n{i}" for i in range(count)]


def test_v13_an_object_out_of_sight_is_lost_and_has_an_empty_mask():
    rows = table(3)["objects"]
    assert [row["lost"] for row in rows] == [False, True]
    assert rows[1]["area"] == 0 and rows[1]["bbox"] == [0, 0, 0, 0]
    assert rows[1]["presence"] == 0.1
    assert parse_line(table(3), "").objects[1].lost


def test_lines_are_on_the_disk_as_they_are_made(tmp_path: Path):
    path = tmp_path / "made" / "a.jsonl"
    with TrackWriter(path) as writer:
        for i in range(3):
            writer.add(table(i))
            assert [line.frame for line in read_track(path)] == list(range(i + 1))


@pytest.mark.parametrize("rest", [b"", b"{", b'{"frame": 9', b"\xff" * 70_000])
def test_o1_a_line_that_was_cut_off_is_left_out_and_taken_away_on_going_on(
    tmp_path: Path, rest: bytes
):
    path = tmp_path / "a.jsonl"
    with TrackWriter(path) as writer:
        writer.add(table(0))
    with path.open("ab") as file:
        file.write(rest)
    assert [line.frame for line in read_track(path)] == [0]
    with TrackWriter(path, resume=True) as writer:
        writer.add(table(1))
    assert [line.frame for line in read_track(path)] == [0, 1]


def test_o1_a_file_of_one_line_that_was_cut_off_becomes_empty(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x" * 200_000)
    mend_lines(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b""
    mend_lines(tmp_path / "none")


def test_o2_a_file_that_is_there_stays_unless_asked(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"^file-exists: .*a\.jsonl"):
        TrackWriter(path)
    assert path.read_bytes() == b"mine"
    with TrackWriter(path, overwrite=True) as writer:
        writer.add(table(0))
    assert [line.frame for line in read_track(path)] == [0]


def test_o3_a_folder_that_cannot_be_written_is_named():
    with pytest.raises(OutputError, match=r"/proc/anymask"):
        TrackWriter(Path("/proc/anymask/a.jsonl"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_o4_a_fault_at_any_call_leaves_whole_lines(tmp_path: Path, faults: Faults, number: int):
    path = tmp_path / "a.jsonl"

    def write() -> None:
        with TrackWriter(path, overwrite=True) as writer:
            for i in range(3):
                writer.add(table(i))

    rounds = 0
    for error in faults.each(write, number):
        rounds += 1
        if error is not None:
            assert isinstance(error, OutputError) and str(path) in str(error)
        if path.exists():
            assert not path.read_bytes() or path.read_bytes().endswith(b"\n")
            frames = [line.frame for line in read_track(path)]
            assert frames == list(range(len(frames)))
    assert rounds >= 7


CHILD = """
import sys
from pathlib import Path
from anymask.formats.track_lines import TrackWriter, read_track
path = Path(sys.argv[1])
with TrackWriter(path, resume=True) as writer:
    done = sum(1 for _ in read_track(path))
    print("ready", flush=True)
    row = {"size": [2, 2], "objects": [], "note": "x" * 100_000}
    for i in range(done, 10**9):
        writer.add({"frame": i, **row})
"""


def test_o1_kills_leave_whole_lines_and_the_next_run_goes_on(tmp_path: Path):
    path, chance = tmp_path / "a.jsonl", random.Random(0)
    before = 0
    for _ in range(3):
        command = [sys.executable, "-c", CHILD, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(chance.uniform(0.01, 0.05))
            child.kill()
        frames = [line.frame for line in read_track(path)]
        assert frames == list(range(len(frames)))
        assert len(frames) >= before
        before = len(frames)
    assert before > 5


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"frame": -1}, "record-broken"),
        ({"frame": True}, "record-broken"),
        ({"pts": 0.5}, "record-broken"),
        ({"size": [3]}, "record-broken"),
        ({"size": [10**9, 10**9]}, "record-broken"),
        ({"objects": {}}, "record-broken"),
        ({"size": [7, 9]}, "rle-size"),
    ],
)
def test_a_line_that_makes_no_sense_is_named_with_its_number(
    tmp_path: Path, change: dict[str, object], code: str
):
    path = tmp_path / "a.jsonl"
    lines = [table(0), table(1) | change]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    with pytest.raises(DataError, match=r"a\.jsonl, line 2") as caught:
        list(read_track(path))
    assert caught.value.code == code
    path.write_text("nonsense\n")
    with pytest.raises(DataError, match=r"^json-broken: .*line 1"):
        list(read_track(path))
