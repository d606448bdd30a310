"""What differs between networks when they are trained: a record each, by builder.

Which parameters learn is a table of patterns (as of file names) with factors on the learning
rate; the last pattern that fits a name counts, and 0 leaves a parameter as it is.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from anymask.errors import DataError
from anymask.train.config import TrainConfig
from anymask.train.decoding import Cut, Decode, cut_nano, decode_by_group, decode_together
from anymask.train.losses import LOSSES, Losses
from anymask.train.start import start_nano
from anymask.variants import Variant, variant

Factors = Mapping[str, float]
Start = Callable[[nn.Module, Path, Iterable[UInt8[Tensor, "B S S 3"]]], None]

# spreads of what a new network has as zeros: SAM's tokens are drawn, positions nearly nothing
_FRESH: Factors = MappingProxyType(
    {
        "*pos_embed": 0.02,
        "*pos_window": 0.02,
        "no_memory": 0.02,
        "decoder.*_token": 1.0,
        "decoder.*_tokens": 1.0,
        "prompt_encoder.kinds.*": 1.0,
        "prompt_encoder.padding": 1.0,
        "prompt_encoder.no_mask": 1.0,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one builder's networks are trained.

    Attributes
    ----------
    learn
        Factors on the learning rate where the config names none.
    decode
        How prompts on several images are decoded.
    cut
        How windows are cut from features, or None where they cannot be.
    losses
        Name of the losses where the config names none.
    start
        Fills a network from a folder of pretrained parts and some images, or None.
    fresh
        Spreads of the normal distributions that a network without weights is drawn from, where
        its layers do not draw themselves.
    """

    learn: Factors = field(default_factory=lambda: MappingProxyType({"*": 1.0}))
    decode: Decode = decode_by_group
    cut: Cut | None = None
    losses: str = "sam"
    start: Start | None = None
    fresh: Factors = field(default_factory=lambda: _FRESH)


PLAIN = Recipe()
_IMAGES_ONLY = Recipe(learn=MappingProxyType({"*": 1.0, "memory.*": 0.0, "decoder.object_*": 0.0}))
_NANO_TRUNK = ("encoder.lite.blocks.[5-9].*", "encoder.lite.blocks.1[0-5].*")
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "nano": Recipe(
            learn=MappingProxyType(
                {"*": 1.0, "memory.*": 0.0, "encoder.detector.*": 0.0, "encoder.lite.*": 0.0}
                | dict.fromkeys(_NANO_TRUNK, 0.1)
            ),
            decode=decode_together,
            cut=cut_nano,
            losses="nano",
            start=start_nano,
            fresh=MappingProxyType({}),
        ),
        "sam2": _IMAGES_ONLY,
        "edgetam": _IMAGES_ONLY,
    }
)


def recipe_of(config: TrainConfig) -> Recipe:
    """The recipe of a config's network."""
    return RECIPES.get(variant(config.model).builder, PLAIN)


def row_of(config: TrainConfig) -> Variant:
    """The row of the table that a config trains, with its own sizes where it names some.

    Raises
    ------
    CheckpointError
        ``unknown-model``.
    DataError
        ``config-value``: no side of the network.
    """
    row = variant(config.model)
    sizes = row.sizes
    changed = {key: None if value is False else value for key, value in config.network.items()}
    spec, network = row.spec, dict(row.network) | changed
    side = config.size or spec.side
    if side != spec.side:
        if sizes is None or side % sizes.step:
            step = f"a multiple of {sizes.step} px" if sizes else f"{spec.side} px"
            raise DataError("config-value", f"{row.name} takes {step}", given=side, where="size")
        square = spec.multiple == spec.side
        spec = replace(spec, side=side, multiple=side if square else spec.multiple)
        if sizes.argument:
            network = {sizes.argument: side} | network
    if spec is row.spec and not config.network:
        return row
    name = f"{row.name}@{side}" if spec is not row.spec else row.name
    return replace(row, name=name, spec=spec, network=MappingProxyType(network))


def losses_of(config: TrainConfig) -> Losses:
    """The losses that a config names or its recipe does.

    Raises
    ------
    DataError
        ``config-value``: there are none of that name.
    """
    named = config.losses or recipe_of(config).losses
    if isinstance(named, Losses):
        return named
    if named not in LOSSES:
        raise DataError(
            "config-value",
            f"there are losses {', '.join(LOSSES)}",
            given=named,
            where="losses",
        )
    return LOSSES[named]


def factor_of(name: str, factors: Factors, default: float = 0.0) -> float:
    """The factor of the last pattern that fits a parameter's name."""
    fitting = [factor for pattern, factor in factors.items() if fnmatchcase(name, pattern)]
    return fitting[-1] if fitting else default


def choose_trained(
    network: nn.Module, factors: Factors, *, named: bool = False
) -> list[dict[str, object]]:
    """Freeze what stays as it is; groups of parameters with their factors, the largest first.

    Parameters
    ----------
    network
        Its parameters are told whether they learn.
    factors
        By pattern.
    named
        A user named the patterns, and one that fits nothing is a mistake.

    Raises
    ------
    DataError
        ``config-value``: a pattern fits no parameter, or nothing learns.
    """
    names = [name for name, _ in network.named_parameters()]
    for pattern in factors:
        if named and not any(fnmatchcase(name, pattern) for name in names):
            raise DataError(
                "config-value",
                "no parameter has such a name",
                given=pattern,
                where="optim.learn",
                hint=f"names are such as {names[0]} and {names[-1]}",
            )
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        factor = factor_of(name, factors)
        parameter.requires_grad_(factor > 0)
        if factor > 0:
            groups.setdefault(factor, []).append(parameter)
    if not groups:
        raise DataError("config-value", "nothing would learn", where="optim.learn")
    return [{"params": groups[f], "factor": f} for f in sorted(groups, reverse=True)]


@torch.no_grad()
def draw_fresh(network: nn.Module, fresh: Factors) -> None:
    """Draw from torch's generator what a new network has as zeros."""
    for name, parameter in network.named_parameters():
        spread = factor_of(name, fresh)
        if spread and not parameter.any():
            parameter.normal_(0, spread)
