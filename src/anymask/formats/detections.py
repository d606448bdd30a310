"""Boxes that a detector found in pictures, as COCO's results have them.

A list of ``{"image_id", "bbox": [x, y, width, height], "score", "category_id"}``, px of the
picture; ours may name the class as ``category`` instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anymask.errors import DataError
from anymask.formats.checks import as_dict, as_id, as_list, as_text, number, numbers, parse_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One box.

    Attributes
    ----------
    image_id
        As the file has it.
    box
        x0, y0, x1, y1, px, continuous edges.
    score
        How sure the detector is; larger is surer.
    category
        The class's name or number; None where none is told.
    """

    image_id: str
    box: tuple[float, float, float, float]
    score: float
    category: str | int | None = None


def read_detections(path: Path) -> tuple[Detection, ...]:
    """All boxes of a file.

    Raises
    ------
    DataError
        ``detections-missing``, ``json-broken``, ``record-broken``: with the place in the file.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(
            "detections-missing",
            f"the file of boxes cannot be read: {error.strerror or error}",
            given=str(path),
        ) from error
    return parse_detections(parse_json(text, str(path)), str(path))


def parse_detections(table: object, where: str) -> tuple[Detection, ...]:
    """All boxes of a decoded JSON; errors as in `read_detections`."""
    rows = as_list(table, "detections", where)
    return tuple(_parsed(row, f"{where}: [{number}]") for number, row in enumerate(rows))


def of_picture(
    detections: Sequence[Detection], ids: Sequence[str]
) -> Mapping[str, tuple[Detection, ...]]:
    """The boxes of each picture by its id; a number stands for an id of those digits, with zeros.

    >>> one = Detection(image_id="139", box=(0, 0, 1, 1), score=1.0)
    >>> list(of_picture([one], ["000139", "a"]))
    ['000139']
    """
    by_digits = {str(int(one)): one for one in ids if one.isascii() and one.isdigit()}
    known = set(ids)
    found: dict[str, list[Detection]] = {}
    for one in detections:
        own = one.image_id if one.image_id in known else by_digits.get(one.image_id.lstrip("0"))
        if own is not None:
            found.setdefault(own, []).append(one)
    return {image_id: tuple(boxes) for image_id, boxes in found.items()}


def _parsed(row: object, where: str) -> Detection:
    values = as_dict(row, where)
    box = numbers(values.get("bbox"), 4)
    if box is None or box[2] <= 0 or box[3] <= 0:
        raise DataError(
            "record-broken",
            "bbox must be [x, y, width, height] with an area",
            given=values.get("bbox"),
            where=where,
        )
    score = number(values.get("score"))
    if score is None:
        raise DataError(
            "record-broken", "score must be a number", given=values.get("score"), where=where
        )
    category: str | int | None = as_text(values.get("category"), "category", where)
    if category is None and values.get("category_id") is not None:
        category = as_id(values["category_id"], where)
    x, y, width, height = box
    return Detection(
        image_id=str(as_id(values.get("image_id"), where)),
        box=(x, y, x + width, y + height),
        score=score,
        category=category,
    )
