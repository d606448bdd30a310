"""A slice of training from its config to a bundled file, alone and as two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import write_photos
from test_batches import config

from anymask.errors import DataError, OutputError, RunError
from anymask.model import load
from anymask.nn.nano import build_nano
from anymask.train.batches import PhotoDrawer
from anymask.train.bundle import bundle
from anymask.train.judge import judge_on
from anymask.train.run import initialise, run_slice
from anymask.train.samples import find_photos
from anymask.train.start import load_trunks
from anymask.train.team import Alone
from anymask.variants import variant


@pytest.fixture
def here(tmp_path):
    write_photos(tmp_path / "set")
    return config(data=(str(tmp_path / "set"),), out=str(tmp_path / "run"), steps=2)


def test_a_slice_leaves_a_state_a_table_of_steps_and_a_bundle_of_half_precision(here, tmp_path):
    seen = []
    run_slice(here, progress=seen.append)
    assert [int(f["step"]) for f in seen] == [1, 2]
    lines = (tmp_path / "run" / "steps.csv").read_text().splitlines()
    assert lines[0].startswith("step,seconds,prompts,loss") and len(lines) == 3
    size = bundle(here, tmp_path / "nano.safetensors")
    tensors = load_file(tmp_path / "nano.safetensors")
    assert size < 16_000_000 and {t.dtype for t in tensors.values()} == {torch.float16}
    assert tensors.keys() == build_nano().state_dict().keys()
    with pytest.raises(OutputError, match="file-exists"):
        bundle(here, tmp_path / "nano.safetensors")


def test_no_state_cannot_be_bundled(here, tmp_path):
    with pytest.raises(RunError, match="no-state"):
        bundle(here, tmp_path / "nano.safetensors")


def test_minutes_end_a_slice_and_the_next_one_goes_on(here):
    first = run_slice(here, minutes=0)
    assert first.step == 1
    assert run_slice(here).step == 2


def test_without_trunks_a_run_begins_with_the_bundled_weights(here, tmp_path):
    network = build_nano()
    drawer = PhotoDrawer(find_photos([tmp_path / "set"]))
    initialise(network, here, drawer)
    bundled = load("nano", device="cpu").network.state_dict()
    assert all(torch.equal(bundled[name], t) for name, t in network.state_dict().items())


def test_missing_trunks_are_named(tmp_path):
    with pytest.raises(DataError, match="no-trunks"):
        load_trunks(build_nano(), tmp_path)


def plain(part):
    """Its tensors in the order of memory that files have; networks may hold channels last."""
    return {name: tensor.contiguous() for name, tensor in part.state_dict().items()}


def test_trunks_are_filled_and_the_detector_takes_rgb_for_bgr(tmp_path):
    source = build_nano().encoder
    detector = {f"backbone.{k}": v for k, v in plain(source.detector).items()}
    save_file(detector, tmp_path / "nanodet.safetensors")
    save_file(plain(source.lite), tmp_path / "efficientnet_lite0.safetensors")
    network = build_nano()
    load_trunks(network, tmp_path)
    stem = network.encoder.detector.stem.conv.weight
    assert torch.equal(stem, source.detector.stem.conv.weight.flip(1))
    assert torch.equal(network.encoder.lite.stem.weight, source.lite.stem.weight)


def test_a_judge_looks_at_the_validation_photos(here, tmp_path):
    assert judge_on(config(judge_photos=0)) is None
    judge = judge_on(here)
    team = Alone(torch.device("cpu"))
    facts = judge(build_nano().eval(), variant("nano"), team)  # it has training photos only
    assert facts == {"masks": 0.0}


@pytest.mark.slow
def test_two_processes_average_their_gradients_and_end_together(tmp_path):
    write_photos(tmp_path / "set")
    toml = f"""
data = ["{tmp_path / "set"}"]
out = "{tmp_path / "run"}"
steps = 2
shares = [1.0]
judge_photos = 0
[[kinds]]
views = 1
prompts = 2
side = 64
window = 64
"""
    (tmp_path / "two.toml").write_text(toml)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*command, "-m", "anymask", "train", str(tmp_path / "two.toml")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "state" / "facts.json").exists()
