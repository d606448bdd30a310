"""Numbers of any depth, layout and kind of array become the same 8-bit RGB, by one stated rule."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from anymask.errors import ImageError
from anymask.image import load_image, resize
from conftest import DATA, PHOTOS
from encoded_photos import codes, encoded, refusal

GOLDEN = json.loads((DATA / "sam1_functions.json").read_text())
RED = np.zeros((5, 7, 3), np.uint8) + np.array([200, 30, 10], np.uint8)

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
pictures = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def deep_png(values, key=None):
    """A PNG of 16-bit grey, grey + alpha, RGB or RGBA, which Pillow cannot write."""
    import struct
    import zlib

    height, width, channels = values.shape
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">LLBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if key is not None:  # the transparent value
        parts.insert(1, (b"tRNS", np.asarray(key).astype(">u2").tobytes()))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))
        for name, data in parts
    )


def stretch(values, low, high):
    return np.rint(np.clip((values.astype(float) - low) / (high - low) * 255, 0, 255))


RAMPS = {  # 256 steps, none of them where 8 bits would keep it
    "whole": np.arange(256) * 257,
    "dark": np.arange(256) * 4 + 100,
    "bright": 65025 + np.arange(256) * 2,
}


@pytest.mark.parametrize("name", RAMPS)
def test_i04_a_16_bit_ramp_keeps_its_levels(name):
    ramp = np.tile(RAMPS[name].astype(np.uint16), (4, 1))
    pillow = Image.fromarray(ramp.astype(np.int32))
    big = Image.frombytes("I;16B", (256, 4), ramp.astype(">u2").tobytes())
    sources = {
        "PNG": deep_png(ramp[..., None]),
        "colour PNG": deep_png(np.stack([ramp] * 3, -1)),
        "colour PNG with alpha": deep_png(np.stack([*[ramp] * 3, np.full_like(ramp, 65535)], -1)),
        "grey PNG with alpha": deep_png(np.stack([ramp, np.full_like(ramp, 65535)], -1)),
        "TIFF": encoded(pillow.convert("I;16"), "TIFF"),
        "big-endian TIFF": encoded(big, "TIFF"),
        "PGM": b"P5 256 4 65535\n" + ramp.astype(">u2").tobytes(),
        "JPEG 2000": encoded(pillow.convert("I;16"), "JPEG2000"),
        "array": ramp,
        "Pillow I;16B": big,
        "torch": torch.from_numpy(ramp.astype(np.int32)).to(torch.uint16),
    }
    for kind, source in sources.items():
        read = load_image(source)
        assert read.pixels.shape == (4, 256, 3), kind
        assert np.array_equal(read.pixels[0, :, 0], np.arange(256)), kind
        assert codes(read) == {"image-16bit"}, kind


def test_i04_colours_of_16_bits_are_stretched_jointly():
    values = np.random.default_rng(4).integers(300, 4096, (30, 40, 3)).astype(np.uint16)
    wanted = stretch(values, values.min(), values.max())
    import cv2

    tiff = cv2.imencode(".tiff", np.ascontiguousarray(values[..., ::-1]))[1].tobytes()
    for source in (values, deep_png(values), tiff):
        assert np.array_equal(load_image(source).pixels, wanted)


@pytest.mark.parametrize("channels", [1, 3])
def test_i07_a_transparent_value_of_16_bits_shows_the_background(channels):
    values = (np.arange(12 * channels) * 1000).reshape(3, 4, channels)
    read = load_image(deep_png(values, key=values[1, 2]), background=(1, 2, 3))
    assert tuple(read.pixels[1, 2]) == (1, 2, 3)
    wanted = stretch(values, values.min(), values.max())
    wanted = np.broadcast_to(wanted, read.pixels.shape).copy()
    wanted[1, 2] = (1, 2, 3)
    assert np.array_equal(read.pixels, wanted)


def test_i04_a_range_overrides_and_clips():
    ramp = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    for source in (ramp, deep_png(ramp[..., None])):
        read = load_image(source, range=(100, 355))
        assert np.array_equal(read.pixels[..., 1], np.clip(ramp.astype(int) - 100, 0, 255))
        assert read.notes[0].text == "values 100 to 355 became 0 to 255; range= sets others"


@pytest.mark.parametrize(("value", "shown"), [(0, 0), (257, 1), (65535, 255)])
def test_i04_a_flat_16_bit_picture_is_divided_by_257(value, shown):
    assert (load_image(np.full((3, 4), value, np.uint16)).pixels == shown).all()


def test_i04_white_is_zero_is_turned_round():
    ramp = np.tile(RAMPS["whole"].astype(np.uint16), (4, 1))
    data = encoded(Image.fromarray(ramp.astype(np.int32)).convert("I;16"), "TIFF",
                   tiffinfo={262: 0})  # fmt: skip
    assert np.array_equal(load_image(data).pixels[0, :, 0], np.arange(256)[::-1])


@given(values=arrays.arrays(np.uint16, shapes))
def test_i04_the_whole_picture_is_stretched(values):
    if values.min() < values.max():
        wanted = stretch(values, values.min(), values.max())
        assert np.array_equal(load_image(values).pixels[..., 2], wanted)


floats = st.sampled_from([np.float16, np.float32, np.float64])


@given(data=st.data(), kind=floats, top=st.sampled_from([1, 255, 6e4]), down=st.booleans())
def test_i05_floats_are_read_by_the_range_they_lie_in(data, kind, top, down):
    low = -top if down else 0
    numbers = st.floats(low, top, width=np.finfo(kind).bits)
    values = data.draw(arrays.arrays(kind, shapes, elements=numbers))
    least, most = float(values.min()), float(values.max())
    read = load_image(values)
    if least >= 0 and most <= 1:
        wanted = np.rint(values.astype(float) * 255)
    elif least >= 0 and most <= 255:
        wanted = np.rint(values.astype(float))
    elif least == most:
        wanted = np.clip(np.rint(values.astype(float)), 0, 255)
    else:
        wanted = stretch(values, least, most)
    assert np.abs(read.pixels[..., 0] - wanted).max() <= 1  # halves may round either way
    assert codes(read) == {"image-float"}


def test_i05_zero_half_and_one_are_black_grey_and_white():
    values = np.array([[0, 0.5, 1]], np.float32)
    tiff = encoded(Image.fromarray(values), "TIFF")
    for source in (values, values.astype(np.float64), tiff, Image.fromarray(values)):
        assert load_image(source).pixels[0, :, 0].tolist() == [0, 128, 255]


def test_i05_the_ends_of_float64_are_stretched_too():
    ends = np.finfo(np.float64)
    values = np.array([[ends.min, 0, ends.max], [-1, 1, 0]])
    assert load_image(values).pixels[0, :, 0].tolist() == [0, 128, 255]
    tiny = np.array([[0, 5e-324, 300]])
    assert load_image(tiny).pixels[0, :, 0].tolist() == [0, 0, 255]
    assert refusal(np.full((2, 2), np.longdouble("1e4000"))).code == "image-not-finite"


@given(values=arrays.arrays(st.sampled_from([np.int8, np.int16, np.int32, np.int64, np.uint32,
                                             np.uint64]), shapes))  # fmt: skip
def test_wider_integers_stay_in_0_to_255_and_are_stretched_beyond(values):
    least, most = int(values.min()), int(values.max())
    read = load_image(values)
    if least >= 0 and most <= 255 and values.dtype != np.int16:
        assert np.array_equal(read.pixels[..., 0], values)
        assert not read.notes
    elif least < most:
        assert np.abs(read.pixels[..., 0] - stretch(values, least, most)).max() <= 1
        assert codes(read) == {"image-16bit"}


@given(
    values=arrays.arrays(np.float32, shapes, elements=st.floats(0, 1, width=32)),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    data=st.data(),
)
@settings(max_examples=25)
def test_i06_nan_and_infinity_are_counted_and_placed(values, bad, data):
    height, width = values.shape
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    values[y, x] = values[-1, -1] = bad
    count = 1 + ((y, x) != (height - 1, width - 1))
    for source in (values, Image.fromarray(values), torch.from_numpy(values)):
        error = refusal(source)
        assert error.code == "image-not-finite"
        assert f"{count} values are NaN or infinite, the first at index ({y}, {x})" in str(error)


def test_i06_the_index_is_one_of_the_array_as_it_was_given():
    values = np.zeros((3, 4, 5))
    values[1, 2, 3] = np.nan
    assert "index (1, 2, 3)" in str(refusal(values, layout="chw"))
    assert "index (1, 2, 3)" in str(refusal(values, bands=(3, 0, 1)))


def test_i06_pixels_of_a_file_without_a_value_are_holes_in_the_picture():
    values = np.arange(12, dtype=np.float32).reshape(3, 4) * 100
    values[1, 2], values[0, 0] = np.nan, -9999
    tiff = encoded(Image.fromarray(values), "TIFF", tiffinfo={42113: "-9999"})
    read = load_image(tiff, background=(255, 0, 0))
    assert tuple(read.pixels[1, 2]) == tuple(read.pixels[0, 0]) == (255, 0, 0)
    assert np.array_equal(read.pixels[2, :, 1], stretch(values[2], 100, 1100))
    assert codes(read) == {"image-float", "image-holes"}
    assert "2 pixels without a value, the first at (0, 0)" in str(read.notes)
    nothing = encoded(Image.fromarray(np.full((3, 4), np.nan, np.float32)), "TIFF")
    assert (load_image(nothing).pixels == 255).all()


@given(data=st.data(), shape=st.lists(st.integers(0, 6), max_size=5))
def test_i08_a_shape_is_a_picture_or_is_named(data, shape):
    values = data.draw(arrays.arrays(np.uint8, tuple(shape)))
    usable = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    if usable and 0 not in shape:
        assert load_image(values).pixels.shape == (*shape[:2], 3)
    elif usable:
        assert refusal(values).code == "image-empty"
    else:
        error = refusal(values)
        assert error.code in ("image-shape", "image-bands", "image-layout")
        assert str(tuple(shape)) in str(error)


@pytest.mark.parametrize("count", [2, 5, 13])
def test_i08_other_counts_of_channels_ask_for_bands(count):
    values = np.random.default_rng(5).integers(0, 256, (6, 7, count), np.uint8)
    assert "bands=(red, green, blue)" in str(refusal(values))
    chosen = load_image(values, bands=(1, 0, 1)).pixels
    assert np.array_equal(chosen, values[..., [1, 0, 1]])
    assert np.array_equal(load_image(values, bands=(1,)).pixels[..., 2], values[..., 1])
    assert refusal(values, bands=(0, 1, count)).code == "image-bands"


def test_i08_grey_and_bits_become_three_channels_and_bands_choose_in_files_too():
    grey = np.arange(30, dtype=np.uint8).reshape(5, 6)
    bits = grey % 3 == 0
    for source in (grey, grey[..., None], encoded(Image.fromarray(grey), "PNG")):
        assert np.array_equal(load_image(source).pixels, np.stack([grey] * 3, -1))
    for source in (bits, encoded(Image.fromarray(bits), "TIFF")):
        assert np.array_equal(load_image(source).pixels[..., 0], bits * 255)
    file = encoded(Image.fromarray(RED), "PNG")
    assert np.array_equal(load_image(file, bands=(2, 1, 0)).pixels, RED[..., ::-1])


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
@settings(max_examples=25)
def test_i16_every_size_keeps_its_shape(size):
    values = np.full((*size, 3), 7, np.uint8)
    for kind in ("PNG", "JPEG", "BMP"):
        assert load_image(encoded(Image.fromarray(values), kind)).pixels.shape == (*size, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_i16_no_side_is_lost_at_the_extremes(size):
    values = np.random.default_rng(6).integers(0, 256, (*size, 3), np.uint8)
    read = load_image(encoded(Image.fromarray(values), "PNG")).pixels
    assert np.array_equal(read, values)
    assert resize(read, (3, 4)).shape == (3, 4, 3)
    assert refusal_of_size(read).code == "image-size"


def refusal_of_size(pixels):
    with pytest.raises(ImageError) as caught:
        resize(pixels, (0, 4))
    return caught.value


def test_i18_channels_first_is_asked_for_and_never_guessed():
    first = np.ascontiguousarray(RED.transpose(2, 0, 1))
    error = refusal(first)
    assert error.code == "image-layout"
    assert "transpose" in error.hint
    assert "layout='chw'" in error.hint
    assert np.array_equal(load_image(first, layout="chw").pixels, RED)
    assert np.array_equal(load_image(torch.from_numpy(first), layout="chw").pixels, RED)


def test_i18_red_stays_red_and_bgr_is_only_what_is_said_to_be():
    clear = np.dstack([RED, np.full((5, 7), 255, np.uint8)])
    for source in (RED, clear, encoded(Image.fromarray(RED), "PNG"), Image.fromarray(RED)):
        assert tuple(load_image(source).pixels[0, 0]) == (200, 30, 10)
    assert tuple(load_image(RED, layout="bgr").pixels[0, 0]) == (10, 30, 200)
    assert tuple(load_image(clear, layout="bgr").pixels[0, 0]) == (10, 30, 200)
    assert refusal(encoded(Image.fromarray(RED), "PNG"), layout="bgr").code == "image-option"


@given(values=pictures, data=st.data())
@settings(max_examples=25)
def test_i19_any_memory_order_gives_the_bits_of_a_contiguous_copy(values, data):
    step = st.sampled_from([1, 2, -1, -2])
    rows, columns = data.draw(step), data.draw(step)
    view = values[::rows, ::columns]
    before = values.copy()
    wanted = load_image(np.ascontiguousarray(view)).pixels
    frozen = view.copy()
    frozen.flags.writeable = False
    fortran = np.asfortranarray(view)
    for source in (view, frozen, fortran, view.astype(">u4"), view.astype("<i8")):
        read = load_image(source).pixels
        assert np.array_equal(read, wanted)
        assert read.flags.c_contiguous
        assert read.flags.writeable
        assert not np.shares_memory(read, source)
    assert np.array_equal(values, before)


def test_i19_byte_order_and_memory_maps_change_nothing(tmp_path):
    values = np.random.default_rng(7).integers(0, 60_000, (20, 30, 3)).astype(np.uint16)
    wanted = load_image(values).pixels
    assert np.array_equal(load_image(values.astype(">u2")).pixels, wanted)
    floating = load_image(values.astype(np.float32)).pixels
    assert np.array_equal(load_image(values.astype(">f4")).pixels, floating)
    mapped = np.memmap(tmp_path / "values", np.uint16, "w+", shape=values.shape)
    mapped[:] = values
    assert np.array_equal(load_image(mapped).pixels, wanted)


BAD_OPTIONS = {
    "frame": -1,
    "background": (0, 0, 256),
    "range": (5, 5),
    "bands": (0, 1),
    "layout": "hwc",
    "max_pixels": 0,
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_an_option_that_makes_no_sense_is_named_before_anything_is_read(name):
    error = refusal("no such file", **{name: BAD_OPTIONS[name]})
    assert error.code == "image-option"
    assert error.where == name
    assert refusal(RED, frame=1).code == "image-option"


@pytest.mark.parametrize("case", GOLDEN["apply_image"], ids=lambda case: str(case["hw"]))
def test_resize_is_sams_to_the_last_bit(case):
    height, width = case["hw"]
    y, x, c = np.ogrid[:height, :width, :3]
    pixels = ((37 * y + 91 * x + 53 * c + 7 * x * y) % 256).astype(np.uint8)
    wanted = np.array(case["output"], np.uint8)
    before = pixels.copy()
    assert np.array_equal(resize(pixels, wanted.shape[:2]), wanted)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("case", GOLDEN["resize_longest_side"], ids=lambda case: str(case["hw"]))
def test_resize_reaches_the_shapes_that_sam_asks_for(case):
    pixels = np.zeros((*case["hw"], 3), np.uint8)
    for key in ("preprocess_shape", "preprocess_shape_512"):
        small = resize(pixels, tuple(case[key]))
        assert small.shape == (*case[key], 3)
        assert small.flags.writeable


def test_a_palette_photo_is_read_as_its_colours():
    truck = PHOTOS / "truck.png"
    with Image.open(truck) as picture:
        assert np.array_equal(load_image(truck).pixels, np.asarray(picture.convert("RGB")))
