"""Masks of one image: the result that formats write.

Held as COCO run lengths, a few bytes a mask; bits are made when asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from pycocotools import mask as coco

from anymask.errors import DataError
from anymask.mask_geometry import Rle, decode_rle, encode_rle, polygons


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Masks:
    """N masks of one image.

    Attributes
    ----------
    size
        (H, W) of the image, px.
    rles
        COCO run lengths, one a mask.
    scores
        Predicted IoU, or what else ranks them.
    """

    size: tuple[int, int]
    rles: tuple[Rle, ...]
    scores: Float32[np.ndarray, " N"]

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.rles):
            raise DataError(
                "scores-count", f"there are {len(self.rles)} masks", given=len(self.scores)
            )
        wrong = next((r for r in self.rles if tuple(r["size"]) != tuple(self.size)), None)
        if wrong is not None:
            raise DataError(
                "rle-size",
                f"a mask has size {wrong['size']}, the image {list(self.size)}",
                hint="are height and width swapped?",
            )

    @classmethod
    def from_bits(
        cls, bits: Bool[np.ndarray, "N H W"], scores: Sequence[float] | None = None
    ) -> "Masks":
        """From arrays; scores are 1 where none are given."""
        if bits.ndim != 3:
            raise DataError("masks-shape", "masks are (N, H, W)", given=bits.shape)
        given = np.ones(len(bits)) if scores is None else np.asarray(scores)
        return cls(
            size=(bits.shape[1], bits.shape[2]),
            rles=tuple(encode_rle(mask) for mask in bits),
            scores=given.astype(np.float32),
        )

    def __len__(self) -> int:
        return len(self.rles)

    def __iter__(self) -> Iterator[Bool[np.ndarray, "H W"]]:
        """Bits mask by mask: never all at once."""
        return (decode_rle(rle) for rle in self.rles)

    def __getitem__(self, index: int) -> Bool[np.ndarray, "H W"]:
        """Bits of one mask."""
        return decode_rle(self.rles[index])

    @property
    def bits(self) -> Bool[np.ndarray, "N H W"]:
        """Bits of all masks: N x H x W bytes."""
        if not self.rles:
            return np.zeros((0, *self.size), bool)
        return np.stack([decode_rle(rle) for rle in self.rles])

    @property
    def areas(self) -> Int64[np.ndarray, " N"]:
        """Pixels of each mask."""
        return np.array([int(coco.area(_packed(r))) for r in self.rles], np.int64)

    @property
    def boxes(self) -> Float32[np.ndarray, "N 4"]:
        """Tight boxes x0, y0, x1, y1 with continuous edges, px; zeros for an empty mask."""
        found = np.zeros((len(self.rles), 4), np.float32)
        for i, rle in enumerate(self.rles):
            x, y, w, h = coco.toBbox(_packed(rle))
            found[i] = x, y, x + w, y + h
        return found

    def polygons(self, index: int) -> list[list[list[list[float]]]]:
        """Outlines of one mask with their holes; see `anymask.mask_geometry.polygons`."""
        return polygons(self[index])

    def keep(self, index: Sequence[int]) -> "Masks":
        """Some of the masks, in the order given."""
        rows = [int(i) for i in index]
        return Masks(
            size=self.size, rles=tuple(self.rles[i] for i in rows), scores=self.scores[rows]
        )


def _packed(rle: Rle) -> dict[str, Any]:
    return {"size": rle["size"], "counts": rle["counts"].encode("ascii")}
