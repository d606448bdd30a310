"""Writing a video: times, odd sizes, faults (rows V1, V8, V12, V15, O1 to O4)."""

import errno
import io
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anymask.errors import OutputError
from anymask.formats.atomic import sweep
from anymask.formats.mp4 import Mp4Writer
from anymask.frames import open_frames
from conftest import SHARED
from faults import Faults, faults_below  # noqa: F401 - the fixture `faults`
from videos import moving

ENCODERS = ["libx264", "mpeg4"]
REAL = [SHARED / "data/video/files/people_vfr_audio.mp4"] if SHARED else []


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


def smooth(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Frames without edges, which 4:2:0 keeps."""
    h, w = size
    y, x = np.mgrid[:h, :w]
    ramp = np.stack([x * 255 / w, y * 255 / h, (x + y) * 255 / (h + w)], -1)
    return [(ramp * (i + 5) / (count + 5)).astype(np.uint8) for i in range(count)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("size", [(48, 64), (720, 1280)], ids=["sd", "hd"])
def test_colours_come_back(tmp_path: Path, encoder: str, size: tuple[int, int]):
    frames = smooth(3, size)
    with Mp4Writer(tmp_path / "a.mp4", rate=25, encoder=encoder) as writer:
        for pixels in frames:
            writer.add(pixels)
    with open_frames(tmp_path / "a.mp4") as back:
        assert min(psnr(a, b) for a, b in zip(frames, back, strict=True)) > 35
        assert back.rate == 25
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.video[0].codec_context.pix_fmt == "yuv420p"
        frame = next(file.decode(video=0))
        assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("size", [(359, 641), (1, 1), (2, 3), (33, 17)])
def test_v08_odd_sizes_are_padded_with_a_note(tmp_path: Path, encoder: str, size: tuple[int, int]):
    h, w = size
    with Mp4Writer(tmp_path / "a.mp4", encoder=encoder) as writer:
        for pixels in smooth(3, size):
            writer.add(pixels)
    assert f"{w}x{h} px became {w + w % 2}x{h + h % 2}" in writer.notes["video-padded"].text
    with open_frames(tmp_path / "a.mp4") as back:
        assert back.size == (h + h % 2, w + w % 2)
        if min(size) > 100:  # in smaller ones 4:2:0 leaves nothing of the colours
            assert psnr(back.read(2)[:h, :w], smooth(3, size)[2]) > 35


@settings(max_examples=20)
@given(
    steps=st.lists(st.integers(1, 2000), min_size=1, max_size=8),
    base=st.sampled_from([(1, 25), (1, 600), (1001, 30000), (1, 10240), (1, 90000), (1, 1000)]),
    start=st.integers(0, 10**6),
)
def test_v01_times_of_the_source_are_kept_from_zero_on(tmp_path_factory, steps, base, start):
    path, unit = tmp_path_factory.mktemp("v") / "a.mp4", Fraction(*base)
    given_pts = [start + sum(steps[:i]) for i in range(len(steps) + 1)]
    with Mp4Writer(path, time_base=unit) as writer:
        for pixels, pts in zip(moving(len(given_pts), (16, 16)), given_pts, strict=True):
            writer.add(pixels, pts)
    assert not writer.notes
    with open_frames(path) as back:
        assert back.counted() == len(given_pts)
        found = [back.facts(i).pts * back.time_base for i in range(len(given_pts))]
    assert found == [(pts - start) * unit for pts in given_pts]


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_v01_a_real_file_of_variable_rate_keeps_every_time(tmp_path: Path, path: Path):
    with open_frames(path) as frames:
        with Mp4Writer(tmp_path / "a.mp4", rate=frames.rate, time_base=frames.time_base) as writer:
            for i, pixels in enumerate(frames):
                writer.add(pixels, frames.facts(i).pts)
        times = [frames.facts(i).pts * frames.time_base for i in range(frames.count)]
    assert not writer.notes and writer.count == 149
    with open_frames(tmp_path / "a.mp4") as back:
        assert back.counted() == 149
        assert [back.facts(i).pts * back.time_base for i in range(149)] == [
            time - times[0] for time in times
        ]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_v15_times_that_are_missing_or_go_back_are_made_to_rise(tmp_path: Path, encoder: str):
    pts = [0, 40, None, 40, 10, 400, None]
    path = tmp_path / "a.mp4"
    with Mp4Writer(path, rate=25, time_base=Fraction(1, 1000), encoder=encoder) as writer:
        for pixels, at in zip(moving(7), pts, strict=True):
            writer.add(pixels, at)
    assert "video-times" in writer.notes
    with open_frames(path) as back:
        times = [round(1000 * back.facts(i).time_s) for i in range(back.counted())]
    assert times == [0, 40, 80, 120, 160, 400, 440]


def test_v12_a_frame_of_another_size_is_an_error_and_none_is_dropped(tmp_path: Path):
    with (
        pytest.raises(OutputError, match=r"^frame-size: .*\(48, 64\).*\(64, 48\)"),
        Mp4Writer(tmp_path / "a.mp4") as writer,
    ):
        writer.add(moving(1)[0])
        writer.add(moving(1, (64, 48))[0])
    assert names(tmp_path) == []


def test_a_video_of_one_frame_and_of_none(tmp_path: Path):
    with Mp4Writer(tmp_path / "one.mp4") as writer:
        writer.add(moving(1)[0])
    with open_frames(tmp_path / "one.mp4") as back:
        assert len(list(back)) == 1
    with Mp4Writer(tmp_path / "none.mp4") as writer:
        pass
    assert writer.count == 0 and names(tmp_path) == ["one.mp4"]


def test_an_error_of_the_caller_leaves_no_file(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), Mp4Writer(tmp_path / "a.mp4") as writer:
        for pixels in moving(20):
            writer.add(pixels)
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_o2_a_file_that_is_there_stays_unless_asked(tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"^file-exists: .*a\.mp4"):
        Mp4Writer(path)
    assert path.read_bytes() == b"mine"
    with Mp4Writer(path, overwrite=True) as writer:
        writer.add(moving(1)[0])
        assert path.read_bytes() == b"mine"  # until the new one is whole
    assert path.read_bytes()[4:8] == b"ftyp"


def test_o3_a_folder_that_cannot_be_written_is_named_before_the_first_frame():
    with pytest.raises(OutputError, match=r"/proc/anymask"):
        Mp4Writer(Path("/proc/anymask/a.mp4"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_o4_a_fault_at_any_call_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, faults: Faults, number: int
):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    chance = np.random.default_rng(0)
    noise = [chance.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(6)]

    def write() -> None:
        with Mp4Writer(path, overwrite=True) as writer:
            for pixels in noise:
                writer.add(pixels)

    rounds = 0
    for error in faults.each(write, number):
        rounds += 1
        if error is None:
            break
        assert isinstance(error, OutputError), error
        assert error.code in ("disk-full", "write-failed") and str(path) in str(error)
        assert names(tmp_path) == ["a.mp4"] and path.read_bytes() == b"old"
    assert rounds >= 5
    with open_frames(path) as back:
        assert back.counted() == 6
    assert names(tmp_path) == ["a.mp4"]


def test_what_ffmpeg_refuses_is_an_error_with_the_size(tmp_path: Path):
    wide = np.zeros((16, 20_000, 3), np.uint8)  # H.264 has no such side
    with (
        pytest.raises(OutputError, match=r"^video-encoder: .*20000"),
        Mp4Writer(tmp_path / "a.mp4") as writer,
    ):
        writer.add(wide)
    assert names(tmp_path) == []


CHILD = """
import sys
import numpy as np
from pathlib import Path
from anymask.formats.mp4 import Mp4Writer
noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
for i in range(10**9):
    with Mp4Writer(Path(sys.argv[1]), overwrite=True) as writer:
        for k in range(30):
            writer.add(np.roll(noise, k, 1))
            if i == 0 and k == 20:
                print("ready", flush=True)
"""


def test_o1_a_kill_leaves_no_half_file_under_the_name(tmp_path: Path):
    path, stale = tmp_path / "a.mp4", 0
    for wait in (0.0, 0.05, 0.3):
        command = [sys.executable, "-c", CHILD, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(wait)
            child.kill()
        if path.exists():
            with open_frames(io.BytesIO(path.read_bytes())) as back:
                assert back.counted() == 30
        stale += len(set(names(tmp_path)) - {"a.mp4"})
        sweep(tmp_path)
        assert set(names(tmp_path)) <= {"a.mp4"}
    assert stale > 0, "no kill came while a video was being written: the test proves nothing"
