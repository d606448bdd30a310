"""Checking points, labels and boxes: what is wrong is named, with its index and what would fit."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from anymask.errors import Note, PromptError

NEGATIVE, POSITIVE = 0, 1

_MOST = np.finfo(np.float32).max


def parse_points(
    value: Any, size: tuple[int, int], clip: bool, notes: list[Note]
) -> tuple[tuple[Float32[np.ndarray, "_ 2"], ...] | None, bool | None]:
    """One array of xy a prompt, and whether a single prompt was meant.

    An empty list is no prompt at all; (0, 2) is one prompt without points.

    Raises
    ------
    PromptError
        ``points-shape``, ``not-numbers``, ``not-finite``, ``point-outside``.
    """
    if value is None:
        return None, None
    rows = _rows(value)
    if rows is None:
        array = _numbers(value, "points")
        if array.shape == (0,):
            return (), None
        array = array[None] if array.shape == (2,) else array
        if array.ndim not in (2, 3) or array.shape[-1] != 2:
            raise PromptError(
                "points-shape",
                "points are (N, 2) for one object or (P, N, 2) for several",
                given=array.shape,
            )
        single = array.ndim == 2
        rows = [array] if single else list(array)
    else:
        single = False
        rows = [_row(row, f"points[{p}]") for p, row in enumerate(rows)]
    names = ["points" if single else f"points[{p}]" for p in range(len(rows))]
    inside = tuple(
        _inside(row, size, clip, name, notes) for row, name in zip(rows, names, strict=True)
    )
    _look_normalised(inside, size, notes, "points")
    return inside, single


def parse_labels(
    value: Any, points: tuple[Float32[np.ndarray, "_ 2"], ...] | None, single: bool | None
) -> tuple[Int64[np.ndarray, " _"], ...] | None:
    """One array of 0 and 1 a prompt, as many as it has points; all 1 where left out.

    Raises
    ------
    PromptError
        ``labels-alone``, ``labels-count``, ``label-value``, ``not-numbers``, ``not-finite``.
    """
    if value is None:
        return None if points is None else tuple(np.ones(len(p), np.int64) for p in points)
    if points is None:
        raise PromptError("labels-alone", "there are labels but no points", hint="give points=")
    if single:
        value = [value]
    elif not hasattr(value, "__len__") or len(value) != len(points):
        raise PromptError(
            "labels-count",
            f"there are {len(points)} objects",
            given=value,
            where="labels",
            hint="give one list of labels an object",
        )
    found = []
    for p, (row, at) in enumerate(zip(value, points, strict=True)):
        where = "labels" if single else f"labels[{p}]"
        labels = np.atleast_1d(_numbers(row, where))
        if labels.shape != (len(at),):
            raise PromptError(
                "labels-count",
                f"there are {len(at)} points and labels of shape {labels.shape}",
                given=row,
                where=where,
                hint="give one label a point",
            )
        wrong = np.flatnonzero(~np.isin(labels, (NEGATIVE, POSITIVE)))
        if len(wrong):
            raise PromptError(
                "label-value",
                "a label is 1 (on the object) or 0 (off it)",
                given=float(labels[wrong[0]]),
                where=f"{where}[{wrong[0]}]",
            )
        found.append(labels.astype(np.int64))
    return tuple(found)


def parse_boxes(
    value: Any, size: tuple[int, int], notes: list[Note]
) -> tuple[Float32[np.ndarray, "P 4"] | None, bool | None]:
    """Boxes (xyxy) cut at the border of the image, and whether a single prompt was meant.

    Raises
    ------
    PromptError
        ``boxes-shape``, ``not-numbers``, ``not-finite``, ``box-order``, ``box-outside``.
    """
    if value is None:
        return None, None
    array = _numbers(value, "boxes")
    if array.shape == (0,):
        return np.zeros((0, 4), np.float32), None
    single = array.shape == (4,)
    array = array[None] if single else array
    if array.ndim != 2 or array.shape[1] != 4:
        raise PromptError(
            "boxes-shape", "boxes are (4,) for one object or (P, 4) for several", given=array.shape
        )
    for p, box in enumerate(array):
        _check_box(box, size, "boxes" if single else f"boxes[{p}]")
    height, width = size
    clipped = np.clip(array, 0, np.array([width, height, width, height], np.float32))
    if not np.array_equal(clipped, array):
        notes.append(Note("box-clipped", "boxes were cut at the border of the image"))
    _look_normalised(tuple(clipped.reshape(-1, 2, 2)), size, notes, "boxes")
    return clipped.astype(np.float32), single


def _numbers(value: Any, where: str) -> Float32[np.ndarray, "..."]:
    """One cast to float32; None, text, ragged rows and what is not finite are named."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise PromptError(
            "points-shape" if where.startswith("points") else "not-numbers",
            "the rows have different lengths",
            given=value,
            where=where,
            hint="give x, y for a point and x0, y0, x1, y1 for a box",
        ) from error
    if array.dtype.kind not in "buif":
        index = _first_strange(value)
        raise PromptError(
            "not-numbers",
            "numbers are wanted",
            given=value,
            where=where if index is None else where + index,
            hint="give px of the image",
        )
    strange = np.argwhere(~(np.abs(array) <= _MOST))
    if array.dtype.kind == "f" and len(strange):
        at = "".join(f"[{i}]" for i in strange[0])
        raise PromptError("not-finite", "a number is not finite", given=value, where=where + at)
    return np.asarray(array, np.float32)


def _first_strange(value: Any) -> str | None:
    """Index, such as ``[2][0]``, of the first element that is no number."""
    if _length(value) is not None:
        for i, element in enumerate(value):
            inside = _first_strange(element)
            if inside is not None:
                return f"[{i}]{inside}"
        return None
    return None if isinstance(value, int | float | np.number | np.bool_) else ""


def _length(value: Any) -> int | None:
    """Length of a list, tuple, array or tensor; None for anything else."""
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0:
        return len(value)
    return None


def _rows(value: Any) -> list[Any] | None:
    """The prompts of a list of prompts, or None for an array of one or more prompts.

    In a list of prompts every element is a list, and the first elements of those are points.
    """
    if not isinstance(value, list | tuple) or not value:
        return None
    lengths = [_length(row) for row in value]
    nested = any(n and _length(row[0]) is not None for n, row in zip(lengths, value, strict=True))
    many = None not in lengths and (nested or not any(lengths))
    return list(value) if many else None


def _row(row: Any, where: str) -> Float32[np.ndarray, "_ 2"]:
    array = _numbers(row, where)
    array = array.reshape(0, 2) if array.shape == (0,) else array
    if array.ndim != 2 or array.shape[1] != 2:
        raise PromptError(
            "points-shape", "the points of an object are (N, 2)", given=array.shape, where=where
        )
    return array


def _inside(
    points: Float32[np.ndarray, "N 2"],
    size: tuple[int, int],
    clip: bool,
    where: str,
    notes: list[Note],
) -> Float32[np.ndarray, "N 2"]:
    """Points of one prompt, all with 0 <= x < W and 0 <= y < H."""
    height, width = size
    limit = np.array([width, height], np.float32)
    out: Bool[np.ndarray, "N 2"] = (points < 0) | (points >= limit)
    if not out.any():
        return points
    if clip:
        if all(note.code != "points-clipped" for note in notes):
            notes.append(Note("points-clipped", "points outside were moved onto the border"))
        return np.where(out, np.clip(points, 0, limit - 1), points)
    index = int(np.flatnonzero(out.any(1))[0])
    x, y = _plain(points[index])
    hint = "pass clip=True to move it onto the border"
    if 0 <= y < width and 0 <= x < height:
        hint = f"it fits as ({y:g}, {x:g}), swapped: give (x, y), x to the right"
    raise PromptError(
        "point-outside",
        f"the point lies outside the {width}x{height} image",
        given=(x, y),
        where=f"{where}[{index}]",
        hint=hint,
    )


def _check_box(box: Float32[np.ndarray, "4"], size: tuple[int, int], where: str) -> None:
    height, width = size
    x0, y0, x1, y1 = _plain(box)
    if x1 <= x0 or y1 <= y0:
        hint = "give the top left corner, then the bottom right one"
        if x0 >= 0 and y0 >= 0 and 0 < x1 <= width - x0 and 0 < y1 <= height - y0:
            corners = f"({x0:g}, {y0:g}, {x0 + x1:g}, {y0 + y1:g})"
            hint = f"it fits as xywh: give x0, y0, x1, y1 = {corners}"
        raise PromptError(
            "box-order",
            "a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1",
            given=(x0, y0, x1, y1),
            where=where,
            hint=hint,
        )
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        hint = "give px of the image, from 0 to its width and height"
        if x0 < height and y0 < width and x1 > 0 and y1 > 0:
            hint = f"it fits if swapped: give ({y0:g}, {x0:g}, {y1:g}, {x1:g}), x first"
        raise PromptError(
            "box-outside",
            f"the box lies outside the {width}x{height} image",
            given=(x0, y0, x1, y1),
            where=where,
            hint=hint,
        )


def _plain(numbers: Float32[np.ndarray, " n"]) -> list[int | float]:
    """For messages: 40 rather than 40.0."""
    return [int(v) if v == int(v) else v for v in numbers.tolist()]


def _look_normalised(
    groups: tuple[Float32[np.ndarray, "_ 2"], ...],
    size: tuple[int, int],
    notes: list[Note],
    where: str,
) -> None:
    """Remark when every number is at most 1 in an image of more than a few pixels."""
    if min(size) > 2 and any(map(len, groups)) and max(g.max(initial=0) for g in groups) <= 1:
        text = f"{where} look normalised (all within 0..1); they are taken as pixels"
        notes.append(Note(f"{where}-normalised", text))
