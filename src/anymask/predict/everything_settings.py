"""What everything mode is asked for, checked: grids, thresholds, the region to look into."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from anymask.errors import PromptError
from anymask.frame_crops import CropBox, layer_grids, point_grid

Mode = Literal["exact", "fast"]
Mend = Callable[[Float[Tensor, "K h w"]], Float[Tensor, "K h w"]]
_MODES: dict[str, Mode] = {"exact": "exact", "fast": "fast"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a generator was asked for; see `anymask.predict.everything.MaskGenerator`."""

    grids: tuple[Float[np.ndarray, "_ 2"], ...]
    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float
    mask_threshold: float
    box_nms_thresh: float
    crop_nms_thresh: float
    crop_overlap_ratio: float
    min_mask_region_area: int
    use_m2m: bool
    multimask_output: bool
    memory_mb: int
    mode: Mode
    mend: Mend | None


def region(roi: Any, size: tuple[int, int]) -> tuple[CropBox, Bool[np.ndarray, "h w"] | None]:
    """The box to look into, in whole px, and which of its pixels may be asked."""
    height, width = size
    if roi is None:
        return (0, 0, width, height), None
    array = np.asarray(roi)
    if array.ndim == 2:
        if array.shape != size:
            raise PromptError(
                "roi-shape", f"the image is {height}x{width}", given=array.shape, where="roi"
            )
        mask = array.astype(bool)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            raise PromptError("roi-empty", "the mask is empty", where="roi")
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        return box, mask[box[1] : box[3], box[0] : box[2]]
    if array.shape != (4,) or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise PromptError(
            "roi-shape", "a region is a box x0, y0, x1, y1 or a mask", given=roi, where="roi"
        )
    x0, y0 = (int(max(0, np.floor(v))) for v in array[:2])
    x1, y1 = (int(min(top, np.ceil(v))) for v, top in zip(array[2:], (width, height), strict=True))
    if x0 >= x1 or y0 >= y1:
        raise PromptError(
            "roi-empty",
            f"the box holds nothing of the image ({height}x{width})",
            given=[float(v) for v in array],
            where="roi",
        )
    return (x0, y0, x1, y1), None


def grids_of(
    side: int | None, own: Sequence[np.ndarray] | None, layers: int, factor: int
) -> tuple[Float[np.ndarray, "_ 2"], ...]:
    """The points of the whole image and of each layer of crops, regular or one's own."""
    at_least("crop_n_layers", layers, 0)
    at_least("crop_n_points_downscale_factor", factor, 1)
    if (side is None) == (own is None):
        raise PromptError(
            "point-grid", "give points_per_side or point_grids, one of the two", given=side
        )
    if side is not None:
        return tuple(layer_grids(at_least("points_per_side", side, 1), layers, factor))
    given = tuple(np.asarray(grid, np.float64) for grid in own or ())
    if len(given) != layers + 1:
        raise PromptError(
            "point-grid", f"{layers} layers of crops need {layers + 1} grids", given=len(given)
        )
    for i, grid in enumerate(given):
        if grid.ndim != 2 or grid.shape[1] != 2 or not ((grid >= 0) & (grid < 1)).all():
            raise PromptError(
                "point-grid", "a grid is (N, 2), values from 0 to 1", where=f"point_grids[{i}]"
            )
    return given


def at_least(name: str, value: int, least: int) -> int:
    """The value, if it is that large."""
    if value < least:
        raise PromptError("setting", f"{name} is at least {least}", given=value)
    return value


def known_mode(mode: str) -> Mode:
    """The mode of that name."""
    if mode in _MODES:
        return _MODES[mode]
    raise PromptError("setting", "mode is exact or fast", given=mode)


def cells_of(grid: Float[np.ndarray, "N 2"]) -> Int64[np.ndarray, "N 2"] | None:
    """(column, row) of each point of a regular grid; None for any other."""
    side = round(len(grid) ** 0.5)
    if side**2 != len(grid) or not np.array_equal(grid, point_grid(side)):
        return None
    row, column = np.divmod(np.arange(len(grid)), side)
    return np.stack([column, row], axis=1)
