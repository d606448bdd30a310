"""What training does to the processor ends with it."""

import pytest
import torch

from anymask.train.denormals import are_zero, denormals_as_zero


@pytest.mark.parametrize("before", [False, True])
def test_the_state_of_before_comes_back_also_after_an_error(before):
    torch.set_flush_denormal(before)
    try:
        assert are_zero() == before
        with pytest.raises(ValueError, match="stop"), denormals_as_zero():
            assert are_zero()
            raise ValueError("stop")
        assert are_zero() == before
    finally:
        torch.set_flush_denormal(False)
