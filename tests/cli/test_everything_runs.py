"""`anymask everything` in a folder: where results may lie, how a run goes on, what it tells."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_calls import save
from everything_calls import (  # noqa: F401 - the fixtures
    fake_jobs,
    names,
    no_model,
    run_here,
    three_photos,
)
from fake_everything import FakeJob
from PIL import Image

from anymask.cli.everything_report import Pace, Report, duration
from trees import tree

# outputs


def test_o2_a_file_that_is_there_stops_the_run_before_it_starts(
    run, never, photos, tmp_path
) -> None:
    other = tmp_path / "out" / "sub" / "a.jpg.json"
    other.parent.mkdir(parents=True)
    other.write_text("somebody's")
    before = tree(tmp_path)
    ran = run(photos, "-o", tmp_path / "out")
    assert ran.code == 4
    assert ran.err.startswith("file-exists: ")
    assert tree(tmp_path) == before


def test_o3_a_folder_that_takes_no_files_is_named_first(run, never, photos) -> None:
    ran = run(photos, "-o", "/proc/anymask")
    assert ran.code == 4
    assert "/proc/anymask" in ran.err


def test_o5_pictures_keep_their_folders_and_full_names(run, jobs, tmp_path) -> None:
    given = [save(tmp_path / name) for name in ("x/a.jpg", "x/a.png", "y/a.jpg")]
    assert run(*given, "-o", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == ["x/a.jpg.json", "x/a.png.json", "y/a.jpg.json"]


def test_o5_a_clash_is_refused_before_the_start_and_names_both(run, never, tmp_path) -> None:
    given = [save(tmp_path / name) for name in ("A.jpg", "a.jpg", "b.jpg")]
    ran = run(*given, "-o", tmp_path / "out")
    assert ran.code == 4
    assert "A.jpg" in ran.err
    assert not (tmp_path / "out").exists()


def test_h4_inputs_are_never_changed_even_where_results_lie_beside_them(run, jobs, photos) -> None:
    before = tree(photos)
    for _ in range(2):
        assert run(photos, "-o", photos).code == 0
    assert tree(photos).items() >= before.items()
    assert len(names(photos)) == 6


def test_h4_pictures_are_not_written_among_the_pictures_that_are_read(run, never, photos) -> None:
    before = tree(photos)
    for more in (["--overlay"], ["--sheet"], ["--format", "png"], ["--layout", "amg"]):
        ran = run(photos, "-o", photos, *more)
        assert ran.code == 4
        assert ran.err.startswith("output-is-input: ")
    assert tree(photos) == before


@pytest.mark.parametrize("name", ["zwölf Bären.jpg", "two\nlines.jpg", os.fsdecode(b"\xff.jpg")])
def test_i23_strange_names_are_kept_in_files_and_shown_escaped(run, jobs, tmp_path, name) -> None:
    photo = save(tmp_path / "photo.jpg").rename(tmp_path / name)
    for form in ("sa1b", "coco"):
        for _ in range(2):
            ran = run(photo, "-o", tmp_path / form, "--format", form, "--overlay")
            assert ran.code == 0, ran.err
            assert len(ran.out.splitlines()) <= 1
    assert f"{name}.json" in names(tmp_path / "sa1b")


def test_i24_links_out_of_a_folder_are_passed_over_and_named_once(run, jobs, photos, tmp_path):
    (photos / "c.jpg").symlink_to(save(tmp_path / "other.jpg"))
    ran = run(photos, "-o", tmp_path / "out")
    assert ran.code == 0
    assert ran.err.count("note: link-skipped: ") == 1
    assert len(names(tmp_path / "out")) == 3


# runs


def test_f1_the_same_command_again_makes_what_is_missing(run, jobs, photos, tmp_path) -> None:
    out = tmp_path / "out"
    run(photos, "-o", out, "--format", "coco", "--sheet")
    before = tree(out)
    ran = run(photos, "-o", out, "--format", "coco", "--sheet")
    assert ran.code == 0
    assert "note: skipped: " in ran.err
    assert tree(out) == before
    (out / "coco.json").unlink()
    run(photos, "-o", out, "--format", "coco", "--sheet")
    assert tree(out) == before


def test_f2_bad_pictures_are_named_and_listed_and_the_others_done(
    run, jobs, photos, tmp_path
) -> None:
    (photos / "bad.jpg").write_text("no picture")
    (photos / "cut.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    ran = run(photos, "-o", tmp_path / "out")
    assert ran.code == 1
    assert "image-not: bad.jpg: " in ran.err
    assert "2 of 5 pictures failed, see " in ran.err
    lines = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["path"] for entry in entries] == ["bad.jpg", "cut.jpg"]
    assert all(entry["message"].startswith(entry["code"]) for entry in entries)
    assert str(tmp_path) not in "".join(lines)  # the same wherever the pictures lie


def test_f2_too_many_failures_end_the_run(run, jobs, photos, tmp_path) -> None:
    for name in ("aa.jpg", "ab.jpg"):
        (photos / name).write_text("no picture")
    ran = run(photos, "-o", tmp_path / "out", "--max-failures", "1", "--json")
    assert ran.code == 1
    assert ran.json["error"]["code"] == "too-many-failures"
    assert ran.json["failed"] == 2
    assert run(photos, "-o", tmp_path / "out", "--max-failures", "2").code == 1


def test_f2_if_all_failed_the_first_error_says_the_exit_code(run, never, tmp_path) -> None:
    for name in ("a.jpg", "b.jpg"):
        save(tmp_path / "photos" / name).write_text("no picture")
    ran = run(tmp_path / "photos", "-o", tmp_path / "out", "--json")
    assert ran.code == 3
    assert ran.json["error"]["code"] == "image-not"
    assert ran.json["failures"] == str(tmp_path / "out" / "failures.jsonl")


def test_f7_less_memory_is_tried_and_told(run, jobs, photos, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_MB", "300")
    ran = run(photos, "-o", tmp_path / "out", "--json")
    assert ran.code == 0
    assert ran.json["memory_mb"] == 256
    assert "memory did not suffice; from here on it gets 256 MB" in ran.err


def test_f11_other_settings_and_pictures_are_refused_with_a_list(
    run, jobs, photos, tmp_path
) -> None:
    out = tmp_path / "out"
    run(photos, "-o", out)
    save(photos / "b.png", seed=9)
    save(photos / "c.png")
    ran = run(photos, "-o", out, "--points-per-side", "8")
    assert ran.code == 4
    assert ran.err.startswith("run-changed: ")
    for part in ("points_per_side: 32, now 8", "changed: 'b.png'", "new: 'c.png'"):
        assert part in ran.err
    assert run(photos, "-o", out, "--points-per-side", "8", "--accept-changes").code == 0
    run(photos, "-o", tmp_path / "whole", "--points-per-side", "8")
    assert tree(out) == tree(tmp_path / "whole")


def test_f11_other_weights_are_other_settings(run, jobs, photos, tmp_path) -> None:
    weights = tmp_path / "own.safetensors"
    weights.write_bytes(b"one")
    run(photos, "-o", tmp_path / "out", "--checkpoint", weights)
    weights.write_bytes(b"two")
    ran = run(photos, "-o", tmp_path / "out", "--checkpoint", weights)
    assert ran.code == 4
    assert "weights: " in ran.err


def test_f5_a_picture_that_changes_while_the_run_works_has_failed(
    run, jobs, photos, tmp_path, monkeypatch
) -> None:
    build = FakeJob.build

    def meddling(self: FakeJob, memory_mb: int) -> Any:
        save(photos / "b.png", seed=7)
        return build(self, memory_mb)

    monkeypatch.setattr(FakeJob, "build", meddling)
    ran = run(photos, "-o", tmp_path / "out")
    assert ran.code == 1
    assert "input-changed: b.png: " in ran.err


# what is told


def test_l8_json_is_one_object_at_the_end(run, jobs, photos, tmp_path) -> None:
    (photos / "bad.jpg").write_text("no picture")
    ran = run(photos, "-o", tmp_path / "out", "--format", "coco", "--json")
    assert ran.code == 1
    told = ran.json
    assert told.pop("seconds") > 0
    assert told == {
        "output": str(tmp_path / "out"),
        "pictures": 4,
        "done": 3,
        "done_before": 0,
        "failed": 1,
        "masks": 9,
        "files": [str(tmp_path / "out" / "coco.json")],
        "failures": str(tmp_path / "out" / "failures.jsonl"),
        "memory_mb": 512,
    }
    assert run(photos, "-o", tmp_path / "out", "--format", "coco", "--json").json["masks"] == 9


def test_h3_conversions_are_noted_once_a_kind(run, jobs, tmp_path) -> None:
    for name in ("a.png", "b.png"):
        grey = np.arange(2400, dtype=np.uint16).reshape(40, 60)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(grey).save(tmp_path / "photos" / name)
    ran = run(tmp_path / "photos", "-o", tmp_path / "out")
    assert ran.err.count("note: image-16bit: ") == 1


def test_the_pace_leaves_out_the_first_picture_which_waits_for_the_model() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    assert pace.rate is None
    now = 10.0
    pace.tick()
    assert pace.rate == pytest.approx(0.1)
    for _ in range(4):
        now += 2.0
        pace.tick()
    assert pace.rate == pytest.approx(0.5)
    assert pace.left(100) == "3 min"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (59, "59 s"), (600, "10 min"), (7300, "2 h 2 min"), (260_000, "3 days")],
)
def test_times_are_told_roughly(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_tells_masks_rate_and_time_left(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    bar = SimpleNamespace(show=lambda *args: told.append(args))
    report = Report(tmp_path, 10, 0, bar, quiet=True)  # type: ignore[arg-type]
    now = 0.0
    report.pace = Pace(lambda: now)
    for _ in range(3):
        now += 4.0
        done = SimpleNamespace(facts={"masks": 7}, notes=(), files=[SimpleNamespace(path="a")])
        report.done(SimpleNamespace(name="a"), done)  # type: ignore[arg-type]
    assert told[-1] == (3, 10, "21 masks, 0.25 pictures/s, 28 s left")
