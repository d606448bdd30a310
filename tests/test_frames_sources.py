"""Frames of folders, tars, lists, arrays, generators, animations (V4, V9, V10, I18 to I26)."""

import io
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anymask.errors import ImageError, VideoError
from anymask.frames import open_frames
from anymask.frames_pictures import gaps_in
from encoded_photos import encoded
from videos import moving, video


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    return encoded(Image.fromarray(pixels), kind, quality=95)


def folder(root: Path, names: list[str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, pixels in zip(names, moving(len(names)), strict=True):
        (root / name).write_bytes(png(pixels))
    return root


def test_v09_frames_of_a_folder_come_as_people_count_and_keep_their_names(tmp_path: Path):
    names = ["f1.png", "f2.png", "f10.png", "f11.png"]
    folder(tmp_path, names)
    (tmp_path / "notes.txt").write_text("no picture")
    with open_frames(tmp_path) as frames:
        assert frames.names == names and frames.count == 4 and frames.size == (48, 64)
        assert all(np.array_equal(a, b) for a, b in zip(frames, moving(4), strict=True))
        assert frames.facts(2).name == "f10.png" and frames.facts(2).pts is None
        # 1, 2, 10, 11: the numbers between are missing
        assert "7 numbers are missing, the first after f2.png" in frames.notes[0].text


@settings(max_examples=15)
@given(numbers=st.sets(st.integers(0, 2000), min_size=1, max_size=12), width=st.integers(1, 6))
def test_v09_any_numbers_come_in_their_order(tmp_path_factory, numbers: set[int], width: int):
    root = tmp_path_factory.mktemp("f")
    for number in numbers:
        (root / f"img_{number:0{width}d}.ppm").write_bytes(b"P6 1 1 255 abc")
    with open_frames(root) as frames:
        assert [int(name[4:-4]) for name in frames.names] == sorted(numbers)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["1", "2", "3"], 0),
        (["000", "003", "006", "012"], 1),
        (["1", "2", "4", "5", "9"], 4),
        (["a", "b", "c"], 0),
        (["1", "2"], 0),
        (["a1", "b5", "c9"], 0),
        (["1", "1b", "2"], 0),
        (["x-1", "x-2", "x-3", "x-5"], 1),
    ],
)
def test_v09_gaps_are_counted(names: list[str], missing: int):
    notes = gaps_in([f"{name}.jpg" for name in names])
    assert [note.text.split()[0] for note in notes] == ([str(missing)] if missing else [])


def test_v09_mixed_formats_and_a_folder_jpegimages_are_read(tmp_path: Path):
    folder(tmp_path / "JPEGImages", ["1.png", "2.png"])
    (tmp_path / "JPEGImages" / "3.jpg").write_bytes(png(moving(3)[2], "JPEG"))
    folder(tmp_path / "Annotations", ["1.png", "2.png", "3.png"])
    with open_frames(tmp_path) as frames:
        assert frames.names == ["1.png", "2.png", "3.jpg"]
        assert np.abs(frames.read(2).astype(int) - moving(3)[2]).mean() < 4


@pytest.mark.parametrize("inner", ["JPEGImages/480p/bear", "JPEGImages/bear"])
def test_a_layout_with_one_clip_is_found_and_with_two_is_an_error(tmp_path: Path, inner: str):
    folder(tmp_path / inner, ["1.png", "2.png"])
    with open_frames(tmp_path) as frames:
        assert frames.count == 2
    folder((tmp_path / inner).parent / "dog", ["1.png"])
    with pytest.raises(VideoError, match=r"^video-several: .*bear, .*dog"):
        open_frames(tmp_path)
    with open_frames(tmp_path / inner) as frames:
        assert frames.count == 2


def test_a_tar_is_read_without_unpacking_it(tmp_path: Path):
    path = tmp_path / "clip.any"
    with tarfile.open(path, "w") as tar:
        for i in (10, 2, 1):
            for name, data in (
                (f"JPEGImages/{i}.png", png(moving(11)[i])),
                (f"Annotations/{i}.png", b""),
            ):
                about = tarfile.TarInfo(name)
                about.size = len(data)
                tar.addfile(about, io.BytesIO(data))
    before = sorted(tmp_path.iterdir())
    with open_frames(path) as frames:
        assert frames.names == ["1.png", "2.png", "10.png"]
        assert np.array_equal(frames.read(2), moving(11)[10])
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_tar_that_is_cut_off_is_named(tmp_path: Path, share: float):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i in range(4):
            about = tarfile.TarInfo(f"{i}.png")
            data = png(np.random.default_rng(i).integers(0, 255, (40, 40, 3), np.uint8))
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: int(share * 4 * 5632)])
    with pytest.raises(VideoError, match=r"^video-broken: .*a\.tar"):
        open_frames(tmp_path / "a.tar")


def test_v04_a_damaged_picture_is_flagged_and_the_others_go_on(tmp_path: Path):
    folder(tmp_path, [f"{i}.png" for i in range(20)])
    for name, data in (("3.png", b"no picture"), ("7.png", png(moving(20)[7])[:-100])):
        (tmp_path / name).write_bytes(data)
    with open_frames(tmp_path) as frames:
        assert len(list(frames)) == 20
        assert [i for i in range(20) if frames.facts(i).corrupt] == [3, 7]
        assert not frames.read(3).any() and frames.read(7).any()
        assert np.array_equal(frames.read(8), moving(20)[8])
        assert frames.notes[0].code == "frame-damaged"
    (tmp_path / "9.png").write_bytes(b"")
    with (
        open_frames(tmp_path) as frames,
        pytest.raises(VideoError, match=r"^video-damaged: .*3 of 20"),
    ):
        list(frames)


def test_v04_a_picture_that_goes_away_is_a_damaged_frame(tmp_path: Path):
    folder(tmp_path, [f"{i}.png" for i in range(20)])
    with open_frames(tmp_path) as frames:
        (tmp_path / "5.png").unlink()
        assert not frames.read(5).any() and frames.facts(5).corrupt


def test_v10_a_folder_of_one_picture_works_and_an_empty_one_is_an_error(tmp_path: Path):
    with open_frames(folder(tmp_path / "a", ["x.png"])) as frames:
        assert len(list(frames)) == 1 == frames.counted()
    (tmp_path / "b").mkdir()
    with pytest.raises(VideoError, match=r"^video-empty: .*b: there are no pictures"):
        open_frames(tmp_path / "b")
    for nothing in ([], np.zeros((0, 4, 4, 3), np.uint8), iter(())):
        with pytest.raises(VideoError, match=r"^video-empty: there is no frame"):
            open_frames(nothing)


def test_v12_pictures_of_another_size_are_an_error_or_fitted(tmp_path: Path):
    folder(tmp_path, ["1.png", "2.png"])
    (tmp_path / "3.png").write_bytes(png(moving(1, (96, 64))[0]))
    with open_frames(tmp_path) as frames:
        assert frames.read(1).shape == (48, 64, 3)
        with pytest.raises(VideoError, match=r"^video-size: .*frame 2: .*64x48 to 64x96"):
            frames.read(2)
    with open_frames(tmp_path, letterbox=True) as frames:
        assert frames.read(2).shape == (48, 64, 3)
        assert not frames.read(2)[:, :15].any() and frames.notes[0].code == "frame-letterbox"


@pytest.mark.parametrize("kind", ["list", "array", "paths", "bytes", "pillow", "tensor"])
def test_i20_frames_do_not_depend_on_the_kind_of_list(tmp_path: Path, kind: str):
    wanted = moving(3)
    source: object = wanted
    if kind == "array":
        source = np.stack(wanted)
    elif kind == "paths":
        source = sorted(folder(tmp_path, ["a.png", "b.png", "c.png"]).iterdir())
    elif kind == "bytes":
        source = tuple(png(pixels) for pixels in wanted)
    elif kind == "pillow":
        source = [Image.fromarray(pixels) for pixels in wanted]
    elif kind == "tensor":
        import torch

        source = torch.from_numpy(np.stack(wanted))
    with open_frames(source, rate=10) as frames:
        assert frames.count == 3 and frames.rate == 10
        assert all(np.array_equal(a, b) for a, b in zip(frames, wanted, strict=True))
        assert [frames.facts(i).time_s for i in range(3)] == [0.0, 0.1, 0.2]
    assert all(np.array_equal(a, b) for a, b in zip(wanted, moving(3), strict=True))


def test_i18_channels_first_and_other_shapes_are_errors_with_a_hint():
    with pytest.raises(ImageError, match=r"^image-layout"):
        open_frames(np.zeros((5, 3, 8, 9), np.uint8))
    with pytest.raises(VideoError, match=r"^video-kind: .*\(T, H, W, 3\)"):
        open_frames(np.zeros((5, 2, 3, 8, 9), np.uint8))
    with open_frames(np.zeros((5, 8, 9), np.uint8)) as frames:
        assert frames.size == (8, 9) and frames.count == 5


def test_i19_frames_are_read_only_copies():
    array = np.stack(moving(3))[::-1]
    array.flags.writeable = False
    with open_frames(array) as frames:
        assert np.array_equal(frames.read(0), array[0])
        with pytest.raises(ValueError, match="read-only"):
            frames.read(0)[0, 0] = 1


def test_a_generator_is_read_once_in_its_order():
    taken = []

    def source():
        for i, pixels in enumerate(moving(5)):
            taken.append(i)
            yield pixels

    with open_frames(source()) as frames:
        assert frames.count is None and not frames.rereads and taken == [0]
        with pytest.raises(VideoError, match=r"^frames-once"):
            frames.counted()
        assert np.array_equal(frames.read(0), moving(1)[0])  # kept: read twice
        assert np.array_equal(frames.read(2), moving(5)[2]) and taken == [0, 1, 2]
        with pytest.raises(VideoError, match=r"^frames-once: .*3 of them have gone by: 1"):
            frames.read(1)
        assert len(list(frames)) == 2
        assert frames.count == 5
        with pytest.raises(VideoError, match=r"^frame-missing: there are 5 frames: 5"):
            frames.read(5)


def test_a_generator_that_raises_is_heard_and_an_early_close_closes_it():
    closed = []

    def source():
        try:
            yield moving(1)[0]
            raise ZeroDivisionError("of the source")
        finally:
            closed.append(True)

    with open_frames(source()) as frames, pytest.raises(ZeroDivisionError, match="of the source"):
        frames.read(1)
    with open_frames(source()):
        pass
    assert closed == [True, True]


def gif(kind: str, count: int = 6) -> bytes:
    file = io.BytesIO()
    pictures = [Image.fromarray(pixels) for pixels in moving(count)]
    delays = [40, 80, 120, 40, 40, 200][:count]
    extra = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(
        file, kind, save_all=True, append_images=pictures[1:], duration=delays, loop=0, **extra
    )
    return file.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_a_video_whatever_its_name(tmp_path: Path, kind: str):
    path = tmp_path / "a.mp4"
    path.write_bytes(gif(kind))
    with open_frames(path) as frames:
        assert frames.count == 6 and frames.size == (48, 64)
        expected = [zlib.crc32(pixels) for pixels in frames]
        if kind != "GIF":
            assert all(np.array_equal(a, b) for a, b in zip(frames, moving(6), strict=True))
        assert [zlib.crc32(frames.read(i)) for i in (5, 0, 3)] == [expected[i] for i in (5, 0, 3)]
        assert [frames.facts(i).pts for i in range(6)] == [0, 40, 120, 240, 280, 320]
        assert abs(frames.rate - 6 / 0.52) < 1e-9


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_single_picture_is_no_video(kind: str):
    with pytest.raises(VideoError, match=rf"^video-not: .*single picture \({kind}\)"):
        open_frames(png(moving(1)[0], kind))


def test_v05_an_animation_that_is_cut_off_gives_its_good_frames_then_an_error():
    chance = np.random.default_rng(0)
    noise = [Image.fromarray(chance.integers(0, 255, (48, 64, 3), np.uint8)) for _ in range(8)]
    file = io.BytesIO()
    noise[0].save(file, "GIF", save_all=True, append_images=noise[1:], duration=50)
    whole = file.getvalue()
    with open_frames(whole) as frames:
        expected = [zlib.crc32(pixels) for pixels in frames]
    good = []
    with (
        open_frames(whole[: len(whole) // 2]) as frames,
        pytest.raises(VideoError, match=r"^video-truncated: .*frame"),
    ):
        good.extend(zlib.crc32(pixels) for pixels in frames)
    assert 2 <= len(good) < 8 and good == expected[: len(good)]


@pytest.mark.parametrize("kind", ["video", "pictures", "array"])
def test_a_view_takes_every_nth_frame(tmp_path: Path, kind: str):
    source: object = np.stack(moving(20))
    if kind == "video":
        source = video(moving(20), codec="ffv1", form="matroska", pix_fmt="bgr0")
    elif kind == "pictures":
        source = folder(tmp_path, [f"{i}.png" for i in range(20)])
    with open_frames(source, start=3, stop=17, step=5) as frames:
        found = list(frames)
        assert all(np.array_equal(a, b) for a, b in zip(found, moving(20)[3:17:5], strict=True))
        assert frames.counted() == 3 and np.array_equal(frames.read(2), moving(20)[13])
        assert frames.facts(1).index == 1
        if kind == "pictures":
            assert frames.names == ["3.png", "8.png", "13.png"]
        with pytest.raises(VideoError, match=r"^frame-missing"):
            frames.read(3)
        with pytest.raises(VideoError, match=r"^frame-missing"):
            frames.read(-1)
    with pytest.raises(VideoError, match=r"^video-empty: .*there is no frame 30"):
        open_frames(source, start=30)


@pytest.mark.parametrize("option", [{"start": -1}, {"step": 0}, {"threads": 0}, {"rate": 0.0}])
def test_options_that_make_no_sense_are_named(option: dict[str, float]):
    with pytest.raises(VideoError, match=rf"^video-option: {next(iter(option))}"):
        open_frames(moving(2), **option)


def test_after_closing_nothing_can_be_read_and_closing_twice_does_no_harm(tmp_path: Path):
    for source in (video(moving(3)), folder(tmp_path, ["1.png"]), moving(2), iter(moving(2))):
        frames = open_frames(source)
        frames.close()
        frames.close()
        with pytest.raises(VideoError, match=r"^frames-closed"):
            frames.read(0)


def test_h4_sources_are_not_changed(tmp_path: Path):
    folder(tmp_path / "f", ["1.png", "2.png"])
    (tmp_path / "a.mp4").write_bytes(video(moving(4)))
    (tmp_path / "a.gif").write_bytes(gif("GIF"))

    def state() -> list[tuple[str, int, int]]:
        paths = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        return [(str(p), zlib.crc32(p.read_bytes()), p.stat().st_mtime_ns) for p in paths]

    before = state()
    for name in ("f", "a.mp4", "a.gif"):
        with open_frames(tmp_path / name) as frames:
            list(frames)
            frames.read(0)
    assert state() == before


def test_i26_threads_read_the_same_frames():
    from concurrent.futures import ThreadPoolExecutor

    data = video(moving(40), options={"g": "10"})
    with open_frames(data) as frames:
        expected = [zlib.crc32(pixels) for pixels in frames]
        order = np.random.default_rng(0).integers(0, 40, 80).tolist()
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda i: zlib.crc32(frames.read(i)), order))
    assert found == [expected[i] for i in order]


KINDS = {
    "reordered": {"options": {"bf": "3", "g": "7"}},
    "one key frame": {"options": {"g": "100"}},
    "key frames alone": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "without times": {"form": "h264", "options": {"g": "5", "bf": "0"}},
}


@pytest.fixture(scope="module", params=KINDS)
def known(request) -> tuple[bytes, list[int]]:
    """A video and the checksums of its frames in one plain pass."""
    data = video(moving(24, (16, 16)), **KINDS[request.param])
    with open_frames(data) as frames:
        return data, [zlib.crc32(pixels) for pixels in frames]


@settings(max_examples=12)
@given(asked=st.lists(st.integers(-1, 25), max_size=12), start=st.integers(0, 3))
def test_v01_any_series_of_questions_gets_the_same_frames(known, asked: list[int], start: int):
    data, expected = known
    with open_frames(data, start=start, step=2) as frames:
        wanted = expected[start::2]
        for index in asked:
            if 0 <= index < len(wanted):
                assert zlib.crc32(frames.read(index)) == wanted[index]
                assert frames.facts(index).index == index
            else:
                with pytest.raises(VideoError, match=r"^frame-missing"):
                    frames.read(index)
        assert [zlib.crc32(pixels) for pixels in frames] == wanted
        assert frames.count == len(wanted)
