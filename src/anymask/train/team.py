"""The processes that train one network together, and their devices; alone, or by accelerate.

A process of its own needs nothing. Several are started by torchrun (or ``accelerate launch``) and
brought together by the package accelerate, which chooses each one's device and their way to talk.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from anymask.errors import AnymaskError, DataError, MissingExtraError, RunError
from anymask.model_devices import choose_device
from anymask.train.beats import Beats

_TIMEOUT = timedelta(minutes=60)  # of one exchange; lost processes are noticed by their beats


class Team(Protocol):
    """Who trains together."""

    rank: int
    world: int
    device: torch.device

    def add(self, values: Tensor) -> None:
        """Put the sum over processes into a tensor."""
        ...

    def most(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over processes, so that all do the same."""
        ...

    def gather(self, value: object) -> list[Any]:
        """Everybody's value, in the order of ranks, for all."""
        ...


class Alone:
    """One process."""

    rank, world = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def add(self, values: Tensor) -> None:
        pass

    def most(self, values: Sequence[float]) -> list[float]:
        return list(values)

    def gather(self, value: object) -> list[Any]:
        return [value]


class Together:
    """Several processes. What fails because one is lost says which, and why."""

    def __init__(self, device: torch.device, beats: Beats) -> None:
        self.rank, self.world, self.device = dist.get_rank(), dist.get_world_size(), device
        self._beats = beats

    def add(self, values: Tensor) -> None:
        with self._exchange():
            dist.all_reduce(values)

    def most(self, values: Sequence[float]) -> list[float]:
        found = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        with self._exchange():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return [float(v) for v in found.cpu()]

    def gather(self, value: object) -> list[Any]:
        found: list[Any] = [None] * self.world
        with self._exchange():
            dist.all_gather_object(found, value)
        return found

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            lost = self._beats.find_lost()
            if lost is None:
                raise RunError(
                    "exchange-failed",
                    f"the processes cannot talk to each other ({error})",
                    hint="the last saved state is whole; the same command goes on from it",
                ) from error
            raise lost from error


def world_size() -> int:
    """How many processes were started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def join_team(folder: Path, device: str = "auto") -> Iterator[Team]:
    """The team of this process, until the end of the context.

    Parameters
    ----------
    folder
        Of the run; signs of life lie in it.
    device
        As `anymask.load` takes it; ``"cpu"`` or ``"auto"`` where there are several processes.

    Raises
    ------
    DeviceError
        The device is not to be had.
    MissingExtraError
        ``extra-missing``: several processes need accelerate.
    """
    if world_size() == 1:
        yield Alone(choose_device(device)[0])
        return
    if device not in ("auto", "cpu", "cuda"):
        raise DataError(
            "device-shared",
            "several processes are given their devices",
            given=device,
            hint="leave the device out, or say cpu",
        )
    place = _placed(device)
    beats = Beats(folder / ".ranks", dist.get_rank(), dist.get_world_size())
    beats.come()
    ended = "done"
    try:
        dist.barrier()
        beats.watch()
        team = Together(place, beats)
        yield team
        team.most([0.0])  # nobody takes the meeting place away while others still talk
    except BaseException as error:
        ended = str(error) if isinstance(error, AnymaskError) else repr(error)
        raise
    finally:
        beats.stop(ended)
        dist.destroy_process_group()


def _placed(device: str) -> torch.device:
    """Bring the processes together; this one's device."""
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingExtraError(
            "extra-missing",
            "several processes are brought together by accelerate",
            hint="pip install 'anymask[train]'",
        ) from error
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    state = PartialState(cpu=on_cpu, timeout=_TIMEOUT)
    return torch.device(state.device)


def halved(precision: str, device: torch.device) -> torch.dtype | None:
    """What an encoder multiplies in, or None for float32.

    Raises
    ------
    DataError
        ``config-value``: no such precision.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise DataError(
            "config-value",
            "auto, float32 or bfloat16 is wanted",
            given=precision,
            where="precision",
        )
    if precision == "bfloat16":
        return torch.bfloat16
    good = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if precision == "auto" and good else None


def autocast(kind: torch.dtype | None, device: torch.device) -> Any:
    """The context of an encoder."""
    return nullcontext() if kind is None else torch.autocast(device.type, kind)
