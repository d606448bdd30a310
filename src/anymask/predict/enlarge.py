"""Low-resolution logits to the image's size, window by window.

Enlarging is linear and acts on rows and columns apart, so that it is two matrices a frame. A
window costs what it covers; where logits lie below a level everywhere around a pixel, the pixel
lies below it too, and nothing is computed there.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from anymask.frame import Frame
from anymask.mask_windows import ColumnRuns, box_of_bits
from anymask.nn.resize import upscale

_STRIP = 256  # px of the image at one time: a strip touches few of the low-resolution cells


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axis:
    """Enlarging along one axis.

    Attributes
    ----------
    weights
        Share of each cell in each pixel.
    first_cell, last_cell
        Cells that a pixel draws on.
    first_pixel, last_pixel
        Pixels that a cell reaches.
    """

    weights: Float[Tensor, "pixels cells"]
    first_cell: Int64[np.ndarray, " pixels"]
    last_cell: Int64[np.ndarray, " pixels"]
    first_pixel: Int64[np.ndarray, " cells"]
    last_pixel: Int64[np.ndarray, " cells"]

    @property
    def convex(self) -> bool:
        """Whether no pixel leaves the range of the cells that it draws on."""
        return bool((self.weights >= 0).all())

    @classmethod
    def of(cls, cells: int, padded: int, resized: int, image: int, how: str) -> "Axis":
        """The matrix is what enlarging makes of each cell alone."""
        alone = torch.eye(cells)[:, :, None]
        full = upscale(alone, (padded, 1), (resized, 1), (image, 1), how)
        weights = full[..., 0].T.contiguous()
        used = weights.numpy() != 0
        return cls(
            weights=weights,
            first_cell=used.argmax(1),
            last_cell=cells - 1 - used[:, ::-1].argmax(1),
            first_pixel=used.argmax(0),
            last_pixel=np.where(used.any(0), image - 1 - used[::-1].argmax(0), -1),
        )

    def window(self, cells: Int64[np.ndarray, " n"]) -> tuple[int, int]:
        """First pixel that one of the cells reaches, and one past the last."""
        reached = cells[self.last_pixel[cells] >= 0]
        if not len(reached):
            return 0, 0
        return int(self.first_pixel[reached].min()), int(self.last_pixel[reached].max()) + 1

    def strips(self, start: int, stop: int) -> list[tuple[slice, slice, Tensor]]:
        """Pixels of the window (counted from its start), cells, and the weights between them."""
        found = []
        for first in range(start, stop, _STRIP):
            last = min(stop, first + _STRIP)
            cells = slice(
                int(self.first_cell[first:last].min()), int(self.last_cell[first:last].max()) + 1
            )
            found.append(
                (slice(first - start, last - start), cells, self.weights[first:last, cells])
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """One enlarged mask.

    Attributes
    ----------
    runs
        The mask, in the whole image.
    box
        First and last pixel x0, y0, x1, y1, px of what was enlarged; zeros for an empty mask.
    high, low
        Pixels above the raised and the lowered threshold.
    """

    runs: ColumnRuns
    box: tuple[int, int, int, int]
    high: int
    low: int

    @property
    def stability(self) -> float:
        """`high` over `low`; NaN where both are 0."""
        return self.high / self.low if self.low else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enlarger:
    """Enlarges the logits of one frame."""

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, frame: Frame) -> "Enlarger":
        """For images on this way into the network."""
        axes = [
            Axis.of(cells, padded, resized, image, frame.enlarge)
            for cells, padded, resized, image in zip(
                frame.logits, frame.padded, frame.resized, frame.image, strict=True
            )
        ]
        return cls(rows=axes[0], columns=axes[1])

    @torch.inference_mode()
    def measure(
        self,
        logits: Float[Tensor, "h w"],
        threshold: float,
        offset: float,
        *,
        place: tuple[int, int] = (0, 0),
        size: tuple[int, int] | None = None,
    ) -> Measured:
        """The mask above a threshold, and its areas at thresholds moved up and down.

        A strip of columns at a time becomes run lengths: there is no bitmap of the whole.

        Parameters
        ----------
        logits
            Of one mask, on the CPU.
        place, size
            (x, y) of the frame's image in a larger one, and the larger one's (H, W), px.
        """
        above = (logits > threshold - abs(offset)).numpy()
        if not (self.rows.convex and self.columns.convex):
            above[:] = True  # a pixel may be above where all of its cells are below
        y0, y1 = self.rows.window(np.flatnonzero(above.any(1)))
        x0, x1 = self.columns.window(np.flatnonzero(above.any(0)))
        own = len(self.rows.weights), len(self.columns.weights)
        runs, boxes, high, low = ColumnRuns(size or own), [], 0, 0
        rows = self.rows.strips(y0, y1)
        for columns, across_cells, across in self.columns.strips(x0, x1):
            narrow = logits[:, across_cells] @ across.T
            bits = np.zeros((y1 - y0, narrow.shape[1]), bool)
            for pixels, cells, down in rows:
                full = (down @ narrow[cells]).numpy()
                bits[pixels] = full > threshold
                high += int(np.count_nonzero(full > threshold + offset))
                low += int(np.count_nonzero(full > threshold - offset))
            at = x0 + columns.start
            runs.add(bits, (at + place[0], y0 + place[1]))
            if bits.any():
                boxes.append(box_of_bits(bits, (at, y0)))
        return Measured(runs=runs, box=_around(boxes), high=high, low=low)


def _around(boxes: list[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    """The box of all boxes."""
    if not boxes:
        return 0, 0, 0, 0
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
