"""Means are taken over masks, and printed as they are."""

import io
import math

import pytest
from rich.console import Console

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


def printed():
    file = io.StringIO()
    Console(file=file, width=100).print(REPORT.table())
    return file.getvalue()


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
    rows = [line.replace("│", "|").split("|")[1:-1] for line in text().splitlines()]
    found = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows if len(row) == 4}
    for label, cells in {
        "cats": ["2", "0.6000", "-"],
        "none": ["0", "-", "-"],
        "0% to 1% of the picture": ["1", "0.5000", "-"],
        "1% to 3% of the picture": ["1", "0.7000", "-"],
        "10% to 100% of the picture": ["1", "0.9000", "-"],
        "mean of sets": ["3", "0.7500", "-"],
        "pooled": ["3", "0.7000", "-"],
    }.items():
        assert found[label] == cells


def test_a_set_may_have_any_name():
    assert "[red]|" in printed()
    assert "[red]\\|" in REPORT.markdown()
