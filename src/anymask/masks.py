"""Masks of one image: the result that formats write.

Held as COCO run lengths, a few bytes a mask; bits are made when asked for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64
from pycocotools import mask as coco

from anymask.errors import DataError
from anymask.mask_outlines import Ring, polygons
from anymask.mask_rle import Rle, area_of, box_of, decode_rle, encode_rle, packed, runs_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks:
    """N masks of one image.

    Attributes
    ----------
    size
        (H, W) of the image, px.
    rles
        COCO run lengths, one a mask: ``size`` [H, W] and ``counts``, compressed text.
    scores
        Predicted IoU, or what else ranks them.

    Raises
    ------
    DataError
        ``rle-size``, ``rle-broken``: run lengths that are not of this image, or are none;
        ``scores-count``.
    """

    size: tuple[int, int]
    rles: tuple[Rle, ...]
    scores: Float32[np.ndarray, " N"]

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.rles):
            raise DataError(
                "scores-count", f"there are {len(self.rles)} masks", given=len(self.scores)
            )
        checked = tuple(_compressed(rle, f"masks[{i}]") for i, rle in enumerate(self.rles))
        height, width = self.size
        for i, rle in enumerate(checked):
            found = rle["size"]
            if found != [height, width]:
                turned = "; swapped?" if found == [width, height] else ""
                raise DataError(
                    "rle-size",
                    f"the mask is {found[0]}x{found[1]} (height x width), "
                    f"the image {height}x{width}{turned}",
                    where=f"masks[{i}]",
                )
        object.__setattr__(self, "rles", checked)

    @classmethod
    def from_bits(
        cls, bits: Bool[np.ndarray, "N H W"], scores: Sequence[float] | np.ndarray | None = None
    ) -> "Masks":
        """From arrays; scores are 1 where none are given."""
        if bits.ndim != 3:
            raise DataError("masks-shape", "masks are (N, H, W)", given=bits.shape)
        return cls(
            size=(bits.shape[1], bits.shape[2]),
            rles=tuple(encode_rle(mask) for mask in bits),
            scores=_scores(scores, len(bits)),
        )

    @classmethod
    def from_rles(
        cls,
        rles: Iterable[Mapping[str, Any]],
        size: tuple[int, int],
        scores: Sequence[float] | np.ndarray | None = None,
    ) -> "Masks":
        """From COCO run lengths, compressed (text or bytes) or plain lists; checked."""
        held = tuple(dict(rle) for rle in rles)
        return cls(size=size, rles=held, scores=_scores(scores, len(held)))

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
        found = np.empty((len(self), *self.size), bool)
        for i, mask in enumerate(self):
            found[i] = mask
        return found

    @cached_property
    def areas(self) -> Int64[np.ndarray, " N"]:
        """Pixels of each mask."""
        return np.array([area_of(runs_of(rle)) for rle in self.rles], np.int64)

    @cached_property
    def boxes(self) -> Float32[np.ndarray, "N 4"]:
        """Tight boxes x0, y0, x1, y1 with continuous edges, px; zeros for an empty mask."""
        found = [box_of(runs_of(rle), self.size[0]) for rle in self.rles]
        return np.array(found, np.float32).reshape(-1, 4)

    def polygons(self, index: int) -> list[list[Ring]]:
        """Outlines of one mask with their holes; see `anymask.mask_outlines.polygons`."""
        return polygons(self[index])

    def iou(self, other: "Masks") -> Float32[np.ndarray, "N M"]:
        """IoU of every pair, from run lengths alone; two empty masks score 1."""
        if not len(self) or not len(other):
            return np.zeros((len(self), len(other)), np.float32)
        texts = [
            [{"size": r["size"], "counts": r["counts"].encode()} for r in masks.rles]
            for masks in (self, other)
        ]
        found = np.asarray(coco.iou(*texts, [0] * len(other)), np.float32)
        empty = (self.areas[:, None] == 0) & (other.areas[None] == 0)
        return np.where(empty, np.float32(1), found)

    def keep(self, index: Sequence[int] | Int[np.ndarray, " K"]) -> "Masks":
        """Some of the masks, in the order given."""
        rows = [int(i) for i in index]
        return Masks(
            size=self.size, rles=tuple(self.rles[i] for i in rows), scores=self.scores[rows]
        )


def _scores(scores: Sequence[float] | np.ndarray | None, count: int) -> Float32[np.ndarray, " N"]:
    return np.ones(count, np.float32) if scores is None else np.array(scores, np.float32)


def _compressed(rle: Rle, where: str) -> Rle:
    """Run lengths that are sound, with counts as compressed text."""
    try:
        return packed(rle)
    except DataError as error:
        raise DataError(error.code, error.problem, given=error.given, where=where) from error
