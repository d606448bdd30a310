"""Runs on videos: exact when gone on with, only the memory learns, held-out clips are not seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_clips import small_video_config

from anymask.errors import OutputError, RunError
from anymask.train.video_config import Pace
from anymask.train.video_run import Drawers, begin, bundle_memory, run_video_slice
from anymask.train.video_step import sample_loss
from anymask.variants import variant
from anymask.weights.cache import bundled


@pytest.fixture
def here(tmp_path: Path):
    return small_video_config(tmp_path)


def test_a_run_gone_on_with_is_the_run(here, tmp_path):
    whole = run_video_slice(small_video_config(tmp_path, out=str(tmp_path / "whole")))
    first = run_video_slice(small_video_config(tmp_path), minutes=0)
    assert first.step == 1
    rest = run_video_slice(small_video_config(tmp_path))
    assert rest.step == whole.step == 2
    for (name, a), b in zip(whole.memory.named_parameters(), rest.memory.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert all(torch.equal(whole.averaged[n], rest.averaged[n]) for n in whole.averaged)


def test_only_the_memory_learns(here):
    before = begin(here, Path(here.out) / "state").models[0].network.state_dict()
    after = run_video_slice(here).models[0].network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("memory.") for name in changed)


def test_the_loss_of_a_sample_falls_when_it_is_taught_alone(here):
    run = begin(here, Path(here.out) / "state")
    rng = np.random.default_rng(0)
    sample = Drawers(here).draw(here.kinds[0], rng)
    losses = []
    for _ in range(12):
        loss, facts = sample_loss(run.models[0], sample, False, rng)
        run.optimiser.zero_grad()
        loss.backward()
        run.optimiser.step()
        losses.append(float(loss.detach()))
    assert min(losses[-3:]) < 0.8 * losses[0]
    assert {"right", "iou", "guess"} <= facts.keys()


def test_clips_that_are_held_out_are_never_drawn(here):
    drawers = Drawers(here)
    assert [clip.name for clip in drawers.clips.clips] == ["taught"]


def test_a_bundle_is_small_half_precision_and_never_overwritten_unasked(here, tmp_path):
    path = tmp_path / "memory.safetensors"
    with pytest.raises(RunError, match="no-state"):
        bundle_memory(here, path)
    run = run_video_slice(small_video_config(tmp_path, steps=1))
    size = bundle_memory(here, path)
    tensors = load_file(path)
    assert size < 500_000 and {t.dtype for t in tensors.values()} == {torch.float16}
    assert tensors.keys() == run.memory.state_dict().keys()
    with pytest.raises(OutputError, match="file-exists"):
        bundle_memory(here, path)
    bundle_memory(here, path, overwrite=True)


def test_a_run_may_begin_with_the_memory_of_another(here, tmp_path):
    done = run_video_slice(small_video_config(tmp_path, steps=1))
    bundle_memory(here, tmp_path / "memory.safetensors")
    changes = {"start": str(tmp_path / "memory.safetensors"), "out": str(tmp_path / "next")}
    further = begin(small_video_config(tmp_path, **changes), tmp_path / "next" / "state")
    for name, parameter in further.memory.named_parameters():
        assert torch.allclose(parameter, done.averaged[name], atol=2e-3)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_state(here, tmp_path):
    config = small_video_config(tmp_path, steps=40)
    run = run_video_slice(config, minutes=0)
    good = run.step
    wild = small_video_config(tmp_path, steps=40, pace=Pace(lr=1e30, warmup=1))
    with pytest.raises(RunError, match="loss-not-finite"):
        run_video_slice(wild)
    assert begin(config, Path(config.out) / "state").step == good


def test_the_pace_warms_up_holds_and_falls_to_nothing():
    pace = Pace(lr=1.0, warmup=10, hold=0.5)
    assert [pace.rate(step, 100) for step in (4, 9, 49)] == [0.5, 1.0, 1.0]
    assert pace.rate(75, 100) == pytest.approx(0.5) and pace.rate(100, 100) == 0


def test_one_memory_may_learn_beside_several_weights_of_nano(tmp_path):
    path = str(bundled(variant("nano").weights))
    run = begin(small_video_config(tmp_path, weights=(path, path)), tmp_path / "run" / "state")
    one, other = (model.network for model in run.models)
    assert one is not other and one.memory is other.memory is run.memory
