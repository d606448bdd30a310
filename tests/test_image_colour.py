"""Colours: every mode and profile ends in sRGB, and nothing hidden under alpha shows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from anymask.image import load_image
from encoded_photos import codes, encoded, photo

WHITE_POINT = (0.9642, 1, 0.8249)  # D50, XYZ


def lab_to_srgb(lab):
    """CIE Lab (D50) to sRGB 0..255 by the textbook."""
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * WHITE_POINT
    to_rgb = np.linalg.inv(  # sRGB's primaries, adapted to D50
        [
            [0.4360747, 0.3850649, 0.1430804],
            [0.2225045, 0.7168786, 0.0606169],
            [0.0139322, 0.0971045, 0.7141733],
        ]
    )
    line = np.clip(xyz @ to_rgb.T, 0, 1)
    return 255 * np.where(line <= 0.0031308, 12.92 * line, 1.055 * line ** (1 / 2.4) - 0.055)


def xyz_to_lab(xyz):
    f = np.cbrt(np.asarray(xyz) / WHITE_POINT)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1
    )


def icc(kind, colours, tags):
    """The bytes of an ICC profile (version 2) of a class, a colour space and named tables."""
    index, body = len(tags).to_bytes(4, "big"), b""
    for name, data in tags.items():
        place = 128 + 4 + 12 * len(tags) + len(body)
        index += name + place.to_bytes(4, "big") + len(data).to_bytes(4, "big")
        body += data + bytes(-len(data) % 4)
    head = b"lcms\x02\x40\x00\x00" + kind + colours + bytes(12) + b"acsp" + bytes(28)
    head += xyz(WHITE_POINT)[8:] + bytes(48)
    return (128 + len(index) + len(body)).to_bytes(4, "big") + head + index + body


def xyz(values):
    """One colour as ICC writes it."""
    parts = (round(value * 65536).to_bytes(4, "big", signed=True) for value in values)
    return b"XYZ " + bytes(4) + b"".join(parts)


def cmyk_profile(lab):
    """A profile whose 16 corners (c, m, y, k in 0, 1; k fastest) have the given Lab colours."""
    table = b"mft2" + bytes(4) + bytes([4, 3, 2, 0])
    table += b"".join(int(v).to_bytes(4, "big") for v in np.eye(3).ravel() * 65536)
    table += (2).to_bytes(2, "big") * 2
    line = b"\x00\x00\xff\xff"
    nodes = (lab + np.array([0, 128, 128])) * [65280 / 100, 65280 / 255, 65280 / 255]
    table += line * 4 + nodes.round().astype(">u2").tobytes() + line * 3
    return icc(b"prtr", b"CMYKLab ", {b"wtpt": xyz(WHITE_POINT), b"A2B0": table})


def rgb_profile(primaries, gamma=2.2):
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big")
    tags = {b"wtpt": xyz(WHITE_POINT)}
    tags |= {name: xyz(p) for name, p in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return icc(b"mntr", b"RGB XYZ ", tags)


PRIMARIES = {
    "Adobe RGB": (
        (0.60974, 0.31111, 0.01947),
        (0.20528, 0.62567, 0.06087),
        (0.14919, 0.06322, 0.74457),
    ),
    "P3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
}
ADOBE = rgb_profile(PRIMARIES["Adobe RGB"])


def test_i03_lab_becomes_srgb():
    rng = np.random.default_rng(1)
    lab = np.stack([rng.uniform(30, 80, (20, 30)), *rng.uniform(-25, 25, (2, 20, 30))], -1).round()
    signed = (lab * [2.55, 1, 1]).round().astype(int) & 255  # as TIFF stores them
    picture = Image.fromarray(signed.astype(np.uint8), mode="LAB")
    read = load_image(encoded(picture, "TIFF"))
    assert np.abs(read.pixels - lab_to_srgb(lab)).mean() < 2
    assert codes(read) == {"image-colours"}


CORNERS = np.array(np.meshgrid(*[[0, 1]] * 4, indexing="ij")).reshape(4, 16).T  # (16, cmyk)


def test_i03_cmyk_goes_through_its_profile():
    rng = np.random.default_rng(2)
    lab = np.stack([rng.uniform(35, 75, 16), *rng.uniform(-20, 20, (2, 16))], -1)
    lab[0], lab[-1] = (100, 0, 0), (0, 0, 0)  # bare paper and all inks, as in every real profile
    inks = Image.fromarray((CORNERS[None] * 255).astype(np.uint8), mode="CMYK")
    read = load_image(encoded(inks, "TIFF", icc_profile=cmyk_profile(lab)))
    assert codes(read) == {"image-colours"}
    assert np.abs(read.pixels[0] - lab_to_srgb(lab)).mean() < 2


def test_i03_the_inversion_of_adobes_cmyk_and_ycck_is_undone():
    inks = np.asarray(photo().resize((32, 32)).convert("CMYK")).copy()
    inks[..., 3] = np.arange(32) * 4  # some black of its own
    rgb = (255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:]) / 255
    how = {"quality": 100, "subsampling": 0}
    plain = encoded(Image.fromarray(inks, mode="CMYK"), "JPEG", **how)
    c, m, y = inks[..., :3].astype(float).transpose(2, 0, 1)
    luma = 0.299 * c + 0.587 * m + 0.114 * y
    ycc = [luma, 128 + (y - luma) / 1.772, 128 + (c - luma) / 1.402]
    stored = np.stack([*[255 - part for part in ycc], inks[..., 3]], -1).clip(0, 255)
    ycck = encoded(Image.fromarray(stored.round().astype(np.uint8), mode="CMYK"), "JPEG", **how)
    at = ycck.index(b"Adobe") + 11
    ycck = ycck[:at] + b"\x02" + ycck[at + 1 :]  # says: these four are Y, Cb, Cr, K
    for data in (plain, ycck):
        read = load_image(data)
        assert np.abs(read.pixels - rgb).mean() < 2
        assert codes(read) == {"image-cmyk"}


@pytest.mark.parametrize("name", PRIMARIES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_i25_wide_colours_become_srgb(name, mode):
    pale = (150, 120, 110)
    plain = Image.new("RGB", (8, 8), pale)
    plain = plain.quantize(2) if mode == "P" else plain.convert(mode)
    read = load_image(encoded(plain, "PNG", icc_profile=rgb_profile(PRIMARIES[name])))
    lab = xyz_to_lab((np.array(pale) / 255) ** 2.2 @ np.array(PRIMARIES[name]))
    assert np.abs(read.pixels[0, 0] - lab_to_srgb(lab)).max() <= 2
    assert codes(read) == {"image-colours"}


def test_i25_grey_of_another_gamma_becomes_srgb():
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + (256).to_bytes(2, "big")  # linear
    grey = icc(b"mntr", b"GRAYXYZ ", {b"wtpt": xyz(WHITE_POINT), b"kTRC": curve})
    read = load_image(encoded(Image.new("L", (4, 4), 55), "PNG", icc_profile=grey))
    wanted = lab_to_srgb(xyz_to_lab(np.array(WHITE_POINT) * 55 / 255))
    assert np.abs(read.pixels[0, 0] - wanted).max() <= 2


@settings(max_examples=40)
@given(cut=st.integers(0, len(ADOBE)), junk=st.binary(max_size=40))
def test_i25_a_broken_profile_never_breaks_the_picture(cut, junk):
    data = encoded(photo((8, 8)), "PNG", icc_profile=ADOBE[:cut] + junk)
    read = load_image(data)
    assert read.pixels.shape == (8, 8, 3)
    assert codes(read) <= {"image-colours", "image-profile"}


def test_i25_srgb_under_any_name_changes_no_bit_and_a_profile_for_other_colours_is_ignored():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    whole = np.asarray(photo())
    read = load_image(encoded(photo(), "PNG", icc_profile=srgb))
    assert np.array_equal(read.pixels, whole)
    assert not read.notes
    wrong = load_image(encoded(photo(), "PNG", icc_profile=cmyk_profile(np.zeros((16, 3)))))
    assert np.array_equal(wrong.pixels, whole)
    assert codes(wrong) == {"image-profile"}


def blend(rgb, alpha, ground):
    share = np.asarray(alpha, float)[..., None] / 255
    return np.asarray(rgb) * share + np.asarray(ground) * (1 - share)


GROUNDS = [(255, 255, 255), (0, 128, 7)]


@pytest.mark.parametrize("ground", GROUNDS, ids=["white", "green"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_i07_alpha_shows_the_background_and_no_hidden_colour(mode, ground):
    rng = np.random.default_rng(3)
    rgba = rng.integers(0, 256, (20, 30, 4), np.uint8)
    rgba[:5, ..., 3] = 0
    rgba[5:9, ..., 3] = 255
    picture = Image.fromarray(rgba)
    if mode in ("LA", "La"):
        picture = picture.convert("LA")
    if mode == "PA":
        picture = picture.convert("LA")
        picture.putpalette([value for k in range(256) for value in (k, 255 - k, k // 2)])
    assert picture.mode == mode.upper()
    wanted = np.asarray(picture.convert("RGBA"))
    if mode in ("RGBa", "La"):
        picture = picture.convert(mode)
    before = picture.tobytes()
    read = load_image(picture, background=ground)
    slack = 1 if mode not in ("RGBa", "La") else 3  # premultiplied colours are coarse
    error = np.abs(read.pixels - blend(wanted[..., :3], wanted[..., 3], ground))
    assert error[wanted[..., 3] != 0].max() <= slack
    assert (read.pixels[:5] == ground).all()
    assert codes(read) == {"image-alpha"}
    assert picture.tobytes() == before


KEYED = {  # one value of a picture stands for transparent
    "grey": (Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) * 10), 50, (1, 1)),
    "black": (Image.fromarray(np.eye(4, dtype=bool)), 0, (0, 1)),
    "colour": (Image.fromarray(np.full((4, 4, 3), 9, np.uint8)), (9, 9, 9), (0, 0)),
    "palette": (Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4), mode="P"), 5, (1, 1)),
    "levels": (
        Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4), mode="P"),
        bytes([255] * 5 + [0] + [255] * 10),
        (1, 1),
    ),
}


@pytest.mark.parametrize("name", KEYED)
def test_i07_a_transparent_value_shows_the_background(name):
    picture, key, (y, x) = KEYED[name]
    if picture.mode == "P":
        picture.putpalette(bytes(range(48)))
    read = load_image(encoded(picture, "PNG", transparency=key), background=(200, 10, 30))
    assert tuple(read.pixels[y, x]) == (200, 10, 30)
    assert codes(read) == {"image-alpha"}
    if name != "colour":
        other = read.pixels[y, x - 1 if x else x]
        assert tuple(other) != (200, 10, 30) or name == "black"


def test_i07_full_alpha_is_no_conversion():
    whole = photo().convert("RGBA")
    read = load_image(encoded(whole, "PNG"))
    assert np.array_equal(read.pixels, np.asarray(whole)[..., :3])
    assert not read.notes


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "RGBX"])
def test_modes_of_images_in_memory_become_rgb(mode):
    read = load_image(photo().convert(mode))
    assert np.abs(read.pixels.astype(int) - np.asarray(photo())).mean() < 3
