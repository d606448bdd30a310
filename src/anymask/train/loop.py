"""The loop: draw, decode in rounds, correct like a user, learn; save, judge, go on.

Runs in one process or in several that average their gradients (torchrun, gloo). Everything
random comes from (seed, rank, step): a run that is stopped and gone on with is the run.
"""

import csv
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from anymask.errors import RunError
from anymask.nn.nano import Nano
from anymask.train.batches import STRIDE, Batch, PhotoDrawer, draw_batch
from anymask.train.clicks import correction
from anymask.train.config import Optim, TrainConfig
from anymask.train.losses import total_loss
from anymask.train.start import normalise
from anymask.train.state import RunState, load_state, save_state

_log = logging.getLogger(__name__)
_MOST_BAD_STEPS = 10

Judge = Callable[[Nano, int], Mapping[str, float]]


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """A run in memory: what changes from step to step."""

    config: TrainConfig
    network: Nano
    averaged: dict[str, Tensor]
    optimiser: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    prompts: int = 0

    @property
    def trained(self) -> dict[str, Tensor]:
        """Parameters that learn, by name."""
        return {n: p for n, p in self.network.named_parameters() if p.requires_grad}


def choose_trained(network: Nano, optim: Optim) -> list[dict[str, object]]:
    """Freeze what stays as it is; groups of parameters with their learning rates."""
    for parameter in network.encoder.detector.parameters():
        parameter.requires_grad_(False)
    for parameter in network.encoder.lite.parameters():
        parameter.requires_grad_(False)
    trunk = [p for b in network.encoder.lite.blocks[optim.trunk_from :] for p in b.parameters()]
    for parameter in trunk:
        parameter.requires_grad_(True)
    known = {id(p) for p in trunk}
    fresh = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
    groups: list[dict[str, object]] = [{"params": fresh, "factor": 1.0}]
    if trunk:
        groups.append({"params": trunk, "factor": optim.trunk})
    return groups


def begin(config: TrainConfig, network: Nano, folder: Path) -> Run:
    """A new run from the network's weights, or the one in `folder` gone on with."""
    groups = choose_trained(network, config.optim)
    optimiser = torch.optim.AdamW(
        groups, lr=config.optim.lr, betas=(0.9, 0.99), weight_decay=config.optim.decay
    )
    run = Run(config=config, network=network, averaged={}, optimiser=optimiser)
    run.averaged = {n: p.detach().clone() for n, p in run.trained.items()}
    state = load_state(folder)
    if state is not None:
        restore(run, state)
    return run


def restore(run: Run, state: RunState) -> None:
    """Put a saved state into a run."""
    everything = dict(run.network.named_parameters()) | dict(run.network.named_buffers())
    for name, tensor in state.tensors.items():
        kind, _, key = name.partition("/")
        if kind == "model":
            everything[key].data.copy_(tensor)
    for name, parameter in run.trained.items():
        run.averaged[name] = state.tensors.get(f"ema/{name}", parameter.detach()).clone()
        if f"m/{name}" in state.tensors:
            run.optimiser.state[parameter] = {
                "step": torch.tensor(float(state.facts["optimiser_steps"])),
                "exp_avg": state.tensors[f"m/{name}"].clone(),
                "exp_avg_sq": state.tensors[f"v/{name}"].clone(),
            }
    run.step = state.step
    run.seconds = state.facts["seconds"]
    run.prompts = int(state.facts["prompts"])


def snapshot(run: Run) -> RunState:
    """The run as it is written to disk: everything that learns, and what it learns from."""
    tensors: dict[str, Tensor] = {}
    steps = 0.0
    saved = set(run.network.state_dict())
    for name, tensor in (*run.network.named_parameters(), *run.network.named_buffers()):
        if name in saved:
            tensors[f"model/{name}"] = tensor
    for name, parameter in run.trained.items():
        tensors[f"ema/{name}"] = run.averaged[name]
        known = run.optimiser.state.get(parameter)
        if known:
            tensors[f"m/{name}"], tensors[f"v/{name}"] = known["exp_avg"], known["exp_avg_sq"]
            steps = float(known["step"])
    facts = {"seconds": run.seconds, "prompts": run.prompts, "optimiser_steps": steps}
    return RunState(step=run.step, tensors=tensors, facts=facts)


def averaged_network(run: Run) -> Nano:
    """A copy of the network with the averaged weights, in eval mode."""
    network = Nano()
    network.load_state_dict(run.network.state_dict())
    parameters = dict(network.named_parameters())
    for name, tensor in run.averaged.items():
        parameters[name].data.copy_(tensor)
    return network.eval()


def rate(step: int, steps: int, optim: Optim) -> float:
    """Learning rate: up in a line, level, down to nothing in a line."""
    up = min(1.0, (step + 1) / max(1, optim.warmup))
    start = optim.hold * steps
    down = 1.0 if step < start else max(0.0, (steps - step) / max(1.0, steps - start))
    return optim.lr * up * down


def cut(
    features: tuple[Float[Tensor, "B _ _ _"], ...], batch: Batch
) -> tuple[Float[Tensor, "B _ _ _"], ...]:
    """The window of each view from all six maps."""
    if batch.kind.window == batch.kind.side:
        return features
    parts = []
    for i, maps in enumerate(features):
        stride = (16, 8, 4)[i % 3]
        n = batch.kind.window // stride
        rows = [
            m[:, y // stride : y // stride + n, x // stride : x // stride + n]
            for m, (x, y) in zip(maps, batch.corners, strict=True)
        ]
        parts.append(torch.stack(rows).contiguous(memory_format=torch.channels_last))
    return tuple(parts)


def step_loss(
    network: Nano, batch: Batch, rounds: int, rng: np.random.Generator
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Loss of one step: first prompts, then corrections on the answers fed back."""
    features = cut(network.encode(normalise(batch.images)), batch)
    points, labels = batch.points.clone(), batch.labels.clone()
    truth = batch.truth.flatten(0, 1)
    previous: Tensor | None = None
    loss = torch.zeros(())
    facts: dict[str, float] = {}
    for number in range(rounds):
        used = int((labels >= 0).sum(-1).max())
        logits, scores = network.decoder(
            features, points[..., :used, :], labels[..., :used], previous
        )
        flat, known = logits.flatten(0, 1), scores.flatten(0, 1)
        single = ((labels >= 0).sum(-1) == 1).flatten().to(flat.dtype)
        part, iou = total_loss(flat, known, truth, single)
        loss = loss + part
        if number == 0:
            facts |= _first_facts(iou, known.detach(), single)
        facts["last"] = float(iou[:, 0].mean())
        if number + 1 < rounds:
            previous = _fed_back(flat.detach(), known.detach(), single).view(truth_shape(batch))
            _correct(points, labels, previous, batch.truth, rng)
    return loss / rounds, facts


def truth_shape(batch: Batch) -> torch.Size:
    """(B, P, h, w)."""
    return batch.truth.shape


def _first_facts(iou: Tensor, scores: Tensor, single: Tensor) -> dict[str, float]:
    clicked, boxed = single > 0, single == 0
    facts = {}
    if bool(clicked.any()):
        chosen = scores[clicked, 1:].argmax(1, keepdim=True)
        facts["top"] = float(iou[clicked, 1:].gather(1, chosen).mean())
        facts["best"] = float(iou[clicked, 1:].amax(1).mean())
    if bool(boxed.any()):
        facts["clear"] = float(iou[boxed, 0].mean())
    return facts


def _fed_back(logits: Tensor, scores: Tensor, single: Tensor) -> Tensor:
    """What a user goes on from: the best-scored alternative of a click, else output 0."""
    chosen = torch.where(single > 0, scores[:, 1:].argmax(1) + 1, 0)
    picked = logits[torch.arange(len(logits)), chosen]
    return picked


def _correct(
    points: Tensor, labels: Tensor, previous: Tensor, truth: Tensor, rng: np.random.Generator
) -> None:
    """Add a click where the answer is wrong; now and then none, as when a mask is just refined."""
    predicted, true = (previous > 0).numpy(), truth.numpy()
    for b in range(points.shape[0]):
        for p in range(points.shape[1]):
            slot = int((labels[b, p] >= 0).sum())
            if slot >= points.shape[2] or rng.random() < 0.07:
                continue
            click = correction(true[b, p], predicted[b, p], STRIDE, rng)
            if click is not None:
                points[b, p, slot, 0], points[b, p, slot, 1] = click[0], click[1]
                labels[b, p, slot] = click[2]


def average_gradients(parameters: list[Tensor]) -> None:
    """Mean over processes, in one message."""
    if not dist.is_initialized():
        return
    flat = torch.cat(
        [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in parameters]
    )
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    at = 0
    for p in parameters:
        p.grad = flat[at : at + p.numel()].view_as(p).clone()
        at += p.numel()


def train(
    run: Run, drawer: PhotoDrawer, folder: Path, *, minutes: float | None, judge: Judge | None
) -> Iterator[dict[str, float]]:
    """Go on until the run's last step or the time is up; yields the figures of each step."""
    config, rank = run.config, dist.get_rank() if dist.is_initialized() else 0
    begun, before, bad = time.monotonic(), run.seconds, 0
    parameters = list(run.trained.values())
    while run.step < config.steps:
        # the kind of step is the same in all processes: none waits for a longer one
        common = np.random.default_rng((config.seed, run.step))
        kind = config.kinds[int(common.choice(len(config.kinds), p=_shares(config.shares)))]
        rounds = 1 + int(common.choice(len(config.rounds), p=_shares(config.rounds)))
        rng = np.random.default_rng((config.seed, rank, run.step))
        batch = draw_batch(drawer, kind, config.clicks, rng)
        for group in run.optimiser.param_groups:
            group["lr"] = rate(run.step, config.steps, config.optim) * float(group["factor"])
        loss, facts = step_loss(run.network, batch, rounds, rng)
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(parameters)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.optim.clip))
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
                    hint="the last good state is kept; lower optim.lr",
                )
        run.step += 1
        run.prompts += kind.views * kind.prompts * rounds
        run.seconds = before + time.monotonic() - begun
        facts |= {"step": run.step, "loss": float(loss.detach()), "norm": norm}
        over = _time_is_up(minutes, time.monotonic() - begun)
        if rank == 0 and (over or run.step % config.save_every == 0 or run.step == config.steps):
            save_state(snapshot(run), folder)
        if rank == 0 and judge and (run.step % config.judge_every == 0 or run.step == config.steps):
            found = dict(judge(averaged_network(run), run.step))
            add_row(
                folder.with_name("judged.csv"), {"step": run.step, "seconds": run.seconds, **found}
            )
        yield facts | {"seconds": run.seconds, "prompts": run.prompts}
        if over:
            return


def _time_is_up(minutes: float | None, spent: float) -> bool:
    """The first process decides for all, so that none waits for one that stopped."""
    over = torch.tensor(float(minutes is not None and spent > minutes * 60))
    if dist.is_initialized():
        dist.broadcast(over, 0)
    return bool(over)


def _shares(shares: tuple[float, ...]) -> np.ndarray:
    array: np.ndarray = np.array(shares) / sum(shares)
    return array


@torch.no_grad()
def _average(run: Run) -> None:
    """Move the averaged weights; faster at first, when the weights still run away."""
    decay = min(run.config.optim.ema, (1 + run.step) / (10 + run.step))
    names = list(run.averaged)
    trained = run.trained
    torch._foreach_lerp_([run.averaged[n] for n in names], [trained[n] for n in names], 1 - decay)


def add_row(path: Path, row: Mapping[str, float]) -> None:
    """Append to a CSV, with a header where it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="ascii") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" for k, v in row.items()})
