"""Run-length codes: as pycocotools has them, and any bytes are a mask or refused."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from anymask.errors import DataError
from anymask.mask_rle import area_of, decode_rle, pack_runs, runs_of

RULES = settings(deadline=None, derandomize=True, max_examples=30)


@RULES
@given(st.data())
def test_runs_agree_with_pycocotools(data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    seed, share = data.draw(st.integers(0, 999)), data.draw(st.sampled_from([0, 0.02, 0.5, 1]))
    bits = np.random.default_rng(seed).random((height, width)) < share
    theirs = coco.encode(np.asfortranarray(bits.astype(np.uint8)))
    ours = {"size": (height, width), "counts": theirs["counts"]}
    np.testing.assert_array_equal(decode_rle(ours), bits)
    assert area_of(runs_of(ours)) == bits.sum()
    again = pack_runs(runs_of(ours).tolist(), (height, width))
    assert again == {"size": [height, width], "counts": theirs["counts"].decode()}


@RULES
@given(st.binary(max_size=60))
def test_any_bytes_are_a_mask_or_an_error(counts):
    try:
        bits = decode_rle({"size": (7, 9), "counts": counts})
    except DataError as error:
        assert error.code == "rle-broken"
    else:
        assert bits.shape == (7, 9)
