"""Files that people meet, upright and in RGB or refused with one clear line."""

import io
import json

import numpy as np
import pillow_heif
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from anymask.errors import ImageError
from anymask.image import load_image
from conftest import DATA, SHARED
from encoded_photos import codes, encoded, photo

FOLDERS = [DATA / "images", *([SHARED / "data" / "bad"] if SHARED else [])]
ROWS = [
    pytest.param(folder / row["file"], row, id=f"{folder.name}/{row['file']}")
    for folder in FOLDERS
    for row in json.loads((folder / "expected.json").read_text())
]
CODES = {  # a reason as the table says it -> codes that say the same
    "cut off": {"image-truncated"},
    "damaged": {"image-broken", "image-truncated"},
    "larger than the pixel limit": {"image-too-large"},
    "hostile": {"image-broken"},
    "is empty": {"image-empty"},
    "not an image": {"image-not"},
}
WHITE = np.array([255, 255, 255])
DECODERS = 4  # levels by which decoders differ


def opened(path):
    """As Pillow has it, frame 0."""
    file = io.BytesIO(path.read_bytes())
    if path.suffix not in (".heif", ".heic"):
        return Image.open(file)
    picture = pillow_heif.HeifImageFile(file)
    picture.seek(0)
    return picture


def stated_rgb(path, row):
    """What the table says of the first pixel: its colour, in sRGB, on white."""
    picture = opened(path)
    alpha = ImageOps.exif_transpose(picture).convert("RGBA").getpixel((0, 0))[3] / 255
    rgb = np.array(row["rgb"])
    if "icc" in row:  # the table holds the file's own colours
        pixel = Image.new("RGB", (1, 1), tuple(row["rgb"]))
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        changed = ImageCms.profileToProfile(pixel, profile, ImageCms.createProfile("sRGB"))
        rgb = np.array(changed.getpixel((0, 0)))
    return rgb * alpha + WHITE * (1 - alpha)


def stretched(path, row):
    """What the table says of the first value, stretched as the picture's values ask for."""
    picture = opened(path)
    values = np.asarray(picture).astype(float)
    key, tags = picture.info.get("transparency"), getattr(picture, "tag_v2", {})
    empty = ~np.isfinite(values) | (values == key)
    if 42113 in tags:
        empty |= values == np.float32(tags[42113])
    if empty[0, 0]:
        return WHITE
    low, high, value = values[~empty].min(), values[~empty].max(), row["pixel"]
    if row["mode"] == "F" and low >= 0 and high <= 255:
        low, high = 0, 1 if high <= 1 else 255
    return np.full(3, 255 * (value - low) / (high - low))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of the reference that the test opens
@pytest.mark.parametrize(("path", "row"), ROWS)
def test_every_file_of_the_table_is_read_or_refused_as_it_says(path, row):
    if row["do"] == "refuse":
        with pytest.raises(ImageError) as caught:
            load_image(path)
        said = str(caught.value)
        assert str(path) in said
        assert "\n" not in said
        wanted = next(found for words, found in CODES.items() if words in row["reason"])
        assert caught.value.code in wanted
        return
    try:
        picture = load_image(path)
    except ImageError:
        assert row["do"] == "either"
        return
    width, height = row["size"]
    assert picture.pixels.shape == (height, width, 3)
    assert picture.pixels.dtype == np.uint8
    wanted = stated_rgb(path, row) if "rgb" in row else stretched(path, row)
    assert np.abs(picture.pixels[0, 0] - wanted).max() <= DECODERS
    assert ("image-frames" in codes(picture)) == (row["frames"] > 1)
    assert picture.name == str(path)


LOSSLESS = {
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
}


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("value", range(1, 9))
def test_i01_all_eight_orientations_are_upright(kind, value):
    upright = photo()
    undo = {  # how the stored picture is made of the upright one
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[value]) if value > 1 else upright
    tags = Image.Exif()
    tags[0x0112] = value
    read = load_image(encoded(stored, kind, exif=tags, **LOSSLESS[kind]))
    assert np.array_equal(read.pixels, np.asarray(upright))
    assert not read.notes


def test_i01_a_tall_and_a_wide_picture_of_many_bands_are_upright():
    tall = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9000, 40, 3), np.uint8))
    tags = Image.Exif()
    tags[0x0112] = 6
    for picture in (tall, tall.transpose(Image.Transpose.TRANSPOSE)):
        stored = picture.transpose(Image.Transpose.ROTATE_90)
        read = load_image(encoded(stored, "PNG", exif=tags, compress_level=1)).pixels
        assert np.array_equal(read, np.asarray(picture))


def with_exif(blob, kind="JPEG"):
    return encoded(photo((24, 16)), kind, exif=b"Exif\x00\x00" + blob)


PLAIN = load_image(encoded(photo((24, 16)), "JPEG")).pixels


@settings(max_examples=25)
@given(blob=st.binary(max_size=200), kind=st.sampled_from(["PNG", "WEBP"]))
def test_i02_broken_exif_is_ignored_in_other_formats(blob, kind):
    whole = load_image(encoded(photo((24, 16)), kind)).pixels
    assert np.array_equal(load_image(with_exif(blob, kind)).pixels, whole)


def test_i02_xmp_of_a_wrong_type_is_ignored():
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700] = 8
    tags.tagtype[700] = 4
    read = load_image(encoded(photo((24, 16)), "TIFF", tiffinfo=tags))
    assert np.array_equal(read.pixels, np.asarray(photo((24, 16))))
    assert codes(read) == {"image-exif"}


@settings(max_examples=50)
@given(blob=st.binary(max_size=200))
@example(blob=b"II*\x00\xff\xff\xff\xff")
@example(blob=b"MM\x00*\x00\x00\x00\x08\xff\xff")
@example(blob=b"")
def test_i02_broken_exif_is_ignored(blob):
    read = load_image(with_exif(blob))
    assert np.array_equal(read.pixels, PLAIN)
    known = blob[:2] in (b"II", b"MM") or not blob
    assert known or codes(read) == {"image-exif"}


ODD = {  # type, count, value as 4 bytes
    "zero": (3, 1, b"\x00\x00\x00\x00"),
    "nine": (3, 1, b"\x09\x00\x00\x00"),
    "text": (2, 4, b"6\x00\x00\x00"),
    "two numbers": (3, 2, b"\x06\x00\x06\x00"),
}


@pytest.mark.parametrize("name", ODD)
def test_i02_an_orientation_that_makes_no_sense_is_ignored_and_noted(name):
    kind, count, value = ODD[name]
    entry = (0x0112).to_bytes(2, "little") + bytes([kind, 0]) + count.to_bytes(4, "little")
    blob = b"II*\x00\x08\x00\x00\x00\x01\x00" + entry + value + bytes(4)
    read = load_image(with_exif(blob))
    assert np.array_equal(read.pixels, PLAIN)
    assert codes(read) == {"image-exif"}


def frames(count=3, size=(12, 8)):
    return [Image.new("RGB", size, (80 * k, 10, 200 - 60 * k)) for k in range(count)]


SEVERAL = {
    "GIF": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "PNG": {},
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_i09_frame_0_is_taken_and_noted_and_others_can_be_chosen(kind):
    first, *rest = frames()
    data = encoded(first, kind, save_all=True, append_images=rest, **SEVERAL[kind])
    read = load_image(data)
    assert np.array_equal(read.pixels, np.asarray(first))
    assert codes(read) == {"image-frames"}
    assert "frame 0 of 3" in read.notes[0].text
    chosen = load_image(data, frame=2)
    assert np.abs(chosen.pixels.astype(int) - np.asarray(rest[1])).max() <= 2
    assert not chosen.notes
    with pytest.raises(ImageError, match=r"image-frame: there are frames 0 to 2: 3") as caught:
        load_image(data, frame=3)
    assert caught.value.given == 3


CUT = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "WEBP": {},
    "TIFF": {},
    "BMP": {},
    "GIF": {},
    "PPM": {},
    "JPEG2000": {},
    "AVIF": {},
    "HEIF": {},
    "ICO": {"sizes": [(64, 64)]},
}


def cut_files():
    for kind, how in CUT.items():
        if kind == "HEIF":
            file = io.BytesIO()
            pillow_heif.from_pillow(photo()).save(file)
            yield kind, file.getvalue()
        else:
            yield kind, encoded(photo(), kind, **how)
    yield "progressive JPEG", encoded(photo(), "JPEG", progressive=True)
    yield "LZW TIFF", encoded(photo(), "TIFF", compression="tiff_lzw")


@pytest.mark.parametrize(("kind", "data"), [pytest.param(*c, id=c[0]) for c in cut_files()])
def test_i10_a_file_cut_anywhere_is_refused_with_its_length_or_is_whole(kind, data):
    whole = load_image(data).pixels
    for length in np.linspace(1, len(data) - 1, 20).astype(int):
        try:
            read = load_image(data[:length])
        except ImageError as error:
            if length >= 64:
                assert error.code == "image-truncated", length
                assert f"after {length} bytes" in str(error)
        else:
            assert np.array_equal(read.pixels, whole)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "PPM", "TIFF"])
def test_i10_partial_shows_the_upper_part_of_a_cut_file(kind):
    data = encoded(photo((96, 640)), kind)
    whole = load_image(data).pixels
    cut = data[: len(data) * 3 // 4]
    with pytest.raises(ImageError, match="partial=True"):
        load_image(cut)
    read = load_image(cut, partial=True)
    assert read.pixels.shape == whole.shape
    assert codes(read) == {"image-partial"}
    rows = slice(-160, None) if kind == "BMP" else slice(0, 160)  # BMP goes from the bottom up
    assert np.array_equal(read.pixels[rows], whole[rows])


def test_i10_a_turned_tiff_is_upright_in_part_too():
    turned = photo((64, 96))
    whole = encoded(turned.transpose(Image.Transpose.ROTATE_90), "TIFF", tiffinfo={0x0112: 6})
    assert np.array_equal(load_image(whole).pixels, np.asarray(turned))
    read = load_image(whole[: -len(whole) // 4], partial=True)
    assert read.pixels.shape == (96, 64, 3)
    assert codes(read) == {"image-partial"}
    assert np.array_equal(read.pixels[:, 20:], np.asarray(turned)[:, 20:])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM"])
def test_i11_bytes_after_the_end_change_nothing(kind):
    data = encoded(photo(), kind)
    read = load_image(data + bytes(range(256)) * 16)
    assert np.array_equal(read.pixels, load_image(data).pixels)
    assert not read.notes


def test_i14_content_decides_and_a_wrong_name_is_noted(tmp_path):
    files = dict(cut_files())
    names = {
        "JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp", "GIF": "gif",
        "PPM": "ppm", "JPEG2000": "jp2", "AVIF": "avif", "HEIF": "heic", "ICO": "ico",
    }  # fmt: skip
    for kind in names:
        whole = load_image(files[kind]).pixels
        for other, suffix in [*names.items(), (kind, "dat"), (kind, "JPEG.bak")]:
            path = tmp_path / f"{kind}.{suffix}"
            path.write_bytes(files[kind])
            read = load_image(path)
            assert np.array_equal(read.pixels, whole)
            assert codes(read) == (set() if kind == other else {"image-suffix"}), path
