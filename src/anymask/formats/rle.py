"""A mask as COCO writes it: run lengths down the columns, packed into a text.

Runs alternate between background and mask, background first. Each is written in groups of 5 bits,
a character each, lowest bits first; from the fourth run on as the difference to the run two
before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from anymask.errors import DataError

_LONGEST_NUMBER = 7  # characters of 5 bits: more is no run of any image


@dataclass(frozen=True, slots=True, kw_only=True)
class Rle:
    """A mask as runs down the columns, in COCO's compressed text form.

    Attributes
    ----------
    size
        (H, W), px.
    counts
        Run lengths, the first one of background, as COCO writes them.
    """

    size: tuple[int, int]
    counts: bytes

    @property
    def coco(self) -> dict[str, object]:
        """The dict that pycocotools takes."""
        return {"size": list(self.size), "counts": self.counts}

    @property
    def area(self) -> int:
        """Number of pixels in the mask."""
        return int(self.runs()[1::2].sum())

    def decode(self) -> Bool[np.ndarray, "H W"]:
        """The mask as bits.

        Raises
        ------
        DataError
            ``rle-broken``: the runs are no runs, or do not fill the size.
        """
        runs = self.runs()
        height, width = self.size
        bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return np.ascontiguousarray(bits.reshape(width, height).T)

    def runs(self) -> Int[np.ndarray, " runs"]:
        """The run lengths, px, checked; errors as in `decode`."""
        digits = np.frombuffer(self.counts, np.uint8).astype(np.int64) - 48
        if len(digits) == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
            raise DataError("rle-broken", "counts are no runs", given=self.counts)
        last = np.flatnonzero(digits & 32 == 0)  # the last character of each number
        first = np.concatenate(([0], last[:-1] + 1))
        length = last - first + 1
        if length.max() > _LONGEST_NUMBER:
            raise DataError("rle-broken", "counts hold a run of absurd length", given=self.counts)
        place = np.arange(len(digits)) - np.repeat(first, length)
        numbers = np.add.reduceat((digits & 31) << (5 * place), first)
        numbers -= (digits[last] >> 4 & 1) << (5 * length)  # the sign bit
        runs = numbers.copy()
        # from the fourth number on, each is the difference to the one two before
        runs[1::2] = np.cumsum(numbers[1::2])
        runs[2::2] = np.cumsum(numbers[2::2])
        height, width = self.size
        filled = height * width
        if runs.min() < 0 or runs.max() > filled or int(runs.sum()) != filled:
            raise DataError(
                "rle-broken",
                f"the runs do not fill {height} x {width} pixels",
                given=self.counts,
            )
        return runs

    @classmethod
    def from_runs(cls, runs: Sequence[int], size: tuple[int, int]) -> "Rle":
        """From plain run lengths, COCO's uncompressed form."""
        text = bytearray()
        for i, run in enumerate(runs):
            value = run - runs[i - 2] if i > 2 else run
            more = True
            while more:
                digit, value = value & 31, value >> 5
                more = value != (-1 if digit & 16 else 0)
                text.append(48 + digit + 32 * more)
        return cls(size=size, counts=bytes(text))
