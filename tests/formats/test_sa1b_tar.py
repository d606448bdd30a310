"""Tars in SA-1B's layout: what is written comes back, the same bytes each time, whole or not."""

import os
import random
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from anymask.errors import DataError, OutputError
from anymask.formats import guess_format
from anymask.formats.sa1b import open_sa1b
from anymask.image_members import Folder
from mask_sets import bits, picture, record, stacks, stored, write

MASK = bits(["##....", "##..##", "......", "...#.."])


def records(root, *names, masks=(MASK,), size=(4, 6)):
    """Records whose pictures lie in a folder."""
    for number, name in enumerate(names):
        picture(root / name, size, colour=(number, 0, 0))
    return [record(name, masks, source=Folder(root), size=size) for name in names]


@settings(max_examples=15)
@given(masks=stacks())
def test_any_masks_come_back_with_their_picture(masks):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made = records(root / "photos", "a.png", masks=list(masks), size=masks.shape[1:])
        write("sa1b", root / "x.tar", made)
        [found] = list(open_sa1b(root / "x.tar"))
        assert found.image_bytes() == (root / "photos/a.png").read_bytes()
        assert found.pixels().shape[:2] == found.size == masks.shape[1:]
    kept = masks[masks.any((1, 2))]
    np.testing.assert_array_equal(np.array(stored(found.annotations)).reshape(kept.shape), kept)


NAMES = ("b.png", "a.js.jpg", "a.jpg", "größe 猫.jpg", "x/a.jpg", f"{'n' * 240}.jpg", "\udcff.jpg")


def test_any_order_gives_the_same_bytes_and_pairs_side_by_side(tmp_path):
    made = records(tmp_path / "photos", *NAMES)
    write("sa1b", tmp_path / "x.tar", made)
    for seed in range(3):
        random.Random(seed).shuffle(made)
        write("sa1b", tmp_path / f"{seed}.tar", made)
        assert (tmp_path / f"{seed}.tar").read_bytes() == (tmp_path / "x.tar").read_bytes()
    with tarfile.open(tmp_path / "x.tar", "r:") as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    stems = [os.path.splitext(name)[0] for name in names]  # noqa: PTH122 - names inside of a tar
    assert stems[::2] == stems[1::2] == sorted(stems[::2])
    assert all(name.endswith(".json") for name in names[1::2])
    about = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members}
    assert about == {(315_532_800, 0, 0, "", "", 0o644, tarfile.REGTYPE)}


def test_names_of_any_bytes_and_length_come_back(tmp_path):
    write("sa1b", tmp_path / "x.tar", records(tmp_path / "photos", *NAMES))
    found = open_sa1b(tmp_path / "x.tar")
    assert [each.file_name for each in found] == sorted(n.replace("/", "__") for n in NAMES)
    assert found.unannotated == () and guess_format(tmp_path / "x.tar").name == "sa1b"


def test_nothing_is_there_before_the_end_and_nothing_after_it_is_given_up(tmp_path):
    from anymask.formats.records import PackedWriter, WriteOptions
    from anymask.formats.sa1b import writer

    made = writer(tmp_path / "out/x.tar", WriteOptions())
    assert isinstance(made, PackedWriter)
    [one] = records(tmp_path / "photos", "a.jpg")
    made.add(one)
    assert list((tmp_path / "out").iterdir()) == []
    made.close()
    assert list((tmp_path / "out").iterdir()) == []


def test_o2_a_tar_that_is_there_is_not_replaced(tmp_path):
    made = records(tmp_path / "photos", "a.jpg", "b.jpg")
    write("sa1b", tmp_path / "x.tar", made[:1])
    before = (tmp_path / "x.tar").read_bytes()
    with pytest.raises(OutputError, match="file-exists"):
        write("sa1b", tmp_path / "x.tar", made)
    assert (tmp_path / "x.tar").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "x.tar"}


@pytest.mark.parametrize("second", ["a.jpg", "a.png"])
def test_two_pictures_of_one_name_are_refused(tmp_path, second):
    made = records(tmp_path / "photos", "a.jpg", second)
    with pytest.raises(OutputError, match="picture-twice"):
        write("sa1b", tmp_path / "x.tar", made)
    assert not (tmp_path / "x.tar").exists()


def test_a_picture_that_is_nowhere_is_refused(tmp_path):
    with pytest.raises(DataError, match="picture-missing"):
        write("sa1b", tmp_path / "x.tar", [record("a.jpg", [MASK])])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hostile", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", "C:\\x.jpg"])
def test_o6_a_hostile_name_is_refused(tmp_path, hostile):
    [one] = records(tmp_path / "photos", "a.jpg")
    from dataclasses import replace

    with pytest.raises(OutputError, match="name-unsafe"):
        write("sa1b", tmp_path / "x.tar", [replace(one, file_name=hostile)])
    assert not (tmp_path / "x.tar").exists()
