"""Runs that are upset from outside, without a network: rows F4 to F7, F11 and F12."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from run_jobs import Copy, Seen, run_folder, whole_run
from runs_of_copies import (  # noqa: F401 - the fixtures
    LONG_S,
    SCRIPT,
    failures,
    fill,
    here,
    start,
    three_inputs,
    without_fsync,
)

from anymask.errors import DeviceError, RunError
from anymask.formats.run_items import Here, run_items
from anymask.formats.run_worker import Child
from trees import tree

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
