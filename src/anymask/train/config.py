"""What a training run is told: frozen records, read from TOML, every key checked."""

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anymask.errors import DataError
from anymask.train.augment import Augment
from anymask.train.batches import StepKind
from anymask.train.clicks import ClickMix
from anymask.train.losses import Losses
from anymask.train.samples import MOST_MASKS
from anymask.train.sources import DataSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Optim:
    """AdamW and its schedule: warm up, hold, then fall in a line or in steps.

    Attributes
    ----------
    lr
        Learning rate.
    learn
        Factors on it by patterns of parameters' names; the last that fits counts, 0 leaves a
        parameter as it is. Empty for the network's own, see `anymask.train.recipes`.
    warmup
        Steps.
    hold
        Share of all steps after which the rate falls to nothing in a line.
    drops
        Shares of all steps after which the rate is multiplied by `drop`; `hold` counts no more.
    drop
        See there.
    betas
        Of the moments.
    decay
        Weight decay.
    clip
        Largest norm of the gradient.
    ema
        Decay of the averaged weights.
    """

    lr: float = 2e-3
    learn: Mapping[str, float] = field(default_factory=dict)
    warmup: int = 100
    hold: float = 0.5
    drops: tuple[float, ...] = ()
    drop: float = 0.1
    betas: tuple[float, ...] = (0.9, 0.99)
    decay: float = 1e-3
    clip: float = 1.0
    ema: float = 0.998


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A run.

    Attributes
    ----------
    data
        Sets: paths, or records of a path and how it is taken.
    out
        Folder of the run.
    model
        A row of `anymask.VARIANTS`.
    network
        Arguments of its builder in place of the row's; false leaves a part out.
    size
        Side of the network's input, px, if it is not the row's.
    start
        Where weights come from: a weight file, a folder of pretrained parts, ``"fresh"`` to draw
        them; None for the row's own, or drawn ones where `network` changes it.
    steps
        Length of the run.
    seed
        Of everything random.
    batches
        Batches a step, shared among processes; None for one each, as many as the run began with.
    rounds
        Shares of steps with 1, 2, 3 ... rounds of prompts.
    kinds
        Ways to fill a batch, and `shares`, how often each comes up.
    losses
        ``"nano"``, ``"sam"`` or a record; an empty name for the network's own.
    clicks, augment, optim
        See there.
    precision
        Of the encoder: ``"float32"``, ``"bfloat16"``, or ``"auto"``, which is bfloat16 on CUDA.
    balance
        0 draws photos by their weights, 1 all sets alike.
    negatives
        How often a photo without any annotation is drawn, relative to one with a mask: a click or
        a box there is answered by nothing, with a score of 0. Only for sets in which everything
        that may be asked for is annotated.
    most_masks
        Masks of a photo that count when it is weighed.
    strict
        What would be cut or left out of the data is an error.
    save_every, judge_every
        Steps between checkpoints, and between looks at the validation photos.
    judge_photos
        Validation photos a set at a look.
    """

    data: tuple[str | DataSpec, ...]
    out: str
    model: str = "nano"
    network: Mapping[str, object] = field(default_factory=dict)
    size: int | None = None
    start: str | None = None
    steps: int
    seed: int = 0
    batches: int | None = None
    rounds: tuple[float, ...] = (0.1, 0.55, 0.2, 0.15)
    kinds: tuple[StepKind, ...]
    shares: tuple[float, ...] = ()
    losses: str | Losses = ""
    clicks: ClickMix = field(default_factory=ClickMix)
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    precision: str = "auto"
    balance: float = 0.0
    negatives: float = 0.0
    most_masks: int = MOST_MASKS
    strict: bool = False
    save_every: int = 200
    judge_every: int = 1000
    judge_photos: int = 4


def read_config(path: Path, changes: Sequence[str] = ()) -> TrainConfig:
    """The config in a TOML file, with changes such as ``optim.lr=1e-3`` on top.

    Raises
    ------
    DataError
        ``config-missing``, ``config-broken``, ``config-key``, ``config-value``.
    """
    table = read_table(path, changes)
    _bring_up(table)
    built = build(TrainConfig, table, "")
    assert isinstance(built, TrainConfig)  # build returns what it was asked for
    return built


def read_table(path: Path, changes: Sequence[str] = ()) -> dict[str, object]:
    """What a TOML file says, with changes on top; no key is checked.

    Raises
    ------
    DataError
        ``config-missing``, ``config-broken``; of the changes ``config-key``, ``config-value``.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError("config-missing", "there is no such file", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError("config-broken", str(error), where=str(path)) from error
    for change in changes:
        _apply(table, change)
    return table


def _apply(table: dict[str, object], change: str) -> None:
    key, sign, value = change.partition("=")
    if not sign:
        raise DataError("config-value", "a change is KEY=VALUE", given=change)
    *path, last = key.strip().split(".")
    for name in path:
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            raise DataError("config-key", "this key has no keys of its own", given=name)
        table = inner
    try:
        table[last] = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        table[last] = value  # a bare word is a string


def _bring_up(table: dict[str, object]) -> None:
    """Turn keys of former configs into those that took their place."""
    optim = table.get("optim")
    if not isinstance(optim, dict) or not {"trunk", "trunk_from"} & optim.keys():
        return
    if "learn" in optim:
        raise DataError("config-key", "optim.trunk went into optim.learn; name one of the two")
    factor, first = optim.pop("trunk", 0.1), optim.pop("trunk_from", 5)
    if type(first) is not int or isinstance(factor, bool) or not isinstance(factor, int | float):
        raise DataError("config-value", "numbers are wanted", where="optim.trunk, optim.trunk_from")
    learn: dict[str, object] = {"*": 1.0, "encoder.detector.*": 0.0, "encoder.lite.*": 0.0}
    for block in range(first, 16):
        learn[f"encoder.lite.blocks.{block}.*"] = float(factor)
    optim["learn"] = learn


def to_table(value: object) -> object:
    """A config as plain values for JSON or TOML; None is left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {k: to_table(v) for k, v in found.items() if v is not None}
    if isinstance(value, Mapping):
        return {str(k): to_table(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_table(v) for v in value]
    return value


def to_toml(config: TrainConfig) -> str:
    """A config as `read_config` takes it, every key said."""
    table = to_table(config)
    assert isinstance(table, dict)  # of a record
    return "".join(f"{key} = {_inline(value)}\n" for key, value in table.items())


def _inline(value: object) -> str:
    """A value in one line of TOML; JSON's texts, numbers and lists are TOML too."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(each) for each in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def build(kind: object, value: object, where: str) -> object:
    """Turn plain TOML values into the record or type that is wanted, checking every key."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise DataError("config-value", "a table is wanted", given=value, where=where)
        known = {f.name: f for f in dataclasses.fields(kind)}
        hints = typing.get_type_hints(kind)
        for key in value:
            if key not in known:
                raise DataError(
                    "config-key",
                    f"unknown key {where}{key}",
                    hint=f"{kind.__name__} has {', '.join(known)}",
                )
        made = {k: build(hints[k], v, f"{where}{k}.") for k, v in value.items()}
        needed = [
            f.name
            for f in known.values()
            if f.name not in made
            and f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
        ]
        if needed:
            raise DataError("config-key", f"{where or 'the config'} lacks {', '.join(needed)}")
        return kind(**made)
    if origin is tuple:
        if not isinstance(value, list):
            raise DataError("config-value", "a list is wanted", given=value, where=where)
        return tuple(build(arguments[0], item, where) for item in value)
    if origin in (typing.Union, types.UnionType):
        arms = [a for a in arguments if a is not type(None)]
        fitting = [a for a in arms if dataclasses.is_dataclass(a) == isinstance(value, Mapping)]
        return build((fitting or arms)[0], value, where)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise DataError("config-value", "a table is wanted", given=value, where=where)
        return {str(k): build(arguments[1], v, f"{where}{k}.") for k, v in value.items()}
    if kind is object:
        return tuple(value) if isinstance(value, list) else value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if (
        not isinstance(kind, type)
        or not isinstance(value, kind)
        or (isinstance(value, bool) and kind is not bool)
    ):
        wanted = getattr(kind, "__name__", str(kind))
        raise DataError("config-value", f"{wanted} is wanted", given=value, where=where.rstrip("."))
    return value
