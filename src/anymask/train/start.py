"""Where nano begins: two pretrained trunks, and constants that even out their channels."""

from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import UInt8
from safetensors.torch import load_file
from torch import Tensor, nn

from anymask.errors import DataError
from anymask.nn.encoders.nano import Standardise
from anymask.nn.nano import Nano

_DETECTOR, _LITE = "nanodet.safetensors", "efficientnet_lite0.safetensors"


def start_nano(
    network: nn.Module, folder: Path, batches: Iterable[UInt8[Tensor, "B S S 3"]]
) -> None:
    """Trunks from a folder, and constants from images.

    Raises
    ------
    DataError
        ``no-trunks``: a file is missing.
    """
    assert isinstance(network, Nano)  # the recipe is that of nano
    load_trunks(network, folder)
    measure_channels(network, batches)


def load_trunks(network: Nano, folder: Path) -> None:
    """Fill both trunks from the pretrained files.

    Raises
    ------
    DataError
        ``no-trunks``: a file is missing.
    """
    for name in (_DETECTOR, _LITE):
        if not (folder / name).is_file():
            raise DataError("no-trunks", "a pretrained trunk is missing", where=str(folder / name))
    prefix = "backbone."
    detector = {
        name.removeprefix(prefix): tensor.float()
        for name, tensor in load_file(folder / _DETECTOR).items()
        if name.startswith(prefix)
    }
    # the original takes BGR, we feed RGB
    detector["stem.conv.weight"] = detector["stem.conv.weight"].flip(1)
    network.encoder.detector.load_state_dict(detector)
    lite = {name: tensor.float() for name, tensor in load_file(folder / _LITE).items()}
    network.encoder.lite.load_state_dict(lite)


@torch.no_grad()
def measure_channels(network: Nano, batches: Iterable[UInt8[Tensor, "B S S 3"]]) -> None:
    """Set each level's mean and scale from images.

    The scale is 1 / (std + a fifth of the level's mean std): channels that hardly vary are not
    blown up to noise.
    """
    sums: list[Tensor] = []
    squares: list[Tensor] = []
    counts: list[int] = []
    for even in network.encoder.even:
        assert isinstance(even, Standardise)  # our own network
        even.mean.zero_()
        even.scale.fill_(1)
    for images in batches:
        for i, level in enumerate(network.encoder.trunks(normalise(images))):
            flat = level.double().transpose(0, 1).flatten(1)
            if len(sums) <= i:
                sums.append(torch.zeros_like(flat[:, 0]))
                squares.append(torch.zeros_like(flat[:, 0]))
                counts.append(0)
            sums[i] += flat.sum(1)
            squares[i] += flat.square().sum(1)
            counts[i] += flat.shape[1]
    for even, total, square, count in zip(network.encoder.even, sums, squares, counts, strict=True):
        assert isinstance(even, Standardise)
        mean = total / count
        std = (square / count - mean.square()).clamp_min(0).sqrt()
        even.mean.copy_(mean)
        even.scale.copy_(1 / (std + 0.2 * std.mean()))


def normalise(images: UInt8[Tensor, "B S S 3"]) -> Tensor:
    """As nano's row says: (rgb - 127) / 128, channels first, channels-last in memory."""
    return ((images.float() - 127) / 128).permute(0, 3, 1, 2)
