"""Memory, time, threads and the caller's own settings: what reading costs and what it leaves."""

import hashlib
import multiprocessing
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from anymask.errors import AnymaskError, ImageError
from anymask.image import load_image, read_image
from conftest import DATA, PHOTOS, SHARED
from encoded_photos import encoded

BAD = sorted((DATA / "images").iterdir())
BOMBS = ["bomb_claimed.png", "decompression_bomb.gif", "decompression_bomb.ico"]


def groceries(size):
    return Image.open(PHOTOS / "groceries.png").convert("RGB").resize(size)


def digest(source):
    """What a process says of a source: a hash of its pixels, or the code of its error."""
    try:
        return hashlib.sha256(load_image(source).pixels).hexdigest()
    except AnymaskError as error:
        return error.code


@pytest.mark.parametrize("name", BOMBS)
def test_i15_a_bomb_is_refused_by_its_claimed_size(name):
    with pytest.raises(ImageError, match=r"claims \d+x\d+ pixels, max_pixels is 500000000"):
        load_image(DATA / "images" / name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "ICO"])
def test_i15_the_limit_is_the_callers_and_the_message_names_both(kind):
    data = encoded(groceries((50, 40)), kind, **({"sizes": [(50, 40)]} if kind == "ICO" else {}))
    assert load_image(data, max_pixels=2000).pixels.shape == (40, 50, 3)
    with pytest.raises(ImageError, match="claims 50x40 pixels, max_pixels is 1999") as caught:
        load_image(data, max_pixels=1999)
    assert caught.value.code == "image-too-large"
    with pytest.raises(ImageError, match="claims 50x40"):
        load_image(np.asarray(groceries((50, 40))), max_pixels=1999)


MEASURE = """
import sys, resource
from anymask.image import load_image
from anymask.errors import AnymaskError
import PIL.PngImagePlugin, PIL.GifImagePlugin, PIL.IcoImagePlugin, PIL.WebPImagePlugin
import PIL.JpegImagePlugin, PIL.TiffImagePlugin, cv2
def peak():  # kB
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
before = peak()
for path in sys.argv[1:]:
    try:
        load_image(path)
    except AnymaskError as error:
        print(error.code)
print((peak() - before) / 1024)
"""


def measured(*paths):
    """Codes of the errors and extra peak memory, MiB, of reading files in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    *codes, extra = done.stdout.split()
    return codes, float(extra)


def webp_bomb(path):
    """A few bytes that claim 16383 x 16383."""
    side = (16382).to_bytes(3, "little")
    body = b"WEBPVP8X" + (10).to_bytes(4, "little") + bytes(4) + side + side
    path.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    return path


def test_i15_refusing_bombs_takes_no_memory(tmp_path):
    paths = [DATA / "images" / name for name in BOMBS]
    if SHARED:
        paths.append(SHARED / "data" / "bad" / "bomb_real.png")
    codes, extra = measured(*paths, webp_bomb(tmp_path / "bomb.webp"))
    assert codes[:-1] == ["image-too-large"] * len(paths)
    assert extra < 50


def test_i15_pillows_own_settings_are_neither_asked_nor_changed(monkeypatch):
    data, truncated = (
        encoded(groceries((50, 40)), "PNG"),
        encoded(groceries((90, 80)), "PNG")[:9000],
    )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert load_image(data).pixels.shape == (40, 50, 3)
    load_image(truncated, partial=True)
    assert Image.MAX_IMAGE_PIXELS == 100
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("side", [3000, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["JPEG", "JPEG, turned", "PNG with alpha"])
def test_i17_reading_takes_two_and_a_half_times_the_pixels(side, kind, tmp_path):
    path = tmp_path / "large"
    tags = Image.Exif()
    tags[0x0112] = 6
    if kind == "PNG with alpha":
        Image.new("RGBA", (side, side), (9, 90, 200, 100)).save(path, "PNG", compress_level=1)
    else:
        how = {"exif": tags} if "turned" in kind else {}
        groceries((side, side)).save(path, "JPEG", quality=60, **how)
    codes, extra = measured(path)
    assert not codes
    assert extra <= 2.5 * side * side * 3 / 2**20 + 16


def test_a_photo_of_12_megapixels_is_read_in_a_third_of_a_second():
    data = encoded(groceries((4000, 3000)), "JPEG", quality=90)
    spent = []
    for _ in range(3):
        start = time.process_time()  # of this process, whatever else the machine does
        assert load_image(data).pixels.shape == (3000, 4000, 3)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.35


THREADS = """
import hashlib, os, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from anymask.errors import AnymaskError
from anymask.image import load_image

def digest(path):
    try:
        return hashlib.sha256(load_image(path).pixels).hexdigest()
    except AnymaskError as error:
        return error.code

files = sys.argv[1:]
serial = {path: digest(path) for path in files}
filters, open_files = list(warnings.filters), len(os.listdir("/proc/self/fd"))
work = files * (1000 // len(files) + 1)
with ThreadPoolExecutor(8) as pool:
    assert list(pool.map(digest, work)) == [serial[path] for path in work], "bits"
assert len(os.listdir("/proc/self/fd")) == open_files, "open files"
assert warnings.filters == filters, "filters of warnings"
print(len(work))
"""


def test_i26_eight_threads_read_what_one_reads_and_leave_no_file_open():
    # in a process of its own: the run-time checks of tests are not made for threads
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", THREADS, *map(str, BAD)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) >= 1000


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_i26_child_processes_read_the_same(start):
    few = BAD[::6]
    with multiprocessing.get_context(start).Pool(2) as pool:
        assert pool.map(digest, few) == [digest(path) for path in few]


def test_h1_refusals_do_not_need_asserts():
    code = (
        "from anymask.image import load_image\n"
        "for bad in ('missing.jpg', b'', b'text', 5):\n"
        "    try: load_image(bad)\n"
        "    except ValueError as error: print(error.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["image-missing", "image-empty", "image-not", "image-kind"]


def test_h3_every_conversion_is_a_note_and_pillow_warns_of_nothing():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for path in BAD:
            digest(path)
    assert not caught


def tree(folder: Path):
    """Every file's bytes and times."""
    return {
        path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.filterwarnings("ignore::anymask.AnymaskWarning")
def test_h4_files_are_never_changed(tmp_path):
    for path in [*BAD, *PHOTOS.iterdir()]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = tree(tmp_path)
    for path in before:
        for how in ({}, {"partial": True}, {"frame": 0}, {"bands": (0,)}):
            try:
                read_image(path, **how)
            except AnymaskError:
                continue
    assert tree(tmp_path) == before


def test_importing_the_reader_loads_no_torch_and_no_decoder():
    code = "import sys, anymask.image; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "cv2", "pillow_heif"} & set(done.stdout.split())
