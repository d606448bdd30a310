"""Means are taken over masks, and printed as they are."""

import math
import re

import pytest
from printed_tables import printed_table

from anymask.evaluate.report import MaskScore, Report


def score(name, area, *ious):
    return MaskScore(set=name, image_id="p", annotation=1, area_unit=area, ious=ious)


REPORT = Report(
    sets=("cats", "[red]|", "none"),
    measures=("box", "grabcut_box"),
    scores=(
        score("cats", 0.001, 0.5, math.nan),
        score("cats", 0.02, 0.7, math.nan),
        score("[red]|", 0.5, 0.9, math.nan),
    ),
)


def printed(report=None):
    return printed_table((report or REPORT).table())


def test_means_of_all_and_of_a_set():
    assert REPORT.mean("box") == pytest.approx(0.7)
    assert REPORT.mean("box", of="cats") == pytest.approx(0.6)
    assert math.isnan(REPORT.mean("box", of="none"))


def test_the_mean_of_sets_leaves_out_sets_without_masks():
    assert REPORT.to_dict()["mean_of_sets"] == {
        "masks": 3,
        "box": pytest.approx(0.75),
        "grabcut_box": None,
    }


@pytest.mark.parametrize("text", [printed, REPORT.markdown], ids=["table", "markdown"])
def test_sets_sizes_and_means_have_a_line_each(text):
    rows = [re.split(r"\s{2,}|\s*\|\s*", line.strip(" |")) for line in text().splitlines()]
    found = {row[0]: row[1:] for row in rows}
    for label, cells in {
        "cats": ["2", "0.600", "-"],
        "none": ["0", "-", "-"],
        "area 0%-1%": ["1", "0.500", "-"],
        "area 1%-3%": ["1", "0.700", "-"],
        "area 10%-100%": ["1", "0.900", "-"],
        "mean of sets": ["3", "0.750", "-"],
        "pooled": ["3", "0.700", "-"],
    }.items():
        assert found[label] == cells


def test_a_set_may_have_any_name():
    assert "[red]|" in printed()
    assert "[red]\\|" in REPORT.markdown()


def test_80_columns_hold_the_usual_table():
    names = ("box", "click1", "click1_best", "click3", "click5", "filled_box", "grabcut_box")
    report = Report(
        sets=("coco-people-more",),
        measures=names,
        scores=(score("coco-people-more", 0.5, *[0.123] * 7),),
    )
    assert "…" not in printed(report)
    [line] = [line for line in printed(report).splitlines() if "coco-people-more" in line]
    assert line.count("0.123") == 7
