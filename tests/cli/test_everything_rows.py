"""`anymask everything` among other programs and under kills: rows F1, F6, F12, F19, L2 to L9."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import terminals
from PIL import Image
from terminals import LONG_S, Ended, Terminal, environment

import anymask
from anymask.cli.common import Progress
from conftest import SHARED
from trees import tree

FAKE = str(Path(__file__).with_name("fake_everything.py"))
QUICK = {"FAKE_QUICK_DISK": "1"}  # a kill loses nothing that was written
PHOTOS = [] if SHARED is None else sorted((SHARED / "data" / "photos").glob("*.tar"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return paint(tmp_path / "photos", 4)


def paint(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for i in range(1, count + 1):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def command(*args: object) -> list[str]:
    return [sys.executable, FAKE, "everything", *map(str, args)]


def run(*args: object, env: dict[str, str] | None = None) -> Ended:
    """`anymask everything` with the fake in a process of its own, without a terminal."""
    return terminals.run("everything", *args, script=FAKE, env=QUICK | (env or {}))


def start(*args: object, **env: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command(*args),
        env=environment(QUICK | env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def until(reached: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + LONG_S
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


def kill_often(args: list[str], out: Path, env: dict[str, str], kills: int, most_s: float) -> int:
    """Kill a command at random moments until it ends by itself; how often it was killed."""
    dice, killed = random.Random(11), 0
    while killed < kills:
        process = subprocess.Popen(
            args, env=environment(env), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        journal = out / ".anymask" / "journal.jsonl"
        before = journal.stat().st_size if journal.exists() else 0
        if killed % 4:  # now and then while it still looks at the pictures
            until(
                lambda: journal.exists() and journal.stat().st_size != before,  # noqa: B023
                process,
            )
        time.sleep(dice.uniform(0.0, most_s))
        process.kill()
        process.communicate()
        if process.returncode != -signal.SIGKILL:
            break
        killed += 1
    return killed


# F1


def test_f1_killed_at_ten_moments_the_folder_is_the_same_to_the_bit(tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", 24)
    (photos / "17.png").write_text("no picture")
    more = ["--format", "coco", "--overlay", "--sheet"]
    assert run(photos, "-o", tmp_path / "whole", *more).code == 1
    out = tmp_path / "out"
    slow = QUICK | {"FAKE_DELAY_S": "0.06"}  # else it may be done before it is killed ten times
    assert kill_often(command(photos, "-o", out, *more), out, slow, 10, 0.15) == 10
    assert run(photos, "-o", out, *more).code == 1
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.slow
def test_f1_two_hundred_photos_survive_twenty_kills_of_the_real_command(tmp_path: Path) -> None:
    photos = real_photos(tmp_path / "photos", 200, side=160)
    anymask = [sys.executable, "-m", "anymask", "everything", str(photos)]
    more = ["--points-per-side", "6", "--overlay", "--sheet"]
    for place in ("whole", "out"):
        out = tmp_path / place
        args = [*anymask, "-o", str(out), *more]
        if place == "out":
            assert kill_often(args, out, {}, 20, 4.0) == 20
        subprocess.run(args, check=True, env=environment({}), stdout=subprocess.DEVNULL)
    assert len(list(out.glob("*.json"))) == 200
    assert tree(out) == tree(tmp_path / "whole")


def real_photos(folder: Path, count: int, *, side: int) -> Path:
    """Photos of all kinds, small; where those are not to be had, parts of the bundled ones."""
    folder.mkdir()
    for number, photo in zip(range(count), _photos(-(-count // max(1, len(PHOTOS)))), strict=False):
        photo.thumbnail((side, side))
        photo.convert("RGB").save(folder / f"{number:03}.png")
    assert len(list(folder.iterdir())) == count
    return folder


def _photos(each: int) -> Iterator[Image.Image]:
    for path in PHOTOS:
        with tarfile.open(path) as tar:
            members = [m for m in tar.getmembers() if m.name.endswith(".jpg")]
            for member in members[: 2 * each]:
                file = tar.extractfile(member)
                assert file is not None
                with Image.open(BytesIO(file.read())) as photo:
                    yield photo
    bundled = sorted((Path(anymask.__file__).parent / "photos").glob("*.*g"))
    for shift in itertools.count():
        for path in bundled:
            with Image.open(path) as photo:
                yield photo.crop((shift, shift, shift + 160, shift + 120))


# F4


def test_f4_a_second_command_names_the_first(photos: Path, tmp_path: Path) -> None:
    out, ready = tmp_path / "out", tmp_path / "ready"
    process = start(photos, "-o", out, FAKE_DELAY_S="2", FAKE_READY=str(ready))
    until(ready.exists, process)
    ended = run(photos, "-o", out)
    assert ended.code == 4
    assert ended.err.startswith(b"run-locked: ")
    assert f"process {process.pid} on ".encode() in ended.err
    process.kill()
    process.communicate()
    assert run(photos, "-o", out).code == 0  # though its lock lies there


# F12


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_f12_a_signal_ends_the_run_after_the_picture(
    photos: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out, ready = tmp_path / "out", tmp_path / "ready"
    process = subprocess.Popen(
        command(photos, "-o", out),
        env=environment(QUICK | {"FAKE_DELAY_S": "1", "FAKE_READY": str(ready)}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # a shell starts background jobs with interrupts ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    until(ready.exists, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=LONG_S)
    assert process.returncode == code
    assert b"the same command goes on from here" in err
    assert b"Traceback" not in err
    done = list(out.glob("*.json"))
    assert 0 < len(done) < 4
    assert (out / ".anymask" / "lock").read_bytes() == b""
    assert run(photos, "-o", out).code == 0
    run(photos, "-o", tmp_path / "whole")
    assert tree(out) == tree(tmp_path / "whole")


# F19


@pytest.mark.slow
def test_f19_memory_is_flat_over_many_pictures(tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", 600)
    process = start(photos, "-o", tmp_path / "out", "--overlay")
    held: dict[int, list[int]] = {}  # process: kB, from a quarter of the pictures on
    while process.poll() is None:
        if len(list((tmp_path / "out").glob("*.overlay.png"))) > 150:
            for pid in (process.pid, *children(process.pid)):
                held.setdefault(pid, []).append(memory_kb(pid))
        time.sleep(0.1)
    process.communicate()
    assert process.returncode == 0
    assert len(held) >= 2  # the run and its worker
    for each in held.values():
        some = [kb for kb in each if kb]  # 0 where it has just ended
        quarter = max(1, len(some) // 4)
        assert max(some[-quarter:]) - max(some[:quarter]) < 3_000


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(number) for number in text.split()]


def memory_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


# L2 to L9


def test_l2_without_torch_the_error_says_what_to_install(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    hidden = tmp_path / "hidden" / "torch.py"
    hidden.write_text('raise ModuleNotFoundError("No module named \'torch\'", name="torch")')
    done = subprocess.run(
        [sys.executable, "-m", "anymask", "everything", photos, "-o", tmp_path / "out"],
        capture_output=True,
        env=environment({"PYTHONPATH": str(hidden.parent)}),
        timeout=LONG_S,
    )
    assert done.returncode == 4
    assert done.stderr == b"missing-module: No module named 'torch'; pip install torch\n"
    assert not (tmp_path / "out").exists()


def test_l3_ctrl_c_stops_after_the_picture_twice_stops_now(photos: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    env = QUICK | {"FAKE_DELAY_S": "30", "FAKE_READY": str(ready)}
    terminal = EverythingTerminal(["everything", photos, "-o", tmp_path / "out"], env)
    terminal.until(ready.exists)
    began = time.monotonic()
    terminal.type(b"\x03")
    terminal.until(lambda: b"once more" in terminal.seen)
    terminal.type(b"\x03")
    ended = terminal.end()
    assert ended.code == 130
    assert time.monotonic() - began < 25
    assert b"Traceback" not in ended.out
    assert not (tmp_path / "out").exists()  # nothing was done: it is as it was found


class EverythingTerminal(Terminal):
    """The terminal of the other tests, with our command in it."""

    script = FAKE


def test_l4_a_broken_pipe_exits_141_without_a_traceback(photos: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command(photos, "-o", tmp_path / "out"),
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(QUICK),
        timeout=LONG_S,
    )
    os.close(writer)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr


def test_l5_without_a_terminal_a_line_tells_masks_and_rate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    with Progress("pictures", clock=lambda: now) as bar:
        now += 11.0
        bar.show(3, 9, "21 masks, 0.5 pictures/s, 12 s left")
    line = capsys.readouterr().err
    assert line == "3 of 9 pictures, 21 masks, 0.5 pictures/s, 12 s left\n"


def test_l6_no_escapes_where_they_are_not_wanted(photos: Path, tmp_path: Path) -> None:
    ended = EverythingTerminal(
        ["everything", photos, "-o", tmp_path / "out"], QUICK | {"NO_COLOR": "1"}
    ).end()
    assert ended.code == 0
    assert b"\x1b" not in ended.out


def test_l8_json_alone_is_on_stdout_whatever_c_libraries_print(
    photos: Path, tmp_path: Path
) -> None:
    ended = run(photos, "-o", tmp_path / "out", "--json", env={"FAKE_NOISE": "1"})
    assert ended.code == 0
    assert json.loads(ended.out)["masks"] == 12
    assert b"noise of a C library" in ended.err
    ended = run(photos, "-o", tmp_path / "out2", env={"FAKE_NOISE": "1"})
    assert b"noise" not in ended.out


@pytest.mark.parametrize(
    ("args", "slug"),
    [
        (["PHOTOS", "--json"], "usage"),
        (["PHOTOS", "-o", "OUT", "--json", "--format", "x"], "usage"),
        (["PHOTOS", "-o", "OUT", "--json", "-m", "x"], "unknown-model"),
        (["missing.jpg", "-o", "OUT", "--json"], "image-missing"),
        (["PHOTOS", "-o", "/proc/anymask", "--json"], "write-failed"),
    ],
)
def test_l8_errors_are_json_too(args: list[str], slug: str, photos: Path, tmp_path: Path) -> None:
    places = {"PHOTOS": str(photos), "OUT": str(tmp_path / "out")}
    ended = run(*(places.get(arg, arg) for arg in args))
    error = json.loads(ended.out)["error"]
    assert (error["code"], error["exit"]) == (slug, ended.code)


def test_l9_a_console_of_few_characters_never_fails(photos: Path, tmp_path: Path) -> None:
    (photos / "1.png").rename(photos / "猫 é.png")
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ended = run(photos, "-o", tmp_path / "out", env=env)
    assert ended.code == 0, ended.err
    assert b"\\u732b" in ended.out
    assert (tmp_path / "out" / "猫 é.png.json").exists()
