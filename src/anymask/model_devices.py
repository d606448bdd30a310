"""Devices and dtypes by their names: what this machine offers, and what is taken where."""

import torch

from anymask.errors import DeviceError, Note
from anymask.model_options import Options

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def devices() -> list[str]:
    """Names of the devices that this machine offers."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def place(
    device: str, dtype: str, options: Options
) -> tuple[torch.device, torch.dtype, list[Note]]:
    """Where and in what to compute, and what is to be said about it."""
    where, about_device = choose_device(device)
    kind, about_dtype = choose_dtype(dtype, where)
    return where, kind, [*about_device, *about_dtype, *options.check(where, kind)]


def choose_device(name: str) -> tuple[torch.device, list[Note]]:
    """The device of a name; ``auto`` takes CUDA, then MPS, then the CPU, and a note says which.

    Raises
    ------
    DeviceError
        ``device-missing``, with the devices that there are.
    """
    have = devices()
    if name == "auto":
        best = next((d for d in ("cuda:0", "mps") if d in have), "cpu")
        text = f"computing on {best}{'; there is no GPU here' if best == 'cpu' else ''}"
        return torch.device(best), [Note("device-auto", text)]
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in have:
        hint = f"it offers {', '.join(have)}; or take device='auto'"
        problem = "this machine does not offer the device"
        raise DeviceError("device-missing", problem, given=name, hint=hint)
    return torch.device(wanted), []


def choose_dtype(name: str, device: torch.device) -> tuple[torch.dtype, list[Note]]:
    """The dtype of a name, where the device can compute in it.

    Raises
    ------
    DeviceError
        ``dtype-unknown``, ``dtype-device``.
    """
    if name not in DTYPES:
        hint = f"take one of {', '.join(DTYPES)}"
        raise DeviceError("dtype-unknown", "models do not compute in this", given=name, hint=hint)
    kind = DTYPES[name]
    try:
        probe = torch.ones((2, 2), dtype=kind, device=device)
        (probe @ probe).sum().item()
    except (RuntimeError, TypeError) as error:
        raise DeviceError(
            "dtype-device", f"{device} cannot compute in this", given=name, hint="take float32"
        ) from error
    if kind == torch.float16 and device.type == "cpu":
        text = "float16 is slow on a CPU, slower than float32; bfloat16 is the fast half"
        return kind, [Note("dtype-slow", text)]
    return kind, []


def plain_name(dtype: torch.dtype) -> str:
    """A dtype's name without its module."""
    return str(dtype).removeprefix("torch.")
