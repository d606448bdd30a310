"""The rows of reports: what stands in both tables, and numbers that were not measured."""

import math

from printed_tables import printed_table

from anymask.evaluate.rows import markdown_table, or_none, terminal_table, text_of

HEADS = ("photos", "AP")
SECTIONS = [[("a|b[red]", ["12", "0.500"])], [("pooled", ["12", "-"])]]


def printed(width: int, *, fold: bool = False) -> list[str]:
    table = terminal_table("Boxes", HEADS, SECTIONS, fold=fold)
    return [line.strip() for line in printed_table(table, width).splitlines()]


def test_a_label_is_shown_as_it_is_in_the_terminal() -> None:
    lines = printed(80)
    assert lines[0] == "Boxes" and lines[1].split() == ["photos", "AP"]
    assert [line.split() for line in lines if "12" in line] == [
        ["a|b[red]", "12", "0.500"],
        ["pooled", "12", "-"],
    ]


def test_a_long_label_gives_way_where_that_is_asked_for() -> None:
    assert not any("0.500" in line and "…" not in line for line in printed(18))
    assert sum("0.500" in line for line in printed(18, fold=True)) == 1
    assert not any("…" in line for line in printed(18, fold=True))


def test_markdown_has_a_row_for_each_and_masks_bars() -> None:
    assert markdown_table(HEADS, SECTIONS).splitlines() == [
        "| | photos | AP |",
        "|---|---:|---:|",
        "| a\\|b[red] | 12 | 0.500 |",
        "| pooled | 12 | - |",
    ]


def test_what_was_not_measured_is_a_dash_and_none() -> None:
    assert (text_of(math.nan), or_none(math.nan)) == ("-", None)
    assert (text_of(0.25), or_none(0.25)) == ("0.250", 0.25)
