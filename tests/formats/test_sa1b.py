"""Sets in SA-1B's layout are read whole or refused with the place."""

import io
import json
import multiprocessing
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from byte_files import as_folder, as_tar
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from anymask.errors import DataError
from anymask.formats.pictures import Pictures
from anymask.formats.sa1b import open_sa1b, parse_record, split_of
from anymask.mask_rle import decode_rle
from encoded_photos import encoded

IDS = Path(__file__).parents[1] / "data" / "photo-ids.txt"
RULES = settings(deadline=None, derandomize=True, max_examples=30)

SQUARE = np.zeros((4, 6), bool)
SQUARE[1:3, 2:5] = True


def rle(bits):
    table = coco.encode(np.asfortranarray(bits.astype(np.uint8)))
    return {"size": list(bits.shape), "counts": table["counts"].decode()}


def table(*masks, size=(4, 6), **more):
    rows = [{"id": i + 1, "segmentation": rle(mask), **more} for i, mask in enumerate(masks)]
    return {"image": {"height": size[0], "width": size[1]}, "annotations": rows}


def png(size=(4, 6), colour=(10, 20, 30)):
    return encoded(Image.new("RGB", size[::-1], colour), "PNG")


def files_of(*ids, **more):
    files = {}
    for number, name in enumerate(ids):
        files[f"{name}.png"] = png(colour=(number, 0, 0))
        files[f"{name}.json"] = json.dumps(table(SQUARE, **more)).encode()
    return files


KINDS = pytest.mark.parametrize("kind", [as_folder, as_tar], ids=["folder", "tar"])


@KINDS
def test_pairs_are_found_in_a_folder_and_in_a_tar(tmp_path, kind):
    files = files_of("b", "a") | {"README.md": b"words", "._a.json": b"\0", "c.jpg": b"lonely"}
    data = open_sa1b(kind(tmp_path / "cats.tar", files))
    assert (data.ids, data.unannotated, len(data)) == (("a", "b"), ("c",), 2)
    assert data.name == ("cats.tar" if kind is as_folder else "cats")
    record = data.read("b")
    assert (record.image_id, record.size) == ("b", (4, 6))
    assert record.image_bytes() == files["b.png"]
    [annotation] = record.annotations
    np.testing.assert_array_equal(annotation.mask(), SQUARE)


def test_members_of_a_tar_may_lie_in_a_folder(tmp_path):
    files = {f"./deep/{name}": data for name, data in files_of("sa_1").items()}
    assert open_sa1b(as_tar(tmp_path / "x.tar", files)).read("sa_1").size == (4, 6)


@KINDS
def test_pixels_are_read_when_asked_for(tmp_path, kind):
    data = open_sa1b(kind(tmp_path / "set", files_of("a", "b") | {"c.png": b""}))
    pixels = data.read("b").pixels()
    assert (pixels.shape, pixels.dtype, pixels[0, 0].tolist()) == ((4, 6, 3), np.uint8, [1, 0, 0])


def test_a_picture_of_another_size_than_stated_is_refused(tmp_path):
    data = open_sa1b(as_folder(tmp_path / "set", files_of("a") | {"a.png": png((6, 4))}))
    with pytest.raises(DataError, match=r"record-size.*6x4.*4x6"):
        data.read("a").pixels()


def test_what_an_annotation_says_is_kept():
    more = {
        "bbox": [2, 1, 3, 2],
        "area": 6,
        "category": "a/b",
        "iscrowd": 1,
        "ignore": rle(~SQUARE),
    }
    _, [annotation], _ = parse_record(table(SQUARE, **more), "here")
    assert annotation.bbox == (2, 1, 3, 2)
    assert (annotation.area, annotation.category, annotation.iscrowd) == (6, "a/b", True)
    np.testing.assert_array_equal(decode_rle(annotation.ignore), ~SQUARE)


def test_what_an_annotation_leaves_out_is_measured():
    _, [annotation], _ = parse_record(table(SQUARE), "here")
    assert (annotation.id, annotation.bbox, annotation.area) == (1, (2, 1, 3, 2), 6)
    assert (annotation.category, annotation.iscrowd, annotation.ignore) == (None, False, None)


def test_f15_an_empty_mask_is_left_out_and_told():
    given = table(SQUARE, np.zeros((4, 6), bool), SQUARE)
    _, annotations, [note] = parse_record(given, "here")
    assert [each.id for each in annotations] == [1, 3]
    assert note.code == "mask-empty" and "id 2" in note.text
    with pytest.raises(DataError, match=r"mask-empty: here: annotations\[1\] \(id 2\)"):
        parse_record(given, "here", strict=True)


@pytest.mark.parametrize(
    ("given", "kept", "code"),
    [
        ([4, 1, 50, 2], (4, 1, 2, 2), "box-clipped"),
        ([-9, -9, 12, 12], (0, 0, 3, 3), "box-clipped"),
        ([2, 1, 3.4, 2.2], (2, 1, 3.4, 2.2), None),
        ([2, 1, 4.5, 3], (2, 1, 4.5, 3), None),
        ([2, 1, 0, 2], (2, 1, 3, 2), "box-empty"),
        ([90, 1, 3, 2], (2, 1, 3, 2), "box-empty"),
    ],
)
def test_f15_a_box_outside_is_cut_and_an_empty_one_measured(given, kept, code):
    _, [annotation], notes = parse_record(table(SQUARE, bbox=given), "here")
    assert annotation.bbox == pytest.approx(kept)
    assert [note.code for note in notes] == ([code] if code else [])
    if code:
        with pytest.raises(DataError, match=code):
            parse_record(table(SQUARE, bbox=given), "here", strict=True)


def test_a_photo_without_masks_has_none():
    assert parse_record(table(), "here") == ((4, 6), (), ())


BROKEN = {
    "no object": [],
    "no image": {"annotations": []},
    "no width": {"image": {"height": 4}, "annotations": []},
    "size as text": {"image": {"height": "4", "width": 6}, "annotations": []},
    "size as bool": {"image": {"height": True, "width": 6}, "annotations": []},
    "absurd size": {"image": {"height": 10**9, "width": 10**9}, "annotations": []},
    "no annotations": {"image": {"height": 4, "width": 6}},
    "an annotation that is none": {"image": {"height": 4, "width": 6}, "annotations": [3]},
    "polygons": table(SQUARE, segmentation=[[0, 0, 1, 1, 2, 2]]),
    "box of three": table(SQUARE, bbox=[1, 2, 3]),
    "box of NaN": table(SQUARE, bbox=[1, 2, 3, float("nan")]),
    "category as number": table(SQUARE, category=3),
    "id as list": table(SQUARE, id=[1]),
    "ignore as flag": table(SQUARE, ignore=1),
    "counts as number": table(SQUARE, segmentation={"size": [4, 6], "counts": 24}),
    "negative run": table(SQUARE, segmentation={"size": [4, 6], "counts": [30, -6]}),
}


@pytest.mark.parametrize("given", BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_refused_with_its_place(given):
    with pytest.raises(DataError, match=r"record-broken: a.json") as caught:
        parse_record(given, "a.json")
    assert caught.value.where.startswith("a.json")


RUNS = {
    "empty": "",
    "not ASCII": "é",
    "below the alphabet": "!",
    "cut inside a number": "f",
    "too few pixels": "1",
    "too many pixels": "hhhhh0",
    "an endless number": "o" * 40 + "0",
    "negative": "O",
    "too many of them": [20, 20],
}


@pytest.mark.parametrize("counts", RUNS.values(), ids=RUNS)
def test_broken_runs_are_refused_before_anything_is_drawn(counts):
    given = table(SQUARE, segmentation={"size": [4, 6], "counts": counts})
    with pytest.raises(DataError, match=r"rle-broken: a.json: annotations\[0\] \(id 1\)"):
        parse_record(given, "a.json")


@pytest.mark.parametrize(("size", "hint"), [((6, 4), "swapped"), ((4, 5), "scale")])
def test_f16_a_mask_of_another_size_names_id_and_both_sizes(size, hint):
    given = table(SQUARE, segmentation=rle(np.zeros(size, bool)))
    with pytest.raises(DataError) as caught:
        parse_record(given, "a.json")
    message = str(caught.value)
    assert caught.value.code == "rle-size"
    assert "id 1" in message and str(list(size)) in message and "[4, 6]" in message
    assert hint in message


@RULES
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_json_value_is_a_record_or_an_error(value):
    for given_table in (
        value,
        {"image": value, "annotations": value},
        table(SQUARE, **dict.fromkeys(("id", "bbox", "area", "category", "ignore"), value)),
    ):
        try:
            parse_record(given_table, "a.json")
        except DataError as error:
            assert error.where.startswith("a.json")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000])
def test_broken_json_is_refused_with_its_file(tmp_path, text):
    data = open_sa1b(as_folder(tmp_path / "set", files_of("a") | {"a.json": text}))
    with pytest.raises(DataError, match=r"(json|record)-broken: .*a\.json"):
        data.read("a")


@KINDS
def test_a_json_without_picture_is_refused(tmp_path, kind):
    files = files_of("a", "b")
    del files["b.png"]
    with pytest.raises(DataError, match=r"pair-broken: .*b\.json"):
        open_sa1b(kind(tmp_path / "set", files))


@KINDS
def test_two_pictures_of_one_id_are_refused(tmp_path, kind):
    with pytest.raises(DataError, match="pair-ambiguous"):
        open_sa1b(kind(tmp_path / "set", files_of("a") | {"a.jpg": b""}))


def test_two_members_of_one_name_are_refused(tmp_path):
    path = as_tar(tmp_path / "x.tar", files_of("a"))
    with tarfile.open(path, "a") as made:
        made.addfile(tarfile.TarInfo("a.json"), io.BytesIO())
    with pytest.raises(DataError, match="pair-ambiguous"):
        open_sa1b(path)


def test_missing_and_empty_sets_are_refused(tmp_path):
    with pytest.raises(DataError, match="set-missing"):
        open_sa1b(tmp_path / "none")
    with pytest.raises(DataError, match="set-empty"):
        open_sa1b(as_folder(tmp_path / "set", {"a.txt": b""}))


def test_an_unknown_id_is_refused(tmp_path):
    data = open_sa1b(as_folder(tmp_path / "set", files_of("a")))
    with pytest.raises(DataError, match="unknown-id"):
        data.read("../a")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.75])
def test_a_truncated_tar_is_refused_when_opened(tmp_path, share):
    path = as_tar(tmp_path / "x.tar", {"a.png": os.urandom(30_000), "a.json": os.urandom(30_000)})
    os.truncate(path, int(61_000 * share))
    with pytest.raises(DataError, match=r"tar-broken|pair-broken|set-empty"):
        open_sa1b(path)


def test_a_tar_that_shrinks_later_is_refused_when_read(tmp_path):
    path = as_tar(tmp_path / "x.tar", files_of("a"))
    data = open_sa1b(path)
    os.truncate(path, 600)
    with pytest.raises(DataError, match=r"tar-broken.*early"):
        data.read("a")


def test_a_compressed_tar_is_refused_with_advice(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w:gz") as made:
        made.addfile(tarfile.TarInfo("a.json"), io.BytesIO())
    with pytest.raises(DataError, match=r"tar-broken.*unpack"):
        open_sa1b(path)


def test_o6_names_inside_a_json_are_never_paths(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(colour=(99, 99, 99)))
    given = table(SQUARE)
    given["image"] |= {"file_name": "../secret.png", "image_id": "../secret"}
    files = files_of("a") | {"a.json": json.dumps(given).encode()}
    record = open_sa1b(as_folder(tmp_path / "set", files)).read("a")
    assert record.image_id == "a"
    assert record.image_bytes() == files["a.png"]


def test_o6_members_with_dots_or_roots_stay_names(tmp_path):
    files = {f"../../{name}": data for name, data in files_of("a").items()}
    files |= {f"/etc/{name}": data for name, data in files_of("b").items()}
    data = open_sa1b(as_tar(tmp_path / "x.tar", files))
    assert data.ids == ("a", "b")
    assert data.read("b").image_bytes() == files["/etc/b.png"]


def test_links_in_a_tar_are_no_files(tmp_path):
    path = as_tar(tmp_path / "x.tar", files_of("a"))
    with tarfile.open(path, "a") as made:
        link = tarfile.TarInfo("b.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    assert open_sa1b(path).ids == ("a",)


def test_threads_read_one_tar_at_once(tmp_path):
    names = [f"p{i}" for i in range(40)]
    files = files_of(*names)
    data = open_sa1b(as_tar(tmp_path / "x.tar", files))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda name: data.read(name).image_bytes(), names * 5))
    assert read == [files[f"{name}.png"] for name in names * 5]


@KINDS
def test_sets_and_records_travel_to_other_processes(tmp_path, kind):
    files = files_of("a")
    data = open_sa1b(kind(tmp_path / "set", files))
    packed = pickle.dumps((data, data.read("a")))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(bytes_of, (packed,)) == (files["a.png"], files["a.png"])


def bytes_of(packed):
    data, record = pickle.loads(packed)
    return data.read("a").image_bytes(), record.image_bytes()


def test_open_files_do_not_pile_up(tmp_path):
    path = as_tar(tmp_path / "x.tar", files_of("a"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        open_sa1b(path).read("a")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_tenth_of_all_photos_is_kept_for_judging():
    ids = IDS.read_text().split()
    splits = [split_of(name) for name in ids]
    assert (len(ids), splits.count("val"), splits.count("train")) == (3396, 335, 3061)


def test_ids_that_are_not_utf_8_have_a_split():
    assert split_of("a\udcff") in ("val", "train")


def test_a_json_named_after_its_picture_in_full_is_of_that_picture(tmp_path: Path) -> None:
    folder, apart = tmp_path / "set", tmp_path / "photos"
    for where in (folder, apart):
        where.mkdir()
        for name in ("a.jpg", "a.png", "b.jpg"):
            Image.new("RGB", (3, 2)).save(where / name)
    for name in ("a.jpg", "a.png"):
        image = {"image_id": "a", "width": 3, "height": 2, "file_name": name}
        table = json.dumps({"image": image, "annotations": []})
        (folder / f"{name}.json").write_text(table)
    found = open_sa1b(folder)
    assert [record.file_name for record in found] == ["a.jpg", "a.png"]
    assert [record.has_picture for record in found] == [True, True]
    assert found.unannotated == ("b",)
    for name in ("a.jpg", "a.png", "b.jpg"):
        (folder / name).unlink()
    assert [record.file_name for record in open_sa1b(folder, alone=True)] == ["a.jpg", "a.png"]
    assert Pictures(apart).find_stem("a.png") == "a.png"
    assert Pictures(apart).find_stem("b") == "b.jpg"
