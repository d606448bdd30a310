"""A mask as COCO writes it: run lengths down the columns, packed into a text.

Runs alternate between background and mask, background first. Each is written in groups of 5 bits,
a character each, lowest bits first; from the fourth run on as the difference to the run two
before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from anymask.mask_rle import decode_rle, runs_of


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
        return decode_rle(self.coco)

    def runs(self) -> Int[np.ndarray, " runs"]:
        """The run lengths, px, checked; errors as in `decode`."""
        return runs_of(self.coco)

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
