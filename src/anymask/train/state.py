"""A run on disk: weights, averages and moments in files below 15 MB, and where the run stands.

A state is one folder, written whole beside the old one and then put in its place, so that a kill
at any time leaves a state that can be gone on from.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from anymask.errors import RunError

_LARGEST_FILE = 15_000_000  # bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunState:
    """All that a run needs to go on exactly.

    Attributes
    ----------
    step
        Steps done.
    tensors
        ``model/...``, ``ema/...``, ``m/...``, ``v/...`` by parameter name.
    facts
        Plain values: seconds spent, steps of the optimiser, prompts seen.
    """

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, float]


def save_state(state: RunState, folder: Path) -> None:
    """Write a state; the old one stays until the new one is whole."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for number, part in enumerate(_parts(state.tensors)):
        save_file(part, fresh / f"part-{number:02}.safetensors")
    facts = {"step": state.step, **state.facts}
    (fresh / "facts.json").write_text(json.dumps(facts, indent=1), encoding="ascii")
    for path in fresh.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path) -> RunState | None:
    """The state in a folder, the former one where a kill came between, or None for a new run.

    Raises
    ------
    RunError
        ``state-broken``: files are missing or damaged.
    """
    places = (
        folder,
        folder.with_name(folder.name + ".old"),
        folder.with_name(folder.name + ".new"),
    )
    place = next((p for p in places if (p / "facts.json").exists()), None)
    if place is None:
        return None
    try:
        facts = json.loads((place / "facts.json").read_text(encoding="ascii"))
        tensors: dict[str, Tensor] = {}
        for path in sorted(place.glob("part-*.safetensors")):
            tensors |= load_file(path)
        step = int(facts.pop("step"))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunError(
            "state-broken",
            "the state of the run cannot be read",
            where=str(place),
            hint="move it away to begin anew",
        ) from error
    return RunState(step=step, tensors=tensors, facts=facts)


def _parts(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Tensors in as few groups as fit into files of the largest size."""
    parts: list[dict[str, Tensor]] = [{}]
    room = _LARGEST_FILE
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and parts[-1]:
            parts.append({})
            room = _LARGEST_FILE
        parts[-1][name] = tensor.detach().cpu().contiguous()
        room -= size
    return parts


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are bundled: float16.

    Raises
    ------
    RunError
        ``not-finite``: a weight is not finite, or too large for float16.
    """
    out = {}
    for name, tensor in state.items():
        out[name] = tensor.detach().to(torch.float16).contiguous()
        if not bool(torch.isfinite(out[name]).all()):
            raise RunError("not-finite", "a weight does not fit float16", where=name)
    return out
