"""A run on disk: weights, averages and moments in files below 15 MB, and where the run stands.

A state is one folder, written whole beside the old one and then put in its place, so that a kill
at any time leaves a state that can be gone on from. The one before stays, for the case that the
newest is damaged.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from anymask.errors import RunError
from anymask.formats.atomic import naming

_log = logging.getLogger(__name__)
_FACTS, _FILES = "facts.json", "files"
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
    """Write a state; the one before it stays beside it as ``.old``.

    Raises
    ------
    OutputError
        ``disk-full`` and others of `anymask.formats.atomic`; the states that were there stay.
    """
    fresh = folder.with_name(folder.name + ".new")
    old = folder.with_name(folder.name + ".old")
    with naming(fresh):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        digests = {}
        for number, part in enumerate(_parts(state.tensors)):
            data = save(part)
            name = f"part-{number:02}.safetensors"
            digests[name] = hashlib.sha256(data).hexdigest()
            _write(fresh / name, data)
        facts = {"step": state.step, **state.facts, _FILES: digests}
        _write(fresh / _FACTS, json.dumps(facts, indent=1).encode("ascii"))
        if (folder / _FACTS).exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def load_state(folder: Path) -> RunState | None:
    """The newest whole state, or None for a new run.

    A state that is damaged is passed over for the one before it, with a warning that names both.

    Raises
    ------
    RunError
        ``state-broken``: files are missing or damaged, and there is no other state.
    """
    broken: list[RunError] = []
    for suffix in ("", ".new", ".old"):  # a kill between two renames leaves .new, which is whole
        place = folder.with_name(folder.name + suffix)
        if not (place / _FACTS).exists():
            if suffix == "" and any(place.glob("part-*")):
                broken.append(_broken(place, f"{_FACTS} is missing"))
            continue
        try:
            found = _load(place)
        except RunError as error:
            broken.append(error)
            continue
        if broken:
            _log.warning("%s; the state of step %d in %s is used", broken[0], found.step, place)
        return found
    if broken:
        raise broken[0]
    return None


def _load(place: Path) -> RunState:
    try:
        facts = json.loads((place / _FACTS).read_text(encoding="ascii"))
        digests = facts.pop(_FILES, None)  # states of before had none
        step = int(facts.pop("step"))
        names = sorted(digests or (path.name for path in place.glob("part-*.safetensors")))
        tensors: dict[str, Tensor] = {}
        for name in names:
            data = (place / name).read_bytes()
            if digests and hashlib.sha256(data).hexdigest() != digests[name]:
                raise ValueError(f"{name} is not what was written")
            tensors |= load(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise _broken(place, str(error)) from error
    return RunState(step=step, tensors=tensors, facts=facts)


def _broken(place: Path, why: str) -> RunError:
    return RunError(
        "state-broken",
        f"the state of the run cannot be read ({why})",
        where=str(place),
        hint="move it away to begin anew",
    )


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
