"""The rows of a report as a table for the terminal and as one of markdown, and numbers in both."""

import math
from collections.abc import Iterable, Sequence
from itertools import chain

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

Row = tuple[str, Sequence[str]]  # label, a cell for each head


def terminal_table(
    title: str, heads: Sequence[str], sections: Iterable[Iterable[Row]], *, fold: bool = False
) -> Table:
    """A line between sections; narrow, for 80 columns.

    Parameters
    ----------
    fold
        Long labels give way to the figures.
    """
    table = Table(title=title, box=SIMPLE, padding=(0, 0, 0, 1), show_edge=False)
    table.add_column("", overflow="fold" if fold else "ellipsis", no_wrap=not fold)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=fold)
    for section in sections:
        for label, cells in section:
            table.add_row(escape(label), *cells)
        table.add_section()
    return table


def markdown_table(heads: Sequence[str], sections: Iterable[Iterable[Row]]) -> str:
    """One row after the other; bars in labels are masked."""
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for label, cells in chain.from_iterable(sections):
        masked = label.replace("|", "\\|")
        lines.append(f"| {masked} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def text_of(value: float) -> str:
    """With three digits; a dash where nothing was measured.

    >>> text_of(0.5), text_of(math.nan)
    ('0.500', '-')
    """
    return "-" if math.isnan(value) else f"{value:.3f}"


def or_none(value: float) -> float | None:
    """For JSON: None where nothing was measured."""
    return None if math.isnan(value) else value
