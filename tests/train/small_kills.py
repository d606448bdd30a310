"""What a server of processes loads beforehand, so that a run starts at once and can be killed."""

from pathlib import Path

from anymask.train.config import read_config
from anymask.train.run import run_slice


def forked_run(path: str) -> None:
    """A run of a config, in a process of its own."""
    run_slice(read_config(Path(path)))
