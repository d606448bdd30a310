"""Linear layers in whole numbers: weights rounded once, inputs as they come.

    y = (Q(x) Q(W)') s_x s_W + b,   Q(z) = round(z / s_z),   s_z = max |z| / 127

One scale for each output of W and for each row of x. Products of bytes are summed exactly, so the
error is that of rounding: half a step of 1/127 of the largest value in a row.

Letters: N rows, C inputs, D outputs.
"""

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

_STEPS = 127.0
_ROWS = 512  # at a time: the sums of a wide layer stay in memory that is used again


class Int8Linear(nn.Module):
    """A linear layer whose weights are bytes; made from one of floats."""

    weight_int8: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        rounded, scale = to_bytes(linear.weight.detach())
        self.register_buffer("weight_int8", rounded)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", torch.zeros_like(self.scale[:, 0]))
        if linear.bias is not None:
            self.bias.copy_(linear.bias.detach())

    @property
    def weight(self) -> Float[Tensor, "D C"]:
        """The weights that the bytes stand for."""
        return self.weight_int8 * self.scale

    def forward(self, x: Float[Tensor, "*N C"]) -> Float[Tensor, "*N D"]:
        (out,) = self._parts(x, 1)
        return out

    def thirds(self, x: Float[Tensor, "*N C"]) -> tuple[Tensor, Tensor, Tensor]:
        """See `anymask.nn.layers.Thirds`."""
        q, k, v = self._parts(x, 3)
        return q, k, v

    def _parts(self, x: Float[Tensor, "*N C"], count: int) -> list[Tensor]:
        """Outputs in parts of the same size, each a tensor of its own."""
        found: list[list[Tensor]] = [[] for _ in range(count)]
        bias = self.bias.chunk(count)
        for rows in torch.split(x.flatten(0, -2), _ROWS):
            rounded, scale = to_bytes(rows)
            for i, part in enumerate(found):
                w, s = self.weight_int8.chunk(count)[i], self.scale.chunk(count)[i]
                y = torch._int_mm(rounded, w.t()) * scale
                part.append(torch.addcmul(bias[i], y, s.t()))
        return [torch.cat(part).view(*x.shape[:-1], -1).to(x.dtype) for part in found]


def to_bytes(rows: Float[Tensor, "N C"]) -> tuple[Int8[Tensor, "N C"], Float[Tensor, "N 1"]]:
    """Rows as bytes, and what one step of each stands for; rows of zeros stay zeros."""
    scale = rows.abs().amax(-1, keepdim=True).float().clamp(min=1e-30) / _STEPS
    return (rows / scale).round().to(torch.int8), scale


def quantise(module: nn.Module) -> int:
    """Replace all linear layers inside a module; how many there were."""
    count = 0
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
            count += 1
        else:
            count += quantise(child)
    return count
