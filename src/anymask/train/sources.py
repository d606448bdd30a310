"""Data sets for training: any format that `anymask.formats` reads, opened by one function.

open_sources(["photos/", DataSpec(path="labels.json", weight=2)]) -> one `Source` a set
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anymask.errors import DataError, Note
from anymask.formats import guess_format, set_format
from anymask.formats.records import ReadOptions, RecordSet

_PART = re.compile(r"\.part-\d+$")  # of a packed set; see `anymask.train.pack`


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Where a set lies and how it is taken.

    Attributes
    ----------
    path
        A folder, a tar or a JSON; a folder of tars stands for its tars.
    weight
        How often its photos are drawn, relative to those of other sets.
    format
        A name of `anymask.formats.SETS`; guessed if left out.
    images
        The folder of pictures, if they are not in the usual place.
    """

    path: str
    weight: float = 1.0
    format: str = ""
    images: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """One opened set.

    Attributes
    ----------
    name
        The set's; parts of a packed set share it.
    data
        Its records.
    weight
        As its `DataSpec` says.
    """

    name: str
    data: RecordSet
    weight: float = 1.0


@dataclass(slots=True)
class LeftOut:
    """What was cut or left out while sets were looked through.

    Attributes
    ----------
    counts
        How often, by code.
    examples
        The first text of each code.
    """

    counts: Counter[str]
    examples: dict[str, str]

    @classmethod
    def nothing(cls) -> "LeftOut":
        """To begin with."""
        return cls(Counter(), {})

    def add(self, notes: Sequence[Note], where: str) -> None:
        """Count notes."""
        for note in notes:
            self.counts[note.code] += 1
            self.examples.setdefault(note.code, f"{where}: {note.text}" if where else note.text)

    def lines(self) -> list[str]:
        """For people."""
        return [f"{code} x {n}, such as {self.examples[code]}" for code, n in self.counts.items()]


def open_sources(
    specs: Sequence[str | Path | DataSpec], *, strict: bool = False
) -> tuple[Source, ...]:
    """Open all sets; names and beginnings of files are looked at.

    Parameters
    ----------
    specs
        Sets, or paths of such.
    strict
        What would be cut or left out of a record is an error when it is read.

    Raises
    ------
    DataError
        ``set-missing``, ``format-unclear``, ``format-unknown``, ``weight-wrong``; ``set-twice``:
        two sets have one name; and what the formats raise.
    """
    found: list[Source] = []
    paths: dict[str, str] = {}
    for spec in specs:
        one = spec if isinstance(spec, DataSpec) else DataSpec(path=str(spec))
        if not (one.weight > 0 and one.weight < float("inf")):
            raise DataError("weight-wrong", "a weight is above 0", given=one.weight, where=one.path)
        for path in expand([Path(one.path)]):
            row = set_format(one.format) if one.format else guess_format(path)
            images = Path(one.images) if one.images else None
            data = row.open(path, ReadOptions(strict=strict, images=images))
            if data.name in paths:
                raise DataError(
                    "set-twice",
                    "two sets have one name, which is that of their folder or file",
                    given=[paths[data.name], str(path)],
                    hint="rename one, or name it once",
                )
            paths[data.name] = str(path)
            name = _PART.sub("", data.name)
            found.append(Source(name=name, data=data, weight=one.weight))
    return tuple(found)


def expand(paths: Sequence[Path]) -> list[Path]:
    """Sets at the paths: a folder of tars stands for its tars."""
    found: list[Path] = []
    for path in paths:
        tars = sorted(path.glob("*.tar")) if path.is_dir() else []
        found += tars or [path]
    return found
