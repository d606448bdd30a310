"""Index PNGs of a clip are written whole, under the names of their frames (rows O1 to O6)."""

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anymask.errors import OutputError
from anymask.formats.davis import davis_clip
from anymask.formats.davis_writer import DavisWriter
from faults import Faults, faults_below  # noqa: F401 - the fixture `faults`

FILES = ["f1.jpg", "f2.jpg", "f10.jpg"]


def labels(value: int) -> np.ndarray:
    found = np.zeros((6, 9), np.uint8)
    found[2:4, 1:5] = value
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_v09_what_is_written_is_read_back_as_a_clip_with_the_names_of_the_frames(tmp_path: Path):
    (tmp_path / "JPEGImages/480p/bear").mkdir(parents=True)
    writer = DavisWriter(tmp_path / "Annotations/480p/bear")
    for i, name in enumerate(FILES):
        Image.new("RGB", (9, 6)).save(tmp_path / "JPEGImages/480p/bear" / name)
        writer.add(i, labels(i + 1), name)
    clip = davis_clip(tmp_path)
    assert clip.name == "bear" and [Path(name).name for name in clip.frames] == FILES
    assert all(np.array_equal(a, labels(i + 1)) for i, a in enumerate(clip.label_maps()))


def test_frames_without_files_are_numbered(tmp_path: Path):
    writer = DavisWriter(tmp_path / "m")
    assert writer.add(7, labels(1)).name == "00007.png"
    assert names(tmp_path / "m") == ["00007.png"]


def test_o2_a_folder_that_has_masks_is_an_error_before_the_first_frame(tmp_path: Path):
    (tmp_path / "x.PNG").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"^file-exists: .*x\.PNG"):
        DavisWriter(tmp_path)
    DavisWriter(tmp_path, overwrite=True).add(0, labels(1), "x.jpg")
    assert (tmp_path / "x.PNG").read_bytes() == b"mine"


def test_o2_a_mask_that_appeared_meanwhile_stays(tmp_path: Path):
    writer = DavisWriter(tmp_path)
    (tmp_path / "00000.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"^file-exists"):
        writer.add(0, labels(1))
    assert (tmp_path / "00000.png").read_bytes() == b"mine"


def test_o3_a_read_only_folder_is_named():
    with pytest.raises(OutputError, match=r"/proc/anymask"):
        DavisWriter(Path("/proc/anymask"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_o4_a_fault_at_any_call_keeps_the_old_mask(tmp_path: Path, faults: Faults, number: int):
    writer = DavisWriter(tmp_path, overwrite=True)
    old = writer.add(0, labels(1)).read_bytes()
    rounds = 0
    for error in faults.each(lambda: writer.add(0, labels(2)), number):
        rounds += 1
        assert names(tmp_path) == ["00000.png"]
        if error is not None:
            assert isinstance(error, OutputError)
            assert (tmp_path / "00000.png").read_bytes() == old
    assert rounds >= 4 and (tmp_path / "00000.png").read_bytes() != old


@pytest.mark.parametrize(("first", "second"), [("a.jpg", "a.png"), ("A.jpg", "a.jpg")])
def test_o5_two_frames_of_one_name_are_an_error(tmp_path: Path, first: str, second: str):
    writer = DavisWriter(tmp_path)
    writer.add(0, labels(1), first)
    with pytest.raises(OutputError, match=r"^name-clash: frames 0 and 1"):
        writer.add(1, labels(1), second)


@pytest.mark.parametrize("file", ["con.jpg", "a" * 300 + ".jpg", "a\0b.jpg"])
def test_o6_names_that_some_systems_refuse_are_errors(tmp_path: Path, file: str):
    with pytest.raises(OutputError, match=r"^name-"):
        DavisWriter(tmp_path).add(0, labels(1), file)
    assert names(tmp_path) == []
