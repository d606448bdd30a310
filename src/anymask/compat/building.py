"""Models with a file's weights or untrained; errors are those that others' builders raise."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

import torch
from torch import nn

from anymask.errors import CheckpointError, DeviceError
from anymask.model import BUILDERS, Model, choose_device, load_variant
from anymask.variant_sizes import sized
from anymask.variants import Variant

Checkpoint = str | PathLike[str] | None


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors of ours become the cause of those of Python's that others' builders raise."""
    try:
        yield
    except (CheckpointError, DeviceError) as error:
        missing = error.code == "checkpoint-missing"
        raise (FileNotFoundError if missing else RuntimeError)(str(error)) from error


def loaded(row: Variant, checkpoint: Checkpoint, size: int | None = None) -> Model:
    """`anymask.model.load_variant` on the CPU; no checkpoint takes the row's own weights.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    RuntimeError
        The file is broken or of another model, or the model has no such size.
    """
    path = None if checkpoint is None else str(checkpoint)
    with plain_errors():
        return load_variant(row, checkpoint=path, device="cpu", size=size)


def untrained(row: Variant, size: int | None = None) -> Model:
    """A row with random weights; its tokens are noise, so that they can part.

    Raises
    ------
    RuntimeError
        The model has no such size.
    """
    with plain_errors():
        row = sized(row, size)
    network = BUILDERS[row.builder](**row.network)
    for name, child in network.named_children():
        if name != "encoder":
            for token in child.parameters():
                if token.ndim == 2 and not token.any():
                    nn.init.normal_(token)
    return Model(network, row)


def device_of(name: str | torch.device) -> torch.device:
    """A device by its name.

    Raises
    ------
    RuntimeError
        This machine has none of that name.
    """
    with plain_errors():
        return choose_device(str(name))[0]
