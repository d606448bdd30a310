"""Masks as COCO's run lengths: down the columns, background first, packed into a text.

A run is written in groups of 5 bits, a character each, lowest first; from the fourth run on it is
the difference to the run two before. What others wrote is checked here before it is used:
pycocotools reads past the end of broken runs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int64
from pycocotools import mask as coco

from anymask.errors import DataError

Rle = dict[str, Any]  # {"size": [H, W], "counts": str}, COCO's compressed form

_LONGEST = 7  # characters of a number: more is no run of any image


def encode_rle(mask: Bool[np.ndarray, "H W"]) -> Rle:
    """Compressed run lengths, counts as text.

    >>> encode_rle(np.zeros((2, 3), bool))
    {'size': [2, 3], 'counts': '6'}
    """
    packed = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(v) for v in packed["size"]], "counts": packed["counts"].decode("ascii")}


def decode_rle(rle: Mapping[str, Any]) -> Bool[np.ndarray, "H W"]:
    """The mask of compressed or plain run lengths; errors as in `runs_of`.

    >>> decode_rle({"size": [2, 2], "counts": [1, 2, 1]}).tolist()
    [[False, True], [True, False]]
    """
    runs = runs_of(rle)
    height, width = rle["size"]
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(bits.reshape(width, height).T)


def runs_of(rle: Mapping[str, Any]) -> Int64[np.ndarray, " runs"]:
    """Plain run lengths, px, of background and mask in turn.

    Parameters
    ----------
    rle
        ``size`` [H, W] and ``counts``: a text, bytes, or a list of runs.

    Raises
    ------
    DataError
        ``rle-broken``: these are no runs, or they do not fill the size.
    """
    size: Any = rle.get("size")
    counts: Any = rle.get("counts")
    if not _is_size(size):
        raise DataError("rle-broken", "a size is [height, width]", given=size)
    try:
        runs = _unpack(counts) if isinstance(counts, str | bytes) else _plain(counts)
    except (ValueError, TypeError) as error:
        raise DataError("rle-broken", f"counts are no runs ({error})", given=counts) from error
    height, width = size
    # a sum can overflow before it is compared, one run cannot
    if len(runs) and (runs.min() < 0 or runs.max() > height * width):
        raise DataError("rle-broken", "a run is longer than the image", given=counts)
    if int(runs.sum()) != height * width:
        raise DataError(
            "rle-broken",
            f"the runs fill {int(runs.sum())} pixels of {height}x{width} = {height * width}",
            given=counts,
        )
    return runs


def pack_runs(runs: Sequence[int] | Int[np.ndarray, " runs"], size: tuple[int, int]) -> Rle:
    """Compressed run lengths of plain ones.

    Raises
    ------
    DataError
        As `runs_of`.

    >>> pack_runs([1, 2, 1], (2, 2))
    {'size': [2, 2], 'counts': '121'}
    """
    checked = runs_of({"size": size, "counts": runs}).tolist()
    packed = coco.frPyObjects({"size": list(size), "counts": checked}, *size)
    return {"size": [int(v) for v in size], "counts": packed["counts"].decode("ascii")}


def packed(rle: Mapping[str, Any]) -> Rle:
    """Run lengths of any form as compressed text, checked; errors as in `runs_of`.

    >>> packed({"size": (2, 2), "counts": b"121"})
    {'size': [2, 2], 'counts': '121'}
    """
    runs = runs_of(rle)
    (height, width), counts = rle["size"], rle["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    if not isinstance(counts, str):
        return pack_runs(runs, (height, width))
    return {"size": [int(height), int(width)], "counts": counts}


def area_of(runs: Int64[np.ndarray, " runs"]) -> int:
    """Pixels of the mask."""
    return int(runs[1::2].sum())


def box_of(runs: Int64[np.ndarray, " runs"], height: int) -> tuple[int, int, int, int]:
    """Tight box x0, y0, x1, y1 with continuous edges, px; zeros for an empty mask."""
    ends = np.cumsum(runs)[1::2]
    starts = ends - runs[1::2]
    kept = starts < ends
    starts, last = starts[kept], ends[kept] - 1
    if not len(starts):
        return 0, 0, 0, 0
    columns, last_columns = starts // height, last // height
    top, bottom = int((starts % height).min()), int((last % height).max())
    if (columns != last_columns).any():  # a run that goes on in the next column touches both ends
        top, bottom = 0, height - 1
    return int(columns.min()), top, int(last_columns.max()) + 1, bottom + 1


def _is_size(size: object) -> bool:
    return (
        isinstance(size, list | tuple)
        and len(size) == 2
        and all(isinstance(v, int | np.integer) and 0 <= v < 2**31 for v in size)
    )


def _plain(counts: Any) -> Int64[np.ndarray, " runs"]:
    array = np.asarray(counts)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise ValueError("a list of whole numbers is wanted")
    return array.astype(np.int64)


def _unpack(text: str | bytes) -> Int64[np.ndarray, " runs"]:
    raw = text.encode("ascii") if isinstance(text, str) else text
    digits = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    if not len(digits):
        return digits
    if digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError("a character is no digit, or the last number is cut")
    last = np.flatnonzero(digits < 32)  # the last character of each number
    first = np.concatenate(([0], last[:-1] + 1))
    length = last - first + 1
    if length.max() > _LONGEST:
        raise ValueError("a number is too long")
    place = np.arange(len(digits)) - np.repeat(first, length)
    numbers = np.add.reduceat((digits & 31) << (5 * place), first)
    numbers -= (digits[last] >> 4 & 1) << (5 * length)  # the sign
    runs = numbers.copy()
    runs[1::2] = np.cumsum(numbers[1::2])
    runs[2::2] = np.cumsum(numbers[2::2])
    return runs
