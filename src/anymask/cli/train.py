"""`anymask train`: one slice of a training run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anymask.cli.common import Stop, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anymask.train.config import TrainConfig


def train(
    config: Annotated[Path, typer.Argument(help="TOML file, such as configs/nano.toml")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE on top; repeatable")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so long; the same command goes on")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of each process on a CPU", min=1)] = 1,
    workers: Annotated[
        int | None,
        typer.Option(help="Threads that draw samples ahead; 8 beside a GPU, else none", min=0),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Begin from the state of another run, with its moments"),
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on though the photos have changed")
    ] = False,
    bundle_to: Annotated[
        Path | None,
        typer.Option("--bundle", help="Train nothing; write the averaged weights, float16"),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Let --bundle replace a file")] = False,
    pack_to: Annotated[
        Path | None,
        typer.Option("--pack", help="Train nothing; write the photos as tars below 25 MB"),
    ] = None,
    pack_side: Annotated[
        int, typer.Option(help="Longest side of packed photos, px; smaller ones stay", min=32)
    ] = 1024,
    own_masks: Annotated[
        Path | None,
        typer.Option(
            "--own-masks",
            help="Train nothing; write masks of the photos that the model is sure of, as a set",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights that --own-masks asks, if not the model's own")
    ] = None,
) -> None:
    """Train a network on photos with masks, or go on with a run.

    A config that names clips, such as configs/nano-video.toml, teaches nano to follow objects; it
    takes --minutes, --threads, --bundle and --overwrite, and runs on a CPU.

    Several processes: torchrun --nproc-per-node=2 -m anymask train configs/nano.toml

    Ctrl-C and SIGTERM end the slice after the step that is going on, once its state is saved.
    """
    from anymask.train.config import read_config
    from anymask.train.video_config import about_videos

    if about_videos(config, changes or ()):
        from anymask.cli.train_video import train_video

        train_video(
            config,
            changes or (),
            minutes=minutes,
            threads=threads,
            bundle_to=bundle_to,
            overwrite=overwrite,
        )
        return
    settings = read_config(config, changes or ())
    if bundle_to is not None:
        from anymask.train.bundle import bundle

        size = bundle(settings, bundle_to, overwrite=overwrite)
        say(f"{bundle_to}: {size / 1e6:.1f} MB")
        return
    if pack_to is not None:
        from anymask.train.pack import pack

        packed = pack(settings, pack_to, side=pack_side)
        say(f"{pack_to}: {packed.photos} photos in {packed.parts} tars, {packed.scaled} scaled")
        return
    if own_masks is not None:
        _make_own_masks(settings, own_masks, checkpoint, minutes, threads, device)
        return
    from anymask.train.judge import judge_on
    from anymask.train.run import run_slice

    report = _Report(settings.steps)
    with Stop("step") as stop:
        run = run_slice(
            settings,
            minutes=minutes,
            threads=threads,
            workers=workers,
            device=device,
            judge=judge_on(settings),
            resume=resume,
            accept_changes=accept_changes,
            stop=lambda: stop.asked,
            progress=report.step,
            tell=say,
        )
    if report.told:
        say(f"step {run.step} of {settings.steps}; the run lies in {settings.out}")
    if run.stopped:
        raise typer.Exit(run.stopped)


def _make_own_masks(
    settings: "TrainConfig",
    folder: Path,
    checkpoint: Path | None,
    minutes: float | None,
    threads: int,
    device: str,
) -> None:
    import torch

    from anymask.model import load
    from anymask.train.own_masks import OwnMasks, make_own_masks

    torch.set_num_threads(threads)
    model = load(settings.model, checkpoint=checkpoint, device=device, size=settings.size)

    def told(made: OwnMasks) -> None:
        if made.photos % 100 == 0:
            say(f"{made.photos}/{made.of} photos  {made.masks} masks")

    with Stop("photo") as stop:
        made = make_own_masks(
            settings, folder, model, minutes=minutes, stop=lambda: stop.asked, progress=told
        )
    say(f"{folder}: {made.photos} of {made.of} photos, {made.masks} masks more")
    if stop.asked:
        raise typer.Exit(stop.asked)


class _Report:
    """A line every so many steps, and one for each look at the validation photos."""

    def __init__(self, steps: int, every: int = 20) -> None:
        self.steps, self.every = steps, every
        self.told = False
        self.sums: dict[str, list[float]] = {}

    def step(self, facts: "Mapping[str, float]") -> None:
        """Add a step's figures; print means now and then."""
        self.told = True
        for name in ("loss", "top", "best", "clear", "last"):
            if name in facts:
                self.sums.setdefault(name, []).append(facts[name])
        at = f"step {int(facts['step'])}/{self.steps}  {facts['seconds'] / 60:.1f} min"
        if int(facts["step"]) % self.every == 0:
            means = "  ".join(f"{n} {sum(v) / len(v):.3f}" for n, v in self.sums.items())
            say(f"{at}  {means}")
            self.sums.clear()
        judged = {n.removeprefix("judged_"): v for n, v in facts.items() if "judged_" in n}
        if judged:
            shown = "  ".join(
                f"{n} {judged[n]:.3f}" for n in ("box", "click1", "click3", "click5") if n in judged
            )
            say(f"{at}  validation IoU of {judged['masks']:.0f} masks: {shown or 'none'}")
