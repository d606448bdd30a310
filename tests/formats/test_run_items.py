"""Runs over many inputs, without a network: rows F1 to F7, F11, F12 and F19."""

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from run_jobs import Copy, Seen, run_folder, whole_run

from anymask.errors import DeviceError, OutputError, RunError
from anymask.formats.run_items import Here, run_items
from anymask.formats.run_worker import Child
from faults import Faults, faults_below  # noqa: F401 - the fixture `faults`

SCRIPT = str(Path(__file__).with_name("run_jobs.py"))
LONG_S = 60.0  # a busy machine is slow


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills lose nothing that was written: only a power cut would, and here is none."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def fill(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return fill(tmp_path / "in", a="first", b="second", c="third")


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, and its content's hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def here(root: Path, inputs: Path, **options: object) -> object:
    return whole_run(root, inputs, Copy(), child=False, **options)


def failures(root: Path) -> list[dict[str, str]]:
    path = root / "failures.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def start(root: Path, inputs: Path, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, SCRIPT, str(root), str(inputs), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


# F1


def test_f1_results_are_in_place_and_counted(inputs: Path, tmp_path: Path) -> None:
    tally, seen = here(tmp_path / "out", inputs)
    assert (tally.done, tally.kept, tally.failed) == (3, 0, 0)
    assert tally.facts == {"letters": 16}
    assert seen.names("done") == ["a", "b", "c"]
    assert (tmp_path / "out" / "b.txt").read_text() == "second"
    assert (tmp_path / "out" / "all.txt").read_text() == "a\nb\nc"


def test_f1_a_second_run_does_nothing_and_changes_nothing(inputs: Path, tmp_path: Path) -> None:
    here(tmp_path / "out", inputs)
    before = tree(tmp_path / "out")
    job = Copy()
    tally, _ = whole_run(tmp_path / "out", inputs, job, child=False)
    assert (tally.done, tally.kept) == (0, 3)
    assert tally.facts == {"letters": 16}
    assert job.calls == []
    assert tree(tmp_path / "out") == before


def test_f1_equal_runs_leave_equal_folders_wherever_they_lie(tmp_path: Path) -> None:
    found = []
    for place in ("one", "two"):
        inputs = fill(tmp_path / place / "in", a="first", b="second")
        here(tmp_path / place / "out", inputs)
        found.append(tree(tmp_path / place / "out"))
        time.sleep(0.01)  # no time is in any file
    assert found[0] == found[1]


def test_f1_a_crash_between_any_two_writes_is_mended_to_the_bit(
    tmp_path: Path, faults: Faults
) -> None:
    inputs = fill(tmp_path / "in", a="first", b="second")
    whole = tmp_path / "whole"
    here(whole, inputs)
    for error in faults.each(
        lambda: here(tmp_path / f"out{faults.calls}", inputs), errno.EIO, forever=True
    ):
        out = max(tmp_path.glob("out*"), key=lambda path: path.stat().st_ctime_ns, default=None)
        if out is not None:
            here(out, inputs)
            assert tree(out) == tree(whole), error


@pytest.mark.parametrize("child", [(), ("child",)], ids=["in process", "with a worker"])
def test_f1_killed_at_ten_moments_the_result_is_the_same_to_the_bit(
    tmp_path: Path, child: tuple[str, ...]
) -> None:
    inputs = fill(tmp_path / "in", **{f"input-{i:02}": "text " * i for i in range(1, 25)}, x="bad")
    here(tmp_path / "whole", inputs)
    out, dice = tmp_path / "out", random.Random(7)
    kills = 0
    for _ in range(60):
        process = start(out, inputs, *child)
        began = time.monotonic()
        while not (out / ".anymask" / "journal.jsonl").exists() and process.poll() is None:
            assert time.monotonic() - began < LONG_S
            time.sleep(0.001)
        time.sleep(dice.uniform(0.0, 0.06))
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
        kills += process.returncode == -signal.SIGKILL
        if kills == 10:
            break
    here(out, inputs)
    assert kills == 10
    assert tree(out) == tree(tmp_path / "whole")


def test_f1_a_result_that_was_removed_is_made_again(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    here(out, inputs)
    before = tree(out)
    (out / "b.txt").unlink()
    _, seen = here(out, inputs)
    assert seen.names("done") == ["b"]
    assert tree(out) == before


# never replace what is not ours


@pytest.mark.parametrize("name", ["b.txt", "b/more.txt", "all.txt", "failures.jsonl"])
def test_o2_a_file_that_is_not_the_runs_stops_it_before_it_starts(
    inputs: Path, tmp_path: Path, name: str
) -> None:
    other = tmp_path / "out" / name
    other.parent.mkdir(parents=True)
    other.write_text("somebody's")
    before = tree(tmp_path / "out")
    with pytest.raises(OutputError) as caught:
        here(tmp_path / "out", inputs)
    assert caught.value.code == "file-exists"
    assert tree(tmp_path / "out") == before
    assert not (tmp_path / "out" / ".anymask").exists()


def test_o2_a_file_that_appears_while_the_run_works_is_not_replaced(
    inputs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    class Meddling(Copy):
        def make(self, item: object, read: object, memory_mb: int) -> object:
            (out / "b.txt").write_text("somebody's")
            return super().make(item, read, memory_mb)  # type: ignore[arg-type]

    with pytest.raises(RunError) as caught:
        whole_run(out, inputs, Meddling(), child=False)
    assert caught.value.code == "file-exists"
    assert (out / "b.txt").read_text() == "somebody's"
    with pytest.raises(RunError):
        here(out, inputs)
    assert (out / "b.txt").read_text() == "somebody's"
    (out / "b.txt").unlink()
    here(out, inputs)
    here(tmp_path / "whole", inputs)
    assert tree(out) == tree(tmp_path / "whole")


def test_o2_not_even_a_file_that_is_the_same_as_ours_is_touched(
    inputs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    class Meddling(Copy):
        def make(self, item: object, read: object, memory_mb: int) -> object:
            (out / "b.txt").write_text("second")
            return super().make(item, read, memory_mb)  # type: ignore[arg-type]

    with pytest.raises(RunError):
        whole_run(out, inputs, Meddling(), child=False)
    assert (out / "b.txt").read_text() == "second"
    assert not (out / "b").exists()


def test_a_broken_journal_is_named_and_the_lock_let_go(inputs: Path, tmp_path: Path) -> None:
    here(tmp_path / "out", inputs)
    (tmp_path / "out" / ".anymask" / "journal.jsonl").write_text("nothing\n")
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            here(tmp_path / "out", inputs)
        assert caught.value.code == "run-broken"


def test_o2_a_result_that_somebody_worked_on_is_neither_replaced_nor_removed(
    inputs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    here(out, inputs)
    (out / "b.txt").write_text("better by hand")
    assert here(out, inputs)[0].kept == 3
    (inputs / "b").write_text("other")
    with pytest.raises(OutputError) as caught:
        here(out, inputs, accept=True)
    assert caught.value.code == "result-changed"
    assert (out / "b.txt").read_text() == "better by hand"
    (out / "all.txt").write_text("mine")
    (out / "b.txt").unlink()
    with pytest.raises(OutputError):
        here(out, inputs, accept=True)
    assert (out / "all.txt").read_text() == "mine"


# F2


def test_f2_bad_inputs_are_listed_and_the_others_done(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", a="fine", b="bad", c="fine", d="bad")
    tally, seen = here(tmp_path / "out", inputs)
    assert (tally.done, tally.failed) == (2, 2)
    assert tally.first.code == "image-broken"
    assert seen.names("failed") == ["b", "d"]
    assert failures(tmp_path / "out") == [
        {"path": name, "code": "image-broken", "message": f"image-broken: {name}: this is no input"}
        for name in ("b", "d")
    ]


def test_f2_a_failed_input_is_tried_again_and_leaves_the_list_when_it_works(
    tmp_path: Path,
) -> None:
    inputs = fill(tmp_path / "in", a="memory", b="fine")
    whole_run(tmp_path / "out", inputs, Copy(largest_mb=1), child=False)
    assert [line["code"] for line in failures(tmp_path / "out")] == ["out-of-memory"]
    here(tmp_path / "out", inputs)
    assert failures(tmp_path / "out") == []
    assert (tmp_path / "out" / "all.txt").read_text() == "a\nb"


def test_f2_too_many_failures_end_the_run(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", a="bad", b="fine", c="bad", d="fine")
    tally, _ = here(tmp_path / "out", inputs, max_failures=1)
    assert tally.gave_up.code == "too-many-failures"
    assert (tmp_path / "out" / "b.txt").exists()
    assert not (tmp_path / "out" / "d.txt").exists()
    tally, _ = here(tmp_path / "out", inputs, max_failures=2)
    assert (tally.done, tally.kept, tally.gave_up) == (1, 1, None)


def test_f2_a_bug_with_one_input_is_a_failure_of_that_one(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", a="bug", b="fine")
    tally, _ = here(tmp_path / "out", inputs)
    (line,) = failures(tmp_path / "out")
    assert (tally.done, line["code"]) == (1, "bug")
    assert "ZeroDivisionError: of ours (run_jobs.py:" in line["message"]


def test_f2_what_stops_every_input_stops_the_run(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", a="fine", b="lost", c="fine")
    for child in (False, True):
        with pytest.raises(DeviceError) as caught:
            whole_run(tmp_path / "out", inputs, Copy(), child=child)
        assert caught.value.code == "device-lost"
    assert failures(tmp_path / "out") == []


def test_f2_what_fails_before_any_input_stops_the_run(inputs: Path, tmp_path: Path) -> None:
    for child in (False, True):
        with pytest.raises(RunError) as caught:
            whole_run(tmp_path / "out", inputs, Copy(broken=True), child=child)
        assert caught.value.code == "worker-failed"
        assert "ZeroDivisionError: before any input" in str(caught.value)
    assert not (tmp_path / "out").exists()


# F3


def test_f3_a_full_disk_ends_the_run_and_what_is_done_is_whole(
    inputs: Path, tmp_path: Path, faults: Faults
) -> None:
    here(tmp_path / "whole", inputs)
    whole = tree(tmp_path / "whole")
    rounds = 0
    for error in faults.each(lambda: here(tmp_path / "out", inputs), errno.ENOSPC, forever=True):
        rounds += 1
        found = tree(tmp_path / "out") if (tmp_path / "out").exists() else {}
        results = {k: v for k, v in found.items() if not k.startswith(".anymask")}
        assert results.items() <= whole.items()  # each is whole
        if error is not None:
            assert isinstance(error, RunError | OutputError)
            assert error.code == "disk-full"
            assert "free some space" in str(error)
    assert rounds > 10
    assert tree(tmp_path / "out") == whole


# F4


def test_f4_a_second_run_in_one_folder_names_the_owner(inputs: Path, tmp_path: Path) -> None:
    with run_folder(tmp_path / "out", inputs):
        with pytest.raises(RunError) as caught:
            here(tmp_path / "out", inputs)
        assert caught.value.code == "run-locked"
        assert f"process {os.getpid()} on {os.uname().nodename}" in str(caught.value)
    assert here(tmp_path / "out", inputs)[0].done == 3


def test_f4_of_two_runs_that_start_at_once_one_works(inputs: Path, tmp_path: Path) -> None:
    ended: list[object] = []

    def one() -> None:
        try:
            ended.append(whole_run(tmp_path / "out", inputs, Copy(delay_s=0.3), child=False)[0])
        except RunError as error:
            ended.append(error.code)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended.count("run-locked") == 3


def test_f4_the_lock_of_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", **{f"i{i:02}": "text" for i in range(60)})
    process = start(tmp_path / "out", inputs, "child")
    while not (tmp_path / "out" / "i10.txt").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.communicate()
    owner = json.loads((tmp_path / "out" / ".anymask" / "lock").read_bytes())
    assert owner["pid"] == process.pid
    assert here(tmp_path / "out", inputs)[0].kept > 5


# F5


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0], ids=["a day ahead", "a day back"])
def test_f5_jumps_of_the_clock_change_nothing(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    here(tmp_path / "whole", inputs)
    real = time.time

    class Jumping(Copy):
        def make(self, item: object, read: object, memory_mb: int) -> object:
            monkeypatch.setattr(time, "time", lambda: real() + jump_s * len(self.calls))
            return super().make(item, read, memory_mb)  # type: ignore[arg-type]

    whole_run(tmp_path / "out", inputs, Jumping(), child=False)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_f5_files_are_known_by_content_not_by_their_dates(inputs: Path, tmp_path: Path) -> None:
    here(tmp_path / "out", inputs)
    os.utime(inputs / "a", (0, 0))
    assert here(tmp_path / "out", inputs)[0].kept == 3
    dates = (inputs / "b").stat()
    (inputs / "b").write_text("Second")  # as long as before, and of the same date
    os.utime(inputs / "b", ns=(dates.st_atime_ns, dates.st_mtime_ns))
    with pytest.raises(RunError) as caught:
        here(tmp_path / "out", inputs)
    assert "1 input changed: 'b'" in str(caught.value)


# F6


def test_f6_an_input_that_ends_the_worker_is_tried_once_more_then_failed(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", a="fine", b="die", c="die once", d="fine")
    job = Copy(log=tmp_path / "log")
    tally, seen = whole_run(tmp_path / "out", inputs, job, child=True)
    assert (tally.done, tally.failed) == (3, 1)
    assert (tmp_path / "log").read_text().split() == ["a", "b", "b", "c", "c", "d"]
    (line,) = failures(tmp_path / "out")
    assert (line["path"], line["code"]) == ("b", "worker-died")
    assert "signal 11 ended the process that worked on it, twice" in line["message"]
    assert len(seen.names("remark")) == 2


def test_f6_workers_that_die_one_after_the_other_stop_the_run(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", **{f"i{i}": "exit" for i in range(9)})
    job = Copy(log=tmp_path / "log")
    with pytest.raises(RunError) as caught:
        whole_run(tmp_path / "out", inputs, job, child=True)
    assert caught.value.code == "worker-failed"
    assert "exit code 7, twice" in str(caught.value)
    assert (tmp_path / "log").read_text().split() == ["i0", "i0", "i1", "i1", "i2", "i2"]


def test_f6_no_worker_outlives_a_killed_run(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", a="fine", b="fine")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(SCRIPT).parent)!r})\n"
        "from pathlib import Path\n"
        "from run_jobs import Copy, whole_run\n"
        "if __name__ == '__main__':\n"
        f"    log = Path({str(tmp_path / 'log')!r})\n"
        f"    whole_run(Path({str(tmp_path / 'out')!r}), Path({str(inputs)!r}),\n"
        "        Copy(log=log, delay_s=300), child=True)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)])
    began = time.monotonic()
    while not (tmp_path / "log").exists():
        assert process.poll() is None and time.monotonic() - began < LONG_S
        time.sleep(0.01)
    process.kill()
    process.wait()
    # the worker holds the lock as long as it lives, and it is at work for five minutes
    began = time.monotonic()
    assert here(tmp_path / "out", inputs)[0].done == 2
    assert time.monotonic() - began < 15


# F7


def test_f7_where_memory_does_not_suffice_half_is_tried_and_noted(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", a="fine", b="memory", c="fine")
    job = Copy(largest_mb=128)
    tally, seen = whole_run(tmp_path / "out", inputs, job, child=False)
    assert tally.failed == 0
    assert job.calls == [("a", 256), ("b", 256), ("b", 128), ("c", 128)]
    manifest = json.loads((tmp_path / "out" / ".anymask" / "run.json").read_text())
    assert manifest["memory_mb"] == 128
    assert manifest["machine"]["memory_mb"] == 256  # what was asked
    assert any("128 MB" in text for text in seen.names("remark"))
    (tmp_path / "out" / "c.txt").unlink()
    again = Copy()
    whole_run(tmp_path / "out", inputs, again, child=False)
    assert again.calls == [("c", 128)]  # batches stay as the manifest has them


def test_f7_after_one_retry_the_input_has_failed(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", a="memory", b="fine")
    job = Copy(largest_mb=1)
    tally, _ = whole_run(tmp_path / "out", inputs, job, child=False)
    assert (tally.done, tally.failed) == (1, 1)
    assert job.calls == [("a", 256), ("a", 128), ("b", 128)]
    assert failures(tmp_path / "out")[0]["code"] == "out-of-memory"


def test_f7_a_worker_that_the_system_kills_gets_half_the_memory(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", a="kill once", b="fine")
    tally, _ = whole_run(tmp_path / "out", inputs, Copy(log=tmp_path / "log"), child=True)
    assert (tally.done, tally.failed) == (2, 0)
    manifest = json.loads((tmp_path / "out" / ".anymask" / "run.json").read_text())
    assert manifest["memory_mb"] == 128


# F11


def test_f11_changed_inputs_are_refused_with_a_list(inputs: Path, tmp_path: Path) -> None:
    here(tmp_path / "out", inputs)
    before = tree(tmp_path / "out")
    (inputs / "a").write_text("changed")
    (inputs / "b").unlink()
    fill(inputs, d="new", e="new")
    with pytest.raises(RunError) as caught:
        here(tmp_path / "out", inputs)
    assert caught.value.code == "run-changed"
    for part in ("1 input changed: 'a'", "2 inputs new: 'd', 'e'", "1 input gone: 'b'"):
        assert part in str(caught.value)
    assert "--accept-changes" in str(caught.value)
    assert tree(tmp_path / "out") == before


def test_f11_accepted_changes_leave_what_a_new_run_would(inputs: Path, tmp_path: Path) -> None:
    here(tmp_path / "out", inputs)
    (inputs / "a").write_text("changed")
    (inputs / "b").unlink()
    fill(inputs, aa="new", d="new")
    tally, seen = here(tmp_path / "out", inputs, accept=True)
    assert seen.names("kept") == ["c"]
    assert tally.done == 3
    here(tmp_path / "whole", inputs)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_f11_other_settings_are_refused_and_accepted_make_all_anew(
    inputs: Path, tmp_path: Path
) -> None:
    here(tmp_path / "out", inputs)
    settings = {"side": 16, "model": "nano"}
    with pytest.raises(RunError) as caught:
        here(tmp_path / "out", inputs, settings=settings)
    assert "side: 32, now 16" in str(caught.value)
    tally, _ = here(tmp_path / "out", inputs, settings=settings, accept=True)
    assert tally.done == 3
    here(tmp_path / "whole", inputs, settings=settings)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_f11_another_device_is_refused_too_but_keeps_what_is_done(
    inputs: Path, tmp_path: Path
) -> None:
    here(tmp_path / "out", inputs)
    other = {"device": "cuda", "memory_mb": 64}
    with pytest.raises(RunError) as caught, run_folder(tmp_path / "out", inputs, machine=other):
        pass
    assert "device: 'cpu', now 'cuda'; memory_mb: 256, now 64" in str(caught.value)
    with run_folder(
        tmp_path / "out", inputs, machine=other, memory_mb=64, accept=True, finals=("all.txt",)
    ) as folder:
        assert all(item.done for item in folder.items())
        assert folder.plan.memory_mb == 64


def test_f11_where_nothing_is_done_yet_anything_may_change(inputs: Path, tmp_path: Path) -> None:
    with run_folder(tmp_path / "out", inputs):
        pass
    assert not (tmp_path / "out").exists()  # nothing was done: it is as it was found
    fill(inputs, a="lost", b="lost", c="lost")
    with pytest.raises(DeviceError):
        here(tmp_path / "out", inputs)
    assert not (tmp_path / "out").exists()


def test_f11_an_input_that_changes_after_the_start_belongs_to_the_next_run(
    inputs: Path, tmp_path: Path
) -> None:
    class Adding(Copy):
        def make(self, item: object, read: object, memory_mb: int) -> object:
            fill(inputs, bb="late")
            return super().make(item, read, memory_mb)  # type: ignore[arg-type]

    _, seen = whole_run(tmp_path / "out", inputs, Adding(), child=False)
    assert seen.names("done") == ["a", "b", "c"]
    with pytest.raises(RunError) as caught:
        here(tmp_path / "out", inputs)
    assert "1 input new: 'bb'" in str(caught.value)


# F12


def test_f12_a_stop_comes_between_two_inputs(inputs: Path, tmp_path: Path) -> None:
    seen, asked = Seen(), iter([False, False, True])
    with run_folder(tmp_path / "out", inputs) as folder:
        tally = run_items(folder, Here(Copy(), folder.new), seen, stopped=lambda: next(asked))
    assert tally.done == 2
    assert seen.names("done") == ["a", "b"]
    here(tmp_path / "out", inputs)
    here(tmp_path / "whole", inputs)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_f12_signals_of_the_terminal_do_not_reach_the_worker(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", a="fine", b="fine")
    job = Copy(log=tmp_path / "log")
    with run_folder(tmp_path / "out", inputs) as folder:
        worker = Child(job, folder.new, folder.lock.descriptor)
        items = list(folder.items())
        worker.work(items[0], 256)
        assert worker._process is not None and worker._process.pid is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(worker._process.pid, number)
        worker.work(items[1], 256)
        worker.close()
    assert (tmp_path / "log").read_text().split() == ["a", "b"]


# F19


def memory_kb() -> int:
    """What this process holds in memory now."""
    (line,) = [li for li in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in li]
    return int(line.split()[1])


@pytest.mark.slow
def test_f19_memory_is_flat_over_thousands_of_inputs(tmp_path: Path) -> None:
    inputs = fill(tmp_path / "in", **{f"i{i:05}": f"text {i}" for i in range(3000)})
    held: list[int] = []

    class Weighing(Seen):
        def done(self, item: object, done: object) -> None:
            held.append(memory_kb())

    with run_folder(tmp_path / "out", inputs) as folder:
        run_items(folder, Here(_Forgetful(), folder.new), Weighing())
    assert held[-1] - held[500] < 4_000  # kB


class _Forgetful(Copy):
    def make(self, item: object, read: object, memory_mb: int) -> object:
        self.calls.clear()
        return super().make(item, read, memory_mb)  # type: ignore[arg-type]
