"""The rows L1 to L10 of the specification: how the command line behaves among other programs."""

import errno
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from anymask.cli import COMMANDS, main
from anymask.cli.common import Progress, ReportedError, exit_code, report
from anymask.errors import (
    AnymaskError,
    CheckpointError,
    DataError,
    DeviceError,
    ExportError,
    ImageError,
    MissingExtraError,
    OutputError,
    PromptError,
    RunError,
    ServerError,
    VideoError,
)

FAKE = str(Path(__file__).with_name("fake_predictor.py"))
LONG_S = 60.0  # a busy machine is slow


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{i}.png" for i in range(1, 5)]
    for path in paths:
        Image.new("RGB", (60, 40), (90, 120, 60)).save(path)
    return paths


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Ours, but without what makes terminals differ."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return kept | {"TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"} | dict(changes)


def run(*args: object, env: Mapping[str, str] | None = None, **options: object) -> "Ended":
    """`anymask` with the fake predictor in a process of its own, without a terminal."""
    done = subprocess.run(
        [sys.executable, FAKE, *map(str, args)],
        env=environment(env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LONG_S,
        **options,  # type: ignore[call-overload]
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass
class Ended:
    code: int
    out: bytes
    err: bytes = b""


def _as_in_a_terminal() -> None:
    """In the child: take the terminal, and heed Ctrl-C even where the tests run in the background.

    A shell starts background jobs with interrupts ignored, and children inherit that.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A process on a terminal of its own, whose screen and keyboard we are."""

    script = FAKE

    def __init__(self, args: Sequence[object], env: Mapping[str, str] | None = None) -> None:
        self.master, slave = pty.openpty()
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, self.script, *map(str, args)],
            env=environment(env or {}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_as_in_a_terminal,
        )
        os.close(slave)

    def until(self, reached: Callable[[], bool]) -> None:
        """Read the screen until something is true."""
        end = time.monotonic() + LONG_S
        while not reached():
            assert time.monotonic() < end, self.seen
            if not self._read():
                assert reached(), self.seen
                return

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> Ended:
        """Read to the end; how it ended."""
        end = time.monotonic() + LONG_S
        while self._read() and time.monotonic() < end:
            pass
        code = self.process.wait(LONG_S)
        os.close(self.master)
        return Ended(code, self.seen)

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.02)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # the other side is closed
                raise
            return False
        self.seen += data
        return bool(data)


# L1


@pytest.mark.parametrize(
    ("args", "nearest"),
    [
        (["segment", "PHOTO", "--pont", "1,1", "-o", "OUT"], "--point"),
        (["segment", "PHOTO", "--point", "1,1", "--ouput", "OUT"], "--output"),
        (["segmnt", "PHOTO", "--point", "1,1", "-o", "OUT"], "segment"),
        (["segment", "PHOTO", "--point", "1,1", "-m", "nanno", "-o", "OUT"], "nano"),
    ],
    ids=["option", "other option", "command", "model"],
)
def test_l1_a_bad_option_exits_2_names_the_nearest_and_writes_nothing(
    args: list[str],
    nearest: str,
    photos: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"PHOTO": str(photos[0]), "OUT": str(tmp_path / "out")}
    assert main([places.get(arg, arg) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert nearest in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert not (tmp_path / "out").exists()


# L2

BARE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from anymask.cli import main
if sys.argv[2] == "EACH":
    sys.exit(max(main(line.split()) for line in sys.argv[3:]))
sys.exit(main(sys.argv[2:]))
"""


def bare(missing: str, *args: object) -> Ended:
    command = [sys.executable, "-c", BARE, missing, *map(str, args)]
    done = subprocess.run(command, capture_output=True, env=environment({}), timeout=LONG_S)
    return Ended(done.returncode, done.stdout, done.stderr)


def test_l2_help_needs_no_torch() -> None:
    ended = bare("torch", "EACH", "--help", *(f"{row.name} --help" for row in COMMANDS))
    assert ended.code == 0, ended.err
    assert ended.out.count(b"Usage: anymask") == 1 + len(COMMANDS)


def test_l2_without_torch_the_error_says_what_to_install(
    photos: list[Path], tmp_path: Path
) -> None:
    ended = bare("torch", "segment", photos[0], "--point", "1,1", "-o", tmp_path / "out")
    assert ended.code == 4
    assert ended.err == b"missing-module: No module named 'torch'; pip install torch\n"


def test_l2_without_an_extra_the_error_names_it(tmp_path: Path) -> None:
    photo = tmp_path / "a.heic"
    photo.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    ended = bare("pillow_heif", "segment", photo, "--point", "1,1", "-o", tmp_path / "out")
    assert ended.code == 4
    assert ended.err.startswith(b"missing-heic: ")
    assert b"pip install" in ended.err
    assert b"anymask[heic]" in ended.err


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


# L7

CODES = [
    (ImageError("a", "b"), 3),
    (PromptError("a", "b"), 3),
    (DataError("a", "b"), 3),
    (VideoError("a", "b"), 3),
    (CheckpointError("a", "b"), 4),
    (CheckpointError("unknown-model", "b"), 2),
    (OutputError("a", "b"), 4),
    (RunError("a", "b"), 4),
    (ExportError("a", "b"), 4),
    (DeviceError("a", "b"), 4),
    (ServerError("a", "b"), 4),
    (MissingExtraError("a", "b"), 4),
    (AnymaskError("a", "b"), 4),
    (ModuleNotFoundError("No module named 'torch'", name="torch"), 4),
    (MemoryError(), 4),
    (OSError(errno.ENOSPC, "No space left on device"), 4),
    (ImportError("cannot import name 'x' from 'anymask.y'", name="anymask.y"), 5),
    (ZeroDivisionError("division by zero"), 5),
    (AssertionError(), 5),
    (KeyboardInterrupt(), 130),
    (BrokenPipeError(), 141),
    (SystemExit(143), 143),
    (SystemExit(None), 0),
    (ReportedError(1), 1),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=[type(e).__name__ for e, _ in CODES])
def test_l7_each_error_has_its_exit_code_and_one_line(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(error) == code
    assert report(error, as_json=False) == code
    told = capsys.readouterr()
    assert told.out == ""
    silent = isinstance(error, ReportedError | SystemExit | BrokenPipeError)
    assert len(told.err.splitlines()) == (0 if silent else 1)
    assert report(error, as_json=True) == code
    told = capsys.readouterr()
    assert told.err == ""
    assert silent or json.loads(told.out)["error"]["exit"] == code


def test_l7_a_bug_asks_to_be_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], photos: list[Path]
) -> None:
    from anymask.cli import segment

    def broken(*_: object) -> None:
        raise ZeroDivisionError("of ours\nsecond line")

    monkeypatch.setattr(segment, "_load", broken)
    assert main(["segment", str(photos[0]), "--point", "1,1", "--json"]) == 5
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "bug"
    assert main(["segment", str(photos[0]), "--point", "1,1", "-o", str(photos[0]) + ".out"]) == 5
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "ZeroDivisionError" in line
    assert "test_rows_l.py:" in line
    assert "report" in line
    monkeypatch.setenv("ANYMASK_TRACEBACK", "1")
    assert main(["segment", str(photos[0]), "--point", "1,1", "--json"]) == 5
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("many", [False, True], ids=["one picture", "several"])
def test_l7_sigterm_exits_143_and_leaves_whole_files(
    many: bool, photos: list[Path], tmp_path: Path
) -> None:
    out, ready = tmp_path / "out", tmp_path / "ready"
    some = photos if many else photos[:1]
    process = subprocess.Popen(
        [sys.executable, FAKE, "segment", *some, "--point", "20,20", "-o", out],
        env=environment({"FAKE_DELAY_S": "2", "FAKE_READY": str(ready)}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    end = time.monotonic() + LONG_S
    while not ready.exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=LONG_S)
    assert process.returncode == 143
    assert b"Traceback" not in err
    assert len(list(out.iterdir())) == (4 if many else 0)  # the picture in hand is finished


# L8


def test_l8_json_alone_is_on_stdout_whatever_c_libraries_print(photos: list[Path]) -> None:
    ended = run("segment", *photos, "--point", "20,20", "--json")
    assert ended.code == 0
    assert len(json.loads(ended.out)["images"]) == 4
    assert b"noise of a C library" in ended.err


@pytest.mark.parametrize(
    ("args", "slug"),
    [
        (["segment", "PHOTO", "--json"], "usage"),
        (["segment", "PHOTO", "--point", "1", "--json"], "usage"),
        (["segment", "--json", "PHOTO", "--pont", "1"], "usage"),
        (["segment", "PHOTO", "--point", "99,1", "--json"], "point-outside"),
        (["segment", "missing.jpg", "--point", "9,1", "--json"], "image-missing"),
        (["segment", "PHOTO", "--point", "9,1", "-m", "x", "--json"], "unknown-model"),
        (["bench", "--runs", "0", "--json"], "usage"),
        (["nothing", "--json"], "usage"),
        (["models", "path", "sam-vit-b", "--json"], "weights-missing"),
    ],
)
def test_l8_errors_are_json_too(
    args: list[str], slug: str, photos: list[Path], tmp_path: Path
) -> None:
    env = {"ANYMASK_CACHE": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    ended = run(*(str(photos[0]) if arg == "PHOTO" else arg for arg in args), env=env)
    assert ended.code in (2, 3, 4)
    error = json.loads(ended.out)["error"]
    assert error["code"] == slug
    assert error["exit"] == ended.code
    assert error["message"].startswith(slug)


def test_l8_an_error_in_the_middle_closes_the_json(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fake_predictor import FakePredictor

    from anymask.cli import segment

    class Tired(FakePredictor):
        """Fails for good at its second picture."""

        def encode(self, picture: object) -> object:
            if self.calls:
                raise DeviceError("device-lost", "the device went away")
            return super().encode(picture)

    tired = Tired()
    monkeypatch.setattr(segment, "_load", lambda *_: tired)
    assert main(["segment", *map(str, photos), "--point", "1,1", "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert len(told["images"]) == 1
    assert told["error"]["code"] == "device-lost"


def test_l8_evaluate_takes_a_file_so_its_errors_are_lines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["evaluate", str(tmp_path / "no.tar"), "--json", str(tmp_path / "a.json")]) == 3
    assert capsys.readouterr().out == ""
    assert main(["evaluate", str(tmp_path / "no.tar"), "--json", "-"]) == 3
    assert "error" in json.loads(capsys.readouterr().out)


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
