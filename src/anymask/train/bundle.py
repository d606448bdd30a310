"""A finished run to one small file, as the package bundles it."""

import json
from pathlib import Path

from safetensors.torch import save

from anymask.errors import OutputError, RunError
from anymask.formats.atomic import write_atomic
from anymask.train.config import TrainConfig
from anymask.train.run import STATE, load_averaged
from anymask.train.state import half, load_state


def bundle(config: TrainConfig, path: Path, *, overwrite: bool = False) -> int:
    """Write a run's averaged weights as float16; the number of bytes.

    Raises
    ------
    OutputError
        ``file-exists``: there is a file, and it was not asked to be overwritten.
    RunError
        ``no-state``: the run has no state yet; ``not-finite``: a weight does not fit.
    """
    if path.exists() and not overwrite:
        raise OutputError(
            "file-exists", "the file is there already", where=str(path), hint="pass --overwrite"
        )
    folder = Path(config.out)
    state = load_state(folder / STATE)
    if state is None:
        raise RunError("no-state", "the run has no state yet", where=str(folder))
    network = load_averaged(folder, config)
    about = {"model": config.model, "size": config.size, "network": dict(config.network)}
    facts = {
        "format": "pt",
        "steps": str(state.step),
        "seed": str(config.seed),
        "trained": json.dumps(about, default=dict),
    }
    data = save(half(network.state_dict()), facts)
    write_atomic(path, data, overwrite=overwrite)
    return len(data)
