"""Which weights learn, at what rates: a row of the table is a method."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import nn

from anymask.errors import DataError
from anymask.model import Network
from anymask.train.lora import add_adapters, merge_adapters

Groups = list[dict[str, object]]  # parameters, and the factor on the learning rate, for AdamW

_ENCODER, _FIRST = 0.25, 0.1  # factors of the encoder's last layer, and of its first on that


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to fine-tune.

    Attributes
    ----------
    name
        What is typed.
    what
        For people.
    choose
        ``(network, rank, seed) -> groups`` of what learns; all else is frozen.
    finish
        What makes the network plain again.
    stored
        Views are encoded once, and their features kept on disk.
    through
        Gradients go through the encoder.
    """

    name: str
    what: str
    choose: Callable[[nn.Module, int, int], Groups]
    finish: Callable[[nn.Module], None]
    stored: bool = False
    through: bool = False


def head_of(network: nn.Module) -> list[nn.Parameter]:
    """All that is not the encoder: what turns prompts and features into masks."""
    inside = {id(p) for p in cast(Network, network).encoder.parameters()}
    return [p for p in network.parameters() if id(p) not in inside]


def _head(network: nn.Module, rank: int, seed: int) -> Groups:
    network.requires_grad_(False)
    head = head_of(network)
    return _learning([(head, 1.0)])


def _lora(network: nn.Module, rank: int, seed: int) -> Groups:
    """Adapters in the encoder; what is not the encoder learns as it is."""
    network.requires_grad_(False)
    head = head_of(network)
    adapters = add_adapters(cast(Network, network).encoder, rank, seed=seed)
    return _learning([(head, 1.0), (adapters, 1.0)])


def _full(network: nn.Module, rank: int, seed: int) -> Groups:
    """Everything; in the encoder the rate falls with the distance from the features.

    After Howard & Ruder 2018 (arXiv:1801.06146): first layers know what all pictures share.
    """
    network.requires_grad_(False)
    layers = list(cast(Network, network).encoder.parameters())
    steps = max(1, len(layers) - 1)
    rates = [_ENCODER * _FIRST ** (1 - i / steps) for i in range(len(layers))]
    return _learning(
        [(head_of(network), 1.0), *(([p], rate) for p, rate in zip(layers, rates, strict=True))]
    )


def _learning(groups: list[tuple[list[nn.Parameter], float]]) -> Groups:
    for parameters, _ in groups:
        for parameter in parameters:
            parameter.requires_grad_(True)
    return [{"params": list(p), "factor": factor} for p, factor in groups if p]


def _as_it_is(network: nn.Module) -> None:
    """Nothing was added."""


METHODS: tuple[Method, ...] = (
    Method(
        name="frozen",
        what="the decoder learns from features that are encoded once and kept on disk",
        choose=_head,
        finish=_as_it_is,
        stored=True,
    ),
    Method(
        name="decoder",
        what="the decoder learns from new views each time; the encoder runs and stays as it is",
        choose=_head,
        finish=_as_it_is,
    ),
    Method(
        name="lora",
        what="the decoder learns, and low-rank adapters in the encoder",
        choose=_lora,
        finish=merge_adapters,
        through=True,
    ),
    Method(
        name="full",
        what="everything learns, the encoder's first layers least",
        choose=_full,
        finish=_as_it_is,
        through=True,
    ),
)


def method(name: str) -> Method:
    """The row of a name.

    Raises
    ------
    DataError
        ``method-unknown``.
    """
    for row in METHODS:
        if row.name == name:
            return row
    raise DataError(
        "method-unknown",
        "there is no such method",
        given=name,
        hint=f"take one of auto, {', '.join(row.name for row in METHODS)}",
    )
