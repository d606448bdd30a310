"""A run in memory: network, averaged weights, optimiser; to and from a `RunState`."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from anymask.errors import RunError
from anymask.model import load_variant
from anymask.train.config import Optim, TrainConfig
from anymask.train.recipes import choose_trained, recipe_of, row_of
from anymask.train.state import RunState, load_state
from anymask.variants import Variant


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """What changes from step to step.

    Attributes
    ----------
    config, row
        What is trained.
    network
        On its device.
    averaged
        Moving averages of the weights that learn, by name.
    optimiser
        Its groups carry their factor on the learning rate.
    step, seconds, prompts
        Done so far.
    batches
        Batches a step; 0 where nothing has settled it yet.
    stopped
        The exit code of a signal that ended this slice, else 0.
    trained
        Parameters that learn, by name.
    """

    config: TrainConfig
    row: Variant
    network: nn.Module
    averaged: dict[str, Tensor]
    optimiser: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    prompts: int = 0
    batches: int = 0
    stopped: int = 0
    trained: Mapping[str, nn.Parameter] = field(default_factory=dict)


def begin(config: TrainConfig, network: nn.Module, folder: Path) -> Run:
    """A new run from the network's weights, or the one in `folder` gone on with.

    Raises
    ------
    RunError
        ``state-broken``; ``state-other``: the state is that of another network.
    """
    learn = config.optim.learn
    groups = choose_trained(network, learn or recipe_of(config).learn, named=bool(learn))
    optimiser = torch.optim.AdamW(
        groups,
        lr=config.optim.lr,
        betas=(config.optim.betas[0], config.optim.betas[1]),
        weight_decay=config.optim.decay,
    )
    trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
    run = Run(
        config=config,
        row=row_of(config),
        network=network,
        averaged={n: p.detach().clone() for n, p in trained.items()},
        optimiser=optimiser,
        batches=config.batches or 0,
        trained=trained,
    )
    state = load_state(folder)
    if state is not None:
        restore(run, state, folder)
    return run


@torch.no_grad()
def restore(run: Run, state: RunState, folder: Path) -> None:
    """Put a saved state into a run, on whatever device it is now."""
    everything = dict(run.network.named_parameters()) | dict(run.network.named_buffers())
    _fill_missing(run, state)
    for name, tensor in state.tensors.items():
        kind, _, key = name.partition("/")
        if kind != "model":
            continue
        if key not in everything or everything[key].shape != tensor.shape:
            raise RunError(
                "state-other",
                f"the run in this folder trains another network: {key} does not fit {run.row.name}",
                where=str(folder),
                hint="name another folder in out, or the model that the run began with",
            )
        everything[key].copy_(tensor)
    for name, parameter in run.trained.items():
        kept = state.tensors.get(f"ema/{name}", parameter.detach())
        run.averaged[name] = kept.to(parameter.device, copy=True)
        if f"m/{name}" in state.tensors:
            run.optimiser.state[parameter] = {
                "step": torch.tensor(float(state.facts["optimiser_steps"])),
                "exp_avg": _like(parameter, state.tensors[f"m/{name}"]),
                "exp_avg_sq": _like(parameter, state.tensors[f"v/{name}"]),
            }
    run.step = state.step
    run.seconds = state.facts["seconds"]
    run.prompts = int(state.facts["prompts"])
    run.batches = run.config.batches or int(state.facts.get("batches", 0))


def _fill_missing(run: Run, state: RunState) -> None:
    """What the network has had since the state was written comes from the row's own weights."""
    own = run.network.state_dict()
    missing = [name for name in own if f"model/{name}" not in state.tensors]
    if missing:
        known = load_variant(run.row, device="cpu").network.state_dict()
        for name in missing:
            own[name].copy_(known[name])


def _like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """A copy on the parameter's device, laid out as it is: last bits depend on the order."""
    return torch.empty_like(parameter).copy_(tensor)


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
    facts: dict[str, float] = {
        "seconds": run.seconds,
        "prompts": run.prompts,
        "optimiser_steps": steps,
        "batches": run.batches,
    }
    return RunState(step=run.step, tensors=tensors, facts=facts)


def averaged_network(run: Run) -> nn.Module:
    """A copy of the network with the averaged weights, in eval mode."""
    network = deepcopy(run.network).requires_grad_(False)
    parameters = dict(network.named_parameters())
    for name, tensor in run.averaged.items():
        parameters[name].data.copy_(tensor)
    return network.eval()


@torch.no_grad()
def move_average(run: Run) -> None:
    """Move the averaged weights; faster at first, when the weights still run away."""
    decay = min(run.config.optim.ema, (1 + run.step) / (10 + run.step))
    names = list(run.averaged)
    now: list[Tensor] = [run.trained[n] for n in names]
    torch._foreach_lerp_([run.averaged[n] for n in names], now, 1 - decay)


def rate(step: int, steps: int, optim: Optim) -> float:
    """Learning rate: up in a line, level, then down to nothing in a line, or in steps."""
    up = min(1.0, (step + 1) / max(1, optim.warmup))
    if optim.drops:
        return optim.lr * up * optim.drop ** sum(step >= share * steps for share in optim.drops)
    start = optim.hold * steps
    down = 1.0 if step < start else max(0.0, (steps - step) / max(1.0, steps - start))
    return optim.lr * up * down
