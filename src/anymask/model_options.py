"""Options of a model that trade exactness or the first run's time for speed; all off by default."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from anymask.errors import DeviceError, Note
from anymask.nn.int8 import quantise

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
INTEGERS: Mapping[str, Callable[[nn.Module], int]] = {"int8": quantise}
_COMPILERS = ("c++", "g++", "clang++", "cl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the encoder is run. Prompts are decoded as ever, in float32.

    Attributes
    ----------
    compile
        `torch.compile`: each new size of input takes its time once, then runs faster.
    autocast
        ``"bfloat16"`` or ``"float16"``: weights stay float32, products are of halves.
    channels_last
        Maps lie in memory cell by cell; faster for convolutions on many devices.
    quantise
        ``"int8"``: linear layers take bytes, weights and inputs; a CPU only.
    """

    compile: bool = False
    autocast: str | None = None
    channels_last: bool = False
    quantise: str | None = None

    def check(self, device: torch.device, dtype: torch.dtype) -> list[Note]:
        """What is to be said before anything is read.

        Raises
        ------
        DeviceError
            ``option-unknown``, ``option-conflict``, ``option-device``.
        """
        _known("autocast", self.autocast, HALVES)
        _known("quantise", self.quantise, INTEGERS)
        if dtype != torch.float32 and (self.autocast or self.quantise):
            raise DeviceError(
                "option-conflict",
                "autocast and quantise start from float32 weights",
                given=str(dtype).removeprefix("torch."),
                hint="leave dtype out",
            )
        notes = []
        if self.compile:
            _can_compile(device)
            text = "the first image of each size takes longer: the encoder is compiled for it"
            notes.append(Note("compile-first", text))
        if self.quantise and device.type != "cpu":
            raise _not_here(device, f"quantise={self.quantise!r}", "take device='cpu'")
        if self.autocast and not torch.amp.is_autocast_available(device.type):
            raise _not_here(device, f"autocast={self.autocast!r}", "leave it out")
        if self.autocast == "float16" and device.type == "cpu":
            text = "float16 is slow on a CPU, slower than float32; bfloat16 is the fast half"
            notes.append(Note("dtype-slow", text))
        return notes

    def apply(self, network: nn.Module) -> list[Note]:
        """Change a network that is filled and in its place, and say what came of it."""
        encoder = cast(nn.Module, network.encoder)
        notes = []
        if self.quantise:
            count = INTEGERS[self.quantise](encoder)
            text = f"{count} linear layers of the encoder compute in {self.quantise}"
            notes.append(Note("quantised", text))
        if self.channels_last:
            encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.compile:
            encoder.compile()
        return notes

    def running(self, device: torch.device) -> AbstractContextManager[object]:
        """What the encoder runs in."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(device.type, HALVES[self.autocast])


PLAIN = Options()


def _known(option: str, given: str | None, names: Mapping[str, object]) -> None:
    if given is not None and given not in names:
        hint = f"take {' or '.join(names)}, or leave it out"
        raise DeviceError("option-unknown", f"{option} has no such value", given=given, hint=hint)


def _not_here(device: torch.device, option: str, hint: str) -> DeviceError:
    return DeviceError("option-device", f"{device} has no {option}", hint=hint)


def _can_compile(device: torch.device) -> None:
    """Compiled code needs a C++ compiler on a CPU, Triton on CUDA."""
    needs = {
        "cpu": ("a C++ compiler", _has_compiler),
        "cuda": ("triton", lambda: importlib.util.find_spec("triton") is not None),
    }
    if device.type not in needs:
        raise _not_here(device, "compile=True", "leave it out")
    what, is_here = needs[device.type]
    if not is_here():
        raise DeviceError(
            "option-device",
            f"compile=True needs {what} on {device}, and there is none",
            hint=f"install {what}, or leave compile out",
        )


def _has_compiler() -> bool:
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([named] if named else _COMPILERS))
