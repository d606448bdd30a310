"""A report as a folder: a page of markdown, its figures as JSON, plots, sheets of best and worst.

``report.md`` names every picture beside it. Files are written whole or not at all, and none that is
there already is replaced unless that is allowed. The same report gives the same bytes.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from anymask.errors import OutputError
from anymask.evaluate.plots import Plot, can_draw, draw
from anymask.evaluate.sheets import Sheet
from anymask.formats.atomic import ensure_folder, exists, write_atomic
from anymask.formats.png import encode_png

PAGE, FIGURES = "report.md", "report.json"


@runtime_checkable
class Told(Protocol):
    """A report that can be written."""

    def to_dict(self) -> dict[str, object]: ...

    def markdown(self) -> str: ...

    def remarks(self) -> str:
        """More in markdown, below the table; may be empty."""
        ...

    def plots(self) -> tuple[Plot, ...]: ...


def check_report_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place before the long work, not after it.

    Raises
    ------
    OutputError
        ``file-exists``, or as `anymask.formats.atomic.ensure_folder`.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(
            "not-a-folder", "a file of this name is in the way", given=str(folder),
            hint="choose another name",
        )  # fmt: skip
    for name in (PAGE, FIGURES):
        if (folder / name).exists() and not overwrite:
            raise exists(folder / name)
    ensure_folder(folder)


def write_report(
    folder: Path,
    report: Told,
    *,
    title: str,
    about: str = "",
    sheets: Iterable[Sheet] = (),
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write everything; names of the files, the page last.

    Parameters
    ----------
    title
        Heading of the page.
    about
        What stands below it: how the figures came about.
    sheets
        Pictures of cases, made one by one.

    Raises
    ------
    OutputError
        A file is there already, or cannot be written.
    """
    names: list[str] = []
    page = [f"# {_line(title)}", *([about] if about else []), report.markdown().rstrip()]
    if more := report.remarks().rstrip():
        page.append(more)

    def add(name: str, data: bytes) -> None:
        write_atomic(folder / name, data, overwrite=overwrite)
        names.append(name)

    plots = report.plots()
    if plots and can_draw():
        for plot in plots:
            add(f"{plot.name}.png", draw(plot))
            page.append(f"![{_line(plot.title)}]({plot.name}.png)")
    elif plots:
        page.append("Without matplotlib there are no plots: `pip install 'anymask[train]'`.")
    for sheet in sheets:
        add(f"sheet-{sheet.name}.png", encode_png(sheet.pixels))
        page.append(f"{_line(sheet.title)}\n\n![{_line(sheet.title)}](sheet-{sheet.name}.png)")
    add(FIGURES, (json.dumps(report.to_dict(), indent=2) + "\n").encode("ascii"))
    add(PAGE, ("\n\n".join(page) + "\n").encode())
    return tuple(names)


def _line(text: str) -> str:
    """A name of any kind as text of markdown."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    for mark in "\\[]`*_<>":
        shown = shown.replace(mark, "\\" + mark)
    return shown
