"""Masks to files and back; one file a format, reader and writer together.

`OUTPUTS` is the table of what `anymask segment` writes for a picture, `SETS` that of the formats of
data sets. A new row is a new file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anymask.errors import DataError

if TYPE_CHECKING:
    from anymask.formats.records import ReadOptions, RecordSet, SetWriter, WriteOptions
    from anymask.formats.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One kind of file.

    Attributes
    ----------
    ending
        What follows the picture's full name.
    what
        What it shows, for people.
    each
        One for a picture, one for each mask, or a ``"view"``: one for a picture, but one for each
        mask where masks are alternatives of each other.
    maker
        ``module:function`` below `anymask.formats`, called with the result and the index of the
        mask (None for all), gives the file's bytes.
    """

    ending: str
    what: str
    each: Literal["picture", "mask", "view"]
    maker: str

    def make(self, result: "Result", index: int | None) -> bytes:
        """The file's content."""
        module, name = self.maker.split(":")
        maker: Callable[[Result, int | None], bytes] = getattr(
            import_module(f"anymask.formats.{module}"), name
        )
        return maker(result, index)


OUTPUTS: tuple[Output, ...] = (
    Output(
        ending=".overlay.png",
        what="the picture with the object marked",
        each="view",
        maker="png:overlay_file",
    ),
    Output(
        ending=".cutout.png",
        what="the object alone, on nothing",
        each="mask",
        maker="png:cutout_file",
    ),
    Output(
        ending=".mask.png",
        what="the mask, 255 on the object and 0 off it",
        each="mask",
        maker="png:mask_file",
    ),
    Output(
        ending=".json",
        what="run lengths, outlines, box, area, score",
        each="picture",
        maker="coco:json_file",
    ),  # last: where it is, all others are
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFormat:
    """A format of data sets.

    Attributes
    ----------
    name
        What is typed.
    what
        What lies where, for people.
    reader
        Module below `anymask.formats` with ``open_set`` and ``looks_like``.
    writer
        Module with ``writer``, or an empty text where there is none.
    classes_first
        Its writer must know all categories beforehand.
    """

    name: str
    what: str
    reader: str
    writer: str = ""
    classes_first: bool = False

    def fits(self, path: Path) -> bool:
        """Whether what lies there looks like it; names and beginnings of files are looked at."""
        found: bool = import_module(f"anymask.formats.{self.reader}").looks_like(path)
        return found

    def open(self, path: Path, options: "ReadOptions") -> "RecordSet":
        """The set that lies there; errors are those of the module's ``open_set``."""
        found: RecordSet = import_module(f"anymask.formats.{self.reader}").open_set(path, options)
        return found

    def create(self, root: Path, options: "WriteOptions") -> "SetWriter":
        """Where records go.

        Raises
        ------
        DataError
            ``format-read-only``.
        """
        if not self.writer:
            raise DataError(
                "format-read-only",
                "this format is only read",
                given=self.name,
                hint=f"write {', '.join(row.name for row in SETS if row.writer)}",
            )
        made: SetWriter = import_module(f"anymask.formats.{self.writer}").writer(root, options)
        return made


SETS: tuple[SetFormat, ...] = (
    SetFormat(
        name="sa1b",
        what="a JSON beside each picture, as SA-1B has it; folder or tar",
        reader="sa1b",
        writer="sa1b",
    ),
    SetFormat(
        name="coco",
        what="one JSON with images, annotations and categories",
        reader="coco_set",
        writer="coco_writer",
    ),
    SetFormat(
        name="labelmap",
        what="a PNG for each picture whose values number the objects",
        reader="label_map",
        writer="label_map",
    ),
    SetFormat(
        name="labelme",
        what="a JSON of shapes beside each picture, as LabelMe has it",
        reader="labelme",
        writer="labelme",
    ),
    SetFormat(
        name="yolo",
        what="data.yaml, and a text of outlines for each picture",
        reader="yolo",
        writer="yolo",
        classes_first=True,
    ),
    SetFormat(
        name="segment",
        what="the JSON beside each picture's masks that anymask segment writes",
        reader="segment_set",
    ),
    SetFormat(
        name="masks",
        what="a black-and-white PNG for each mask",
        reader="mask_folder",
    ),
)


def set_format(name: str) -> SetFormat:
    """The row of a name.

    Raises
    ------
    DataError
        ``format-unknown``.
    """
    for row in SETS:
        if row.name == name:
            return row
    raise DataError(
        "format-unknown",
        "there is no such format",
        given=name,
        hint=f"take one of {', '.join(row.name for row in SETS)}",
    )


def guess_format(path: Path) -> SetFormat:
    """The only format that what lies there looks like.

    Raises
    ------
    DataError
        ``set-missing``; ``format-unclear``: none, or several.
    """
    if not path.exists():
        raise DataError("set-missing", "there is nothing here", given=str(path))
    found = [row for row in SETS if row.fits(path)]
    if len(found) == 1:
        return found[0]
    several = f"it may be {' or '.join(row.name for row in found)}"
    raise DataError(
        "format-unclear",
        several if found else "it looks like no data set that is known",
        given=str(path),
        hint=f"say which it is: {', '.join(row.name for row in SETS)}",
    )
