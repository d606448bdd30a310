"""Checking points, labels and boxes: what is wrong is named, with its index and what would fit."""

from typing import Any

import numpy as np
from jaxtyping import Float32

from anymask.errors import Note, PromptError

NEGATIVE, POSITIVE = 0, 1


def _numbers(value: Any, where: str) -> np.ndarray:
    """One cast to float32; None, text and ragged rows are named."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "buif":
            array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(
            "not-numbers", "numbers are wanted", given=value, where=where, hint="as (x, y) in px"
        ) from error
    finite = np.isfinite(array)
    if not finite.all():
        at = "".join(f"[{i}]" for i in np.argwhere(~finite)[0])
        raise PromptError("not-finite", "a number is not finite", given=value, where=where + at)
    return np.asarray(array, np.float32)


def parse_points(
    value: Any, size: tuple[int, int], clip: bool, notes: list[Note]
) -> tuple[tuple[np.ndarray, ...] | None, bool | None]:
    """One array a prompt, and whether a single prompt was meant."""
    if value is None:
        return None, None
    rows = _ragged(value, 2, "points")
    if rows is None:
        array = _numbers(value, "points")
        if array.ndim == 1 and array.shape == (2,):
            array = array[None]
        if array.size == 0 and array.ndim < 3:
            array = array.reshape(0, 2)
        if array.ndim not in (2, 3) or array.shape[-1] != 2:
            raise PromptError(
                "points-shape",
                "points are (N, 2) for one object or (P, N, 2) for several",
                given=array.shape,
            )
        single = array.ndim == 2
        groups = [array] if single else list(array)
    else:
        single, groups = False, rows
    checked = []
    for p, group in enumerate(groups):
        prefix = "points" if single else f"points[{p}]"
        checked.append(_inside(group, size, clip, prefix, notes))
    _look_normalised(checked, size, notes)
    return tuple(checked), single


def _ragged(value: Any, last: int, where: str) -> list[np.ndarray] | None:
    """A list of prompts with different numbers of points, or None where it is a plain array."""
    if not isinstance(value, list | tuple) or not value:
        return None
    lengths = [len(v) if hasattr(v, "__len__") and not isinstance(v, str) else -1 for v in value]
    nested = all(
        n >= 0 and (n == 0 or (hasattr(v[0], "__len__") and not isinstance(v[0], str)))
        for n, v in zip(lengths, value, strict=True)
    )
    if not nested or not any(lengths):
        return None
    rows = [
        _numbers(v, f"{where}[{i}]").reshape(-1, last)
        if len(v)
        else np.zeros((0, last), np.float32)
        for i, v in enumerate(value)
        if _row_shape(v, last, f"{where}[{i}]")
    ]
    return rows


def _row_shape(row: Any, last: int, where: str) -> bool:
    shape = _numbers(row, where).shape if len(row) else (0, last)
    if len(shape) != 2 or shape[1] != last:
        raise PromptError("points-shape", f"(N, {last}) is wanted", given=shape, where=where)
    return True


def _inside(
    points: np.ndarray, size: tuple[int, int], clip: bool, where: str, notes: list[Note]
) -> np.ndarray:
    height, width = size
    # pixel i reaches from i - 0.5 to i + 0.5, so the picture from -0.5 to W - 0.5; house rules
    # count 0 <= x < W as inside
    out = (points < 0) | (points >= np.array([width, height], np.float32))
    if not out.any():
        return points
    if clip:
        notes.append(Note("points-clipped", "points outside were moved onto the border"))
        limit = np.array([width - 1, height - 1], np.float32)
        return np.clip(points, 0, limit)
    index = int(np.flatnonzero(out.any(1))[0])
    x, y = (float(v) for v in points[index])
    hint = "pass clip=True to move it onto the border"
    if 0 <= y < width and 0 <= x < height:
        hint = f"it fits as ({y:g}, {x:g}): give (x, y), x to the right"
    raise PromptError(
        "point-outside",
        f"the point lies outside the {width}x{height} image",
        given=(x, y),
        where=f"{where}[{index}]",
        hint=hint,
    )


def _look_normalised(groups: list[np.ndarray], size: tuple[int, int], notes: list[Note]) -> None:
    values = [g for g in groups if len(g)]
    if values and min(size) > 2:
        every = np.concatenate(values)
        if every.max() <= 1 and (every % 1 != 0).any():
            notes.append(Note("points-normalised", "points look normalised; pixels are wanted"))


def parse_labels(
    value: Any, points: tuple[np.ndarray, ...] | None, single: bool | None
) -> tuple[np.ndarray, ...] | None:
    if points is None:
        if value is not None:
            raise PromptError(
                "labels-alone", "there are labels but no points", hint="give points= as well"
            )
        return None
    if value is None:
        return tuple(np.ones(len(p), np.int64) for p in points)
    if single:
        value = [np.atleast_1d(_numbers(value, "labels"))]
    elif not hasattr(value, "__len__") or len(value) != len(points):
        raise PromptError(
            "labels-count",
            f"there are {len(points)} objects",
            given=value,
            where="labels",
            hint="one list of labels an object",
        )
    found = []
    for p, (row, at) in enumerate(zip(value, points, strict=True)):
        where = "labels" if single else f"labels[{p}]"
        labels = np.atleast_1d(_numbers(row, where)) if np.size(row) else np.zeros(0, np.float32)
        if labels.shape != (len(at),):
            raise PromptError(
                "labels-count",
                f"there are {len(at)} points and {labels.size} labels",
                where=where,
                hint="one label a point",
            )
        wrong = ~np.isin(labels, (NEGATIVE, POSITIVE))
        if wrong.any():
            index = int(np.flatnonzero(wrong)[0])
            raise PromptError(
                "label-value",
                "a label is 1 (on the object) or 0 (off it)",
                given=float(labels[index]),
                where=f"{where}[{index}]",
            )
        found.append(labels.astype(np.int64))
    return tuple(found)


def parse_boxes(
    value: Any, size: tuple[int, int], notes: list[Note]
) -> tuple[Float32[np.ndarray, "P 4"] | None, bool | None]:
    if value is None:
        return None, None
    array = _numbers(value, "boxes")
    single = array.shape == (4,)
    if array.size == 0 and array.ndim < 3:
        array = array.reshape(0, 4)
    array = array[None] if single else array
    if array.ndim != 2 or array.shape[1] != 4:
        raise PromptError(
            "boxes-shape", "boxes are (4,) for one object or (P, 4)", given=array.shape
        )
    height, width = size
    for index, (x0, y0, x1, y1) in enumerate(array.tolist()):
        where = "boxes" if single else f"boxes[{index}]"
        if x1 <= x0 or y1 <= y0:
            fits = x1 > 0 and y1 > 0 and x0 + x1 <= width and y0 + y1 <= height
            raise PromptError(
                "box-order",
                "a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1",
                given=(x0, y0, x1, y1),
                where=where,
                hint="it fits as x, y, width, height: give "
                f"({x0:g}, {y0:g}, {x0 + x1:g}, {y0 + y1:g})"
                if fits
                else "give the top left corner, then the bottom right one",
            )
        if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
            raise PromptError(
                "box-outside",
                f"the box lies outside the {width}x{height} image",
                given=(x0, y0, x1, y1),
                where=where,
            )
    clipped = np.clip(array, 0, np.array([width, height, width, height], np.float32))
    if not np.array_equal(clipped, array):
        notes.append(Note("box-clipped", "boxes were cut at the border of the image"))
    return clipped.astype(np.float32), single
