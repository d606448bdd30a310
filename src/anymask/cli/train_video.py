"""`anymask train` for a config of videos: teach nano's memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from anymask.cli.common import Stop, say

_EVERY = 20  # steps a line


def train_video(
    config: Path,
    changes: Sequence[str],
    *,
    minutes: float | None,
    threads: int,
    bundle_to: Path | None,
    overwrite: bool,
) -> None:
    """One slice of a run, or its averaged weights as a file."""
    from anymask.train.video_config import read_video_config
    from anymask.train.video_judge import judge_on
    from anymask.train.video_run import bundle_memory, run_video_slice

    settings = read_video_config(config, changes)
    if bundle_to is not None:
        size = bundle_memory(settings, bundle_to, overwrite=overwrite)
        say(f"{bundle_to}: {size / 1e6:.2f} MB")
        return
    report = _Report(settings.steps)
    with Stop("step") as stop:
        run = run_video_slice(
            settings,
            minutes=minutes,
            threads=threads,
            stop=lambda: stop.asked,
            judge=judge_on(settings),
            progress=report.step,
        )
    say(f"step {run.step} of {settings.steps}; the run lies in {settings.out}")
    if stop.asked:
        raise typer.Exit(stop.asked)


class _Report:
    """A line every so many steps, and one for each look at the clips that are held out."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.sums: dict[str, list[float]] = {}

    def step(self, facts: Mapping[str, float]) -> None:
        """Add a step's figures; print means now and then."""
        for name in ("loss", "iou", "guess", "right", "real", "made_up"):
            if facts[name] == facts[name]:  # NaN where the step had none
                self.sums.setdefault(name, []).append(facts[name])
        at = f"step {int(facts['step'])}/{self.steps}  {facts['seconds'] / 60:.1f} min"
        if int(facts["step"]) % _EVERY == 0:
            means = "  ".join(f"{n} {sum(v) / len(v):.3f}" for n, v in self.sums.items())
            say(f"{at}  {means}")
            self.sums.clear()
        judged = {n.removeprefix("judged_"): v for n, v in facts.items() if "judged_" in n}
        if judged:
            shown = "  ".join(f"{n} {v:.3f}" for n, v in judged.items())
            say(f"{at}  clips held out: {shown}")
