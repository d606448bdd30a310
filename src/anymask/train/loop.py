"""The loop: draw, decode in rounds, correct like a user, learn; save, judge, go on.

Runs in one process or in several that share a step's batches and add up their gradients. Everything
random comes from (seed, batch, step): a run that is stopped and gone on with is the run, and with
another number of processes it sees the same samples in the same order.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from anymask.errors import RunError
from anymask.train.batches import PhotoDrawer
from anymask.train.curves import JUDGED, add_row
from anymask.train.feed import Drawn, Feed, Plan
from anymask.train.judge import Judge
from anymask.train.rounds import Teaching, step_loss
from anymask.train.running import Run, averaged_network, move_average, rate, snapshot
from anymask.train.state import save_state
from anymask.train.team import Team

_log = logging.getLogger(__name__)
_MOST_BAD_STEPS = 10

Facts = dict[str, float]


def never() -> int:
    """Nothing has asked to stop."""
    return 0


def train(
    run: Run,
    drawer: PhotoDrawer,
    folder: Path,
    *,
    team: Team,
    teaching: Teaching,
    minutes: float | None = None,
    judge: Judge | None = None,
    threads: int = 0,
    stop: Callable[[], int] = never,
) -> Iterator[Facts]:
    """Go on until the run's last step, the time is up, or a stop; yields each step's figures.

    Parameters
    ----------
    run
        From `begin`.
    drawer
        Draws views of photos.
    folder
        Of the state.
    team, teaching
        Who trains, and what.
    minutes
        How long; the first process decides for all.
    judge
        Looks at validation photos now and then.
    threads
        How many draw batches ahead.
    stop
        Asked after each step; what is not 0 is an exit code, and ends the slice in all processes
        once the state is saved.

    Raises
    ------
    RunError
        ``loss-not-finite``: ten steps running gave no finite gradient; ``rank-lost``.
    """
    config = run.config
    begun, before = time.monotonic(), run.seconds
    run.batches = run.batches or team.world
    numbers = range(team.rank, run.batches, team.world)
    if team.world > run.batches and team.rank == 0:
        _log.warning(
            "%d of %d processes have work: a step of this run has %d batches",
            run.batches, team.world, run.batches,
        )  # fmt: skip
    bad: list[str] = []  # photos of the steps running that went wrong
    bad_steps = 0
    with Feed(drawer, config, numbers, threads) as feed:
        for plan, drawn in feed.steps(run.step):
            facts = learn(run, plan, drawn, team, teaching)
            finite = math.isfinite(facts["norm"])
            bad_steps = 0 if finite else bad_steps + 1
            bad = [] if finite else bad + _of_bad(drawn, facts)
            if bad_steps >= _MOST_BAD_STEPS:
                raise _not_finite(run, team, bad, folder)
            run.step += 1
            run.prompts += plan.kind.views * plan.kind.prompts * plan.rounds * run.batches
            run.seconds = before + time.monotonic() - begun
            late = minutes is not None and run.seconds - before > minutes * 60
            mine = (float(late and team.rank == 0), float(stop()))
            over, code = team.most(mine)
            run.stopped = int(code)
            ended = bool(over or code) or run.step == config.steps
            if team.rank == 0 and (ended or run.step % config.save_every == 0):
                save_state(snapshot(run), folder)
            if judge and (run.step % config.judge_every == 0 or run.step == config.steps):
                found = judge(averaged_network(run), run.row, team)
                facts |= {f"judged_{name}": value for name, value in found.items()}
                if team.rank == 0:
                    row = {"step": run.step, "seconds": run.seconds, **found}
                    add_row(folder.with_name(JUDGED), row)
            yield facts | {"step": run.step, "seconds": run.seconds, "prompts": run.prompts}
            if ended:
                return


def learn(run: Run, plan: Plan, drawn: Sequence[Drawn], team: Team, teaching: Teaching) -> Facts:
    """One step of all processes; the weights stay where the gradient is not finite."""
    parameters = list(run.trained.values())
    speed = rate(run.step, run.config.steps, run.config.optim)
    for group in run.optimiser.param_groups:
        group["lr"] = speed * float(group["factor"])
    run.optimiser.zero_grad(set_to_none=True)
    parts: list[Facts] = []
    total = 0.0
    for one in drawn:
        loss, part = step_loss(run.network, one.batch, plan.rounds, teaching, one.rng)
        (loss / run.batches).backward()  # type: ignore[no-untyped-call]
        parts.append(part | {"own": float(loss.detach())})
        total += float(loss.detach())
    mean = share_gradients(parameters, total / run.batches, team)
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, run.config.optim.clip))
    if math.isfinite(norm) and math.isfinite(mean):
        run.optimiser.step()
        move_average(run)
    else:
        norm = math.nan
        _log.warning("step %d skipped: the gradient is not finite", run.step)
    facts: Facts = {"loss": mean, "norm": norm, "rate": speed}
    for name in ("top", "best", "clear", "last", "own"):
        values = [part[name] for part in parts if name in part]
        if values:
            facts[name] = sum(values) / len(values)
    return facts


def share_gradients(parameters: Sequence[Tensor], loss: float, team: Team) -> float:
    """Add up gradients over processes, and their losses, in one message; the loss in all.

    A parameter without a gradient gets zeros, in one process as in several.
    """
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    if team.world == 1:
        return loss
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([*(g.flatten() for g in grads), grads[0].new_tensor([loss])])
    team.add(flat)
    at = 0
    for g in grads:
        g.copy_(flat[at : at + g.numel()].view_as(g))
        at += g.numel()
    return float(flat[-1])


def _of_bad(drawn: Sequence[Drawn], facts: Mapping[str, float]) -> list[str]:
    """Photos of this process, if it is its own loss that is not finite, or nobody knows whose."""
    if math.isfinite(facts.get("own", 0.0)) and not math.isfinite(facts["loss"]):
        return []
    return [item for one in drawn for item in one.batch.items]


def _not_finite(run: Run, team: Team, bad: Sequence[str], folder: Path) -> RunError:
    """All processes are here at once, so that photos of all are told."""
    items = sorted({item for part in team.gather(list(bad)) for item in part})
    return RunError(
        "loss-not-finite",
        f"{_MOST_BAD_STEPS} steps running gave no finite gradient, the last was step {run.step}",
        given=items,
        where=str(folder),
        hint="the last good state is kept; lower optim.lr, or look at these photos",
    )
