"""A module with others' names around a model of ours."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from anymask.model import Model


class Wrapped(nn.Module):
    """Holds a model without being its parent.

    What wraps a model registers parts of its network as children, under others' names; were the
    model a child too, each parameter would have two.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._held = (model,)

    @property
    def model(self) -> Model:
        """The model of ours."""
        return self._held[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Wrapped":
        self.model._apply(fn, recurse=False)  # type: ignore[no-untyped-call]  # its own buffers
        moved: Wrapped = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved
