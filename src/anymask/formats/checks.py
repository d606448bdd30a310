"""Values that were read in a file, as what they should be; each error says where it stands.

What is used by one format alone stands with the format.
"""

import json
import math

from anymask.errors import DataError
from anymask.formats.records import MOST_PIXELS, Box, Remarks, bbox_of
from anymask.mask_rle import Rle, packed

LARGEST_JSON = 256 * 2**20  # bytes of a JSON that is read in one go
_BEYOND = 1.0  # px that boxes and outlines may stick out without a word: others round so


def parse_json(text: bytes, where: str) -> object:
    """A decoded JSON.

    Raises
    ------
    DataError
        ``json-broken``.
    """
    if len(text) > LARGEST_JSON:
        raise DataError("json-broken", f"the JSON has {len(text)} bytes", where=where)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("json-broken", f"no JSON ({error})", where=where) from error


def to_json(table: object) -> bytes:
    """JSON in one line of ASCII; numbers that are not finite are a bug, not a value."""
    return json.dumps(table, ensure_ascii=True, allow_nan=False).encode("ascii")


def as_dict(value: object, where: str) -> dict[str, object]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise DataError("record-broken", "a JSON object is wanted", given=value, where=where)
    return value


def as_list(value: object, what: str, where: str) -> list[object]:
    """A JSON array."""
    if not isinstance(value, list):
        raise DataError("record-broken", f"{what} must be a list", given=value, where=where)
    return value


def as_id(value: object, where: str) -> int | str:
    """A number or text that names something."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError("record-broken", "an id is a number or a text", given=value, where=where)
    return value


def as_text(value: object, what: str, where: str) -> str | None:
    """A text, or None."""
    if not isinstance(value, str | None):
        raise DataError("record-broken", f"{what} is a text", given=value, where=where)
    return value


def as_size(height: object, width: object, where: str) -> tuple[int, int]:
    """(H, W) of a picture, px."""
    size = (_side(height, f"{where}: height"), _side(width, f"{where}: width"))
    if size[0] * size[1] > MOST_PIXELS:
        raise DataError("record-broken", f"no picture has {size[1]}x{size[0]} px", where=where)
    return size


def number(value: object) -> float | None:
    """A finite number as float, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return found if math.isfinite(found) else None


def numbers(value: object, count: int | None = None) -> tuple[float, ...] | None:
    """A list of finite numbers, of a length if one is given, anything else as None."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        return None
    found = [number(each) for each in value]
    return None if None in found else tuple(each for each in found if each is not None)


def as_rle(value: object, size: tuple[int, int], where: str) -> Rle:
    """Run lengths of a picture of that size.

    Raises
    ------
    DataError
        ``record-broken``, ``rle-broken``; ``rle-size``: of another size, both are named.
    """
    table = as_dict(value, where)
    stated, counts = table.get("size"), table.get("counts")
    if not isinstance(stated, list) or len(stated) != 2:
        raise DataError("record-broken", "size must be [height, width]", given=stated, where=where)
    if tuple(stated) != size:
        swapped = tuple(stated[::-1]) == size
        raise DataError(
            "rle-size",
            f"the mask is {stated}, its picture {list(size)} (height, width)",
            where=where,
            hint="are height and width swapped?" if swapped else "scale the mask to its picture",
        )
    plain = isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts)
    if not plain and not isinstance(counts, str):
        raise DataError(
            "record-broken", "counts must be a text or run lengths", given=counts, where=where
        )
    try:
        return packed({"size": size, "counts": counts})
    except DataError as error:
        raise DataError(error.code, error.problem, given=error.given, where=where) from None


def as_bbox(value: object, rle: Rle, remarks: Remarks, at: str) -> Box:
    """A stated box (x, y, width, height), cut to the picture; measured where there is none."""
    if value is None:
        return bbox_of(rle)
    found = numbers(value, 4)
    if found is None:
        raise DataError(
            "record-broken",
            "bbox must be [x, y, width, height]",
            given=value,
            where=f"{remarks.where}: {at}",
        )
    x, y, w, h = found
    height, width = rle["size"]
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if x1 <= x0 or y1 <= y0:
        remarks.lost("box-empty", f"no pixel is in the box {list(found)}: measured anew", at=at)
        return bbox_of(rle)
    if max(x0 - x, y0 - y, x + w - x1, y + h - y1) <= _BEYOND:
        return (x, y, w, h)
    remarks.lost("box-clipped", f"the box {list(found)} goes beyond the picture", at=at)
    return (x0, y0, x1 - x0, y1 - y0)


def plain(value: float) -> int | float:
    """A number as JSON has it: whole ones without a point."""
    return int(value) if float(value).is_integer() else value


def _side(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError("record-broken", "a side is a whole number of px", given=value, where=where)
    return value
