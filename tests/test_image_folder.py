"""Walking folders: natural order, every walk ends, nothing outside unless asked, little memory."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anymask.errors import ImageError
from anymask.image import find_images
from anymask.image_folder import natural


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def walked(root, **how):
    """Paths below the root that are pictures, and {path: code} of what was passed over."""
    found, passed = [], {}
    for path, note in find_images(root, **how):
        name = path.relative_to(root).as_posix()
        if note is None:
            found.append(name)
        else:
            passed[name] = note.code
    return found, passed


def test_pictures_come_in_natural_order_and_folders_in_their_place(tmp_path):
    touch(*(tmp_path / name for name in ("f10.jpg", "f2.png", "F1.JPG", "g/f2.tif", "g/f11.webp")))
    touch(tmp_path / "g/f3.heic", tmp_path / "notes.txt", tmp_path / "h.jpg", tmp_path / "f02.png")
    found, passed = walked(tmp_path)
    assert found == ["F1.JPG", "f02.png", "f2.png", "f10.jpg", "g/f2.tif", "g/f3.heic",
                     "g/f11.webp", "h.jpg"]  # fmt: skip
    assert not passed
    assert walked(str(tmp_path))[0] == found


@settings(max_examples=40)
@given(numbers=st.lists(st.integers(0, 10**20), unique=True, max_size=20))
def test_numbers_in_names_are_sorted_by_value(numbers):
    names = [f"frame {n} of 7.png" for n in numbers]
    assert sorted(names, key=natural) == [f"frame {n} of 7.png" for n in sorted(numbers)]


def test_l10_a_folder_that_is_none_is_named(tmp_path):
    touch(tmp_path / "a.jpg")
    for root in (tmp_path / "missing", tmp_path / "a.jpg"):
        with pytest.raises(ImageError, match="image-missing") as caught:
            find_images(root)
        assert caught.value.where == str(root)
    (tmp_path / "empty").mkdir()
    assert walked(tmp_path / "empty") == ([], {})


@pytest.fixture
def linked(tmp_path):
    """A folder with links up, out, across, to itself and to nothing."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    touch(root / "a" / "1.jpg", root / "b" / "2.jpg", outside / "3.jpg", outside / "deep" / "4.jpg")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "b again").symlink_to(root / "b")
    (root / "b" / "a again").symlink_to(root / "a")
    (root / "out").symlink_to(outside)
    (root / "out.jpg").symlink_to(outside / "3.jpg")
    (root / "inside.jpg").symlink_to(root / "a" / "1.jpg")
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    (root / "nowhere.png").symlink_to(root / "gone.png")
    (root / "text.txt").symlink_to(outside / "deep")
    return root


def test_i24_links_to_folders_and_out_of_the_root_are_passed_over(linked):
    found, passed = walked(linked)
    assert found == ["a/1.jpg", "b/2.jpg", "inside.jpg"]
    assert passed == {
        "a/b again": "link-skipped",
        "a/up": "link-skipped",
        "b/a again": "link-skipped",
        "loop.jpg": "link-broken",
        "nowhere.png": "link-broken",
        "out": "link-skipped",
        "out.jpg": "link-skipped",
        "text.txt": "link-skipped",
    }


def test_i24_following_links_enters_each_folder_once_and_ends(linked):
    found, passed = walked(linked, follow=True)
    names = sorted(Path(name).name for name in found)
    assert names == ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "inside.jpg", "out.jpg"]
    assert set(passed.values()) == {"link-loop", "link-broken"}


def test_a_folder_that_cannot_be_read_is_passed_over(tmp_path, monkeypatch):
    touch(tmp_path / "a" / "1.jpg", tmp_path / "b" / "2.jpg", tmp_path / "c.jpg")
    from anymask import image_folder

    real = image_folder.os.scandir

    def scandir(folder):
        if Path(folder).name == "a":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(image_folder.os, "scandir", scandir)
    found, passed = walked(tmp_path)
    assert found == ["b/2.jpg", "c.jpg"]
    assert passed == {"a": "folder-unreadable"}


def test_i23_names_of_any_bytes_come_through(tmp_path):
    import os

    names = ["grüße 猫.png", "a b\nc.png", os.fsdecode(b"caf\xe9.png"), "-x.png"]
    touch(*(tmp_path / name for name in names))
    assert sorted(walked(tmp_path)[0]) == sorted(names)


def test_a_shallow_walk_passes_folders_by(tmp_path):
    touch(tmp_path / "2.jpg", tmp_path / "10.jpg", tmp_path / "inside" / "1.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "inside")
    (tmp_path / "3.jpg").symlink_to(tmp_path / "2.jpg")
    assert walked(tmp_path, deep=False) == (["2.jpg", "3.jpg", "10.jpg"], {})


COUNT = """
import sys
from anymask.image import find_images
last, count = None, 0
for path, note in find_images(sys.argv[1]):
    count += 1
    last = path.name
peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
print(count, last, int(peak) / 1024)
"""


@pytest.mark.parametrize("count", [5_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_l10_a_huge_folder_is_streamed_in_little_memory(count, tmp_path):
    for k in range(count):
        (tmp_path / f"picture_{k}.jpg").touch()
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(tmp_path)], capture_output=True, text=True, check=True
    )
    seen, last, peak = done.stdout.split()
    assert int(seen) == count
    assert last == f"picture_{count - 1}.jpg"
    assert float(peak) < 300  # MiB
