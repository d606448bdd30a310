"""Numbers too small for full precision: they slow some CPUs down a hundred times.

Training counts them as zero, which is a state of the processor. It is put back afterwards: whoever
calls us from a program of their own goes on with their own arithmetic.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SMALL = 1e-310  # a denormal float64


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Inside, or in the function that it decorates, denormals count as zero on the CPU."""
    flushed = are_zero()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


def are_zero() -> bool:
    """Whether denormals count as zero at present."""
    return bool((torch.tensor([_SMALL], dtype=torch.float64) * 1.0 == 0).item())
