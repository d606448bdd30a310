"""`anymask segment`: what it asks, writes, prints and refuses."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from command_calls import save
from PIL import Image
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

from anymask.errors import Note
from anymask.masks import decode_rle

# what is written


def test_a_point_gives_overlay_cutout_mask_and_json(run, fake, photo, tmp_path) -> None:
    out = tmp_path / "out"
    ran = run(photo, "--point", "30,20", "-o", out)
    assert ran.code == 0
    assert ran.out.split() == [
        str(out / f"cat.jpg.{kind}") for kind in ("overlay.png", "cutout.png", "mask.png", "json")
    ]
    mask = np.asarray(opened(out / "cat.jpg.mask.png"))
    assert np.array_equal(mask, disc(30, 20, 8) * np.uint8(255))  # the best of the three
    assert opened(out / "cat.jpg.overlay.png").size == (60, 40)
    cutout = opened(out / "cat.jpg.cutout.png")
    assert (cutout.mode, cutout.size) == ("RGBA", (17, 17))
    (image,) = json.loads((out / "cat.jpg.json").read_text())["images"]
    (entry,) = image["masks"]
    assert image["file"] == str(photo)
    assert np.array_equal(decode_rle(entry["segmentation"]), disc(30, 20, 8))
    assert entry["bbox"] == [22, 12, 17, 17]
    assert entry["area"] == disc(30, 20, 8).sum()
    assert entry["score"] == 0.75
    assert entry["prompts"] == {"points": [[30.0, 20.0]], "labels": [1]}
    assert "cat.jpg: 1 mask, score (share of the picture): 0.75" in ran.err


def test_a_click_with_the_bundled_model_marks_the_cat(run, tmp_path) -> None:
    from importlib.resources import files

    photo = files("anymask") / "photos" / "chelsea.png"
    ran = run(photo, "--point", "220,150", "--negative", "420,40", "-o", tmp_path, "--json")
    assert ran.code == 0
    ((entry,),) = [image["masks"] for image in ran.json["images"]]
    assert 0.3 < entry["area"] / (451 * 300) < 0.9
    assert decode_rle(entry["segmentation"])[150, 220] == 1


# what is asked


def test_a_single_point_asks_for_three_masks_more_points_for_one(run, fake, photo) -> None:
    run(photo, "--point", "3,4", "--json")
    run(photo, "--point", "3,4", "--point", "5,6", "--negative", "7.5,8", "--json")
    first, second = fake.calls
    assert first["multimask"] is True
    assert second["multimask"] is False
    assert second["points"].tolist() == [[3, 4], [5, 6], [7.5, 8]]
    assert second["labels"].tolist() == [1, 1, 0]
    assert second["boxes"] is None


def test_a_box_asks_for_one_mask_and_points_refine_it(run, fake, photo) -> None:
    ran = run(photo, "--box", "10,5,30,25", "--point", "20,10", "--json")
    (call,) = fake.calls
    assert call["multimask"] is False
    assert call["boxes"].tolist() == [[10, 5, 30, 25]]
    (entry,) = ran.json["images"][0]["masks"]
    assert entry["prompts"] == {"points": [[20, 10]], "labels": [1], "box": [10, 5, 30, 25]}


def test_refining_is_asked_for_by_name(run, fake, photo) -> None:
    run(photo, "--box", "10,5,30,25", "--json")
    run(photo, "--box", "10,5,30,25", "--refine", "crop", "--json")
    assert [call["refine"] for call in fake.calls] == [None, "crop"]
    ran = run(photo, "--box", "10,5,30,25", "--refine", "sharp", "-o", "out")
    assert ran.code == 2 and "crop" in ran.err and len(fake.calls) == 2


def test_several_boxes_are_several_objects_in_one_overlay(run, fake, photo, tmp_path) -> None:
    out = tmp_path / "out"
    ran = run(photo, "--box", "10,5,30,25", "--box", "40,5,50,15", "-o", out, "--json")
    assert [m["bbox"] for m in ran.json["images"][0]["masks"]] == [[10, 5, 20, 20], [40, 5, 10, 10]]
    assert names(out) == [
        "cat.jpg.1.cutout.png",
        "cat.jpg.1.mask.png",
        "cat.jpg.2.cutout.png",
        "cat.jpg.2.mask.png",
        "cat.jpg.json",
        "cat.jpg.overlay.png",
    ]


def test_all_masks_writes_an_overlay_for_each(run, fake, photo, tmp_path) -> None:
    out = tmp_path / "out"
    ran = run(photo, "--point", "30,20", "--all-masks", "-o", out, "--json")
    assert [m["score"] for m in ran.json["images"][0]["masks"]] == [0.25, 0.75, 0.5]
    kinds = ("cutout.png", "mask.png", "overlay.png")
    assert names(out) == sorted(
        ["cat.jpg.json", *(f"cat.jpg.{i}.{kind}" for i in (1, 2, 3) for kind in kinds)]
    )
    assert ran.json["images"][0]["files"] == [
        str(out / f"cat.jpg.{i}.{kind}")
        for kind in ("overlay.png", "cutout.png", "mask.png")
        for i in (1, 2, 3)
    ] + [str(out / "cat.jpg.json")]


def test_p15_points_beside_several_boxes_are_refused(run, never, photo) -> None:
    ran = run(photo, "--box", "1,1,9,9", "--box", "2,2,9,9", "--point", "3,3", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (3, "object-counts")


@pytest.mark.parametrize("kind", ["png", "npy"])
def test_a_mask_is_given_as_a_prompt(run, fake, photo, tmp_path, kind) -> None:
    rough = disc(20, 20, 9)
    path = tmp_path / f"rough.{kind}"
    if kind == "png":
        Image.fromarray(rough * np.uint8(255)).save(path)
    else:
        np.save(path, rough)
    ran = run(photo, "--mask", path, "--point", "20,20", "--json")
    assert ran.code == 0
    assert np.array_equal(fake.calls[0]["masks"] > 0, rough)
    assert fake.calls[0]["multimask"] is False
    assert ran.json["images"][0]["masks"][0]["prompts"]["mask"] == str(path)


def test_a_photo_as_a_mask_and_broken_arrays_are_refused(run, never, photo, tmp_path) -> None:
    assert "mask-color" in run(photo, "--mask", photo, "-o", tmp_path / "out").err
    (tmp_path / "a.npy").write_bytes(b"nothing")
    assert "mask-file" in run(photo, "--mask", tmp_path / "a.npy", "-o", tmp_path / "out").err
    np.save(tmp_path / "b.npy", np.zeros((2, 3, 4)))
    assert "mask-file" in run(photo, "--mask", tmp_path / "b.npy", "-o", tmp_path / "out").err
    assert "image-missing" in run(photo, "--mask", tmp_path / "c.npy", "-o", tmp_path / "o").err


def test_p1_a_point_outside_is_refused_and_moved_when_asked(run, fake, photo) -> None:
    ran = run(photo, "--point", "100,20", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (3, "point-outside")
    ran = run(photo, "--point", "100,20", "--clip", "--json")
    assert ran.code == 0
    assert ran.json["images"][0]["masks"][0]["prompts"]["points"] == [[59, 20]]


def test_p2_boxes_that_come_back_are_inside(run, fake, photo) -> None:
    (image,) = run(photo, "--box", "-5,-5,30,20", "--json").json["images"]
    assert image["masks"][0]["prompts"]["box"] == [0, 0, 30, 20]
    assert [note["code"] for note in image["notes"]] == ["box-clipped"]


# house rules

WRONG = {
    "no prompt": (["PHOTO", "-o", "OUT"], 2),
    "no output": (["PHOTO", "--point", "1,1"], 2),
    "no image": (["--point", "1,1", "-o", "OUT"], 2),
    "two modes": (["PHOTO", "--point", "1,1", "-o", "OUT", "--skip", "--overwrite"], 2),
    "words": (["PHOTO", "--point", "a,b", "-o", "OUT"], 2),
    "three numbers": (["PHOTO", "--point", "1,2,3", "-o", "OUT"], 2),
    "short box": (["PHOTO", "--box", "1,2,3", "-o", "OUT"], 2),
    "unknown model": (["PHOTO", "--point", "1,1", "-m", "nan", "-o", "OUT"], 2),
    "NaN": (["PHOTO", "--point", "nan,1", "-o", "OUT"], 3),
    "outside": (["PHOTO", "--point", "60,1", "-o", "OUT"], 3),
    "box order": (["PHOTO", "--box", "9,9,1,1", "-o", "OUT"], 3),
    "missing": (["MISSING", "--point", "1,1", "-o", "OUT"], 3),
    "text": (["TEXT", "--point", "1,1", "-o", "OUT"], 3),
    "colour mask": (["PHOTO", "--mask", "PHOTO", "-o", "OUT"], 3),
    "out is a file": (["PHOTO", "--point", "1,1", "-o", "TEXT"], 4),
    "device name": (["DEVICE", "--point", "1,1", "-o", "OUT"], 4),
    "long name": (["LONG", "--point", "1,1", "-o", "OUT"], 4),
}


@pytest.mark.parametrize("name", WRONG)
def test_h2_what_is_wrong_is_refused_before_any_model_work(
    run, never, photo, tmp_path, name
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    places = {
        "PHOTO": photo,
        "OUT": tmp_path / "out",
        "MISSING": tmp_path / "missing.jpg",
        "TEXT": text,
        "DEVICE": save(tmp_path / "con.jpg"),
        "LONG": save(tmp_path / f"{'x' * 240}.jpg"),
    }
    args, code = WRONG[name]
    before = tree_hash(tmp_path)
    ran = run(*(places.get(arg, arg) for arg in args))
    assert ran.code == code
    assert len(ran.err.splitlines()) == 1
    assert ran.out == ""
    if (tmp_path / "out").exists():
        (tmp_path / "out").rmdir()  # nothing was written into it
    assert tree_hash(tmp_path) == before


@pytest.mark.parametrize(("name", "hint"), [("no prompt", "--point 500,375"), ("words", "500,375")])
def test_wrong_usage_shows_an_example(run, never, photo, tmp_path, name, hint) -> None:
    places = {"PHOTO": photo, "OUT": tmp_path / "out"}
    assert hint in run(*(places.get(arg, arg) for arg in WRONG[name][0])).err


def test_h3_conversions_are_noted_in_the_json_and_once_a_kind_on_stderr(
    run, fake, tmp_path
) -> None:
    given = []
    for name in ("a.png", "b.png"):
        given.append(tmp_path / name)
        Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60)).save(given[-1])
    fake.model = SimpleNamespace(notes=(Note("of-the-model", "Something was cast."),))
    ran = run(*given, "--point", "30,20", "--json")
    for image in ran.json["images"]:
        assert {"of-the-model", "image-16bit"} <= {note["code"] for note in image["notes"]}
    assert ran.err.count("note: image-16bit: ") == 1
    assert ran.err.count("note: of-the-model: ") == 1


def test_h4_inputs_are_never_changed(run, fake, photo, tmp_path) -> None:
    rough = tmp_path / "photos" / "rough.png"
    Image.fromarray(disc(20, 20, 9) * np.uint8(255)).save(rough)
    before = tree_hash(tmp_path / "photos")
    ran = run(photo, "--mask", rough, "--point", "20,20", "-o", tmp_path / "out")
    assert ran.code == 0
    assert tree_hash(tmp_path / "photos") == before


def test_h4_a_result_never_takes_the_place_of_an_input(run, never, photo, tmp_path) -> None:
    folder = photo.parent
    save(folder / "cat.jpg.mask.png")
    before = tree_hash(tmp_path)
    ran = run(folder, "--point", "20,20", "-o", folder, "--overwrite")
    assert ran.code == 4
    assert ran.err.startswith("output-is-input: ")
    ran = run(photo, "--mask", folder / "cat.jpg.mask.png", "-o", folder, "--overwrite")
    assert ran.code == 3  # a photo is no mask; the next is one
    Image.fromarray(disc(20, 20, 9) * np.uint8(255)).save(folder / "cat.jpg.mask.png")
    before = tree_hash(tmp_path)
    ran = run(photo, "--mask", folder / "cat.jpg.mask.png", "-o", folder, "--overwrite")
    assert ran.err.startswith("output-is-input: ")
    assert tree_hash(tmp_path) == before


def test_h6_nothing_found_is_a_result(run, fake, photo, tmp_path) -> None:
    fake.radii = (-1, -1, -1)
    out = tmp_path / "out"
    ran = run(photo, "--point", "30,20", "-o", out, "--json")
    assert ran.code == 0
    (image,) = ran.json["images"]
    (entry,) = image["masks"]
    assert (entry["area"], entry["bbox"], entry["polygons"]) == (0, [0, 0, 0, 0], [])
    assert [note["code"] for note in image["notes"]] == ["mask-empty"]
    assert len(names(out)) == 4
    assert not np.asarray(opened(out / "cat.jpg.mask.png")).any()
    assert opened(out / "cat.jpg.cutout.png").size == (1, 1)
