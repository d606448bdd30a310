"""One slice of a training run, from its config to its files; one process or several."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from anymask.errors import DataError, MissingExtraError, RunError
from anymask.formats.atomic import ensure_folder, write_atomic
from anymask.formats.run_lock import RunLock
from anymask.model import BUILDERS, load_variant
from anymask.train.batches import PhotoDrawer, StepKind, draw_batch
from anymask.train.checks import check_config
from anymask.train.config import TrainConfig, to_toml
from anymask.train.curves import JUDGED, STEPS, add_row, cut_rows, draw_curves, facts_row
from anymask.train.denormals import denormals_as_zero
from anymask.train.judge import Judge
from anymask.train.loop import never, train
from anymask.train.manifest import check_data
from anymask.train.recipes import draw_fresh, losses_of, recipe_of, row_of
from anymask.train.rounds import Teaching
from anymask.train.running import Run, averaged_network, begin
from anymask.train.samples import Photo, look_through
from anymask.train.sources import Source, open_sources
from anymask.train.state import load_state
from anymask.train.team import Team, autocast, halved, join_team

_log = logging.getLogger(__name__)

STATE = "state"  # folder of the newest state, within the run's
CONFIG = "config.toml"  # every key said
_PROBES, _PROBE_VIEWS = 10, 4  # batches that measure what a new network needs to know
_CURVES_EVERY, _CURVES_LEAST = 500, 10  # steps; after fewer a picture would be the same
_WORKERS = 8  # threads that draw beside a GPU

Progress = Callable[[Mapping[str, float]], None]
Tell = Callable[[str], None]


@denormals_as_zero()
def run_slice(
    config: TrainConfig,
    *,
    minutes: float | None = None,
    threads: int = 1,
    workers: int | None = None,
    device: str = "auto",
    judge: Judge | None = None,
    resume: Path | None = None,
    accept_changes: bool = False,
    stop: Callable[[], int] = never,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Run:
    """Train until the last step, for some minutes, or until a stop; the state is in ``config.out``.

    Under ``torchrun`` processes share each step's batches, and gradients are added up.

    Parameters
    ----------
    config
        The run.
    minutes
        Of this slice.
    threads
        That each process computes with on a CPU.
    workers
        Threads that draw batches ahead; None draws ahead where there is another device than the
        CPU.
    device
        As `anymask.load` takes it.
    judge
        Looks at validation photos; see `anymask.train.judge.judge_on`.
    resume
        A state of another run to begin a new one from, with all its moments.
    accept_changes
        Go on although the photos are not those that the run began with.
    stop
        See `anymask.train.loop.train`.
    progress
        Told each step's figures, in the first process.
    tell
        Told remarks on the data, in the first process.

    Raises
    ------
    DataError
        No photos, no pretrained parts, or a config that fits no network.
    RunError
        ``state-missing``: nothing is where `resume` says; ``run-locked``, ``data-changed``; a
        broken state, a loss that stays not finite, a lost process.
    MissingExtraError
        Several processes need the extra ``train``.
    """
    check_config(config)
    torch.set_num_threads(threads)
    folder = Path(config.out)
    if resume is not None and load_state(resume) is None:
        raise RunError(
            "state-missing",
            "there is no state to go on from",
            where=str(resume),
            hint="name a folder such as runs/other/state",
        )
    with contextlib.ExitStack() as until_end:
        team = until_end.enter_context(join_team(folder, device))
        if team.device.type == "cuda":  # the encoder has bfloat16; what decodes may take TF32
            torch.set_float32_matmul_precision("high")
        if team.rank == 0:
            ensure_folder(folder)
            lock = RunLock(folder / "lock")
            lock.take()
            until_end.callback(lock.release)
        sources = open_sources(config.data, strict=config.strict)
        photos, left_out = look_through(
            sources,
            strict=config.strict,
            most=config.most_masks,
            balance=config.balance,
            negatives=config.negatives,
        )
        say = tell if tell and team.rank == 0 else _silent
        for line in left_out.lines():
            say(line)
        _check(folder, photos, sources, accept_changes, team, say)
        drawer = PhotoDrawer(photos, fit=row_of(config).spec.fit, augment=config.augment)
        run = _begun(config, drawer, folder, resume, team)
        if team.rank == 0:
            write_atomic(folder / CONFIG, to_toml(config).encode("utf-8"), overwrite=True)
            for name in (STEPS, JUDGED):
                cut_rows(folder / name, run.step)
        drawn_at = run.step
        for facts in train(
            run,
            drawer,
            folder / STATE,
            team=team,
            teaching=teaching_of(config, team),
            minutes=minutes,
            judge=judge,
            threads=_workers(workers, team),
            stop=stop,
        ):
            if team.rank == 0:
                add_row(folder / STEPS, facts_row(facts))
                if progress:
                    progress(facts)
                if run.step - drawn_at >= _CURVES_EVERY or "judged_box" in facts:
                    drawn_at = run.step
                    _draw(folder)
        if team.rank == 0 and run.step - drawn_at >= _CURVES_LEAST:
            _draw(folder)
        return run


def _check(
    folder: Path,
    photos: tuple[Photo, ...],
    sources: tuple[Source, ...],
    accept: bool,
    team: Team,
    tell: Tell,
) -> None:
    """In all processes alike: one that refuses does not leave others waiting."""
    changed: list[str] = []
    error: RunError | None = None
    if team.rank == 0:
        try:
            changed = check_data(folder, photos, sources, accept=accept)
        except RunError as refused:
            error = refused
    error = team.gather(error)[0]
    if error is not None:
        raise error
    for line in changed:
        tell(f"accepted: {line}")


def _silent(line: str) -> None:
    """Nobody wants to know."""


def _begun(
    config: TrainConfig, drawer: PhotoDrawer, folder: Path, resume: Path | None, team: Team
) -> Run:
    """The run on the team's device, the same in all processes."""
    network = new_network(config)
    place = folder / STATE
    if load_state(place) is None:
        if resume is not None:
            place = resume
        else:
            initialise(network, config, drawer)
    run = begin(config, network.to(team.device).train(), place)
    sums = [float(p.detach().double().sum()) for p in run.trained.values()]
    if len({repr((run.step, run.batches, sums)) for sums in team.gather(sums)}) > 1:
        raise RunError(
            "ranks-differ",
            "the processes do not begin with the same weights",
            where=str(folder),
            hint="all must see the same files and run the same version",
        )
    return run


def teaching_of(config: TrainConfig, team: Team) -> Teaching:
    """What stays the same from step to step."""
    kind = halved(config.precision, team.device)
    return Teaching(
        row=row_of(config),
        recipe=recipe_of(config),
        losses=losses_of(config),
        clicks=config.clicks,
        halved=partial(autocast, kind, team.device),
    )


def _workers(asked: int | None, team: Team) -> int:
    """Threads that draw: none beside a network that fills the CPU itself."""
    if asked is not None:
        return asked
    return 0 if team.device.type == "cpu" else _WORKERS


def _draw(folder: Path) -> None:
    with contextlib.suppress(MissingExtraError):  # the tables are there without it
        draw_curves(folder)


def new_network(config: TrainConfig) -> nn.Module:
    """The network of a config, its values drawn from the seed."""
    row = row_of(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = BUILDERS[row.builder](**row.network)
        draw_fresh(network, recipe_of(config).fresh)
    return network


def initialise(network: nn.Module, config: TrainConfig, drawer: PhotoDrawer) -> None:
    """The weights that a new run begins with, alike in all processes; see `TrainConfig.start`.

    Raises
    ------
    DataError
        ``no-trunks``: a pretrained part is missing; ``start-missing``.
    CheckpointError
        The weight file is of another network, or cannot be had.
    """
    row, recipe = row_of(config), recipe_of(config)
    if config.start == "fresh" or (config.start is None and config.network):
        return
    path = None if config.start is None else Path(config.start)
    if path is not None and path.is_dir() and recipe.start is not None:
        side = config.kinds[0].side
        kind = StepKind(views=_PROBE_VIEWS, prompts=1, side=side)
        rng = np.random.default_rng((config.seed, 1))
        images = (draw_batch(drawer, kind, config.clicks, rng).images for _ in range(_PROBES))
        recipe.start(network, path, images)
        return
    if path is not None and not path.exists():
        raise DataError("start-missing", "there is nothing to start from", where=str(path))
    model = load_variant(row, checkpoint=path, device="cpu")
    network.load_state_dict(model.network.state_dict())


def load_averaged(folder: Path, config: TrainConfig) -> nn.Module:
    """The averaged network of a run on disk."""
    return averaged_network(begin(config, new_network(config), folder / STATE))
