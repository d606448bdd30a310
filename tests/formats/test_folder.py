"""A folder of results: planned before the work, written whole."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from anymask.errors import OutputError
from anymask.formats import OUTPUTS
from anymask.formats.folder import ResultFolder
from anymask.formats.result import Asked, Result
from anymask.masks import Masks


def result(count: int, size: tuple[int, int] = (20, 30)) -> Result:
    bits = np.zeros((count, *size), bool)
    bits[:, 5:9, 6:16] = True
    return Result(
        file="a.jpg",
        pixels=np.zeros((*size, 3), np.uint8),
        masks=Masks.from_bits(bits),
        asked=(Asked(points=((7.0, 6.0),), labels=(1,)),) * count,
    )


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("count", "alternatives", "endings"),
    [
        (1, False, [".overlay.png", ".cutout.png", ".mask.png", ".json"]),
        (
            2,
            False,
            [
                ".overlay.png",
                ".1.cutout.png",
                ".2.cutout.png",
                ".1.mask.png",
                ".2.mask.png",
                ".json",
            ],
        ),
        (2, True, [".1.overlay.png", ".2.overlay.png", ".1.cutout.png", ".2.cutout.png"]),
        (0, False, [".overlay.png", ".json"]),
    ],
    ids=["one object", "two objects", "two alternatives", "none"],
)
def test_files_are_planned_from_the_table(
    count: int, alternatives: bool, endings: list[str], tmp_path: Path
) -> None:
    folder = ResultFolder(root=tmp_path, count=count, alternatives=alternatives)
    planned = [file.ending for file in folder.planned]
    assert planned[: len(endings)] == endings
    assert planned[-1] == ".json"


def test_the_plan_is_what_is_written(tmp_path: Path) -> None:
    for count, alternatives in ((1, False), (3, False), (3, True)):
        root = tmp_path / f"{count} {alternatives}"
        folder = ResultFolder(root=root, count=count, alternatives=alternatives)
        folder.check(["x/a.jpg"])
        paths = folder.write(result(count), "x/a.jpg")
        assert names(root) == sorted(f"x/a.jpg{file.ending}" for file in folder.planned)
        assert paths == [root / f"x/a.jpg{file.ending}" for file in folder.planned]


@pytest.mark.parametrize("row", OUTPUTS, ids=lambda row: row.ending)
def test_every_row_of_the_table_makes_a_file(row) -> None:
    content = row.make(result(1), 0 if row.each == "mask" else None)
    assert content.startswith(b"\x89PNG" if row.ending.endswith(".png") else b"{")


def test_o6_results_stay_in_their_folder(tmp_path: Path) -> None:
    root = tmp_path / "out"
    (tmp_path / "elsewhere").mkdir()
    root.mkdir()
    (root / "away").symlink_to(tmp_path / "elsewhere")
    folder = ResultFolder(root=root, count=1, overwrite=True)
    for name, code in (("../a.jpg", "name-unsafe"), ("away/a.jpg", "name-outside")):
        with pytest.raises(OutputError, match=f"^{code}"):
            folder.check([name])
        with pytest.raises(OutputError, match=f"^{code}"):
            folder.write(result(1), name)
    assert names(tmp_path) == []


def test_o4_a_full_disk_leaves_whole_files_and_no_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ResultFolder(root=tmp_path, count=1)
    folder.check(["a.jpg"])
    real, left = os.fsync, [2]

    def sync(descriptor: int) -> None:
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "no space")
        left[0] -= 1
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(OutputError, match=r"^disk-full"):
        folder.write(result(1), "a.jpg")
    assert names(tmp_path) == ["a.jpg.overlay.png"]  # each file needs two: itself, its folder
    monkeypatch.setattr(os, "fsync", real)
    later = ResultFolder(root=tmp_path, count=1, skip=True)
    later.check(["a.jpg"])
    assert not later.done("a.jpg")
    later.write(result(1), "a.jpg")
    assert later.done("a.jpg")


def test_a_large_picture_is_written_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anymask.formats.folder._LARGE", 100)
    folder = ResultFolder(root=tmp_path, count=2)
    folder.write(result(2), "a.jpg")
    assert len(names(tmp_path)) == 6
