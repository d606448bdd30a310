"""Modules and tensors of seeded random numbers."""

from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def random(module: M, seed: int = 0, *, scale: float = 0.2) -> M:
    """With random numbers in every parameter, tables of positions too; for inference."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * scale)
    return module.eval()


def noise(*shape: int, seed: int = 1, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale
