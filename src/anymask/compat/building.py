"""Models with a file's weights or untrained; errors are those that others' builders raise."""

from os import PathLike

from torch import nn

from anymask.errors import CheckpointError, DeviceError
from anymask.model import BUILDERS, Model, load_variant
from anymask.variants import Variant

Checkpoint = str | PathLike[str] | None


def loaded(row: Variant, checkpoint: Checkpoint, device: str = "cpu") -> Model:
    """`anymask.model.load_variant`; no checkpoint takes the row's own weights.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    RuntimeError
        The file is broken or of another model, or the device is not to be had.
    """
    path = None if checkpoint is None else str(checkpoint)
    try:
        return load_variant(row, checkpoint=path, device=device)
    except (CheckpointError, DeviceError) as error:
        missing = error.code == "checkpoint-missing"
        raise (FileNotFoundError if missing else RuntimeError)(str(error)) from error


def untrained(row: Variant) -> nn.Module:
    """A row's network with random weights; its tokens are noise, so that they can part."""
    network = BUILDERS[row.builder](**row.network)
    for name, child in network.named_children():
        if name != "encoder":
            for token in child.parameters():
                if token.ndim == 2 and not token.any():
                    nn.init.normal_(token)
    return network
