"""Colours of video files: matrix, range and depth as the file states them (row V7)."""

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pytest

from anymask.errors import VideoError
from anymask.frames import open_frames
from anymask.frames_hdr import to_srgb

KR_KB = {5: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}  # matrix, as FFmpeg counts
TO_2020 = np.linalg.inv(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)


def picture(size: tuple[int, int] = (64, 96)) -> np.ndarray:
    """All hues, smooth."""
    h, w = size
    y, x = np.mgrid[:h, :w]
    planes = (x * 255 / (w - 1), y * 255 / (h - 1), (x + y) * 255 / (h + w - 2))
    return np.rint(np.stack(planes, -1)).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


@dataclass(frozen=True)
class Coding:
    """How colours are coded in a file."""

    fmt: str = "yuv444p"
    bits: int = 8
    matrix: int = 1
    full: bool = False
    transfer: int = 1
    primaries: int = 1
    stated: bool = True


def planes_of(rgb: np.ndarray, coding: Coding) -> list[np.ndarray]:
    """Y, U and V of RGB in 0..1."""
    kr, kb = KR_KB[coding.matrix]
    r, g, b = (rgb[..., i] for i in range(3))
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / 2 / (1 - kb), (r - y) / 2 / (1 - kr)
    most, unit = 2**coding.bits - 1, 2 ** (coding.bits - 8)
    if coding.full:
        found = [y * most, u * most + 128 * unit, v * most + 128 * unit]
    else:
        found = [(16 + 219 * y) * unit, (128 + 224 * u) * unit, (128 + 224 * v) * unit]
    if "420" in coding.fmt:
        h, w = y.shape
        found[1:] = [p.reshape(h // 2, 2, w // 2, 2).mean((1, 3)) for p in found[1:]]
    kind = np.uint8 if coding.bits == 8 else np.uint16
    return [np.rint(p).clip(0, most).astype(kind) for p in found]


def coded(rgb: np.ndarray, coding: Coding, codec: str = "ffv1") -> bytes:
    """A file of one such picture; `rgb` in 0..1."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream(codec, rate=25, options={"crf": "1"} if codec != "ffv1" else {})
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = coding.fmt
        frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], coding.fmt)
        for plane, values in zip(frame.planes, planes_of(rgb, coding), strict=True):
            data = values.view(np.uint8).reshape(values.shape[0], -1)
            rows = np.zeros((values.shape[0], plane.line_size), np.uint8)
            rows[:, : data.shape[1]] = data
            plane.update(rows.tobytes()[: plane.buffer_size])
        for each in (frame, stream.codec_context) if coding.stated else ():
            each.colorspace, each.color_range = coding.matrix, 2 if coding.full else 1
            each.color_trc, each.color_primaries = coding.transfer, coding.primaries
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", KR_KB)
@pytest.mark.parametrize(
    ("fmt", "bits"), [("yuv444p", 8), ("yuv444p10le", 10), ("yuv420p", 8), ("yuv420p10le", 10)]
)
def test_v07_stated_colours_come_out_right(fmt: str, bits: int, matrix: int, full: bool):
    rgb = picture()
    coding = Coding(fmt=fmt, bits=bits, matrix=matrix, full=full)
    with open_frames(coded(rgb / 255, coding)) as frames:
        assert psnr(frames.read(0), rgb) > 40
        assert not frames.notes


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_v07_ten_bits_of_a_common_encoder_come_out_right(codec: str):
    rgb = picture()
    coding = Coding(fmt="yuv420p10le", bits=10)
    with open_frames(coded(rgb / 255, coding, codec)) as frames:
        assert psnr(frames.read(0), rgb) > 40


@pytest.mark.parametrize(("size", "matrix"), [((64, 96), 5), ((720, 96), 1), ((64, 1280), 1)])
def test_v07_unstated_colours_go_by_the_size_as_players_do(size: tuple[int, int], matrix: int):
    rgb = picture(size)
    with open_frames(coded(rgb / 255, Coding(matrix=matrix, stated=False))) as frames:
        assert psnr(frames.read(0), rgb) > 40


def light_of(rgb: np.ndarray) -> np.ndarray:
    v = rgb / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def pq(nits: np.ndarray) -> np.ndarray:
    y = (nits.clip(0) / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hlg(nits: np.ndarray) -> np.ndarray:
    """For a screen of 1000 cd/m2: the rendering undone, then the camera's curve."""
    shown = nits.clip(1e-9) / 1000
    luma = shown @ np.array([0.2627, 0.6780, 0.0593])
    scene = shown * luma[..., None] ** (1 / 1.2 - 1)
    curve = 0.17883277 * np.log((12 * scene - 0.28466892).clip(1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), curve)


@pytest.mark.parametrize(("curve", "transfer"), [(pq, 16), (hlg, 18)], ids=["PQ", "HLG"])
def test_v07_the_ordinary_part_of_hdr_looks_as_its_twin(curve, transfer: int):
    rgb = picture()
    signal = curve(203 * (light_of(rgb) @ TO_2020.T))
    coding = Coding(
        fmt="yuv444p10le", bits=10, matrix=9, transfer=transfer, primaries=9, full=False
    )
    with open_frames(coded(signal.clip(0, 1), coding)) as frames:
        assert psnr(frames.read(0), rgb) > 40
        assert [note.code for note in frames.notes] == ["video-hdr"]


def test_v07_brighter_than_white_is_white():
    signal = np.full((16, 16, 3), pq(np.array(1000.0)))
    coding = Coding(fmt="yuv444p10le", bits=10, matrix=9, transfer=16, primaries=9)
    with open_frames(coded(signal, coding)) as frames:
        assert (frames.read(0) == 255).all()


def test_v07_wide_gamut_without_hdr_comes_to_srgb():
    rgb = picture()
    light = (light_of(rgb) @ TO_2020.T).clip(0, 1)
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    coding = Coding(fmt="yuv444p10le", bits=10, matrix=9, transfer=14, primaries=9)
    with open_frames(coded(signal, coding)) as frames:
        assert psnr(frames.read(0), rgb) > 40
        assert not frames.notes


def test_v07_every_grey_of_16_bits_keeps_its_place():
    ramp = np.repeat(np.arange(65536, dtype=np.uint16).reshape(256, 256, 1), 3, 2)
    found = to_srgb(ramp, transfer=1, wide=False)
    assert np.abs(found - ramp / 257).max() < 1


def test_v07_colours_that_cannot_be_converted_are_an_error():
    data = bytearray(coded(picture() / 255, Coding(matrix=9)))
    at = data.index(b"\x55\xb1\x81\x09")  # MatrixCoefficients 9 in Matroska
    data[at + 3] = 14  # ICtCp
    with pytest.raises(VideoError, match=r"^video-colours: .*matrix 14"):
        open_frames(bytes(data))


FORMATS = [("gray", "ffv1"), ("gray10le", "ffv1"), ("bgr0", "ffv1"), ("yuv410p", "ffv1")]
FORMATS += [("yuvj420p", "mjpeg"), ("yuyv422", "rawvideo")]


@pytest.mark.parametrize(("fmt", "codec"), FORMATS)
def test_other_pixel_formats_are_read(fmt: str, codec: str):
    rgb = np.repeat(picture()[..., :1], 3, 2)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, fmt
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=fmt)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with open_frames(file.getvalue()) as frames:
        assert psnr(frames.read(0), rgb) > 35


def test_transparent_pixels_of_a_video_show_white():
    rgba = np.dstack([picture(), np.zeros((64, 96), np.uint8)])
    rgba[:32, :, 3] = 255
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "bgra"
        frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="bgra")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with open_frames(file.getvalue()) as frames:
        assert np.array_equal(frames.read(0)[:32], picture()[:32])
        assert (frames.read(0)[32:] == 255).all()
