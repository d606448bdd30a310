"""Runs stop, go on, go wrong and are told of."""

import logging
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import begun, go, small_config, write_photos

from anymask.cli import main
from anymask.errors import DataError, RunError
from anymask.train.batches import PhotoDrawer, StepKind
from anymask.train.config import Optim, read_config, to_toml
from anymask.train.curves import add_row, cut_rows, draw_curves, read_table
from anymask.train.feed import plan_of
from anymask.train.run import run_slice
from anymask.train.running import averaged_network, begin, rate, snapshot
from anymask.train.samples import find_photos
from anymask.train.state import load_state, save_state

REPO = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path):
    write_photos(tmp_path / "set")
    return tmp_path


def config_of(here, out="run", **changes):
    return small_config(here / "set", here / out, **changes)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_state(folder / "state").tensors)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def until(step):
    """A stop that comes after so many steps."""
    left = [step]

    def stop():
        left[0] -= 1
        return 143 if left[0] <= 0 else 0

    return stop


def test_f12_a_stop_ends_the_slice_after_its_step_with_the_state_saved_and_goes_on_to_the_bit(here):
    run_slice(config_of(here, "whole"))
    first = run_slice(config_of(here), stop=until(1))
    assert (first.step, first.stopped) == (1, 143)
    assert load_state(here / "run" / "state").step == 1
    second = run_slice(config_of(here), stop=until(2), workers=2)
    assert (second.step, second.stopped) == (3, 143)
    third = run_slice(config_of(here))
    assert (third.step, third.stopped) == (4, 0)
    assert same(weights_of(here / "run"), weights_of(here / "whole"))
    steps = read_table(here / "run" / "steps.csv")["step"]
    assert steps == [1, 2, 3, 4]


def test_a_run_keeps_the_config_it_ran_with(here):
    run_slice(config_of(here, "whole"))
    run_slice(config_of(here), stop=until(2))
    run_slice(config_of(here), device="cpu")
    assert same(weights_of(here / "run"), weights_of(here / "whole"))
    kept = read_config(here / "run" / "config.toml")
    assert kept == config_of(here)


def test_a_state_moves_to_the_device_of_the_network(here):
    config = config_of(here)
    run_slice(config, stop=until(2))
    state = load_state(here / "run" / "state")
    run = begin(config, begun(config, here / "no").network.to("cpu:0"), here / "run" / "state")
    for parameter in run.trained.values():
        moments = run.optimiser.state[parameter]
        assert moments["exp_avg"].device == parameter.device
        assert moments["exp_avg"].stride() == parameter.stride()
    assert all(torch.equal(snapshot(run).tensors[n], t) for n, t in state.tensors.items())


def test_f10_the_batches_of_a_step_are_those_that_the_run_began_with(here):
    config = config_of(here, batches=2)
    run = run_slice(config, stop=until(1))
    assert run.batches == 2
    state = load_state(here / "run" / "state")
    assert state.facts["batches"] == 2
    again = run_slice(config_of(here), stop=until(1))  # not said any more: as it began
    assert again.batches == 2


def test_two_batches_a_step_give_the_gradient_of_both(here):
    drawer = PhotoDrawer(find_photos([here / "set"]))
    optim = Optim(lr=1e-3, warmup=1, clip=1e9)
    both, first = (
        begun(config_of(here, batches=n, steps=1, optim=optim), here / "no") for n in (2, 1)
    )
    facts = [next(iter(go(run, drawer, here / "x" / "s"))) for run in (both, first)]
    assert facts[0]["prompts"] == 2 * facts[1]["prompts"]
    assert facts[0]["loss"] != facts[1]["loss"]


def test_f13_a_damaged_state_gives_way_to_the_one_before_and_both_are_named(here, caplog):
    config = config_of(here, save_every=1)
    run_slice(config, stop=until(3))
    part = next((here / "run" / "state").glob("part-*"))
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert load_state(here / "run" / "state").step == 2
    text = caplog.text
    assert str(here / "run" / "state") + ":" in text and "state.old" in text and "step 2" in text
    run_slice(config_of(here, "whole"))
    assert run_slice(config).step == 4  # from step 2, and to the same bits
    assert same(weights_of(here / "run"), weights_of(here / "whole"))
    assert read_table(here / "run" / "steps.csv")["step"] == [1, 2, 3, 4]


@pytest.mark.parametrize("missing", ["facts.json", "part-00.safetensors"])
def test_f13_a_state_that_lacks_a_file_is_never_taken_for_a_new_run(here, missing):
    run_slice(config_of(here), stop=until(1))
    (here / "run" / "state" / missing).unlink()
    with pytest.raises(RunError, match="state-broken"):
        run_slice(config_of(here))


def test_f13_a_missing_resume_path_is_an_error_and_never_a_fresh_start(here):
    with pytest.raises(RunError, match=r"state-missing.*nowhere"):
        run_slice(config_of(here), resume=here / "nowhere")
    assert not (here / "run").exists()


def test_a_new_run_begins_from_the_state_of_another(here):
    run_slice(config_of(here, "first"), stop=until(2))
    other = run_slice(config_of(here), resume=here / "first" / "state", stop=until(1))
    assert other.step == 3
    run_slice(config_of(here, "whole"), stop=until(3))
    assert same(weights_of(here / "run"), weights_of(here / "whole"))


def test_a_run_does_not_go_on_with_another_network(here):
    run_slice(config_of(here), stop=until(1))
    network = dict(config_of(here).network) | {"dim": 48}
    with pytest.raises(RunError, match=r"state-other.*fit sam-vit-b@64"):
        run_slice(config_of(here, network=network))


def test_two_runs_do_not_share_a_folder(here):
    from anymask.formats.run_lock import RunLock

    (here / "run").mkdir()
    lock = RunLock(here / "run" / "lock")
    lock.take()
    try:
        with pytest.raises(RunError, match=f"run-locked.*process {os.getpid()}"):
            run_slice(config_of(here))
    finally:
        lock.release()


def poisoned(monkeypatch, bad):
    """Losses of some steps become not a number."""
    import anymask.train.loop as loop

    real = loop.step_loss
    count = [0]

    def step_loss(*args):
        loss, facts = real(*args)
        count[0] += 1
        return (loss * math.nan if bad(count[0] - 1) else loss), facts

    monkeypatch.setattr(loop, "step_loss", step_loss)


def test_f09_a_step_without_a_finite_gradient_changes_nothing(here, monkeypatch, caplog):
    drawer = PhotoDrawer(find_photos([here / "set"]))
    run = begun(config_of(here, steps=3), here / "no")
    poisoned(monkeypatch, lambda n: n == 1)
    kept = []
    for facts in go(run, drawer, here / "x" / "state"):
        kept.append({n: p.detach().clone() for n, p in run.trained.items()})
        assert math.isnan(facts["norm"]) == (facts["step"] == 2)
    assert same(kept[0], kept[1]) and not same(kept[1], kept[2])
    assert "step 1 skipped" in caplog.text


def test_f09_ten_bad_steps_running_end_the_run_and_name_step_and_photos(here, monkeypatch):
    config = config_of(here, steps=40, save_every=1)
    poisoned(monkeypatch, lambda n: n >= 3)
    with pytest.raises(RunError, match=r"loss-not-finite.*was step 12.*'set/p\d") as caught:
        run_slice(config)
    names = {f"set/{p.stem}" for p in (here / "set").glob("*.jpg")}
    assert set(caught.value.given) <= names and caught.value.given
    state = load_state(here / "run" / "state")
    assert all(torch.isfinite(t).all() for t in state.tensors.values())


def test_f09_nine_bad_steps_are_forgotten_after_a_good_one(here, monkeypatch):
    drawer = PhotoDrawer(find_photos([here / "set"]))
    run = begun(config_of(here, steps=21), here / "no")
    poisoned(monkeypatch, lambda n: n % 10 != 9)
    assert len(list(go(run, drawer, here / "x" / "state"))) == 21


def test_the_rate_falls_in_steps_where_drops_are_named():
    optim = Optim(lr=1.0, warmup=10, drops=(0.5, 0.9), drop=0.1)
    rates = [rate(s, 100, optim) for s in range(100)]
    assert rates[4] == pytest.approx(0.5) and rates[49] == 1
    assert rates[50] == pytest.approx(0.1) and rates[99] == pytest.approx(0.01)


def test_the_average_lags_behind_the_weights_and_is_what_is_judged(here):
    seen = []

    def judge(network, row, team):
        seen.append(network)
        return {"masks": 3.0, "box": 0.5, "click1": 0.25}

    run = run_slice(config_of(here, judge_every=2), judge=judge)
    assert len(seen) == 2 and not seen[-1].training
    now, average = run.network.decoder.up1.weight, averaged_network(run).decoder.up1.weight
    assert torch.equal(seen[-1].decoder.up1.weight, average) and not torch.equal(now, average)
    table = read_table(here / "run" / "judged.csv")
    assert table["step"] == [2, 4] and table["box"] == [0.5, 0.5]
    assert (here / "run" / "curves.png").stat().st_size > 5000


def test_curves_are_drawn_from_the_tables_and_replace_the_old_picture_whole(tmp_path):
    for step in range(1, 200):
        row = {"step": step, "loss": 2 / step, "top": 0.3 if step % 2 else math.nan, "last": 0.5}
        add_row(tmp_path / "steps.csv", row)
    add_row(tmp_path / "judged.csv", {"step": 100, "box": 0.6, "click1": 0.4})
    draw_curves(tmp_path)
    first = (tmp_path / "curves.png").read_bytes()
    assert first[:4] == b"\x89PNG"
    add_row(tmp_path / "judged.csv", {"step": 190, "box": 0.7, "click1": 0.5})
    draw_curves(tmp_path)
    assert (tmp_path / "curves.png").read_bytes() != first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.png", "judged.csv", "steps.csv"]


def test_rows_of_steps_that_will_be_done_again_are_taken_away(tmp_path):
    path = tmp_path / "steps.csv"
    for step in range(1, 6):
        add_row(path, {"step": step, "loss": 1 / step})
    with path.open("a") as file:
        file.write("6,0.1")  # a kill in the middle of a row
    cut_rows(path, 3)
    assert read_table(path)["step"] == [1, 2, 3]
    add_row(path, {"step": 4, "loss": 0.5, "rate": 1.0})  # an older table keeps its columns
    assert read_table(path) == {
        "step": [1, 2, 3, 4],
        "loss": pytest.approx([1, 0.5, 1 / 3, 0.5], 1e-4),
    }
    cut_rows(tmp_path / "none.csv", 3)


def test_a_config_comes_back_from_its_own_words(here, tmp_path):
    path = tmp_path / "c.toml"
    for config in (
        config_of(here),
        config_of(here, losses="sam", optim=Optim(learn={"*": 0.5, "decoder.*": 1.0})),
        read_config(REPO / "configs" / "nano.toml"),
    ):
        path.write_text(to_toml(config))
        assert read_config(path) == config


def test_keys_of_former_configs_become_patterns(tmp_path):
    path = tmp_path / "old.toml"
    path.write_text(
        'data = ["x"]\nout = "y"\nsteps = 1\nshares = [1.0]\n[[kinds]]\nviews = 1\nprompts = 1\n'
        "side = 64\nwindow = 64\n[optim]\ntrunk = 0.2\ntrunk_from = 14\n"
    )
    learn = read_config(path).optim.learn
    assert learn == {
        "*": 1, "encoder.detector.*": 0, "encoder.lite.*": 0,
        "encoder.lite.blocks.14.*": 0.2, "encoder.lite.blocks.15.*": 0.2,
    }  # fmt: skip
    with pytest.raises(DataError, match=r"optim\.learn; name one"):
        read_config(path, ["optim.learn={'*' = 1.0}"])


def test_every_config_that_comes_with_the_repository_is_sound():
    from anymask.train.checks import check_config

    for path in sorted((REPO / "configs").glob("*.toml")):
        if "video" in path.stem:
            continue
        config = read_config(path)
        check_config(config)
        plan_of(config, 0)


def write_toml(here, **changes):
    path = here / "run.toml"
    path.write_text(to_toml(config_of(here, **changes)))
    return path


def test_the_command_trains_judges_and_tells_of_it(here, capsys):
    write_photos(here / "set", 2, split="val")
    write_photos(here / "set", 1, split="train", masks=0)
    quick = {"kinds": (StepKind(views=1, prompts=1, side=64),), "rounds": (1.0,)}
    path = write_toml(here, steps=20, judge_every=20, judge_photos=1, **quick)
    assert main(["train", str(path), "--minutes", "5"]) == 0
    said = capsys.readouterr().err
    assert "no-masks x 1" in said and "step 20/20" in said
    assert "validation IoU of 2 masks: box 0." in said
    assert main(["train", str(path), "--bundle", str(here / "w.safetensors")]) == 0
    assert main(["train", str(path), "--pack", str(here / "parts")]) == 0
    assert "7 photos in 1 tars" in capsys.readouterr().err
    (here / "set" / sorted(p.name for p in (here / "set").glob("*.jpg"))[1]).unlink()
    assert main(["train", str(path), "--resume", str(here / "none")]) == 4
    assert "state-missing" in capsys.readouterr().err


@pytest.mark.slow
def test_f12_sigterm_saves_the_step_and_exits_143(here):
    path = write_toml(here, steps=100_000)
    command = [sys.executable, "-m", "anymask", "train", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=REPO)
    table = here / "run" / "steps.csv"
    while not table.exists() or table.stat().st_size < 300:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and "stopping after this step" in said
    assert load_state(here / "run" / "state").step == read_table(table)["step"][-1]


@pytest.mark.slow
def test_f19_memory_is_flat_over_10_000_images(here):
    drawer = PhotoDrawer(find_photos([here / "set"]))
    kinds = (StepKind(views=8, prompts=1, side=64),)
    config = config_of(here, steps=1250, rounds=(1.0,), kinds=kinds, save_every=100)

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    marks = {}
    for facts in go(begun(config, here / "no"), drawer, here / "x" / "state"):
        if facts["step"] % 250 == 0:
            marks[int(facts["step"])] = resident()
    assert marks[1250] - marks[250] < 30e6, marks


def test_saving_and_loading_keep_odd_values(tmp_path):
    from anymask.train.state import RunState

    tensors = {"model/x": torch.tensor([np.pi, -0.0, 1e-45])}
    save_state(RunState(step=1, tensors=tensors, facts={"seconds": 0.1}), tmp_path / "s")
    found = load_state(tmp_path / "s").tensors["model/x"]
    assert found.numpy().tobytes() == tensors["model/x"].numpy().tobytes()
