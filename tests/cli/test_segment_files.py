"""`anymask segment`: which pictures it takes, what if some fail, and outputs that are there."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_calls import save
from segment_runs import (  # noqa: F401 - fixtures
    cat_photo,
    disc,
    fake_loaded,
    names,
    never_loaded,
    opened,
    run_segment,
    tree_hash,
)

# inputs


def test_a_picture_comes_in_on_stdin(run, fake, photo, tmp_path, monkeypatch) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(photo.read_bytes()), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)
    ran = run("-", "--point", "30,20", "-o", tmp_path / "out", "--json")
    assert ran.json["images"][0]["file"] == "-"
    assert "stdin.overlay.png" in names(tmp_path / "out")


def test_a_terminal_as_stdin_is_no_picture(run, never, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    ran = run("-", "--point", "30,20", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (3, "stdin-empty")


def test_o5_several_pictures_keep_their_folders_and_full_names(run, fake, tmp_path) -> None:
    given = [save(tmp_path / name) for name in ("x/a.jpg", "x/a.png", "y/a.jpg")]
    out = tmp_path / "out"
    ran = run(*given, "--point", "30,20", "-o", out)
    assert ran.code == 0
    assert [n for n in names(out) if n.endswith(".json")] == [
        "x/a.jpg.json",
        "x/a.png.json",
        "y/a.jpg.json",
    ]


def test_o5_a_clash_is_refused_before_the_start_and_names_both(run, never, tmp_path) -> None:
    given = [save(tmp_path / name) for name in ("A.jpg", "a.jpg", "b.jpg")]
    ran = run(*given, "--point", "30,20", "-o", tmp_path / "out")
    assert ran.code == 4
    assert "'A.jpg' and 'a.jpg'" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_folder_is_walked_in_natural_order_and_results_are_no_inputs(run, fake, tmp_path) -> None:
    folder = tmp_path / "photos"
    for name in ("f10.jpg", "f2.jpg", "sub/f1.jpg"):
        save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    out = folder / "out"
    for _ in range(2):
        ran = run(folder, "--point", "30,20", "-o", out, "--overwrite", "--json")
        files = [Path(image["file"]).name for image in ran.json["images"]]
        assert files == ["f2.jpg", "f10.jpg", "f1.jpg"]
    assert "sub/f1.jpg.mask.png" in names(out)


@pytest.mark.parametrize("pattern", ["photos/f*.jpg", "*/f*.jpg", "**/f*.jpg"])
def test_a_quoted_pattern_is_expanded_in_natural_order(
    run, fake, tmp_path, monkeypatch, pattern
) -> None:
    for name in ("f10.jpg", "f2.jpg", "g.jpg", ".f3.jpg"):
        save(tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path)
    ran = run(pattern, "--point", "30,20", "--json")
    assert [image["file"] for image in ran.json["images"]] == ["photos/f2.jpg", "photos/f10.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(run, fake, tmp_path) -> None:
    ran = run(save(tmp_path / "photo[1].jpg"), "--point", "30,20", "-o", tmp_path / "out")
    assert ran.code == 0
    assert "photo[1].jpg.mask.png" in names(tmp_path / "out")


def test_l10_no_match_names_the_pattern(run, never, tmp_path) -> None:
    ran = run(tmp_path / "*.jpg", "--point", "30,20", "-o", tmp_path / "out")
    assert ran.code == 3
    assert ran.err.startswith("no-match: ")
    assert str(tmp_path / "*.jpg") in ran.err
    (tmp_path / "empty").mkdir()
    ran = run(tmp_path / "empty", "--point", "30,20", "-o", tmp_path / "out")
    assert ran.code == 3
    assert ran.err.startswith("no-pictures: ")


def test_i24_links_out_of_a_folder_are_passed_over_and_named(run, fake, tmp_path) -> None:
    save(tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "b.jpg").symlink_to(save(tmp_path / "other.jpg"))
    ran = run(tmp_path / "photos", "--point", "30,20", "--json")
    assert len(ran.json["images"]) == 1
    assert "note: link-skipped: " in ran.err
    assert "b.jpg" in ran.err


# failures of some


def test_f2_a_bad_picture_among_good_ones_is_named_and_the_others_done(run, fake, tmp_path) -> None:
    good, bad = save(tmp_path / "a.jpg"), tmp_path / "b.jpg"
    bad.write_text("no picture")
    small = save(tmp_path / "c.png", (20, 20))
    ran = run(good, bad, small, "--point", "30,10", "-o", tmp_path / "out")
    assert ran.code == 1
    lines = ran.err.splitlines()
    assert any(line.startswith("image-not: ") and "b.jpg" in line for line in lines)
    assert any(line.startswith("point-outside: ") and "c.png" in line for line in lines)
    assert lines[-1] == "2 of 3 pictures failed"
    assert {name.split(".")[0] for name in names(tmp_path / "out")} == {"a"}


def test_l8_json_tells_which_picture_failed_and_why(run, fake, tmp_path) -> None:
    good, bad = save(tmp_path / "a.jpg"), tmp_path / "b.jpg"
    ran = run(good, bad, "--point", "30,10", "--json")
    first, second = ran.json["images"]
    assert len(first["masks"]) == 1
    assert second["file"] == str(bad)
    assert second["masks"] == []
    assert second["error"]["code"] == "image-missing"
    assert ran.code == 1
    assert "error" not in ran.json


def test_l8_if_all_failed_the_error_stands_beside_the_list(run, never, tmp_path) -> None:
    ran = run(tmp_path / "a.jpg", tmp_path / "b.jpg", "--point", "30,10", "--json")
    assert ran.code == 3
    assert ran.json["error"]["code"] == "image-missing"
    assert len(ran.json["images"]) == 2


# outputs that are there


@pytest.fixture
def done(run, fake, photo, tmp_path) -> Iterator[Path]:
    run(photo, "--point", "30,20", "-o", tmp_path / "out")
    fake.calls.clear()
    yield tmp_path / "out"


def test_o2_files_that_are_there_stop_the_run_before_it_starts(run, fake, photo, done) -> None:
    before = tree_hash(done)
    ran = run(photo, "--point", "10,20", "-o", done)
    assert ran.code == 4
    assert ran.err.startswith("file-exists: ")
    assert "--overwrite" in ran.err
    assert fake.calls == []
    assert tree_hash(done) == before


def test_o2_overwrite_replaces_them(run, fake, photo, done) -> None:
    assert run(photo, "--point", "10,20", "-o", done, "--overwrite").code == 0
    mask = np.asarray(opened(done / "cat.jpg.mask.png"))
    assert np.array_equal(mask > 0, disc(10, 20, 8))


def test_o2_skip_keeps_them_and_makes_what_is_missing(run, fake, photo, done) -> None:
    before = tree_hash(done)
    ran = run(photo, "--point", "30,20", "-o", done, "--skip", "--json")
    assert ran.code == 0
    assert fake.calls == []
    assert ran.json["images"][0]["masks"][0]["score"] == 0.75
    (done / "cat.jpg.overlay.png").unlink()
    assert run(photo, "--point", "30,20", "-o", done, "--skip").code == 0
    assert len(fake.calls) == 1
    assert tree_hash(done) == before


def test_o2_skip_names_a_json_that_cannot_be_read(run, fake, photo, done) -> None:
    (done / "cat.jpg.json").write_text("{")
    ran = run(photo, "--point", "30,20", "-o", done, "--skip", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (3, "json-broken")


def test_o1_what_a_killed_run_left_is_swept_at_the_start(run, fake, photo, done) -> None:
    (done / ".anymask-0123456789abcdef.part").write_bytes(b"half")
    run(photo, "--point", "30,20", "-o", done, "--overwrite")
    assert len(names(done)) == 4


def test_o3_a_folder_that_takes_no_files_is_named_first(run, never, photo) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("Linux only")
    ran = run(photo, "--point", "30,20", "-o", "/proc/anymask")
    assert ran.code == 4
    assert "/proc/anymask" in ran.err


@pytest.mark.parametrize("name", ["zwölf Bären.jpg", "two\nlines.jpg", os.fsdecode(b"\xff.jpg")])
def test_i23_strange_names_are_kept_in_files_and_shown_escaped(run, fake, tmp_path, name) -> None:
    photo = save(tmp_path / "photo.jpg").rename(tmp_path / name)
    out = tmp_path / "out"
    ran = run(photo, "--point", "30,20", "-o", out)
    assert ran.code == 0
    assert f"{name}.mask.png" in names(out)
    assert len(ran.out.splitlines()) == 4
    (image,) = json.loads((out / f"{name}.json").read_text("ascii"))["images"]
    assert image["file"] == str(photo)
