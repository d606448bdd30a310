"""A slice of a run that teaches nano's memory: draw samples, follow objects in them, learn.

Everything random comes from (seed, step): a run that is stopped and gone on with is the run.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from anymask.errors import RunError
from anymask.evaluate.video import read_clip
from anymask.model import Model, load
from anymask.nn.nano import Nano
from anymask.nn.nano_memory import NanoMemory
from anymask.nn.nano_video import NanoVideo
from anymask.train.batches import PhotoDrawer
from anymask.train.bundle import state_of, write_weights
from anymask.train.curves import JUDGED, STEPS, add_row
from anymask.train.denormals import denormals_as_zero
from anymask.train.run import STATE
from anymask.train.samples import find_photos
from anymask.train.state import RunState, load_state, save_state
from anymask.train.video_config import SampleKind, VideoConfig
from anymask.train.video_samples import ClipDrawer, Sample, draw_sample, find_clips
from anymask.train.video_step import sample_loss
from anymask.train.video_synthetic import draw_scene

_log = logging.getLogger(__name__)
_MOST_BAD_STEPS = 10

Judge = Callable[[Model, int], Mapping[str, float]]
Progress = Callable[[Mapping[str, float]], None]


def _never() -> int:
    return 0


@dataclass(slots=True, kw_only=True, eq=False)
class VideoRun:
    """A run in memory: what changes from step to step.

    Attributes
    ----------
    models
        Nano with a memory, once for each file of its weights; only the memory learns, and is one.
    """

    config: VideoConfig
    models: tuple[Model, ...]
    averaged: dict[str, Tensor]
    optimiser: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0

    @property
    def memory(self) -> NanoMemory:
        """What learns."""
        network = self.models[0].network
        assert isinstance(network, NanoVideo)  # `begin` built it so
        return network.memory


def untaught(config: VideoConfig) -> tuple[Model, ...]:
    """Nano, as bundled or from the run's files, with one memory, which is plain matching."""
    torch.manual_seed(config.seed)
    memory = NanoMemory(config.rows)
    found = []
    for path in config.weights or (None,):
        model = load("nano", checkpoint=path, device="cpu")
        image = model.network
        assert isinstance(image, Nano)  # the row's builder makes it
        found.append(Model(NanoVideo(image, memory), model.variant))
    return tuple(found)


def begin(config: VideoConfig, folder: Path) -> VideoRun:
    """A new run, or the one in `folder` gone on with."""
    models = untaught(config)
    network = models[0].network
    assert isinstance(network, NanoVideo)  # just built
    memory = network.memory.requires_grad_(True)
    if config.start is not None:
        memory.load_state_dict({n: t.float() for n, t in load_file(config.start).items()})
    optimiser = torch.optim.AdamW(
        memory.parameters(), lr=config.pace.lr, betas=(0.9, 0.99), weight_decay=config.pace.decay
    )
    averaged = {n: p.detach().clone() for n, p in memory.named_parameters()}
    run = VideoRun(config=config, models=models, averaged=averaged, optimiser=optimiser)
    state = load_state(folder)
    if state is not None:
        _restore(run, state)
    return run


def _restore(run: VideoRun, state: RunState) -> None:
    for name, parameter in run.memory.named_parameters():
        parameter.data.copy_(state.tensors[f"model/{name}"])
        run.averaged[name] = state.tensors[f"ema/{name}"].clone()
        if f"m/{name}" in state.tensors:
            run.optimiser.state[parameter] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": state.tensors[f"m/{name}"].clone(),
                "exp_avg_sq": state.tensors[f"v/{name}"].clone(),
            }
    run.step = state.step
    run.seconds = state.facts["seconds"]


def snapshot(run: VideoRun) -> RunState:
    """The run as it is written to disk."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in run.memory.named_parameters():
        tensors[f"model/{name}"] = parameter
        tensors[f"ema/{name}"] = run.averaged[name]
        known = run.optimiser.state.get(parameter)
        if known:
            tensors[f"m/{name}"], tensors[f"v/{name}"] = known["exp_avg"], known["exp_avg_sq"]
    return RunState(step=run.step, tensors=tensors, facts={"seconds": run.seconds})


def averaged_model(run: VideoRun) -> Model:
    """The model with the averaged weights of its memory."""
    model = untaught(run.config)[0]
    network = model.network
    assert isinstance(network, NanoVideo)  # just built
    network.memory.load_state_dict(run.averaged)
    return model


class Drawers:
    """Clips and photos, to draw samples from."""

    def __init__(self, config: VideoConfig) -> None:
        clips = find_clips(Path(config.clips), config.held_out)
        self.clips = ClipDrawer([read_clip(clip) for clip in clips])
        self.photos = PhotoDrawer(find_photos([Path(p) for p in config.photos]))

    def draw(self, kind: SampleKind, rng: np.random.Generator) -> Sample:
        """One sample, a function of the generator's state alone."""
        size = kind.height, kind.width
        if not kind.made_up:
            return draw_sample(self.clips, size, kind.frames, kind.objects, rng)
        while True:
            sample = draw_scene(self.photos, size, kind.frames, kind.objects, rng)
            if sample is not None:
                return sample


def train(
    run: VideoRun,
    drawers: Drawers,
    folder: Path,
    *,
    minutes: float | None = None,
    stop: Callable[[], int] = _never,
    judge: Judge | None = None,
) -> Iterator[dict[str, float]]:
    """Go on until the last step, the time is up, or a stop; yields the figures of each step.

    Raises
    ------
    RunError
        ``loss-not-finite``.
    """
    config = run.config
    begun, before, bad = time.monotonic(), run.seconds, 0
    parameters = list(run.memory.parameters())
    chances = np.array(config.shares) / sum(config.shares)
    while run.step < config.steps:
        rng = np.random.default_rng((config.seed, run.step))
        for group in run.optimiser.param_groups:
            group["lr"] = config.pace.rate(run.step, config.steps)
        run.optimiser.zero_grad(set_to_none=True)
        told: list[dict[str, float]] = []
        for _ in range(config.samples):
            kind = config.kinds[int(rng.choice(len(config.kinds), p=chances))]
            sample = drawers.draw(kind, rng)
            rough = rng.random() < config.rough_start
            drift = config.drift if rng.random() < 0.5 else 0.0
            model = run.models[int(rng.integers(len(run.models)))]
            loss, facts = sample_loss(model, sample, rough, rng, drift)
            (loss / config.samples).backward()  # type: ignore[no-untyped-call]
            side = "made_up" if kind.made_up else "real"
            if "iou" in facts:
                facts[side] = facts["iou"]
            told.append(facts | {"loss": float(loss.detach())})
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.pace.clip))
        if np.isfinite(norm):
            run.optimiser.step()
            _average(run)
            bad = 0
        else:
            bad += 1
            _log.warning("step %d skipped: the gradient is not finite", run.step)
            if bad >= _MOST_BAD_STEPS:
                raise RunError(
                    "loss-not-finite",
                    f"{bad} steps running gave no finite gradient, the last was step {run.step}",
                    where=str(folder),
                    hint="the last good state is kept; lower pace.lr",
                )
        run.step += 1
        run.seconds = before + time.monotonic() - begun
        over = bool(stop()) or (minutes is not None and time.monotonic() - begun > minutes * 60)
        if over or run.step % config.save_every == 0 or run.step == config.steps:
            save_state(snapshot(run), folder)
        if judge and (run.step % config.judge_every == 0 or run.step == config.steps):
            judged = dict(judge(averaged_model(run), run.step))
            add_row(folder.with_name(JUDGED), {"step": run.step, **judged})
        else:
            judged = {}
        facts = _means(told) | {"step": run.step, "norm": norm, "seconds": run.seconds}
        add_row(folder.with_name(STEPS), facts)
        yield facts | {f"judged_{name}": value for name, value in judged.items()}
        if over:
            return


def _means(told: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = ("loss", "iou", "guess", "right", "real", "made_up")
    found = {}
    for name in names:
        values = [facts[name] for facts in told if name in facts]
        found[name] = sum(values) / len(values) if values else float("nan")
    return found


@torch.no_grad()
def _average(run: VideoRun) -> None:
    """Move the averaged weights; faster at first, when the weights still run away."""
    decay = min(run.config.pace.ema, (1 + run.step) / (10 + run.step))
    for name, parameter in run.memory.named_parameters():
        run.averaged[name].lerp_(parameter, 1 - decay)


@denormals_as_zero()
def run_video_slice(
    config: VideoConfig,
    *,
    minutes: float | None = None,
    threads: int = 1,
    stop: Callable[[], int] = _never,
    judge: Judge | None = None,
    progress: Progress | None = None,
) -> VideoRun:
    """Train until the last step, for some minutes, or until a stop; the state is in ``config.out``.

    ``stop`` is asked after each step; the step that is going on is saved.
    """
    torch.set_num_threads(threads)
    folder = Path(config.out)
    run = begin(config, folder / STATE)
    drawers = Drawers(config)
    for facts in train(run, drawers, folder / STATE, minutes=minutes, stop=stop, judge=judge):
        if progress:
            progress(facts)
    return run


def bundle_memory(config: VideoConfig, path: Path, *, overwrite: bool = False) -> int:
    """Write the averaged weights of a run's memory as float16; the number of bytes.

    Raises
    ------
    OutputError
        ``file-exists``: there is a file, and it was not asked to be overwritten.
    RunError
        ``no-state``: the run has no state yet; ``not-finite``: a weight does not fit.
    """
    state = state_of(Path(config.out))
    run = begin(config, Path(config.out) / STATE)
    facts = {"steps": str(state.step), "seed": str(config.seed)}
    return write_weights(path, run.averaged, facts, overwrite=overwrite)
