"""Runs over many inputs, without a network: rows F1 to F3, F19 and O2."""

import errno
import random
import signal
import time
from pathlib import Path

import pytest
from run_jobs import Copy, Seen, run_folder, whole_run
from runs_of_copies import (  # noqa: F401 - the fixtures
    LONG_S,
    failures,
    fill,
    here,
    start,
    three_inputs,
    without_fsync,
)

from anymask.errors import DeviceError, OutputError, RunError
from anymask.formats.run_items import Here, run_items
from faults import Faults, faults_below  # noqa: F401 - the fixture `faults`
from trees import tree

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
