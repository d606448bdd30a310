"""What a training run is told: frozen records, read from TOML, every key checked."""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anymask.errors import DataError
from anymask.train.batches import StepKind
from anymask.train.clicks import ClickMix


@dataclass(frozen=True, slots=True, kw_only=True)
class Optim:
    """AdamW and its schedule: warm up, hold, fall to nothing in a line.

    Attributes
    ----------
    lr
        Learning rate of the neck and decoder.
    trunk
        Factor on `lr` for the trunk's trainable blocks.
    trunk_from
        First trainable block of the second trunk; 16 keeps all of it as it is.
    warmup
        Steps.
    hold
        Share of all steps after which the rate falls.
    decay
        Weight decay.
    clip
        Largest norm of the gradient.
    ema
        Decay of the averaged weights.
    """

    lr: float = 2e-3
    trunk: float = 0.1
    trunk_from: int = 5
    warmup: int = 100
    hold: float = 0.5
    decay: float = 1e-3
    clip: float = 1.0
    ema: float = 0.998


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A run.

    Attributes
    ----------
    data
        Folders or tars in SA-1B layout.
    out
        Folder of the run.
    start
        Folder with the trunks' weights, or None to go on from the bundled ones.
    steps
        Length of the run.
    seed
        Of everything random.
    rounds
        Shares of steps with 1, 2, 3 ... rounds of prompts.
    kinds
        Ways to fill a step, and `shares`, how often each comes up.
    save_every, judge_every
        Steps between checkpoints, and between looks at the validation photos.
    judge_photos
        Validation photos a set at a look.
    """

    data: tuple[str, ...]
    out: str
    start: str | None = None
    steps: int
    seed: int = 0
    rounds: tuple[float, ...] = (0.1, 0.55, 0.2, 0.15)
    kinds: tuple[StepKind, ...]
    shares: tuple[float, ...]
    clicks: ClickMix = field(default_factory=ClickMix)
    optim: Optim = field(default_factory=Optim)
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
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError("config-missing", "there is no such file", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError("config-broken", str(error), where=str(path)) from error
    for change in changes:
        _apply(table, change)
    built = build(TrainConfig, table, "")
    assert isinstance(built, TrainConfig)  # build returns what it was asked for
    return built


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
        return build(next(a for a in arguments if a is not type(None)), value, where)
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
