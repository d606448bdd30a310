"""A finished run to one small file, as the package bundles it."""

from pathlib import Path

from safetensors.torch import save_file

from anymask.errors import OutputError, RunError
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
    facts = {"steps": str(state.step), "seed": str(config.seed)}
    fresh = path.with_name(path.name + ".part")
    save_file(half(network.state_dict()), fresh, metadata={"format": "pt", **facts})
    fresh.replace(path)
    return path.stat().st_size
