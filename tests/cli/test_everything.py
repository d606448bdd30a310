"""`anymask everything`: what it writes, and what can be asked of it."""

import csv
import gzip
import inspect
import io
import json
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
from PIL import Image

from anymask.formats import everything as formats
from anymask.formats.everything import LAYOUTS, metadata_csv
from anymask.mask_rle import decode_rle
from conftest import SHARED
from trees import tree

AMG_GOLDENS = (
    [] if SHARED is None else sorted((SHARED / "goldens/sam1/amg").glob("*_binary.json.gz"))
)


# what is written


def test_a_folder_gives_a_json_for_each_picture_as_sa1b_has_it(run, jobs, photos, tmp_path) -> None:
    ran = run(photos, "-o", tmp_path / "out")
    assert ran.code == 0
    assert names(tmp_path / "out") == ["a.jpg.json", "b.png.json", "sub/a.jpg.json"]
    assert ran.out.split() == [str(tmp_path / "out" / name) for name in names(tmp_path / "out")]
    table = json.loads((tmp_path / "out" / "sub" / "a.jpg.json").read_text("ascii"))
    assert (table["image"]["width"], table["image"]["height"]) == (60, 40)
    assert table["image"]["file_name"] == "a.jpg"
    assert [row["predicted_iou"] for row in table["annotations"]] == [0.75, 0.5, 1.0]
    row = table["annotations"][2]
    assert decode_rle(row["segmentation"]).sum() == row["area"] == 180
    assert row["point_coords"] == [[5.0, 6.0]]
    assert row["crop_box"] == [0, 0, 60, 40]
    assert "3 of 3 pictures are done: 9 masks" in ran.err


def test_coco_is_one_json_of_all_pictures(run, jobs, photos, tmp_path) -> None:
    ran = run(photos, "-o", tmp_path / "out", "--format", "coco")
    assert names(tmp_path / "out") == ["coco.json"]
    assert ran.out.split() == [str(tmp_path / "out" / "coco.json")]
    table = json.loads((tmp_path / "out" / "coco.json").read_bytes())
    assert [image["file_name"] for image in table["images"]] == ["a.jpg", "b.png", "sub/a.jpg"]
    assert len(table["annotations"]) == 9
    assert len({row["id"] for row in table["annotations"]}) == 9
    assert {row["image_id"] for row in table["annotations"]} == {i["id"] for i in table["images"]}
    assert [category["name"] for category in table["categories"]] == ["object"]


def test_png_is_a_folder_of_black_and_white_pictures_for_each(run, jobs, photos, tmp_path) -> None:
    run(photos, "-o", tmp_path / "out", "--format", "png")
    assert [n for n in names(tmp_path / "out") if n.startswith("a.jpg")] == [
        "a.jpg/0.png",
        "a.jpg/1.png",
        "a.jpg/2.png",
        "a.jpg/metadata.csv",
    ]
    with Image.open(tmp_path / "out" / "a.jpg" / "2.png") as picture:
        bits = np.asarray(picture)
    assert (bits.dtype, set(np.unique(bits))) == (np.uint8, {0, 255})
    assert (bits > 0).sum() == 180


def test_panoptic_is_a_label_map_without_overlaps(run, jobs, photos, tmp_path) -> None:
    run(photos, "-o", tmp_path / "out", "--format", "panoptic")
    assert names(tmp_path / "out")[:2] == ["a.jpg.panoptic.json", "a.jpg.panoptic.png"]
    with Image.open(tmp_path / "out" / "a.jpg.panoptic.png") as picture:
        labels = np.asarray(picture)
    table = json.loads((tmp_path / "out" / "a.jpg.panoptic.json").read_text())
    assert labels.shape == (40, 60)
    for k, row in enumerate(table["annotations"], 1):
        assert np.array_equal(labels == k, decode_rle(row["segmentation"]))


def test_overlays_and_a_sheet_are_made_when_asked(run, jobs, photos, tmp_path) -> None:
    run(photos, "-o", tmp_path / "out", "--overlay", "--sheet")
    assert "sub/a.jpg.overlay.png" in names(tmp_path / "out")
    assert "sheet.png" in names(tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.jpg.overlay.png") as picture:
        assert picture.size == (60, 40)


@pytest.mark.parametrize("row", [*LAYOUTS, *formats.AMG], ids=lambda row: row.name)
def test_a_format_writes_what_it_has_planned(run, jobs, photos, tmp_path, row) -> None:
    args = ["--format", row.name]
    if row in formats.AMG:
        args = ["--layout", "amg", *(["--convert-to-rle"] if row.name == "amg-rle" else [])]
    assert run(photos, "-o", tmp_path / "out", *args).code == 0
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")}
    for name in ("a.jpg", "b.png", "sub/a.jpg"):
        assert set(row.planned(name)) <= found
    assert set(row.finals) <= found


def test_h6_nothing_found_is_a_result(run, jobs, photos, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_NONE", "1")
    for form in ("sa1b", "coco", "png", "panoptic"):
        out = tmp_path / form
        assert run(photos, "-o", out, "--format", form, "--overlay", "--sheet").code == 0
    table = json.loads((tmp_path / "sa1b" / "a.jpg.json").read_text())
    assert table["annotations"] == []
    assert len(json.loads((tmp_path / "coco" / "coco.json").read_text())["images"]) == 3


# the layout of SAM's script


def test_amg_names_folders_and_files_as_sams_script_does(run, jobs, photos, tmp_path) -> None:
    ran = run(
        *("--input", photos, "--output", tmp_path / "out", "--layout", "amg"),
        *("--model-type", "vit_b", "--points-per-batch", "64", "--pred-iou-thresh", "0.5"),
    )
    assert ran.code == 0
    assert "a/0.png" in names(tmp_path / "out")
    assert "note: points-per-batch: " in ran.err
    assert jobs[0].model == "sam-vit-b"
    assert jobs[0].options["pred_iou_thresh"] == 0.5
    table = (tmp_path / "out" / "a" / "metadata.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["predicted_iou"] == "0.75"
    assert rows[0]["point_input_x"] == "1.5"


def test_amg_with_run_lengths_is_the_list_of_records(run, jobs, photos, tmp_path) -> None:
    run(photos, "-o", tmp_path / "out", "--layout", "amg", "--convert-to-rle")
    assert names(tmp_path / "out") == ["a.json", "b.json", "sub/a.json"]
    records = json.loads((tmp_path / "out" / "a.json").read_text())
    assert list(records[0]) == [
        "segmentation",
        "area",
        "bbox",
        "predicted_iou",
        "point_coords",
        "stability_score",
        "crop_box",
    ]
    assert isinstance(records[0]["segmentation"]["counts"], str)


def test_o5_names_that_sams_script_would_mix_up_are_refused(run, never, tmp_path) -> None:
    for name in ("a.jpg", "a.png"):
        save(tmp_path / "photos" / name)
    ran = run(tmp_path / "photos", "-o", tmp_path / "out", "--layout", "amg")
    assert ran.code == 4
    assert ran.err.startswith("name-clash: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", AMG_GOLDENS, ids=lambda path: path.stem)
def test_the_official_metadata_is_reproduced_from_the_official_records(path: Path) -> None:
    records = json.loads(gzip.decompress(path.read_bytes()))["records"]
    wanted = path.with_name(path.name.replace(".json.gz", "_metadata.csv"))
    assert metadata_csv(records).encode() == wanted.read_bytes()


def test_metadata_has_the_columns_and_numbers_of_sams_script() -> None:
    record = {
        "segmentation": None,
        "area": 19002,
        "bbox": [0, 0, 199, 132],
        "predicted_iou": 0.8078653812408447,
        "point_coords": [[125.0, 83.125]],
        "stability_score": 0.7861129641532898,
        "crop_box": [0, 0, 200, 133],
    }
    assert metadata_csv([record]) == (
        "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,"
        "stability_score,crop_box_x0,crop_box_y0,crop_box_w,crop_box_h\n"
        "0,19002,0,0,199,132,125.0,83.125,0.8078653812408447,0.7861129641532898,0,0,200,133"
    )


# what is asked


def test_options_reach_the_generator(run, jobs, photos, tmp_path) -> None:
    run(
        *(photos / "a.jpg", "-o", tmp_path / "out", "--roi", "10,5,30,25", "--mode", "fast"),
        *("--points-per-side", "8", "--crop-n-layers", "1", "--min-mask-region-area", "20"),
        *("--memory-mb", "99", "--use-m2m"),
    )
    memory, generator = jobs[0]._generator
    assert memory == 99
    assert generator.rois == [(10.0, 5.0, 30.0, 25.0)]
    chosen = {"points_per_side": 8, "crop_n_layers": 1, "min_mask_region_area": 20}
    assert generator.options.items() >= (chosen | {"mode": "fast", "use_m2m": True}).items()
    assert generator.options["pred_iou_thresh"] is None


def test_the_real_generator_takes_the_options_by_their_names(run, jobs, photos, tmp_path) -> None:
    from anymask.predict.everything import MaskGenerator

    run(photos / "a.jpg", "-o", tmp_path / "out")
    assert set(jobs[0].options) <= set(inspect.signature(MaskGenerator).parameters)


def test_large_pictures_are_looked_at_tile_by_tile(
    run, jobs, photos, tmp_path, monkeypatch
) -> None:
    from anymask.predict import everything_tiles

    asked: list[int] = []

    def generate(generator: Any, picture: Any, *, tile: int) -> Any:
        asked.append(tile)
        return generator.generate(picture)

    monkeypatch.setattr(everything_tiles, "generate_tiled", generate)
    save(tmp_path / "large.jpg", (70, 40))
    ran = run(tmp_path / "large.jpg", photos / "a.jpg", "-o", tmp_path / "out", "--tile", "64")
    assert ran.code == 0
    assert asked == [64]  # the other is 60 px wide
    again = run(tmp_path / "large.jpg", photos / "a.jpg", "-o", tmp_path / "out", "--tile", "48")
    assert again.code != 0  # another result was asked
    assert "tile" in again.err


def test_a_picture_comes_in_on_stdin(run, jobs, photos, tmp_path, monkeypatch) -> None:
    data = (photos / "a.jpg").read_bytes()
    stdin = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)
    assert run("-", "-o", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == ["stdin.json"]


WRONG = {
    "no image": (["-o", "OUT"], 2),
    "no output": (["PHOTO"], 2),
    "format": (["PHOTO", "-o", "OUT", "--format", "coko"], 2),
    "mode": (["PHOTO", "-o", "OUT", "--mode", "fats"], 2),
    "layout": (["PHOTO", "-o", "OUT", "--layout", "amgs"], 2),
    "two layouts": (["PHOTO", "-o", "OUT", "--layout", "amg", "--format", "png"], 2),
    "rle alone": (["PHOTO", "-o", "OUT", "--convert-to-rle"], 2),
    "model": (["PHOTO", "-o", "OUT", "-m", "nan"], 2),
    "model type": (["PHOTO", "-o", "OUT", "--model-type", "vit_x"], 2),
    "two models": (["PHOTO", "-o", "OUT", "--model-type", "vit_b", "-m", "nano"], 2),
    "grid": (["PHOTO", "-o", "OUT", "--points-per-side", "0"], 2),
    "roi": (["PHOTO", "-o", "OUT", "--roi", "1,2,3"], 2),
    "tile": (["PHOTO", "-o", "OUT", "--tile", "8"], 2),
    "tile and roi": (["PHOTO", "-o", "OUT", "--tile", "64", "--roi", "1,2,3,4"], 2),
    "missing": (["MISSING", "-o", "OUT"], 3),
    "text": (["TEXT", "-o", "OUT"], 3),
    "no match": (["*.gif", "-o", "OUT"], 3),
    "out is a file": (["PHOTO", "-o", "TEXT"], 4),
    "device name": (["DEVICE", "-o", "OUT"], 4),
    "long name": (["LONG", "-o", "OUT"], 4),
}


@pytest.mark.parametrize("name", WRONG)
def test_h2_what_is_wrong_is_refused_before_any_model_work(
    run, never, tmp_path, monkeypatch, name
) -> None:
    monkeypatch.chdir(tmp_path)
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    places = {
        "PHOTO": save(tmp_path / "photos" / "cat.jpg"),
        "OUT": tmp_path / "out",
        "MISSING": tmp_path / "missing.jpg",
        "TEXT": text,
        "DEVICE": save(tmp_path / "con.jpg"),
        "LONG": save(tmp_path / f"{'x' * 251}.jpg"),
    }
    args, code = WRONG[name]
    before = tree(tmp_path)
    ran = run(*(places.get(arg, arg) for arg in args))
    assert ran.code == code
    assert len(ran.err.splitlines()) == 1
    assert ran.out == ""
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()
