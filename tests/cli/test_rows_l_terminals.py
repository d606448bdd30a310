"""The rows L3 to L6, L9 and L10: interrupts, pipes, bars, colours, consoles and many files."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from terminals import (  # noqa: F401 - the fixtures
    FAKE,
    LONG_S,
    Terminal,
    environment,
    four_photos,
    run,
)

from anymask.cli.common import Progress

# L3


def test_l3_ctrl_c_stops_after_the_picture_with_a_hint_to_go_on(
    photos: list[Path], tmp_path: Path
) -> None:
    out, ready = tmp_path / "out", tmp_path / "ready"
    args = ["segment", *photos, "--point", "20,20", "-o", out]
    terminal = Terminal(args, {"FAKE_DELAY_S": "1", "FAKE_READY": str(ready)})
    terminal.until(ready.exists)
    terminal.type(b"\x03")
    ended = terminal.end()
    assert ended.code == 130
    done = sorted(path.name for path in out.glob("*.json"))
    assert done
    assert len(done) < 4
    assert len(list(out.iterdir())) == 4 * len(done)  # whole pictures, no temporary files
    assert f"{len(done)} of 4 pictures are done".encode() in ended.out
    assert b"--skip" in ended.out
    assert b"Traceback" not in ended.out
    assert run(*args, "--skip").code == 0
    assert len(list(out.glob("*.json"))) == 4


def test_l3_ctrl_c_twice_stops_now(photos: list[Path], tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    args = ["segment", *photos, "--point", "20,20", "-o", tmp_path / "out"]
    terminal = Terminal(args, {"FAKE_DELAY_S": "30", "FAKE_READY": str(ready)})
    terminal.until(ready.exists)
    began = time.monotonic()
    terminal.type(b"\x03")
    terminal.until(lambda: b"once more" in terminal.seen)
    terminal.type(b"\x03")
    ended = terminal.end()
    assert ended.code == 130
    assert time.monotonic() - began < 25
    assert list((tmp_path / "out").iterdir()) == []
    assert b"Traceback" not in ended.out


def test_l3_ctrl_c_on_a_single_picture_stops_now(photos: list[Path], tmp_path: Path) -> None:
    args = ["segment", photos[0], "--point", "20,20", "-o", tmp_path / "out"]
    terminal = Terminal(args, {"FAKE_DELAY_S": "30"})
    # at work, no longer importing: C code that is just being imported may swallow an interrupt
    terminal.until(lambda: b"chats" in terminal.seen)
    began = time.monotonic()
    terminal.type(b"\x03")
    ended = terminal.end()
    assert ended.code == 130
    assert time.monotonic() - began < 25
    assert ended.out.rstrip().endswith(b"interrupted")
    assert b"Traceback" not in ended.out


# L4


@pytest.mark.parametrize("args", [["--json"], ["-o", "OUT"]], ids=["json", "names of files"])
def test_l4_a_broken_pipe_exits_141_without_a_traceback(
    args: list[str], photos: list[Path], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    args = [str(tmp_path / "out") if arg == "OUT" else arg for arg in args]
    done = subprocess.run(
        [sys.executable, FAKE, "segment", *photos, "--point", "20,20", *args],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment({}),
        timeout=LONG_S,
    )
    os.close(writer)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_l4_help_into_a_broken_pipe_is_quiet_too() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, FAKE, "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment({}) | {"PYTHONUNBUFFERED": ""},
        timeout=LONG_S,
    )
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == b""


# L5


def test_l5_without_a_terminal_there_is_no_bar(photos: list[Path], tmp_path: Path) -> None:
    ended = run("segment", *photos, "--point", "20,20", "-o", tmp_path / "out")
    assert ended.code == 0
    for stream in (ended.out, ended.err):
        assert b"\x1b" not in stream
        assert b"\r" not in stream
    assert len(ended.out.splitlines()) == 16


def test_l5_without_a_terminal_a_line_tells_every_ten_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    with Progress("photos", clock=lambda: now) as bar:
        for done in range(100):
            now += 1.0
            bar.show(done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "9 of 100 photos"
    assert len(lines) == 10


def test_on_a_terminal_there_is_a_bar_that_leaves_no_trace_in_pipes(
    photos: list[Path], tmp_path: Path
) -> None:
    args = ["segment", *photos, "--point", "20,20", "-o", tmp_path / "out"]
    ended = Terminal(args, {"FAKE_DELAY_S": "0.3"}).end()
    assert ended.code == 0
    assert b"\x1b" in ended.out
    assert "━".encode() in ended.out
    for name in ("1.png.mask.png", "4.png.json"):
        assert name.encode() in ended.out.replace(b"\r\n", b"")


# L6


@pytest.mark.parametrize(
    ("args", "env"),
    [
        (["segment", "--help"], {"NO_COLOR": "1"}),
        (["segment", "--pont"], {"NO_COLOR": "1"}),
        (["models"], {"NO_COLOR": "1"}),
        (["segment", "PHOTOS", "--point", "20,20", "-o", "OUT"], {"NO_COLOR": "1"}),
        (["segment", "PHOTOS", "--point", "20,20", "-o", "OUT"], {"TERM": "dumb"}),
        (["segment", "PHOTOS", "--point", "90,20", "-o", "OUT"], {"TERM": "dumb"}),
    ],
    ids=["help", "usage", "table", "run", "run on dumb", "errors on dumb"],
)
def test_l6_no_escapes_where_they_are_not_wanted(
    args: list[str], env: dict[str, str], photos: list[Path], tmp_path: Path
) -> None:
    places = {"PHOTOS": str(photos[0].parent), "OUT": str(tmp_path / "out")}
    ended = Terminal([places.get(arg, arg) for arg in args], env).end()
    assert b"\x1b" not in ended.out
    assert len(ended.out) > 40


# L9


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_l9_a_console_of_few_characters_never_fails(
    encoding: str, photos: list[Path], tmp_path: Path
) -> None:
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    photo = photos[0].rename(photos[0].with_name("猫 ☃ é.png"))
    ended = run("segment", photo, "--point", "20,20", "-o", tmp_path / "out", env=env)
    assert ended.code == 0, ended.err
    assert b"\\u732b" in ended.out
    assert (tmp_path / "out" / "猫 ☃ é.png.mask.png").exists()
    ended = run("segment", photo, "--point", "20,20", "--json", env=env)
    assert ended.out.isascii()
    assert json.loads(ended.out)["images"][0]["file"] == str(photo)
    ended = run("segment", "--help", env=env)
    assert ended.code == 0
    assert b"Usage" in ended.out


# L10

SOAK = """
import os, sys
from pathlib import Path

count, real = int(sys.argv[1]), os.scandir

class Entries:
    def __init__(self, path):
        self.path = path
    def __enter__(self):
        return iter(self)
    def __exit__(self, *_):
        pass
    def __iter__(self):
        return (Entry(f"photo-of-the-series-{count - i}.jpg") for i in range(count))

class Entry:
    __slots__ = ("name",)
    def __init__(self, name):
        self.name = name
    def is_dir(self, **_):
        return False
    is_symlink = is_dir

def scandir(path="."):
    return Entries(path) if str(path).endswith("many") else real(path)

os.scandir = scandir
from anymask.cli.bench import peak_mib
from anymask.cli.inputs import Inputs
from anymask.formats.folder import ResultFolder

folder = Path(sys.argv[2])
(folder / "many").mkdir()
for argument in (str(folder / "many"), str(folder / "many" / "*.jpg")):
    inputs = Inputs([argument], apart=folder / "out")
    (folder / "out").mkdir(exist_ok=True)
    ResultFolder(root=folder / "out", count=1).check(inputs.names())
    for number, item in enumerate(inputs, 1):
        assert item.name == f"photo-of-the-series-{number}.jpg", item.name
    assert number == count
print(int(peak_mib()))
"""


def soak(count: int, folder: Path) -> int:
    """Peak memory, MiB, of walking and checking that many pictures, as folder and as pattern."""
    command = ["nice", sys.executable, "-c", SOAK, str(count), str(folder)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def test_l10_many_files_are_streamed_in_natural_order(tmp_path: Path) -> None:
    assert soak(3_000, tmp_path) < 150


@pytest.mark.slow
def test_l10_a_million_files_take_less_than_300_mb(tmp_path: Path) -> None:
    assert soak(1_000_000, tmp_path) < 300
