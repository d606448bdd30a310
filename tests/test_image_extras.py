"""Kinds of files that ask for an extra or a whole Pillow: HEIC, AVIF, WebP, raw (row I22)."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from anymask.errors import ImageError, MissingExtraError
from anymask.image import load_image
from conftest import DATA
from encoded_photos import codes, encoded, photo


def test_i22_heic_without_its_extra_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    path = DATA / "images" / "RGB_8__128x128.heif"
    with pytest.raises(MissingExtraError, match="anymask\\[heic\\]") as caught:
        load_image(path)
    assert isinstance(caught.value, ImportError)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["AVIF", "WEBP"])
def test_i22_a_pillow_without_avif_or_webp_says_so(kind, monkeypatch):
    data = encoded(photo(), kind)
    plugin = __import__(f"PIL.{'Avif' if kind == 'AVIF' else 'WebP'}ImagePlugin", fromlist=["x"])
    monkeypatch.setattr(plugin, "SUPPORTED", False)
    with pytest.raises(MissingExtraError, match=f"missing-{kind.lower()}"):
        load_image(data)


def raw_photo(version=False):
    """A TIFF whose first picture is a thumbnail, as Nikon and Adobe begin their raw files."""
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0xFE] = 1
    tags[0x14A] = 8
    tags.tagtype[0x14A] = 4
    if version:
        tags[0xC612] = b"\x01\x04\x00\x00"
        tags.tagtype[0xC612] = 1
    return encoded(photo((16, 12)), "TIFF", tiffinfo=tags)


def raw_files(folder):
    """Raw files as content or name tells: Nikon's and Adobe's way, a renamed TIFF, Canon's."""
    renamed = folder / "a.NEF"
    renamed.write_bytes(encoded(photo(), "TIFF"))
    canon = b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(600)
    sensor = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x06\x00\x03\x00\x00\x00\x01\x80\x23" + bytes(6)
    return raw_photo(), raw_photo(version=True), renamed, canon, sensor


def test_i22_a_raw_file_without_its_extra_is_never_taken_for_its_thumbnail(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)  # as if it were not installed
    for source in raw_files(tmp_path):
        with pytest.raises(MissingExtraError, match=r"missing-raw.*anymask\[raw\]"):
            load_image(source)


class Developer:
    """Stands for what rawpy gives: a raw file of 6x9 pixels that comes out red."""

    sizes = SimpleNamespace(height=6, width=9)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def postprocess(self, use_camera_wb):
        assert use_camera_wb
        return np.full((6, 9, 3), (255, 0, 0), np.uint8)


def test_i22_a_raw_file_is_developed_within_the_limit(tmp_path, monkeypatch):
    fake = SimpleNamespace(imread=lambda _file: Developer())
    monkeypatch.setitem(sys.modules, "rawpy", fake)
    for source in raw_files(tmp_path):
        read = load_image(source)
        assert (read.pixels == (255, 0, 0)).all()
        assert codes(read) == {"image-raw"}
        with pytest.raises(ImageError, match="claims 9x6"):
            load_image(source, max_pixels=53)
    monkeypatch.setattr(fake, "imread", lambda _file: 1 / 0)
    with pytest.raises(ImageError, match="image-broken"):
        load_image(raw_photo())
