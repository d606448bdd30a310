"""Weight files to tensors, safely: safetensors, or pickles read with ``weights_only=True``.

A hostile file is refused, never read in a less safe way. A file that is no weight file is told
apart: empty, cut off, a web page, an archive of code.
"""

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anymask.errors import CheckpointError

_WRAPPERS = ("model", "state_dict")
_FETCH = "delete it and fetch it again"


def read_state(path: Path) -> dict[str, Tensor]:
    """All tensors of a weight file by name, on the CPU.

    Takes ``.safetensors``, and ``.pth``, ``.pt``, ``.bin`` as PyTorch writes them; a folder stands
    for the ``model.safetensors`` in it. An official wrapper such as ``{"model": ...}`` is opened.

    Raises
    ------
    CheckpointError
        ``checkpoint-missing``, ``-empty``, ``-truncated``, ``-not-weights``, ``-unsafe``.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise CheckpointError("checkpoint-missing", "there is no such weight file", where=str(path))
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
    if size == 0:
        raise CheckpointError(
            "checkpoint-empty", "the file has 0 bytes", where=str(path), hint=_FETCH
        )
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"version https://git-lfs", b"<?xml")):
        raise CheckpointError(
            "checkpoint-not-weights",
            f"the file of {size} bytes is a web page or a pointer, not weights",
            where=str(path),
            hint=_FETCH,
        )
    state = _read_pickle(path, size) if _is_torch(path, head) else _read_safe(path, size)
    for wrapper in _WRAPPERS:
        inner = state.get(wrapper)
        if isinstance(inner, dict):
            state = inner
            break
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            "checkpoint-not-weights", "the file holds no plain table of tensors", where=str(path)
        )
    return {str(name): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _is_torch(path: Path, head: bytes) -> bool:
    """Told by content; a cut file by its suffix."""
    return head.startswith((b"PK\x03\x04", b"\x80")) or path.suffix in (
        ".pth",
        ".pt",
        ".bin",
        ".pt2",
    )


def _read_safe(path: Path, size: int) -> dict[str, object]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            "checkpoint-truncated",
            f"the file of {size} bytes is no whole safetensors file ({error})",
            where=str(path),
            hint=_FETCH,
        ) from error


def _read_pickle(path: Path, size: int) -> dict[str, object]:
    _refuse_programs(path, size)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_can_map(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "checkpoint-unsafe",
            "the file wants to run code, or is damaged; it was not loaded",
            where=str(path),
            hint="get the file from its publisher, or as safetensors",
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise CheckpointError(
            "checkpoint-truncated",
            f"the file of {size} bytes cannot be read ({str(error).splitlines()[0][:80]})",
            where=str(path),
            hint=_FETCH,
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(
            "checkpoint-not-weights", "the file holds no table of tensors", where=str(path)
        )
    return loaded


def _refuse_programs(path: Path, size: int) -> None:
    """TorchScript and exported programs hold code: they are not weights."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            "checkpoint-truncated",
            f"the archive of {size} bytes is damaged",
            where=str(path),
            hint=_FETCH,
        ) from error
    if path.suffix == ".pt2" or any("/code/" in n or n.endswith("constants.pkl") for n in names):
        raise CheckpointError(
            "checkpoint-unsafe",
            "the file is a program (TorchScript or .pt2), not weights",
            where=str(path),
            hint="get the plain weights",
        )


def _can_map(path: Path) -> bool:
    """Only the newer, zipped files can be mapped instead of read."""
    return zipfile.is_zipfile(path)
