"""The edits of a video session: frozen records, and the file they are kept in.

A session is what its edits say: done again in their order, on the same video with the same model
and settings, they give the same masks.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anymask.errors import DataError
from anymask.mask_rle import runs_of
from anymask.predict.embedding import refuse_existing, write_whole

FORMAT = 1  # of files; another number is not read


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompted:
    """An object was pointed at on a frame; what was pointed at there before no longer counts.

    Attributes
    ----------
    frame, object_id
        Where, and which object.
    points, labels
        (x, y) px, and 1 on the object or 0 off it.
    box
        x0, y0, x1, y1, px, or None.
    mask
        COCO run lengths as (height, width, counts), or None; a mask of nothing says that the object
        is not to be seen.
    """

    frame: int
    object_id: int
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: tuple[int, int, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What was pointed at on a frame was taken back."""

    frame: int
    object_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """An object was given up; its id is not used again."""

    object_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """Objects were followed over frames, first and last one included, in the order of travel."""

    first: int
    last: int
    reverse: bool = False


Edit = Prompted | Cleared | Removed | Passed
KINDS: Mapping[str, type[Edit]] = {
    kind.__name__.lower(): kind for kind in (Prompted, Cleared, Removed, Passed)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedEdits:
    """What a file of edits holds.

    Attributes
    ----------
    variant, fingerprint
        The model: its name, and SHA-256 of its weights.
    size
        (H, W) of the frames, px.
    count
        Of frames, where that was known and decided how far pointers reach.
    edits
        In their order.
    """

    variant: str
    fingerprint: str
    size: tuple[int, int]
    count: int | None
    edits: tuple[Edit, ...]

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """One JSON file, whole or not at all.

        Raises
        ------
        OutputError
            ``file-exists``: the file is there and `overwrite` is off; ``write-failed``.
        """
        target = Path(path)
        refuse_existing(target, overwrite)
        facts = {
            "anymask": "video-edits",
            "format": FORMAT,
            "variant": self.variant,
            "fingerprint": self.fingerprint,
            "size": self.size,
            "count": self.count,
        }
        rows = [
            json.dumps({"edit": type(edit).__name__.lower(), **asdict(edit)}) for edit in self.edits
        ]
        head = json.dumps(facts)[:-1]
        body = ",\n".join(rows)
        write_whole(target, f'{head}, "edits": [\n{body}\n]}}\n'.encode())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "SavedEdits":
        """What `write` wrote.

        Raises
        ------
        DataError
            ``edits-missing``; ``edits-broken``: it is no such file, or not of this version.
        """
        try:
            table = json.loads(Path(path).read_bytes())
            if table["anymask"] != "video-edits" or table["format"] != FORMAT:
                raise ValueError("another kind of file, or another version")
            return cls(
                variant=str(table["variant"]),
                fingerprint=str(table["fingerprint"]),
                size=_pair(table["size"]),
                count=None if table["count"] is None else _whole(table["count"]),
                edits=tuple(parse_edit(row) for row in table["edits"]),
            )
        except OSError as error:
            raise DataError("edits-missing", "the file cannot be read", where=str(path)) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                "edits-broken",
                f"this is no file of edits ({type(error).__name__}: {error})",
                where=str(path),
            ) from error


def parse_edit(row: Mapping[str, Any]) -> Edit:
    """A record of its JSON form, checked.

    Raises
    ------
    ValueError, KeyError, TypeError, DataError
        It is none.
    """
    values = dict(row)
    kind = KINDS[values.pop("edit")]
    for name in ("frame", "object_id", "first", "last"):
        if name in values:
            values[name] = _whole(values[name])
    if kind is Passed and not isinstance(values["reverse"], bool):
        raise ValueError("reverse is true or false")
    if kind is Prompted:
        values["points"] = tuple((float(x), float(y)) for x, y in values["points"])
        values["labels"] = tuple(_whole(label) for label in values["labels"])
        box, mask = values["box"], values["mask"]
        values["box"] = None if box is None else _box(box)
        values["mask"] = None if mask is None else _mask(mask)
    return kind(**values)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _pair(values: Sequence[Any]) -> tuple[int, int]:
    first, second = values
    return _whole(first), _whole(second)


def _box(values: Sequence[Any]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(v) for v in values)
    return x0, y0, x1, y1


def _mask(values: Sequence[Any]) -> tuple[int, int, str]:
    height, width, counts = values
    runs_of({"size": [height, width], "counts": counts})
    return _whole(height), _whole(width), str(counts)
