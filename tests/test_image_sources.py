"""Paths, bytes, files and objects are read alike, or refused without waiting or reaching out."""

import io
import os
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from anymask.errors import AnymaskWarning, ImageError
from anymask.image import load_image, read_image
from conftest import DATA
from encoded_photos import encoded, refusal

RED = np.zeros((5, 7, 3), np.uint8) + np.array([200, 30, 10], np.uint8)
pictures = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


PNG = encoded(Image.fromarray(RED), "PNG")


class Arraylike:
    def __array__(self, dtype=None, copy=None):
        return RED


@given(values=pictures)
@settings(max_examples=25)
def test_i20_every_kind_of_source_gives_the_same_bits(values):
    data = encoded(Image.fromarray(values), "PNG")
    tensor = torch.from_numpy(values.copy())
    for source in (
        values,
        Image.fromarray(values),
        tensor,
        tensor.to(torch.int64),
        tensor.float().requires_grad_(),
        data,
        bytearray(data),
        memoryview(data),
        io.BytesIO(data),
    ):
        wanted = values
        if isinstance(source, torch.Tensor) and source.is_floating_point() and values.max() <= 1:
            wanted = values * 255  # 0 and 1 in floats are black and white
        assert np.array_equal(load_image(source).pixels, wanted)


def test_i20_halves_array_likes_and_paths(tmp_path):
    path = tmp_path / "red.png"
    Image.fromarray(RED).save(path)
    half = torch.from_numpy(RED).to(torch.bfloat16)
    for source in (half, Arraylike(), path, str(path)):
        assert np.array_equal(load_image(source).pixels, RED)
    for nonsense in (None, 5, [[1, 2]], object()):
        assert refusal(nonsense).code == "image-kind"
    assert refusal(np.zeros((3, 3), np.complex64)).code == "image-dtype"
    assert refusal(np.array([["a"]])).code == "image-dtype"


def test_reading_warns_once_of_each_kind_of_conversion():
    from anymask import errors

    errors._warned.discard("image-16bit")
    deep = np.arange(4, dtype=np.uint16).reshape(2, 2)
    with pytest.warns(AnymaskWarning, match="image-16bit: values 0 to 3") as caught:
        pixels = [read_image(deep), read_image(deep)]
    assert len(caught) == 1
    assert pixels[0].tolist() == pixels[1].tolist()


def test_i20_a_file_that_was_given_stays_open_and_is_read_from_its_start(tmp_path):
    path = tmp_path / "red.tif"
    Image.fromarray(RED).save(path)
    with path.open("rb") as file:
        file.read()  # as after writing, when the end is where one stands
        for _ in range(2):
            read = load_image(file)
            assert np.array_equal(read.pixels, RED)
            assert read.name == str(path)
            assert not file.closed
        file.seek(0)
        assert file.read() == path.read_bytes()
    with path.open("rb", buffering=0) as unbuffered:
        assert np.array_equal(load_image(unbuffered).pixels, RED)
        assert not unbuffered.closed


def test_i20_a_pipe_that_was_opened_is_read_to_its_end():
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file:
        with os.fdopen(writer, "wb") as end:
            end.write(PNG)
        assert np.array_equal(load_image(file).pixels, RED)


def test_files_closed_or_opened_as_text_are_named(tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(PNG)
    closed = path.open("rb")
    closed.close()
    assert refusal(closed).code == "image-locked"
    for text in (io.StringIO("hello"), path.open(errors="replace")):
        with text:
            assert "'rb'" in refusal(text).hint


def test_a_lazy_pillow_image_that_cannot_be_read_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    lazy = Image.open(io.BytesIO(encoded(Image.fromarray(noise), "PNG")[:900]))
    assert refusal(lazy).code == "image-broken"
    gone = Image.open(io.BytesIO(PNG))
    gone.close()
    assert refusal(gone).code == "image-broken"


def test_i12_nothing_to_read_is_named_at_once(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(tmp_path / "door.png"))
    cases = {
        empty: "image-empty",
        tmp_path: "image-folder",
        pipe: "image-special",
        tmp_path / "door.png": "image-special",
        Path("/dev/zero"): "image-special",
        tmp_path / "missing.jpg": "image-missing",
        empty / "below a file.jpg": "image-missing",
        "a\x00b.jpg": "image-missing",
        "x" * 5000: "image-missing",
    }
    with door:
        for path, code in cases.items():
            start = time.perf_counter()
            error = refusal(path)
            assert error.code == code
            assert error.where == str(path)
            assert time.perf_counter() - start < 1
    for nothing in (b"", io.BytesIO()):
        assert refusal(nothing).code == "image-empty"


def test_i12_a_locked_file_is_named(tmp_path, monkeypatch):
    path = tmp_path / "locked.png"
    path.write_bytes(PNG)

    def locked(*_args, **_kwargs):  # root, who may run this, is never locked out
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", locked)
    error = refusal(path)
    assert error.code == "image-locked"
    assert "Permission denied" in str(error)


OTHERS = {
    "text": b"hello, this is text\n",
    "a PDF document": b"%PDF-1.7\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "an SVG drawing": b'<?xml version="1.0"?>\n<!-- x -->\n<svg width="9" height="9"></svg>',
    "XML text": b'<?xml version="1.0"?><a/>',
    "an HTML page": b"\n<!DOCTYPE html><html></html>",
    "JSON text": b'{"a": 1}',
    "a zip archive": b"PK\x03\x04" + bytes(60),
    "a compressed file": b"\x1f\x8b\x08" + bytes(60),
    "a NumPy array": b"\x93NUMPY\x01\x00",
    "a video": b"\x00\x00\x00\x20ftypisom" + bytes(40),
    "a DICOM file": bytes(128) + b"DICM",
    "a program": b"\x7fELF" + bytes(60),
    "something unknown": bytes(range(128, 192)),
}


@pytest.fixture
def no_programs(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    for name in ("system", "popen", "fork", "posix_spawn", "execv"):
        monkeypatch.setattr(os, name, refuse)


@pytest.mark.parametrize("what", OTHERS)
def test_i13_what_is_no_picture_is_called_by_its_kind(what, no_programs, tmp_path):
    path = tmp_path / "fake.eps"
    path.write_bytes(OTHERS[what])
    for source in (OTHERS[what], path):
        error = refusal(source)
        assert error.code == "image-not"
        assert f"no picture but {what}" in str(error)


STARTS = [
    encoded(Image.fromarray(RED), kind)[:40]
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "JPEG2000", "AVIF")
] + [b"8BPS\x00\x01" + bytes(20), b"\x00\x00\x00\x18ftypheic", b""]


@settings(max_examples=120)
@given(start=st.sampled_from(STARTS), length=st.integers(0, 40), rest=st.binary(max_size=300))
@example(start=b"P6 ", length=3, rest=b"9999999999 1 255\n")
@example(start=b"II+\x00\x08\x00\x00\x00", length=8, rest=b"\xff" * 40)  # goes past any file
def test_i13_no_bytes_whatever_break_the_reader(start, length, rest):
    data = start[:length] + rest
    try:
        assert load_image(data, max_pixels=100_000).pixels.ndim == 3
    except ImageError as error:
        assert "\n" not in str(error)
    except ImportError as error:
        assert "missing-" in str(error)


@settings(max_examples=60)
@given(data=st.data(), name=st.sampled_from(sorted(p.name for p in (DATA / "images").iterdir())))
def test_i13_no_damage_to_a_real_file_breaks_the_reader(data, name):
    whole = bytearray((DATA / "images" / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        if whole:
            at = data.draw(st.integers(0, min(len(whole) - 1, 600)))
            whole[at] = data.draw(st.integers(0, 255))
    for partial in (False, True):
        try:
            load_image(bytes(whole), partial=partial, max_pixels=1_000_000)
        except (ImageError, ImportError) as error:
            assert type(error).__module__ == "anymask.errors"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/cat.jpg",
        "https://user:hunter2@example.com/cat.jpg?token=abc",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "s3://bucket/a.png",
        "data:image/png;base64,iVBORw0KGgo=",
        Path("https://example.com/a.jpg"),
    ],
)
def test_i21_an_address_is_refused_without_asking_the_network(url, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was asked")

    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    error = refusal(url)
    assert error.code == "image-url"
    assert "hunter2" not in str(error)
    assert "abc" not in str(error)


NAMES = [
    "grüße 猫.png",
    "a b\nc\td.png",
    "-rf.png",
    "'\"$(id)`.png",
    os.fsdecode(b"caf\xe9.png"),  # Latin-1 bytes: no valid UTF-8
    "e\u0301.png",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_i23_any_name_is_read_exactly_and_shown_escaped(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(PNG)
    read = load_image(path)
    assert read.name == str(path)
    assert np.array_equal(read.pixels, RED)
    path.write_bytes(PNG[:50])
    said = str(refusal(path))
    assert said.isprintable()
    said.encode("utf-8")  # no half characters
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
