"""`anymask train`: one slice of a training run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console


def train(
    config: Annotated[Path, typer.Argument(help="TOML file, such as configs/nano.toml")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE on top; repeatable")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so long; the same command goes on")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each process", min=1)] = 1,
    bundle_to: Annotated[
        Path | None,
        typer.Option("--bundle", help="Train nothing; write the averaged weights, float16"),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Let --bundle replace a file")] = False,
) -> None:
    """Train nano on photos with masks, or go on with a run.

    Several processes: torchrun --nproc-per-node=2 -m anymask train configs/nano.toml
    """
    from rich.console import Console

    from anymask.train.bundle import bundle
    from anymask.train.config import read_config
    from anymask.train.judge import judge_on
    from anymask.train.run import run_slice

    settings = read_config(config, changes or ())
    console = Console(stderr=True)
    if bundle_to is not None:
        size = bundle(settings, bundle_to, overwrite=overwrite)
        console.print(f"{bundle_to}: {size / 1e6:.1f} MB")
        return
    report = _Report(console, settings.steps)
    run = run_slice(
        settings,
        minutes=minutes,
        threads=threads,
        judge=judge_on(settings),
        progress=report.step,
    )
    console.print(f"step {run.step} of {settings.steps}; the run lies in {settings.out}")


class _Report:
    """A line every so many steps."""

    def __init__(self, console: "Console", steps: int, every: int = 20) -> None:
        self.console, self.steps, self.every = console, steps, every
        self.sums: dict[str, list[float]] = {}

    def step(self, facts: "Mapping[str, float]") -> None:
        """Add a step's figures; print means now and then."""
        for name in ("loss", "top", "best", "clear", "last"):
            if name in facts:
                self.sums.setdefault(name, []).append(facts[name])
        if int(facts["step"]) % self.every == 0:
            means = "  ".join(f"{n} {sum(v) / len(v):.3f}" for n, v in self.sums.items())
            self.console.print(
                f"step {int(facts['step'])}/{self.steps}  {facts['seconds'] / 60:.1f} min  {means}"
            )
            self.sums.clear()
