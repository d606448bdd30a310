"""Small video files for tests, made by PyAV, and surgery on MP4s."""

import io
import struct
import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def moving(count: int, size: tuple[int, int] = (48, 64), *, seed: int = 0) -> list[np.ndarray]:
    """Frames that differ: a ramp, a bright square that moves, the index in the upper corner."""
    h, w = size
    y, x = np.mgrid[:h, :w]
    frames = []
    for i in range(count):
        frame = np.stack([x * 200 // w, y * 200 // h, np.full((h, w), 10 * i % 200)], -1)
        top, left = (3 * i + seed) % max(1, h - 12), (5 * i) % max(1, w - 12)
        frame[top : top + 12, left : left + 12] = 240
        frames.append(frame.astype(np.uint8))
    return frames


def video(
    frames: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    form: str = "mp4",
    pix_fmt: str = "yuv420p",
    rate: int = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    sound: bool = False,
    container_options: dict[str, str] | None = None,
) -> bytes:
    """A video file; `pts` are in units of `time_base`."""
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=form, options=container_options or {}) as out,
    ):
        stream, audio = None, None
        for i, pixels in enumerate(frames):
            if stream is None:
                stream = out.add_stream(codec, rate=rate, options=options or {})
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = pix_fmt
                stream.codec_context.time_base = time_base or Fraction(1, rate)
                stream.codec_context.thread_count = 1
                audio = out.add_stream("aac", rate=8000) if sound else None
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = i if pts is None else pts[i]
            frame.time_base = time_base or Fraction(1, rate)
            out.mux(stream.encode(frame))
        if audio is not None:
            out.mux(silence(audio))
        if stream is not None:
            out.mux(stream.encode(None))
        out.close()
        return Path(file.name).read_bytes()


def silence(stream: "av.AudioStream") -> list["av.Packet"]:
    """A second of it."""
    packets = []
    for i in range(8):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 1024 * i
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def sound_only() -> bytes:
    """An MP4 without a picture."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        out.mux(silence(out.add_stream("aac", rate=8000)))
    return file.getvalue()


def turned(data: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """An MP4 whose first track is shown turned: (a, b, c, d) of its display matrix."""
    at = data.index(b"tkhd") + 4
    at += 4 + (20 if data[at] == 0 else 32) + 16  # version; times, id and length; layer, volume
    a, b, c, d = (65536 * v for v in matrix)
    block = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return data[:at] + block + data[at + 36 :]


def media(data: bytes) -> tuple[int, int]:
    """Where the coded frames of an MP4 begin and end."""
    at = data.index(b"mdat") - 4
    return at + 8, at + struct.unpack_from(">L", data, at)[0]
