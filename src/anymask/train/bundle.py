"""A finished run to one small file, as the package bundles it."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from anymask.errors import RunError
from anymask.formats.atomic import write_atomic
from anymask.train.config import TrainConfig
from anymask.train.run import STATE, load_averaged
from anymask.train.state import RunState, half, load_state


def bundle(config: TrainConfig, path: Path, *, overwrite: bool = False) -> int:
    """Write a run's averaged weights as float16; the number of bytes.

    Raises
    ------
    OutputError
        ``file-exists``: there is a file, and it was not asked to be overwritten.
    RunError
        ``no-state``: the run has no state yet; ``not-finite``: a weight does not fit.
    """
    folder = Path(config.out)
    state = state_of(folder)
    network = load_averaged(folder, config)
    about = {"model": config.model, "size": config.size, "network": dict(config.network)}
    facts = {
        "steps": str(state.step),
        "seed": str(config.seed),
        "trained": json.dumps(about, default=dict),
    }
    return write_weights(path, network.state_dict(), facts, overwrite=overwrite)


def state_of(folder: Path) -> RunState:
    """The state in a run's folder.

    Raises
    ------
    RunError
        ``no-state``: the run has none yet.
    """
    state = load_state(folder / STATE)
    if state is None:
        raise RunError("no-state", "the run has no state yet", where=str(folder))
    return state


def write_weights(
    path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str], *, overwrite: bool
) -> int:
    """Weights as float16, with facts about them; the number of bytes.

    Raises
    ------
    OutputError
        ``file-exists``.
    RunError
        ``not-finite``: a weight does not fit.
    """
    data = save(half(tensors), {"format": "pt", **facts})
    write_atomic(path, data, overwrite=overwrite)
    return len(data)
