"""Between pixels and logits nothing makes the host wait for a device: no value is looked at."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from anymask.model import BUILDERS, Model
from anymask.model_options import Options
from anymask.variant_sizes import sized
from anymask.variants import variant
from tiny import tiny_sam

LOOKS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "item"}


class Looks(TorchDispatchMode):
    """Notes the operations that bring a value to the host, or whose result's size is a value."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in LOOKS:
            self.found.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture(
    scope="module", params=["tiny-sam", "nano", "efficient-sam-ti", "mobile-sam", "edgetam"]
)
def model(request) -> Model:
    if request.param == "tiny-sam":
        return tiny_sam()
    row = sized(variant(request.param), 256)
    torch.manual_seed(0)
    return Model(BUILDERS[row.builder](**row.network), row)


def test_the_mode_sees_a_look():
    with torch.no_grad(), Looks() as looks:
        bool((torch.ones(2) > 0).all())
        torch.ones(2).nonzero()
    assert looks.found == ["_local_scalar_dense", "nonzero"]


@pytest.mark.parametrize("autocast", [None, "bfloat16"], ids=["float32", "bfloat16"])
def test_no_value_is_looked_at_from_pixels_to_logits(monkeypatch, model, autocast):
    monkeypatch.setattr(model, "options", Options(autocast=autocast))
    side = model.variant.spec.side
    pixels = torch.from_numpy(np.zeros((1, side, side, 3), np.uint8))
    padding = model.variant.spec.padding(1, False)
    points = torch.full((1, 1 + padding, 2), side / 3)
    labels = torch.tensor([[1] + [-1] * padding])
    with torch.no_grad(), Looks() as looks:
        model.decode(model.encode(pixels), points, labels)
    assert looks.found == []
