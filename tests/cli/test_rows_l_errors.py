"""The rows L1, L2, L7 and L8: what the command line refuses, with which words and exit codes."""

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from terminals import (  # noqa: F401 - the fixtures
    FAKE,
    LONG_S,
    Ended,
    environment,
    four_photos,
    run,
)

from anymask.cli import COMMANDS, main
from anymask.cli.common import ReportedError, exit_code, report
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
    assert "test_rows_l_errors.py:" in line
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
