"""What is given as a video and is none (rows V4, V17, I12 to I15, I20 to I24)."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from anymask.errors import ImageError, VideoError
from anymask.frames import open_frames
from anymask.frames_decoder import Decoder
from videos import moving, video

SECRET = "the secret of another file"


def playlists(secret: Path, video_file: Path) -> dict[str, bytes]:
    """Files that name other files; each is put under names of videos."""
    return {
        "m3u8": f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        "m3u8-video": f"#EXTM3U\n#EXTINF:1,\n{video_file}\n#EXT-X-ENDLIST\n".encode(),
        "m3u8-concat": f"#EXTM3U\n#EXTINF:1,\nconcat:{video_file}|{secret}\n".encode(),
        "ffconcat": f"ffconcat version 1.0\nfile {video_file}\n".encode(),
        "dash": f"<MPD><BaseURL>file://{video_file}</BaseURL></MPD>".encode(),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n",
        "xml": f"<?xml version='1.0'?><!DOCTYPE x SYSTEM 'file://{secret}'><smil/>".encode(),
        "svg": f"<svg><image href='file://{secret}'/></svg>".encode(),
    }


@pytest.mark.parametrize("kind", sorted(playlists(Path("s"), Path("v"))))
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.gif", "a.m3u8", "a.ts", "a"])
def test_v17_playlists_under_any_name_are_refused_and_open_no_other_file(
    tmp_path: Path, kind: str, name: str
):
    secret, other = tmp_path / "secret.txt", tmp_path / "other.mp4"
    secret.write_text(SECRET)
    other.write_bytes(video(moving(2)))
    path = tmp_path / name
    path.write_bytes(playlists(secret, other)[kind])
    with pytest.raises(VideoError, match=r"^video-not: ") as caught:
        open_frames(path)
    assert SECRET not in str(caught.value)


ADDRESSES = [
    "http://127.0.0.1:9/a.mp4",
    "concat:{0}|{0}",
    "file:{0}",
    "subfile,,start,0,end,0,,:{0}",
]
ADDRESSES += [
    "rtsp://127.0.0.1/a",
    "pipe:0",
    "data:video/mp4;base64,AAAA",
    "crypto:{0}",
    "async:{0}",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_v17_addresses_and_protocols_of_ffmpeg_are_refused(tmp_path: Path, address: str):
    (tmp_path / "a.mp4").write_bytes(video(moving(2)))
    with pytest.raises(VideoError, match=r"^video-url: addresses are not fetched"):
        open_frames(address.format(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    "name", ["concat:a|b", "http:", "subfile,,x", "a\nb.mp4", "%03d.png", "zwölf.mp4"]
)
def test_i23_a_file_of_a_strange_name_is_itself(tmp_path: Path, name: str, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(video(moving(2)))
    with open_frames(name) as frames:
        assert frames.counted() == 2
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4")
    Path(path).write_bytes(video(moving(2)))
    with open_frames(path) as frames:
        assert frames.counted() == 2


@pytest.mark.parametrize("demuxer", ["hls", "concat"])
def test_v17_even_the_reader_of_playlists_gets_no_other_file(tmp_path: Path, demuxer: str):
    """The second fence: what if one of them were taken for a video?"""
    other, path = tmp_path / "other.ts", tmp_path / "list"
    chance = np.random.default_rng(0)
    noise = [chance.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(12)]
    other.write_bytes(video(noise, form="mpegts"))
    kinds = playlists(other, other)
    path.write_bytes(kinds["m3u8-video" if demuxer == "hls" else "ffconcat"])
    open_all = {"safe": "0", "protocol_whitelist": "file"}
    with av.open(str(path), format=demuxer, container_options=open_all) as container:
        assert len(list(container.decode(video=0))) == 12  # so the probe is a real one
    with pytest.raises(VideoError, match=r"^video-"):
        Decoder(lambda: path.open("rb"), demuxer, cut=False, threads=1, where="list")


TRACED = """
import sys
opened = []
def see(event, args):
    if event in ("open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        opened.append(str(args[0]))
sys.addaudithook(see)
from anymask.frames import open_frames
from anymask.errors import VideoError
try:
    open_frames(sys.argv[1]).read(0)
except VideoError as error:
    print(error.code)
print(sum("secret" in name for name in opened))
"""


def test_v17_no_playlist_makes_the_process_open_the_file_that_it_names(tmp_path: Path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(video(moving(2)))
    path = tmp_path / "a.mp4"
    path.write_bytes(f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n".encode())
    stamp = secret.stat().st_atime_ns
    run = subprocess.run(
        [sys.executable, "-c", TRACED, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["video-not", "0"]
    assert secret.stat().st_atime_ns == stamp


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"just words", "text"),
        (b"%PDF-1.7 ....", "a PDF document"),
        (b"PK\x03\x04" + b"\0" * 50, "a zip archive"),
        (b"\x7fELF" + b"\0" * 50, "a program"),
        (bytes(range(100, 200)), "something unknown"),
        (b"RIFF\0\0\0\0WAVE", "a sound file"),
    ],
)
def test_i13_what_is_no_video_is_named(content: bytes, said: str):
    with pytest.raises(VideoError, match=rf"^video-not: .*{said}"):
        open_frames(content)


def test_i12_nothing_folders_pipes_and_locked_files_are_told_apart(tmp_path: Path):
    with pytest.raises(VideoError, match=r"^video-missing: .*none\.mp4"):
        open_frames(tmp_path / "none.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(VideoError, match=r"^video-empty: .*0 bytes"):
        open_frames(tmp_path / "empty.mp4")
    os.mkfifo(tmp_path / "fifo.mp4")
    began = time.monotonic()
    with pytest.raises(VideoError, match=r"^video-special"):
        open_frames(tmp_path / "fifo.mp4")
    with pytest.raises(VideoError, match=r"^video-special"):
        open_frames("/dev/zero")
    assert time.monotonic() - began < 1
    with pytest.raises(VideoError, match=r"^video-kind: .*'dict'|'object'"):
        open_frames(object())
    with pytest.raises(VideoError, match=r"^video-kind: .*opened as text"):
        open_frames(io.StringIO("x"))


class Failing(io.BytesIO):
    """A file whose disk fails after so many bytes."""

    name = "a.mp4"
    left = 1 << 30

    def read(self, size: int = -1, /) -> bytes:
        if size > 0 and self.left <= 0:
            raise OSError(5, "Input/output error")
        data = super().read(size)
        self.left -= len(data)
        return data


def test_a_disk_that_fails_while_reading_is_an_error_with_the_file():
    chance = np.random.default_rng(0)
    noise = [chance.integers(0, 255, (192, 256, 3), np.uint8) for _ in range(80)]
    file = Failing(video(noise, codec="mjpeg", pix_fmt="yuvj420p"))
    with open_frames(file) as frames:
        frames.read(1)
        file.left = 0
        with pytest.raises(VideoError, match=r"^video-locked: a\.mp4: .*Input/output error"):
            list(frames)


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_i13_the_start_of_a_video_alone_is_an_error_not_a_crash(cut: int):
    with pytest.raises(VideoError):
        open_frames(video(moving(3))[:cut])


@pytest.mark.parametrize("seed", range(12))
def test_v04_random_damage_anywhere_never_raises_anything_else(seed: int):
    chance = np.random.default_rng(seed)
    form = ("mp4", "matroska", "avi", "mpegts")[seed % 4]
    data = bytearray(video(moving(20, (64, 64)), form=form, codec="mpeg4"))
    for at in chance.integers(0, len(data), 60):
        data[at] = chance.integers(0, 256)
    try:
        with open_frames(bytes(data), max_pixels=1_000_000) as frames:
            for pixels in frames:
                assert pixels.dtype == np.uint8
    except (VideoError, ImageError):
        pass


def animation() -> bytes:
    file = io.BytesIO()
    pictures = [Image.fromarray(pixels) for pixels in moving(2)]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=50)
    return file.getvalue()


def test_i15_a_size_above_the_limit_is_refused_before_decoding(tmp_path: Path):
    with pytest.raises(ImageError, match=r"^image-too-large: .*64x48"):
        open_frames(video(moving(2)), max_pixels=1000)
    with pytest.raises(ImageError, match=r"^image-too-large"):
        open_frames(moving(2), max_pixels=1000)
    for name, data in (("a.mp4", video(moving(2))), ("a.gif", animation())):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=rf"^image-too-large: .*{name}"):
            open_frames(tmp_path / name, max_pixels=1000)


def test_i20_a_file_that_is_given_stays_open(tmp_path: Path):
    (tmp_path / "a").write_bytes(video(moving(6), options={"g": "2"}))
    with (tmp_path / "a").open("rb") as file:
        file.seek(10)
        with open_frames(file) as frames:
            assert np.array_equal(list(frames)[4], frames.read(4))
            frames.read(0)
        assert not file.closed


def test_i24_links_out_of_a_folder_are_passed_over_with_a_note(tmp_path: Path):
    for name in ("f/1.png", "f/2.png", "out.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(moving(1)[0]).save(tmp_path / name)
    (tmp_path / "f/3.png").symlink_to(tmp_path / "out.png")
    (tmp_path / "f/4.png").symlink_to(tmp_path / "f/1.png")
    (tmp_path / "f/loop").symlink_to(tmp_path / "f")
    with open_frames(tmp_path / "f") as frames:
        assert frames.names == ["1.png", "2.png", "4.png"]
        assert any("3.png: a link" in note.text for note in frames.notes)
