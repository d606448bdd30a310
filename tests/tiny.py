"""A SAM of dim 32, depth 2, side 64, with seeded random weights, that no table knows."""

from functools import cache
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import save_file
from torch import Tensor

from anymask.model import BUILDERS, Model, blank, fill, load_variant, shapes
from anymask.variants import Asset, InputSpec, Variant, sam_padding

TINY_SAM = Variant(
    name="tiny-sam",
    builder="sam",
    network=MappingProxyType(
        {
            "dim": 32,
            "depth": 2,
            "heads": 2,
            "global_blocks": (1,),
            "side": 64,
            "out_dim": 32,
            "hidden": 64,
        }
    ),
    spec=InputSpec(
        side=64,
        multiple=64,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        point_shift_net=0.5,
        box_shift_net=0.5,
        padding=sam_padding,
    ),
    weights=Asset(file="tiny-sam.safetensors"),
    licence="Apache-2.0",
    summary="for tests",
    parameters=0,
)


def tiny_state(row: Variant = TINY_SAM, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors of a row under our names: 1 + noise for the scales of norms, else noise."""
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes(blank(row)).items():
        scale_of_norm = "norm" in name and name.endswith("weight")
        state[name] = torch.randn(shape, generator=draw) * 0.2 + float(scale_of_norm)
    return state


def write_tiny(folder: Path, row: Variant = TINY_SAM, seed: int = 0) -> Path:
    """A weight file in our own layout, safetensors."""
    path = folder / f"{row.name}-{seed}.safetensors"
    save_file(tiny_state(row, seed), path)
    return path


def load_tiny(path: Path, **more: object) -> Model:
    """That row, loaded from a file onto the CPU."""
    return load_variant(TINY_SAM, checkpoint=path, device="cpu", **more)  # type: ignore[arg-type]


def tiny_model(row: Variant = TINY_SAM, seed: int = 0) -> Model:
    """A model of a row with those tensors; nothing is read."""
    network = blank(row)
    fill(network, tiny_state(row, seed), torch.float32)
    return Model(network, row)


@cache
def tiny_sam(seed: int = 0) -> Model:
    """The same model for the same seed."""
    return tiny_model(TINY_SAM, seed)


def noisy_model(row: Variant, noise: float, seed: int = 0) -> Model:
    """A fresh model with noise on top, for fresh networks answer alike to all prompts."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = BUILDERS[row.builder](**row.network)
        with torch.no_grad():
            for tensor in network.parameters():
                tensor.add_(torch.randn_like(tensor) * noise)
    return Model(network, row)
