"""Masks that were found without being asked for: the result of everything mode."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64

from anymask.errors import DataError, Note
from anymask.mask_rle import runs_of
from anymask.masks import Masks

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneratedMasks(Masks):
    """N masks of one image, each with the point that found it; ``scores`` are predicted IoUs.

    Attributes
    ----------
    stability
        Area above a raised threshold over area above a lowered one, 0..1.
    points
        (x, y) of the point that each mask was decoded from, px.
    crop_boxes
        x, y, width, height of the part of the image that was looked at, px.
    labels
        The phrase that each answers where words were asked for, else nothing.
    notes
        How the image was understood.
    """

    stability: Float32[np.ndarray, " N"]
    points: Float64[np.ndarray, "N 2"]
    crop_boxes: Int64[np.ndarray, "N 4"]
    labels: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("stability", "points", "crop_boxes"):
            found = len(getattr(self, name))
            if found != len(self.rles):
                problem = f"there are {len(self.rles)} masks"
                raise DataError("facts-count", problem, given=found, where=name)
        if self.labels and len(self.labels) != len(self.rles):
            problem = f"there are {len(self.rles)} masks"
            raise DataError("facts-count", problem, given=len(self.labels), where="labels")

    def keep(self, index: Sequence[int] | Int[np.ndarray, " K"]) -> "GeneratedMasks":
        """Some of the masks, in the order given."""
        rows = np.asarray(index, np.int64).reshape(-1)
        return GeneratedMasks(
            size=self.size,
            rles=tuple(self.rles[i] for i in rows),
            scores=self.scores[rows],
            stability=self.stability[rows],
            points=self.points[rows],
            crop_boxes=self.crop_boxes[rows],
            labels=tuple(self.labels[i] for i in rows) if self.labels else (),
            notes=self.notes,
        )

    def records(self, output_mode: OutputMode = "binary_mask") -> list[dict[str, Any]]:
        """One dictionary a mask with the keys of SAM's automatic mask generator.

        Parameters
        ----------
        output_mode
            What ``segmentation`` holds: a bool array (H, W), or run lengths as a list or as COCO's
            text.

        Raises
        ------
        DataError
            ``output-mode``: it is none of the three.
        """
        if output_mode not in OUTPUT_MODES:
            raise DataError(
                "output-mode",
                "there is no such form of masks",
                given=output_mode,
                hint=f"take one of {', '.join(OUTPUT_MODES)}",
            )
        # SAM's boxes go from the first to the last pixel: one less than the width
        boxes = [_corner_and_reach(box) for box in self.boxes]
        return [
            {
                "segmentation": self._segmentation(i, output_mode),
                "area": int(self.areas[i]),
                "bbox": boxes[i],
                "predicted_iou": float(self.scores[i]),
                "point_coords": [self.points[i].tolist()],
                "stability_score": float(self.stability[i]),
                "crop_box": self.crop_boxes[i].tolist(),
            }
            for i in range(len(self))
        ]

    def _segmentation(self, index: int, output_mode: OutputMode) -> Any:
        rle = self.rles[index]
        if output_mode == "binary_mask":
            return self[index]
        if output_mode == "uncompressed_rle":
            return {"size": list(rle["size"]), "counts": runs_of(rle).tolist()}
        return dict(rle)


def _corner_and_reach(box: Float32[np.ndarray, " 4"]) -> list[int]:
    x0, y0, x1, y1 = (int(v) for v in box)
    return [x0, y0, max(0, x1 - x0 - 1), max(0, y1 - y0 - 1)]
