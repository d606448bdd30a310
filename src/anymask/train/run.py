"""One slice of a training run, from its config to its files; one process or several."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from anymask.model import load
from anymask.nn.nano import Nano, build_nano
from anymask.train.batches import PhotoDrawer, StepKind, draw_batch
from anymask.train.config import TrainConfig
from anymask.train.loop import Judge, Run, add_row, averaged_network, begin, train
from anymask.train.samples import find_photos
from anymask.train.start import load_trunks, measure_channels
from anymask.train.state import load_state

STATE = "state"  # folder of the newest state, within the run's
_PROBE = StepKind(views=4, prompts=1, side=256, window=256)
_PROBES = 10  # batches that set the channel constants

Progress = Callable[[Mapping[str, float]], None]


def run_slice(
    config: TrainConfig,
    *,
    minutes: float | None = None,
    threads: int = 1,
    judge: Judge | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train until the last step or for some minutes; the state is in ``config.out``.

    Under ``torchrun`` each process takes its own photos and gradients are averaged.

    Raises
    ------
    DataError
        No photos, or no pretrained trunks.
    RunError
        A broken state, or a loss that stays not finite.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # denormals slow this CPU down a hundred times
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if not alone:
        dist.init_process_group("gloo")
    try:
        first = alone or dist.get_rank() == 0
        folder = Path(config.out)
        drawer = PhotoDrawer(find_photos([Path(p) for p in config.data]))
        torch.manual_seed(config.seed)
        network = build_nano().train()
        if load_state(folder / STATE) is None:
            initialise(network, config, drawer)
        run = begin(config, network, folder / STATE)
        for facts in train(
            run, drawer, folder / STATE, minutes=minutes, judge=judge if first else None
        ):
            if first:
                add_row(folder / "steps.csv", facts_row(facts))
                if progress:
                    progress(facts)
        return run
    finally:
        if not alone:
            dist.destroy_process_group()


def facts_row(facts: Mapping[str, float]) -> dict[str, float]:
    """A row of the CSV: every column each time, whatever the step held."""
    columns = ("step", "seconds", "prompts", "loss", "norm", "top", "best", "clear", "last")
    return {name: facts.get(name, float("nan")) for name in columns}


def initialise(network: Nano, config: TrainConfig, drawer: PhotoDrawer) -> None:
    """Bundled weights, or pretrained trunks and measured channel constants; alike everywhere."""
    if config.start is None:
        network.load_state_dict(load("nano", device="cpu").network.state_dict())
        return
    load_trunks(network, Path(config.start))
    rng = np.random.default_rng((config.seed, 1))
    images = (draw_batch(drawer, _PROBE, config.clicks, rng).images for _ in range(_PROBES))
    measure_channels(network, images)


def load_averaged(folder: Path, config: TrainConfig) -> Nano:
    """The averaged network of a run on disk."""
    return averaged_network(begin(config, build_nano(), folder / STATE))
