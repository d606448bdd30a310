"""Every kind of file in the list of readers is read, whole, cut off, and by index (rows V1, V5)."""

import io
import random
import zlib

import numpy as np
import pytest
from PIL import Image

from anymask.errors import VideoError
from anymask.frames import open_frames
from videos import moving, video

KINDS = {  # format: encoder, pixel format
    "3gp": ("mpeg4", "yuv420p"),
    "asf": ("mpeg4", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "flv": ("libx264", "yuv420p"),
    "h264": ("libx264", "yuv420p"),
    "ivf": ("libvpx-vp9", "yuv420p"),
    "matroska": ("libx264", "yuv420p"),
    "mov": ("prores", "yuv422p10le"),
    "mpeg": ("mpeg2video", "yuv420p"),
    "mpeg1video": ("mpeg1video", "yuv420p"),
    "mpegts": ("libx264", "yuv420p"),
    "mxf": ("mpeg2video", "yuv420p"),
    "ogg": ("libvpx", "yuv420p"),
    "webm": ("libvpx", "yuv420p"),
    "yuv4mpegpipe": ("wrapped_avframe", "yuv420p"),
}


@pytest.mark.parametrize("form", KINDS)
def test_a_file_of_each_kind_is_read_in_full_and_by_index(form: str):
    codec, pix_fmt = KINDS[form]
    data = video(moving(20, (32, 48)), form=form, codec=codec, pix_fmt=pix_fmt)
    with open_frames(data) as frames:
        expected = [zlib.crc32(pixels) for pixels in frames]
        assert len(expected) == frames.count == 20 and frames.size == (32, 48)
        assert frames.rate == 25
        shown = np.stack(list(frames)).astype(int)
        unlike = np.abs(shown[:, None] - np.stack(moving(20, (32, 48)))[None]).mean((2, 3, 4))
        assert unlike.argmin(1).tolist() == list(range(20))
        order = random.Random(0).choices(range(20), k=10)
        assert [zlib.crc32(frames.read(i)) for i in order] == [expected[i] for i in order]


@pytest.mark.parametrize("form", KINDS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_v05_a_cut_file_of_each_kind_gives_good_frames_or_an_error_of_ours(form: str, share: float):
    codec, pix_fmt = KINDS[form]
    data = video(moving(20, (32, 48)), form=form, codec=codec, pix_fmt=pix_fmt, options={"bf": "0"})
    with open_frames(data) as frames:
        expected = [zlib.crc32(pixels) for pixels in frames]
    good: list[int] = []
    try:
        with open_frames(data[: int(share * len(data))]) as frames:
            good.extend(zlib.crc32(pixels) for pixels in frames)
    except VideoError:
        pass
    # the last frame of a stream without lengths may be half a frame, shown as far as it goes
    assert good[:-1] == expected[: max(0, len(good) - 1)]


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}


def test_v05_a_recording_in_fragments_is_read_as_far_as_it_goes():
    chance = np.random.default_rng(0)
    noise = [chance.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(40)]
    data = video(noise, options={"g": "5", "bf": "0"}, container_options=FRAGMENTED)
    with open_frames(data) as frames:
        expected = [zlib.crc32(pixels) for pixels in frames]
        assert len(expected) == frames.count == 40
        assert zlib.crc32(frames.read(7)) == expected[7]
    good = []
    with (
        open_frames(data[: int(0.55 * len(data))]) as frames,
        pytest.raises(VideoError, match=r"^video-truncated: .*frame \d+: "),
    ):
        good.extend(zlib.crc32(pixels) for pixels in frames)
    assert 10 < len(good) < 30 and good == expected[: len(good)]


def test_a_codec_whose_name_is_no_text_is_read_and_an_unknown_one_is_named():
    data = video(moving(5, (32, 48)), form="3gp", codec="mpeg4")
    with open_frames(data.replace(b"mp4v", b"mp\xe64")) as frames:
        assert frames.counted() == 5
    data = video(moving(5, (32, 48)), options={"bf": "0"})
    with pytest.raises(VideoError, match=r"^video-(codec|broken)"):
        open_frames(data.replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzZ"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("seed", range(6))
def test_v05_the_good_frames_of_a_damaged_animation_are_the_same_in_any_order(kind: str, seed: int):
    chance, file = np.random.default_rng(seed), io.BytesIO()
    pictures = [Image.fromarray(pixels) for pixels in moving(8)]
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=50)
    data = bytearray(file.getvalue())
    for at in chance.integers(len(data) // 4, len(data), 3):
        data[at] = chance.integers(0, 256)
    good: list[int] = []
    try:
        with open_frames(bytes(data)) as frames:
            try:
                good.extend(zlib.crc32(pixels) for pixels in frames)
            except VideoError as error:
                assert error.code == "video-truncated" and f"frame {len(good)}" in str(error)
            assert frames.count == len(good)
            back = [zlib.crc32(frames.read(i)) for i in reversed(range(len(good)))]
            assert back == good[::-1]
    except VideoError as error:
        assert error.code in ("video-broken", "video-not") and not good
