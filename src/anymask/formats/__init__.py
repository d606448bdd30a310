"""Masks to files and back; one file a format, reader and writer together.

`OUTPUTS` is the table of what `anymask segment` writes for a picture. A new row is a new file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
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
