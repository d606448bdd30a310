"""`anymask convert`: what is written, what is told, what is refused."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from anymask.cli import main
from anymask.formats import SETS, set_format
from anymask.formats.records import ReadOptions
from mask_sets import bits, picture, record, write
from trees import contents

MASKS = [
    bits(["####..", "#..#..", "####..", "......"]),
    bits(["......", "..####", "..####", "......"]),
]


@pytest.fixture
def coco(tmp_path):
    """A COCO set of three pictures with its pictures."""
    names = ["a.jpg", "b/c.jpg", "d.jpg"]
    root = tmp_path / "coco"
    write("coco", root, [record(n, MASKS, words=["cat", "dog"]) for n in names])
    for name in names:
        picture(root / "images" / name, (4, 6))
    return root


@pytest.mark.parametrize("name", [row.name for row in SETS if row.writer])
@pytest.mark.parametrize("pictures", ["--copy-images", "--link-images"])
def test_every_format_is_written_and_guessed_again(coco, tmp_path, name, pictures, capsys):
    before = contents(coco)
    out = tmp_path / f"as-{name}"
    assert main(["convert", str(coco), "-o", str(out), "--to", name, pictures]) == 0
    told = capsys.readouterr()
    assert "3 pictures, 6 masks" in told.err and told.out.strip() == str(out)
    again = tmp_path / "again"
    assert main(["convert", str(out), "-o", str(again), "--to", "coco", "--copy-images"]) == 0
    assert contents(coco) == before
    found = set_format("coco").open(again, ReadOptions())
    assert [[a.category for a in each.annotations] for each in found] == [["cat", "dog"]] * 3
    assert all(each.has_picture for each in found)
    links = [path.is_symlink() for path in out.rglob("*.jpg")]
    assert links == [pictures == "--link-images"] * 3


def test_losses_are_counted_and_refused_if_strict(coco, tmp_path, capsys):
    line = ["convert", str(coco), "--to", "labelmap", "-o"]
    assert main([*line, str(tmp_path / "x"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["lost"] == {"overlap-cut": 3} and told["masks"] == 6 and told["from"] == "coco"
    assert main([*line, str(tmp_path / "y")]) == 0
    assert "lost: overlap-cut x 3, such as" in capsys.readouterr().err
    assert main([*line, str(tmp_path / "z"), "--strict"]) == 3
    assert "overlap-cut" in capsys.readouterr().err
    assert not list((tmp_path / "z").rglob("*.png"))


def test_o2_what_is_there_is_refused_before_the_start_and_kept(coco, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["convert", str(coco), "-o", str(out), "--to", "labelme"]
    assert main(line) == 0
    (out / "a.json").unlink()
    (out / "d.json").write_text("mine")
    before = contents(out)
    assert main(line) == 4
    assert "file-exists" in capsys.readouterr().err and contents(out) == before
    assert main([*line, "--skip"]) == 0
    after = contents(out)
    assert after["d.json"] == b"mine" and after["a.json"]
    assert "1 pictures, 2 masks, 2 passed over" in capsys.readouterr().err


def test_f01_a_stopped_conversion_goes_on_to_the_same_bytes(coco, tmp_path, monkeypatch, capsys):
    from anymask.cli import common

    line = ["convert", str(coco), "--to", "yolo", "--copy-images", "-o"]
    assert main([*line, str(tmp_path / "whole")]) == 0
    shown = common.Progress.show

    def stopping(self, done, total, *rest):
        if done == 1:
            os.kill(os.getpid(), 2)
        shown(self, done, total, *rest)

    monkeypatch.setattr(common.Progress, "show", stopping)
    assert main([*line, str(tmp_path / "part")]) == 130
    assert "--skip" in capsys.readouterr().err
    monkeypatch.undo()
    assert len(list((tmp_path / "part").rglob("*.txt"))) == 1
    assert main([*line, str(tmp_path / "part"), "--skip"]) == 0
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")


def test_f02_a_broken_picture_is_named_and_the_others_go_on(coco, tmp_path, capsys):
    out = tmp_path / "lm"
    main(["convert", str(coco), "-o", str(out), "--to", "labelme"])
    (out / "a.json").write_text("{")
    capsys.readouterr()
    line = ["convert", str(out), "--from", "labelme", "--to", "sa1b", "-o"]
    assert main([*line, str(tmp_path / "x")]) == 1
    told = capsys.readouterr().err
    assert "json-broken" in told and "a.json" in told and "2 pictures, 4 masks, 1 failed" in told
    assert main([*line, str(tmp_path / "y"), "--strict"]) == 3
    (out / "b/c.json").write_text("{")
    (out / "d.json").write_text("{")
    assert main([*line, str(tmp_path / "z")]) == 3


def test_a_picture_of_another_size_than_its_masks_is_refused(coco, tmp_path, capsys):
    picture(coco / "images/a.jpg", (6, 4))
    out = tmp_path / "x"
    assert main(["convert", str(coco), "-o", str(out), "--to", "sa1b", "--copy-images"]) == 1
    told = capsys.readouterr().err
    assert "record-size" in told and "6x4" in told and "4x6" in told
    assert not list(out.glob("a.*"))


def test_a_photo_taken_upright_fits_its_masks_as_stored_and_as_shown(coco, tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    for name, size in (("a.jpg", (4, 6)), ("d.jpg", (6, 4))):
        picture(coco / "images" / name, size, exif=exif)
    assert main(["convert", str(coco), "-o", str(tmp_path / "x"), "--to", "labelme"]) == 0


def test_o5_names_that_would_meet_are_refused_before_the_start(tmp_path, capsys):
    write("coco", tmp_path / "set", [record("a.jpg", MASKS), record("a.png", MASKS)])
    out = tmp_path / "x"
    assert main(["convert", str(tmp_path / "set"), "-o", str(out), "--to", "yolo"]) == 4
    assert "name-clash" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("name", ["../../x.jpg", "/x.jpg", "a\0b.jpg"])
def test_o6_a_set_with_a_hostile_name_is_refused(tmp_path, name, capsys):
    table = {
        "images": [{"id": 1, "file_name": name, "width": 6, "height": 4}],
        "annotations": [],
        "categories": [],
    }
    (tmp_path / "set.json").write_text(json.dumps(table))
    line = ["convert", str(tmp_path / "set.json"), "-o", str(tmp_path / "out/x"), "--to"]
    assert main([*line, "labelme"]) == 4
    assert "name-unsafe" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} <= {"set.json", "out"}


def test_pictures_that_are_missing_are_told(coco, tmp_path, capsys):
    (coco / "images/a.jpg").unlink()
    line = ["convert", str(coco), "--to", "sa1b", "--copy-images", "-o", str(tmp_path / "x")]
    assert main([*line, "--images", str(coco / "images")]) == 0
    assert "lost: picture-missing x 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        (["--to", "yol"], 2, "did you mean yolo"),
        (["--to", "masks"], 2, "none of"),
        (["--to", "coco", "--from", "cocco"], 2, "did you mean coco"),
        (["--to", "coco", "--copy-images", "--link-images"], 2, "not together"),
        (["--to", "coco", "--images", "nowhere"], 2, "no such folder"),
        (["--to", "coco", "--from", "sa1b"], 3, "record-broken"),
        (["--to", "coco", "--from", "yolo"], 3, "set-empty"),
    ],
)
def test_l1_wrong_usage_writes_nothing(coco, tmp_path, more, code, text, capsys):
    assert main(["convert", str(coco), "-o", str(tmp_path / "x"), *more]) == code
    assert text in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("x/*"))


def test_what_is_no_set_or_not_there_is_told(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "none"), "-o", "x", "--to", "coco"]) == 3
    assert "set-missing" in capsys.readouterr().err
    assert main(["convert", str(tmp_path), "-o", "x", "--to", "coco"]) == 3
    assert "format-unclear" in capsys.readouterr().err


def test_every_format_is_told_of_in_the_docs_and_the_help():
    page = (Path(__file__).parents[2] / "docs/how-to/convert.md").read_text()
    from anymask.cli.convert import convert

    for row in SETS:
        assert f"| `{row.name}` |" in page and row.name in convert.__doc__


@pytest.mark.slow
def test_f01_a_killed_conversion_goes_on_to_the_same_bytes(tmp_path):
    """Killed at random moments; temporary files of the killed are swept."""
    random = Random(1)
    names = [f"{i}.jpg" for i in range(150)]
    write("coco", tmp_path / "set", [record(n, MASKS, words=["cat", "dog"]) for n in names])
    for name in names:
        picture(tmp_path / "set/images" / name, (4, 6))
    for target in ("labelme", "yolo", "coco"):
        line = ["convert", str(tmp_path / "set"), "--to", target, "--copy-images", "-o"]
        assert main([*line, str(tmp_path / "whole" / target)]) == 0
        out = tmp_path / "part" / target
        command = [sys.executable, "-m", "anymask", *line, str(out), "--skip"]
        for _ in range(5):
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            while process.poll() is None and not out.exists():
                time.sleep(0.005)
            time.sleep(random.random() * 0.6)
            process.kill()
            process.wait()
        assert main([*line, str(out), "--skip"]) == 0
        assert contents(out) == contents(tmp_path / "whole" / target)


@pytest.mark.parametrize("kind", ["sa1b", "masks", "labelmap"])
def test_results_named_after_the_whole_name_of_a_picture_are_read(tmp_path, kind):
    """As `anymask everything` names them."""
    from anymask.formats.label_map import record_png
    from anymask.formats.png import mask_png
    from anymask.formats.records import Remarks
    from anymask.formats.sa1b import record_json

    source, one = tmp_path / "found", record("a.b.png", MASKS)
    files = {
        "sa1b": {"a.b.png.json": record_json(one)},
        "masks": {f"a.b.png/{i}.png": mask_png(mask) for i, mask in enumerate(MASKS)},
        "labelmap": {"a.b.png.panoptic.png": record_png(one, Remarks(""))},
    }
    for name, content in files[kind].items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    photo = picture(tmp_path / "photos" / "a.b.png", (4, 6))
    line = ["convert", str(source), "--images", str(photo.parent), "--copy-images", "--to"]
    assert main([*line, "coco", "-o", str(tmp_path / "x")]) == 0
    [found] = list(set_format("coco").open(tmp_path / "x", ReadOptions()))
    assert (found.file_name, len(found.annotations)) == ("a.b.png", 2)
    assert found.image_bytes() == photo.read_bytes()


def test_a_tar_is_written_whole_with_its_photos_and_guessed_again(coco, tmp_path, capsys):
    from anymask.formats.sa1b import open_sa1b

    line = ["convert", str(coco), "--to", "sa1b", "-o", str(tmp_path / "x/out.tar")]
    for more in ([], ["--link-images"]):
        assert main([*line, *more]) == 4
        told = capsys.readouterr().err
        assert (
            "pictures-needed" in told and "--copy-images" in told and not (tmp_path / "x").exists()
        )
    assert main([*line, "--copy-images"]) == 0
    assert "3 pictures, 6 masks" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["out.tar"]
    assert open_sa1b(tmp_path / "x/out.tar").ids == ("a", "b__c", "d")
    before = contents(tmp_path / "x")
    assert main([*line, "--copy-images"]) == 4
    assert "file-exists" in capsys.readouterr().err
    assert main([*line, "--copy-images", "--skip"]) == 0
    assert "3 passed over" in capsys.readouterr().err and contents(tmp_path / "x") == before
    again = ["convert", str(tmp_path / "x/out.tar"), "--to", "sa1b", "--copy-images", "-o"]
    assert main([*again, str(tmp_path / "y.tar")]) == 0
    assert open_sa1b(tmp_path / "y.tar").ids == ("a", "b__c", "d")


def test_a_photo_that_a_tar_lacks_is_named_and_the_others_go_in(coco, tmp_path, capsys):
    from anymask.formats.sa1b import open_sa1b

    (coco / "images/a.jpg").unlink()
    line = ["convert", str(coco), "--to", "sa1b", "--images", str(coco / "images")]
    assert main([*line, "--copy-images", "-o", str(tmp_path / "x.tar")]) == 1
    told = capsys.readouterr().err
    assert "picture-missing" in told and "2 pictures, 4 masks, 1 failed" in told
    assert open_sa1b(tmp_path / "x.tar").ids == ("b__c", "d")


def test_o5_names_that_would_meet_inside_of_a_tar_are_refused_before_the_start(tmp_path, capsys):
    write("coco", tmp_path / "set", [record("x/a.jpg", MASKS), record("x__a.jpg", MASKS)])
    line = ["convert", str(tmp_path / "set"), "--to", "sa1b", "--copy-images", "-o"]
    assert main([*line, str(tmp_path / "x.tar")]) == 4
    assert "name-clash" in capsys.readouterr().err and not (tmp_path / "x.tar").exists()


def test_ids_and_scores_that_a_format_has_no_place_for_are_counted_a_line_a_kind(tmp_path, capsys):
    from dataclasses import replace

    one = record("a.jpg", MASKS, words=["cat", "cat"])
    known = [replace(a, id=7 * a.id, predicted_iou=0.5) for a in one.annotations]
    write("coco", tmp_path / "set", [replace(one, annotations=tuple(known))])
    photo = picture(tmp_path / "set/images/a.jpg", (4, 6))
    line = ["convert", str(tmp_path / "set"), "--images", str(photo.parent), "--to"]
    for name in ("labelme", "yolo"):
        assert main([*line, name, "-o", str(tmp_path / name), "--strict"]) == 0
        told = capsys.readouterr().err
        assert told.count("lost: id-lost x 2, such as") == 1 == told.count("lost: ") - 1
        assert told.count("lost: scores-lost x 2, such as") == 1
        back = ["convert", str(tmp_path / name), "--images", str(photo.parent), "--to", "labelme"]
        assert main([*back, "-o", str(tmp_path / f"{name}-again")]) == 0
        assert "-lost" not in capsys.readouterr().err
    assert main([*line, "sa1b", "-o", str(tmp_path / "sa1b")]) == 0
    assert "lost" not in capsys.readouterr().err


@pytest.mark.slow
def test_f01_a_killed_conversion_leaves_no_tar_or_a_whole_one(tmp_path):
    """Killed at random moments, at least once while it is at work."""
    random, moments = Random(2), []
    names = [f"{i}.jpg" for i in range(150)]
    write("coco", tmp_path / "set", [record(n, MASKS, words=["cat", "dog"]) for n in names])
    for name in names:
        picture(tmp_path / "set/images" / name, (4, 6))
    line = ["convert", str(tmp_path / "set"), "--to", "sa1b", "--copy-images", "--skip", "-o"]
    assert main([*line, str(tmp_path / "whole.tar")]) == 0
    whole, out = (tmp_path / "whole.tar").read_bytes(), tmp_path / "out/x.tar"
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-m", "anymask", *line, str(out)], stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not out.parent.exists():
            time.sleep(0.002)
        time.sleep(random.random() * 0.25)
        moments.append(process.poll() is None)
        process.kill()
        process.wait()
        if out.exists():
            assert out.read_bytes() == whole
            out.unlink()
    assert any(moments)
    assert main([*line, str(out)]) == 0
    assert contents(out.parent) == {"x.tar": whole}
