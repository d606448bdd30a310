"""Video files: every frame by its index, exactly (rows V1 to V6, V8, V10, V12, V15)."""

import random
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from anymask.errors import VideoError
from anymask.frames import open_frames
from conftest import SHARED
from videos import media, moving, sound_only, turned, video

FILES = sorted((SHARED / "data/video/files").glob("*")) if SHARED else []
COUNTS = {  # decoded by ffmpeg
    "cockatoo_yuv444.mp4": 280,
    "coffee.mp4": 287,
    "newtonscradle.gif": 36,
    "people_vfr_audio.mp4": 149,
    "realshort_rot90.mp4": 36,
}


def sums(frames) -> list[int]:
    return [zlib.crc32(pixels) for pixels in frames]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_v01_real_files_give_the_same_frames_one_by_one_and_by_index(path: Path):
    with open_frames(path, stop=16) as frames:
        expected = sums(frames)
        order = random.Random(0).sample(range(len(expected)), 6)
        assert [zlib.crc32(frames.read(i)) for i in order] == [expected[i] for i in order]
    with open_frames(path, stop=16, threads=2) as frames:
        assert sums(frames) == expected


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_v01_v03_whole_real_files_forwards_backwards_and_at_random(path: Path):
    with open_frames(path) as frames:
        expected = sums(frames)
        assert frames.count == len(expected) == COUNTS[path.name]
        backwards = [zlib.crc32(frames.read(i)) for i in reversed(range(len(expected)))]
        assert backwards == expected[::-1]
        order = random.Random(0).sample(range(len(expected)), 20)
        assert [zlib.crc32(frames.read(i)) for i in order] == [expected[i] for i in order]


def test_v01_times_of_a_variable_rate_are_kept_and_no_frame_is_dropped_or_doubled():
    pts = [0, 20, 40, 61, 80, 120, 121, 200]
    data = video(moving(8), pts=pts, time_base=Fraction(1, 600))
    with open_frames(data) as frames:
        found = [frames.facts(i) for i in range(frames.counted())]
        base = frames.time_base
        assert base is not None
        assert [fact.pts * base for fact in found] == [Fraction(p, 600) for p in pts]
        assert len(set(sums(frames))) == 8


@pytest.mark.parametrize("options", [{"bf": "3"}, {"bf": "2", "x264-params": "open-gop=1"}, {}])
def test_v01_any_frame_of_a_stream_with_reordering_is_exact(options: dict[str, str]):
    data = video(moving(60), options={"g": "12", **options})
    with open_frames(data) as frames:
        expected = sums(frames)
        assert len(expected) == 60
        for i in random.Random(1).choices(range(60), k=60):
            assert zlib.crc32(frames.read(i)) == expected[i], i
        assert not frames.notes
    with open_frames(data) as frames:  # not read before: far ahead, then back
        assert [zlib.crc32(frames.read(i)) for i in (47, 3, 59, 0)] == [
            expected[i] for i in (47, 3, 59, 0)
        ]


def test_v01_key_frames_that_need_earlier_ones_are_noticed_and_frames_stay_exact():
    data = video(moving(60, (96, 128)), options={"g": "12", "x264-params": "intra-refresh=1"})
    with open_frames(data) as frames:
        expected = sums(frames)
        for i in random.Random(1).choices(range(60), k=20):
            assert zlib.crc32(frames.read(i)) == expected[i], i


MATRICES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@pytest.mark.parametrize("angle", MATRICES)
def test_v02_a_turned_video_is_upright(angle: int):
    data = video(moving(3), options={"crf": "10"})
    with open_frames(data) as frames:
        plain = frames.read(1)
    with open_frames(turned(data, MATRICES[angle])) as frames:
        # an angle of 90 is a quarter clockwise, as `rotate` of a phone's file says
        assert np.array_equal(frames.read(1), np.rot90(plain, -angle // 90))
        assert frames.size == frames.read(1).shape[:2]


def test_v02_a_mirrored_video_is_shown_as_its_matrix_says():
    data = video(moving(3))
    with open_frames(data) as frames, open_frames(turned(data, (-1, 0, 0, 1))) as mirrored:
        assert np.array_equal(mirrored.read(1), frames.read(1)[:, ::-1])


def test_v03_frames_are_counted_by_decoding_whatever_the_file_says():
    data = bytearray(video(moving(30), form="avi", codec="mpeg4"))
    data[48:52] = (999).to_bytes(4, "little")  # frames in the main header
    at = data.index(b"strh")
    data[at + 40 : at + 44] = (999).to_bytes(4, "little")
    with open_frames(bytes(data)) as frames:
        assert frames.count is None and frames.expected == 999
        assert frames.counted() == frames.count == 30
        with pytest.raises(VideoError, match=r"^frame-missing: there are 30 frames: 30"):
            frames.read(30)


def noisy(count: int) -> list[np.ndarray]:
    """Frames that take some bytes each."""
    chance = np.random.default_rng(0)
    return [chance.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(count)]


def flipped(data: bytes, count: int, *, after: int = 2000) -> bytes:
    """With so many damaged bytes in the coded frames."""
    start, end = media(data)
    chance, out = random.Random(0), bytearray(data)
    for _ in range(count):
        out[chance.randrange(start + after, end)] ^= 0xFF
    return bytes(out)


def test_v04_damaged_frames_are_flagged_and_the_others_go_on():
    frames_in = moving(120, (96, 128))
    data = flipped(video(frames_in, options={"g": "4", "bf": "0"}), 3)
    with open_frames(data) as frames:
        expected = sums(frames)
        flags = [frames.facts(i).corrupt for i in range(len(expected))]
        assert len(expected) + (frames.notes[0].text.count("missing")) >= 118
        assert [note.code for note in frames.notes] == ["frame-damaged"]
        assert 1 <= sum(flags) <= 12
        # with a key frame every 4 frames what is damaged is soon over, and the others are exact
        near = {i + k for i, flag in enumerate(flags) if flag for k in range(-4, 5)}
        others = [i for i in range(len(expected)) if i not in near]
        assert len(others) > 60
        assert all(zlib.crc32(frames.read(i)) == expected[i] for i in others[::-1])


def test_v04_a_video_of_which_more_than_a_tenth_is_damaged_is_refused():
    data = flipped(video(moving(60, (96, 128)), options={"g": "60"}), 40, after=100)
    with pytest.raises(VideoError, match=r"^video-damaged: "), open_frames(data) as frames:
        sums(frames)


@pytest.mark.parametrize("share", [0.35, 0.6, 0.95])
@pytest.mark.parametrize("form", ["mp4", "matroska", "avi"])
def test_v05_a_truncated_file_gives_its_good_frames_then_an_error_with_the_index(
    form: str, share: float, tmp_path: Path
):
    options = {"movflags": "faststart"} if form == "mp4" else {}
    path = tmp_path / "whole"
    whole = video(noisy(60), form=form, container_options=options, codec="mpeg4")
    with open_frames(whole) as frames:
        expected = sums(frames)
    path.write_bytes(whole[: int(share * len(whole))])
    good: list[int] = []
    with open_frames(path) as frames:
        with pytest.raises(VideoError) as caught:
            for pixels in frames:
                good.append(zlib.crc32(pixels))
        assert caught.value.code == "video-truncated"
        assert f"frame {len(good)}" in str(caught.value)
        assert 0.1 * 60 < len(good) < 60
        assert good == expected[: len(good)]
        assert zlib.crc32(frames.read(3)) == expected[3]  # those before stay readable


def test_v05_a_recording_without_its_table_is_named(tmp_path: Path):
    data = video(moving(20))  # the table comes last
    with pytest.raises(VideoError, match=r"^video-unfinished: .*a\.mp4: the recording was cut off"):
        (tmp_path / "a.mp4").write_bytes(data[: int(0.6 * len(data))])
        open_frames(tmp_path / "a.mp4")


def test_v06_a_file_of_sound_alone_lists_its_streams():
    with pytest.raises(VideoError, match=r"^video-no-picture: .*only audio \(aac\)"):
        open_frames(sound_only())


def test_a_video_with_sound_gives_its_frames_alone():
    with open_frames(video(moving(5), sound=True)) as frames:
        assert frames.counted() == 5


@pytest.mark.parametrize("size", [(359, 641), (17, 33), (1, 2), (2, 3)])
def test_v08_odd_sizes_are_decoded_in_full(size: tuple[int, int]):
    with open_frames(
        video(moving(3, size), codec="ffv1", form="matroska", pix_fmt="bgr0")
    ) as frames:
        assert frames.size == size
        assert all(np.array_equal(a, b) for a, b in zip(frames, moving(3, size), strict=True))


def test_v10_a_single_frame_works():
    with open_frames(video(moving(1))) as frames:
        assert len(list(frames)) == frames.count == 1


def test_v10_no_frame_is_an_error():
    data = video(moving(1), form="matroska", codec="mjpeg", pix_fmt="yuvj420p")
    at = data.index(b"\x1f\x43\xb6\x75")  # the first cluster
    with pytest.raises(VideoError, match=r"^video-"):
        open_frames(data[:at])


def sizes_change() -> bytes:
    """A stream of H.264 that begins anew in another size."""
    parts = [
        video(moving(6, size), form="h264", options={"bf": "0"}) for size in ((48, 64), (64, 48))
    ]
    return b"".join(parts)


def test_v12_a_change_of_size_is_an_error_with_the_index():
    with open_frames(sizes_change()) as frames:
        good = []
        with pytest.raises(VideoError) as caught:
            good.extend(frames)
        assert caught.value.code == "video-size"
        assert "frame 6: the size changes from 64x48 to 48x64" in str(caught.value)
        assert len(good) == 6


def test_v12_letterboxed_frames_keep_their_shape_and_none_is_dropped():
    with open_frames(sizes_change(), letterbox=True) as frames:
        found = list(frames)
        assert [pixels.shape for pixels in found] == [(48, 64, 3)] * 12
        assert not found[6][:, :14].any() and not found[6][:, -14:].any()
        assert found[6][:, 16:48].mean() > 50
        assert [note.code for note in frames.notes if "letterbox" in note.code]


def test_v15_frames_without_times_come_in_the_order_of_decoding_with_a_note():
    data = video(moving(10), form="h264", options={"bf": "0", "g": "5"})
    with open_frames(data) as frames:
        expected = sums(frames)
        assert len(set(expected)) == 10
        assert [zlib.crc32(frames.read(i)) for i in (8, 2, 5)] == [expected[i] for i in (8, 2, 5)]


NO_AV = """
import sys
sys.modules["av"] = None
from anymask.frames import open_frames
from anymask.errors import MissingExtraError
try:
    open_frames(sys.argv[1])
except MissingExtraError as error:
    print(error)
"""


def test_without_the_package_a_video_file_says_how_to_get_it(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(video(moving(2)))
    run = [sys.executable, "-c", NO_AV, str(tmp_path / "a.mp4")]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert said.startswith("missing-video: ") and "pip install 'anymask[video]'" in said
    assert said.count("\n") == 1
