"""Several processes train as one, and none waits for a dead one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_runs import small_config, write_photos

from anymask.errors import RunError
from anymask.train.beats import Beats
from anymask.train.config import to_toml
from anymask.train.curves import read_table
from anymask.train.run import run_slice
from anymask.train.state import load_state

REPO = Path(__file__).parents[2]
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def here(tmp_path):
    write_photos(tmp_path / "set")
    write_photos(tmp_path / "set", 21, split="val", masks=1)
    return tmp_path


def write_toml(here, out, **changes):
    config = small_config(here / "set", here / out, **changes)
    path = here / f"{out}.toml"
    path.write_text(to_toml(config))
    return config, path


def start(path, processes=2, *more):
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "anymask", "train", str(path), "--device", "cpu", *more]
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
        cwd=REPO,
    )


def finish(process):
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]


def test_f10_d05_two_processes_train_and_judge_as_one_does(here):
    changes = {"batches": 2, "steps": 3, "judge_every": 3, "judge_photos": 21}
    _, path = write_toml(here, "two", **changes)
    finish(start(path))
    config, _ = write_toml(here, "one", **changes)
    from anymask.train.judge import judge_on

    run_slice(config, judge=judge_on(config))
    one, two = (read_table(here / name / "steps.csv") for name in ("one", "two"))
    assert one["prompts"] == two["prompts"]
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    judged = [read_table(here / name / "judged.csv") for name in ("one", "two")]
    for name, values in judged[0].items():
        if name != "seconds":
            assert judged[1][name] == pytest.approx(values, abs=2e-3), name
    assert judged[1]["masks"] == [21]  # none twice
    states = [load_state(here / name / "state") for name in ("one", "two")]
    for name, tensor in states[0].tensors.items():
        if name.startswith("model/"):
            torch.testing.assert_close(states[1].tensors[name], tensor, atol=2e-4, rtol=1e-3)
    assert json.loads((here / "two" / ".ranks" / "1.json").read_text())["ended"] == "done"


@pytest.mark.slow
def test_f01_two_processes_that_were_stopped_give_the_bits_of_an_unbroken_run(here):
    _, whole = write_toml(here, "whole", steps=6)
    finish(start(whole))
    _, path = write_toml(here, "broken", steps=6)
    finish(start(path, 2, "--minutes", "0"))
    assert load_state(here / "broken" / "state").step == 1
    finish(start(path))
    one, two = (load_state(here / name / "state").tensors for name in ("whole", "broken"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def wait_for_rows(here, process, out="run", size=400):
    table = here / out / "steps.csv"
    until = time.monotonic() + 300
    while not table.exists() or table.stat().st_size < size:
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < until
        time.sleep(0.1)


def ranks(here, out="run"):
    found = {}
    for path in (here / out / ".ranks").glob("?.json"):
        sign = json.loads(path.read_text())
        found[sign["rank"]] = sign["pid"]
    return found


@pytest.mark.slow
def test_f12_sigterm_to_one_process_saves_and_ends_all_with_143(here):
    _, path = write_toml(here, "run", steps=100_000)
    process = start(path)
    wait_for_rows(here, process)
    os.kill(ranks(here)[1], signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert said.count("exitcode") and "143" in said, said[-3000:]
    steps = read_table(here / "run" / "steps.csv")["step"]
    assert load_state(here / "run" / "state").step == steps[-1]


def without_torchrun(path, port):
    """Two processes whose starter does not watch them."""
    found = []
    for rank in range(2):
        about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        about |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        found.append(
            subprocess.Popen(
                [sys.executable, "-m", "anymask", "train", str(path), "--device", "cpu"],
                stderr=subprocess.PIPE,
                text=True,
                env=ENV | {key: str(value) for key, value in about.items()},
                cwd=REPO,
            )
        )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_d09_a_lost_process_ends_the_others_within_a_minute_and_is_named(here, how):
    _, path = write_toml(here, "run", steps=100_000, save_every=1)
    first, second = without_torchrun(path, 29_611 + (how == "frozen"))
    try:
        wait_for_rows(here, first)
        second.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        begun = time.monotonic()
        _, said = first.communicate(timeout=90)
        assert time.monotonic() - begun < 60
        assert first.returncode == 4
        assert f"rank-lost: {here / 'run'}: process 1 (pid {second.pid}" in said, said
        assert ("was killed" if how == "killed" else "has not been heard of for") in said
        assert load_state(here / "run" / "state") is not None
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_d09_the_reason_of_a_process_that_failed_is_told_by_the_others(here):
    _, path = write_toml(here, "run", steps=100_000)
    first, second = without_torchrun(path, 29_613)
    try:
        wait_for_rows(here, first)
        second.send_signal(signal.SIGTERM)  # twice: it ends in the middle of a step
        time.sleep(0.01)
        second.send_signal(signal.SIGTERM)
        _, said = first.communicate(timeout=90)
        assert first.returncode in (4, 143)
        assert first.returncode == 143 or "process 1" in said
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


def test_a_beat_that_stands_still_and_a_reason_are_told(tmp_path):
    lost = []
    mine = Beats(tmp_path, 0, 2, silent_s=0.3, lost=lost.append)
    other = Beats(tmp_path, 1, 2)
    other._say()
    assert mine._look() is None
    time.sleep(0.4)
    error = mine._look()
    assert isinstance(error, RunError) and "has not been heard of" in str(error)
    other._say("loss-not-finite: step 7")
    assert "ended: loss-not-finite: step 7" in str(mine.find_lost(0))
    other._say("done")
    assert mine.find_lost(0) is None


def test_a_process_that_is_gone_is_called_killed(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    mine, other = Beats(tmp_path, 0, 2), Beats(tmp_path, 1, 2)
    other._say()
    path = tmp_path / "1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": child.pid}))
    assert f"process 1 (pid {child.pid}" in str(mine.find_lost(0))
    assert "was killed" in str(mine.find_lost(0))


def test_several_processes_need_accelerate_and_one_does_not(here, monkeypatch):
    from anymask.errors import DataError, MissingExtraError
    from anymask.train.team import join_team

    monkeypatch.setitem(sys.modules, "accelerate", None)
    with join_team(here) as team:
        assert team.world == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MissingExtraError, match=r"anymask\[train\]"), join_team(here):
        pass
    with pytest.raises(DataError, match="given their devices"), join_team(here, "cuda:1"):
        pass


def saved_at(folder):
    """Changes with every state that is saved."""
    try:
        return (folder / "state" / "facts.json").stat().st_ino
    except FileNotFoundError:  # none yet, or just between two renames
        return 0


@pytest.mark.slow
def test_f01_killed_at_any_moment_a_run_ends_in_the_bits_of_an_unbroken_one(here):
    from multiprocessing import get_context

    import numpy as np
    from small_kills import forked_run

    config, whole = write_toml(here, "whole", steps=60, save_every=1)
    _, path = write_toml(here, "broken", steps=60, save_every=1)
    context = get_context("forkserver")
    context.set_forkserver_preload(["small_kills"])

    def begin(toml):
        process = context.Process(target=forked_run, args=(str(toml),))
        process.start()
        return process, time.monotonic()

    process, begun = begin(whole)
    while not (here / "whole" / "steps.csv").exists():
        time.sleep(0.01)
    first = time.monotonic() - begun
    process.join(600)
    assert process.exitcode == 0
    a_step = (time.monotonic() - begun - first) / config.steps
    rng = np.random.default_rng(0)
    kills = 0
    while kills < 100:
        before = saved_at(here / "broken")
        process, begun = begin(path)
        if kills % 2:  # anywhere in its beginning, or in or between the steps that follow
            process.join(float(rng.uniform(0, first)))
        else:
            while process.is_alive() and saved_at(here / "broken") in (0, before):
                time.sleep(0.002)
            process.join(float(rng.uniform(0, 2 * a_step)))
        if process.exitcode is not None:
            assert process.exitcode == 0
            break
        process.kill()
        process.join()
        kills += 1
    process, _ = begin(path)
    process.join(600)
    assert process.exitcode == 0 and kills >= 20
    one, two = (load_state(here / name / "state") for name in ("whole", "broken"))
    assert one.step == two.step == config.steps
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    steps = read_table(here / "broken" / "steps.csv")["step"]
    assert steps == [float(n) for n in range(1, config.steps + 1)]
