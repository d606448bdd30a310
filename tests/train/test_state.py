"""A state on disk survives what happens to disks."""

import pytest
import torch

from anymask.errors import RunError
from anymask.train.state import RunState, half, load_state, save_state


def state(step: int) -> RunState:
    tensors = {f"model/{i}": torch.full((1_500_000,), float(step + i)) for i in range(5)}
    return RunState(step=step, tensors=tensors, facts={"seconds": 1.5, "prompts": 7})


def test_what_is_saved_is_loaded_and_no_file_passes_16_mb(tmp_path):
    save_state(state(3), tmp_path / "state")
    loaded = load_state(tmp_path / "state")
    assert loaded.step == 3 and loaded.facts == {"seconds": 1.5, "prompts": 7}
    assert all(torch.equal(loaded.tensors[k], v) for k, v in state(3).tensors.items())
    assert all(p.stat().st_size < 16_000_000 for p in (tmp_path / "state").iterdir())


def test_a_new_state_replaces_the_old_one_wholly(tmp_path):
    save_state(state(3), tmp_path / "state")
    save_state(RunState(step=4, tensors={}, facts={}), tmp_path / "state")
    assert load_state(tmp_path / "state").tensors == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state", "state.old"]


def test_a_kill_between_the_two_renames_leaves_the_former_state(tmp_path):
    save_state(state(3), tmp_path / "state")
    (tmp_path / "state").rename(tmp_path / "state.old")
    assert load_state(tmp_path / "state").step == 3


def test_no_state_is_a_new_run(tmp_path):
    assert load_state(tmp_path / "state") is None


def test_a_damaged_state_is_named_and_never_taken_for_a_new_run(tmp_path):
    save_state(state(3), tmp_path / "state")
    (tmp_path / "state" / "part-00.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match="state-broken"):
        load_state(tmp_path / "state")


def test_weights_that_do_not_fit_half_precision_are_refused():
    with pytest.raises(RunError, match="not-finite: layer"):
        half({"layer": torch.tensor([1e6])})
