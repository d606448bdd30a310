"""Folders inside of a set in SA-1B's layout: ids stay apart, and stay inside."""

import json

import numpy as np
import pytest
from byte_files import as_folder, as_tar
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anymask.errors import DataError
from anymask.formats import guess_format
from anymask.formats.label_map import record_png
from anymask.formats.png import encode_png
from anymask.formats.records import ReadOptions, Remarks
from anymask.formats.sa1b import open_sa1b, open_set, record_json
from anymask.formats.sa1b_pairs import find_pairs
from anymask.image_members import Source
from encoded_photos import encoded
from mask_sets import bits, picture, record

MASK = bits(["##....", "##..##", "......", "...#.."])


def pixels(kind="PNG", colour=0):
    return encoded(Image.new("RGB", (6, 4), (colour, 0, 0)), kind)


def files_of(*names):
    """Pairs by path without ending."""
    found = {}
    for number, name in enumerate(names):
        found[f"{name}.png"] = pixels(colour=number)
        found[f"{name}.json"] = record_json(record(f"{name.split('/')[-1]}.png", [MASK]))
    return found


KINDS = pytest.mark.parametrize("kind", [as_folder, as_tar], ids=["folder", "tar"])


@KINDS
def test_pairs_of_one_name_in_two_folders_stay_apart(tmp_path, kind):
    files = files_of("a", "x/a", "x/y/a", "z/b")
    data = open_sa1b(kind(tmp_path / "set", files))
    assert data.ids == ("a", "x/a", "x/y/a", "z/b") and data.unannotated == ()
    for each in data:
        assert each.file_name == f"{each.image_id}.png"
        assert each.image_bytes() == files[each.file_name]
        assert data.stem_of(each.image_id) == each.image_id
        np.testing.assert_array_equal(each.annotations[0].mask(), MASK)


@KINDS
def test_hidden_folders_are_not_entered(tmp_path, kind):
    files = files_of("a", ".anymask/parts/b", "x/.c/d", "x/.e")
    assert open_sa1b(kind(tmp_path / "set", files)).ids == ("a",)


def test_links_to_folders_are_not_entered(tmp_path):
    as_folder(tmp_path / "set", files_of("x/a"))
    (tmp_path / "set/x/up").symlink_to(tmp_path / "set")
    assert open_sa1b(tmp_path / "set").ids == ("x/a",)


def test_the_folder_that_a_tar_was_packed_with_is_no_part_of_ids(tmp_path):
    data = open_sa1b(as_tar(tmp_path / "x.tar", files_of("./set/deep/a", "set/deep/x/b")))
    assert data.ids == ("a", "x/b")
    assert [each.file_name for each in data] == ["a.png", "x/b.png"]


def test_pictures_of_a_tar_may_lie_in_a_folder_of_their_own(tmp_path):
    files = files_of("a", "x/b")
    apart = {
        f"set/{'masks' if '.json' in name else 'images'}/{name}": files[name] for name in files
    }
    data = open_sa1b(as_tar(tmp_path / "x.tar", apart))
    assert data.ids == ("a", "x/b") and data.unannotated == ()
    assert [each.image_bytes() for each in data] == [files["a.png"], files["x/b.png"]]


@KINDS
def test_pairs_that_a_folder_inside_breaks_are_named(tmp_path, kind):
    files = files_of("a", "x/b")
    del files["x/b.png"]
    with pytest.raises(DataError, match=r"pair-broken: .*x/b\.json: x/b\.jpg .* is missing"):
        open_sa1b(kind(tmp_path / "set", files))
    files["x/b.png"] = files["x/b.jpg"] = pixels()
    with pytest.raises(DataError, match="pair-ambiguous"):
        open_sa1b(kind(tmp_path / "other", files))


PARTS = st.sampled_from(["a", "b", "..", ".", "", "x y", "ä"])


@given(paths=st.lists(st.lists(PARTS, min_size=1, max_size=4), max_size=4))
def test_ids_of_any_members_are_relative_and_all_different(paths):
    class Named(Source):
        def names(self):
            return sorted({"/".join([*parts, "p.json"]) for parts in paths})

        def where(self, name):
            return name

    try:
        pairs, _ = find_pairs(Named(), alone=True, packed=True)
    except DataError as error:
        assert error.code == "pair-ambiguous"
        return
    assert len({table for _, table in pairs.values()}) == len(pairs)
    for image_id in pairs:
        parts = image_id.split("/")
        assert parts[-1] == "p" and not {"", ".", ".."} & set(parts)


@KINDS
def test_pictures_of_other_kinds_pair_where_there_is_no_jpg_or_png(tmp_path, kind):
    files = files_of("a", "b")
    files |= {"a.webp": b"left alone", "b.webp": pixels("WEBP")}
    del files["b.png"]
    data = open_sa1b(kind(tmp_path / "set", files))
    assert [each.file_name for each in data] == ["a.png", "b.webp"]
    assert data.read("b").pixels().shape == (4, 6, 3)


def test_a_set_whose_pairs_all_lie_in_folders_is_recognised(tmp_path):
    assert guess_format(as_folder(tmp_path / "set", files_of("x/a", "y/b"))).name == "sa1b"


def test_results_in_folders_find_their_photos_in_the_same_folders(tmp_path):
    """As `anymask everything` writes them, overlays included."""
    for name in ("a.jpg", "x/a.jpg", "x/a.png"):
        one = record(name, [MASK])
        files = {f"{name}.json": record_json(one), f"{name}.overlay.png": pixels()}
        as_folder(tmp_path / "found", files)
        picture(tmp_path / "photos" / name, (4, 6), colour=(len(name), 7, 9))
    data = open_set(tmp_path / "found", ReadOptions(images=tmp_path / "photos"))
    assert data.ids == ("a.jpg", "x/a.jpg", "x/a.png") and data.unannotated == ()
    for each in data:
        assert each.file_name == each.image_id
        assert each.image_bytes() == (tmp_path / "photos" / each.image_id).read_bytes()


@pytest.mark.parametrize("inner", ["", "x/"])
def test_label_maps_of_everything_mode_are_recognised_beside_their_json(tmp_path, inner):
    one = record("b.jpg", [MASK])
    files = {
        f"{inner}b.jpg.overlay.png": encode_png(np.zeros((4, 6, 3), np.uint8)),
        f"{inner}b.jpg.panoptic.png": record_png(one, Remarks("")),
        f"{inner}b.jpg.panoptic.json": record_json(one),
        "a-sheet.png": pixels(),
    }
    root = as_folder(tmp_path / "found", files)
    row = guess_format(root)
    [found] = list(row.open(root, ReadOptions()))
    assert (row.name, found.file_name) == ("labelmap", f"{inner}b.jpg")
    np.testing.assert_array_equal(found.annotations[0].mask(), MASK)
    [again] = list(open_set(root, ReadOptions()))
    assert (again.file_name, again.has_picture) == (f"{inner}b.jpg", False)
    assert json.loads(files[f"{inner}b.jpg.panoptic.json"])["image"]["file_name"] == "b.jpg"
