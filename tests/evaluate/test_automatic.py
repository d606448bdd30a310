"""Figures of automatic masks on cases whose answers are known, and against COCO's own matching."""

import contextlib
import io
import json
import math
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from printed_tables import printed_table
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from anymask.errors import DataError
from anymask.evaluate.automatic import evaluate_automatic
from anymask.evaluate.automatic_metrics import (
    THRESHOLDS,
    agreement,
    best_scored,
    coverage,
    duplicates,
    match,
    overlaps,
    score_photo,
)
from anymask.evaluate.automatic_report import MEASURES, AutomaticReport, pooled
from anymask.formats.records import Annotation
from anymask.formats.sa1b import open_sa1b
from anymask.mask_rle import pack_runs
from anymask.masks import Masks


def strip(start, stop, width=20):
    """Columns of a picture of 4 rows."""
    bits = np.zeros((4, width), bool)
    bits[:, start:stop] = True
    return bits


def truth(start, stop, width=20, **more):
    bits = strip(start, stop, width)
    runs = [start * 4, (stop - start) * 4, (width - stop) * 4]
    return Annotation(
        id=start,
        rle=pack_runs(runs, bits.shape),
        bbox=(start, 0, stop - start, 4),
        area=float(bits.sum()),
        **more,
    )


def masks(*spans, scores=None, width=20):
    bits = np.array([strip(*span, width) for span in spans], bool).reshape(-1, 4, width)
    return Masks.from_bits(bits, scores)


def values(score):
    return dict(zip(MEASURES, pooled([score]).values, strict=True))


TWO = [truth(0, 10), truth(10, 20)]

# name: (masks, truth, figures)
CASES = {
    "perfect": (
        masks((0, 10), (10, 20)),
        TWO,
        {"ar1000": 1, "recall50": 1, "best": 1, "precision": 1, "coverage": 1, "duplicates": 0},
    ),
    "one of two": (
        masks((0, 10)),
        TWO,
        {"ar1000": 0.5, "recall50": 0.5, "best": 0.5, "precision": 1, "coverage": 0.5},
    ),
    "an IoU of 0.7 counts at five thresholds": (
        masks((0, 7)),
        [truth(0, 10), truth(10, 20)],
        {"ar1000": 0.25, "recall50": 0.5, "best": 0.35, "precision": 0.5, "precision50": 1},
    ),
    "a mask of nothing true": (
        masks((0, 10), (8, 12)),
        TWO,
        {"ar1000": 0.5, "precision": 0.5, "precision50": 0.5, "coverage": 0.6},
    ),
    "the same twice is right and a duplicate, but finds one": (
        masks((0, 10), (0, 10)),
        TWO,
        {"ar1000": 0.5, "precision": 1, "duplicates": 0.5},
    ),
    "no masks": (
        masks(),
        TWO,
        {"ar1000": 0, "best": 0, "precision": math.nan, "coverage": 0, "duplicates": math.nan},
    ),
    "no truth": (
        masks((0, 10)),
        [],
        {"ar1000": math.nan, "best": math.nan, "precision": math.nan, "coverage": 0.5},
    ),
    "precision is not taken where truth leaves much of the photo open": (
        masks((0, 10), (12, 14)),
        [truth(0, 10)],
        {"ar1000": 1, "precision": math.nan, "precision50": math.nan},
    ),
    "a crowd is not to be found, and what lies in it is not judged": (
        masks((0, 10), (10, 12)),
        [truth(0, 10), truth(10, 20, iscrowd=True)],
        {"ar1000": 1, "recall50": 1, "precision": 1},
    ),
    "ignored pixels do not count": (
        masks((0, 8), (10, 20)),
        [truth(0, 10, ignore=pack_runs([28, 20, 32], (4, 20))), truth(10, 20)],
        {"ar1000": 1, "best": 1, "precision": 1},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_figures_of_known_cases(case):
    found, true, expected = case
    figures = values(score_photo(found, true))
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, nan_ok=True), name


def test_thresholds_are_exact():
    assert THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def test_the_better_scored_mask_chooses_first():
    found = masks((0, 12), (0, 10), scores=[0.8, 0.9])
    score = score_photo(found, [truth(0, 10), truth(0, 13), truth(10, 20)])
    assert score.found()[:, 0].tolist() == [True, True, False]
    assert best_scored(found).rles[0] == found.rles[1]


def test_only_the_thousand_best_masks_count():
    many = masks(*[(0, 10)] * 1001, scores=[0.5, *[0.6] * 1000])
    assert score_photo(many, TWO).masks == 1000
    assert best_scored(many).scores.min() == np.float32(0.6)


ious = st.integers(0, 8).flatmap(
    lambda rows: st.integers(0, 8).flatmap(
        lambda columns: st.lists(
            st.integers(0, 10), min_size=rows * columns, max_size=rows * columns
        ).map(lambda values: np.array(values, float).reshape(rows, columns) / 10)
    )
)


@given(ious=ious, threshold=st.sampled_from(THRESHOLDS))
def test_matching_is_one_to_one_and_leaves_no_pair_open(ious, threshold):
    taken = match(ious, threshold)
    rows = taken[taken >= 0]
    assert len(set(rows)) == len(rows)
    assert all(ious[row, column] >= threshold for column, row in enumerate(taken) if row >= 0)
    free_rows = [row for row in range(len(ious)) if row not in rows]
    assert not (ious[free_rows][:, taken < 0] >= threshold).any()


@pytest.mark.parametrize("seed", range(4))
def test_average_recall_is_that_of_the_coco_tools(seed):
    random = np.random.default_rng(seed)
    boxes = random.integers(0, 24, (2, 30, 2)), random.integers(4, 16, (2, 30, 2))
    bits = np.zeros((2, 30, 40, 40), bool)
    for kind, number in np.ndindex(2, 30):
        (y, x), (h, w) = boxes[0][kind, number], boxes[1][kind, number]
        bits[kind, number, y : y + h, x : x + w] = True
    found = Masks.from_bits(bits[0], random.random(30).round(1))  # with equal scores
    true = Masks.from_bits(bits[1])
    annotations = [
        Annotation(
            id=i,
            rle=rle,
            bbox=(0, 0, 1, 1),
            area=1.0,
        )
        for i, rle in enumerate(true.rles)
    ]
    ours = values(score_photo(found, annotations))
    for most in (10, 100, 1000):
        assert ours[f"ar{most}"] == pytest.approx(coco_recall(found, true, most))
    assert 0 < ours["ar10"] < ours["ar100"] == ours["ar1000"]


def coco_recall(found, true, most):
    def row(i, rle, **more):
        area = int(Masks.from_rles([rle], (40, 40)).areas[0])
        return {
            "id": i + 1,
            "image_id": 1,
            "category_id": 1,
            "segmentation": rle,
            "area": area,
            "bbox": [0, 0, 1, 1],
            "iscrowd": 0,
            **more,
        }

    with contextlib.redirect_stdout(io.StringIO()):
        table = COCO()
        table.dataset = {
            "info": {},
            "images": [{"id": 1, "height": 40, "width": 40}],
            "categories": [{"id": 1, "name": "thing"}],
            "annotations": [row(i, rle) for i, rle in enumerate(true.rles)],
        }
        table.createIndex()
        results = table.loadRes(
            [row(i, rle, score=float(found.scores[i])) for i, rle in enumerate(found.rles)]
        )
        judge = COCOeval(table, results, "segm")
        judge.params.useCats, judge.params.maxDets = 0, [most]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.params.iouThrs = np.array(THRESHOLDS)
        judge.evaluate()
        judge.accumulate()
    return judge.eval["recall"].mean()


def test_overlap_is_that_of_whole_masks_where_nothing_is_ignored():
    assert overlaps(masks((0, 10), (5, 10)), TWO).tolist() == [[1, 0], [0.5, 0]]
    assert overlaps(masks(), TWO).shape == (0, 2)
    assert overlaps(masks((0, 10)), []).shape == (1, 0)


def test_coverage_counts_a_pixel_once():
    assert coverage(masks((0, 10), (5, 15))) == 0.75
    assert coverage(masks()) == 0


def test_duplicates_are_counted_once_each_and_the_best_stays(monkeypatch):
    found = masks((0, 10), (0, 9), (0, 10), (10, 20))
    assert duplicates(found) == 2
    assert duplicates(found, threshold=1) == 1
    monkeypatch.setattr("anymask.evaluate.automatic_metrics._PAIRS", 1)
    assert duplicates(found) == 2
    assert duplicates(masks((0, 10))) == duplicates(masks()) == 0


def test_agreement_of_two_runs():
    fast, exact = masks((0, 10)), masks((0, 10), (10, 20))
    both = agreement(fast, exact)
    assert (both.recall, both.precision) == (0.5, 1)
    assert agreement(masks((0, 8)), exact, threshold=0.8).recall == 0.5
    assert agreement(masks((0, 8)), exact, threshold=0.9).recall == 0
    pool = both + agreement(masks((10, 20), (3, 5)), exact)
    assert (pool.recall, pool.precision) == (0.5, pytest.approx(2 / 3))
    nothing = agreement(masks(), masks())
    assert (nothing.recall, nothing.precision) == (1, 1)


def test_recall_of_sizes_is_taken_over_true_masks_of_the_size():
    report = AutomaticReport(
        sets=("a",),
        scores=(
            score_photo(
                masks((0, 1), (10, 20), width=50),
                [truth(0, 1, 50), truth(1, 2, 50), truth(10, 20, 50)],
                name="a",
            ),
        ),
    )
    areas = report.to_dict()["areas"]
    assert [areas[label]["ar1000"] for label in areas] == [None, 0.5, None, 1]
    assert [areas[label]["truths"] for label in areas] == [0, 2, 0, 1]
    assert areas["area 10%-100%"]["precision"] is None


REPORT = AutomaticReport(
    sets=("cats", "[red]|", "none", "coco-people-more"),
    scores=(
        score_photo(masks((0, 10), (10, 20)), TWO, name="cats"),
        score_photo(masks((0, 10)), TWO, name="[red]|"),
        score_photo(masks((0, 10)), [truth(0, 10)], name="[red]|"),
    ),
)


def printed():
    return printed_table(REPORT.table())


def test_means_pool_true_masks_and_masks():
    assert REPORT.mean("ar1000") == pytest.approx(4 / 5)
    assert REPORT.mean("ar1000", of="[red]|") == pytest.approx(2 / 3)
    assert REPORT.mean("precision") == 1
    assert REPORT.mean("coverage") == pytest.approx(2 / 3)
    assert math.isnan(REPORT.mean("ar1000", of="none"))
    table = REPORT.to_dict()
    assert table["mean_of_sets"]["ar1000"] == pytest.approx(5 / 6)
    assert table["sets"]["none"]["precision"] is None
    assert json.loads(json.dumps(table)) == table


@pytest.mark.parametrize(
    ("text", "more"), [(printed, 0), (REPORT.markdown, 2)], ids=["table", "markdown"]
)
def test_sets_sizes_and_means_have_a_line_each(text, more):
    rows = [re.split(r"\s+(?=[\d-])|\s*\|\s*", line.strip(" |")) for line in text().splitlines()]
    found = {row[0]: row[1:] for row in rows}
    for label, cells in {
        "cats": ["2", "2", *["1.000"] * (6 + more), "0.000"],
        "none": ["0", *["-"] * (8 + more)],
        "small": ["5", "-", "0.800"],
        "mean of sets": ["5", "4", "0.833"],
        "pooled": ["5", "4", "0.800"],
    }.items():
        assert found[label][: len(cells)] == cells


def test_true_masks_of_each_size_have_their_recall():
    wide = [truth(0, 10, 900), truth(10, 300, 900), truth(300, 900, 900)]  # 40, 1160, 2400 px
    report = AutomaticReport(
        sets=("",), scores=(score_photo(masks((0, 10), (10, 300), width=900), wide),)
    )
    sizes = report.to_dict()["sizes"]
    assert [(part["truths"], part["ar1000"]) for part in sizes.values()] == [
        (1, 1), (2, 0.5), (0, None)
    ]  # fmt: skip


def test_80_columns_hold_the_table_and_a_set_may_have_any_name():
    assert "…" not in printed()
    assert "[red]|" in printed()
    assert "[red]\\|" in REPORT.markdown()


@dataclass
class Halves:
    """Finds the left half of every picture."""

    seen: list = field(default_factory=list)

    def generate(self, image):
        self.seen.append(image.shape)
        return masks((0, image.shape[1] // 2), width=image.shape[1])


@pytest.fixture
def photos(tmp_path):
    """Two photos, of which p1 is kept out of training; the truth is both halves."""
    folder = tmp_path / "halves"
    folder.mkdir()
    rows = [{"segmentation": {"size": [4, 20], "counts": runs}} for runs in ([0, 40, 40], [40, 40])]
    for name in ("p0", "p1"):
        Image.new("RGB", (20, 4), "grey").save(folder / f"{name}.png")
        table = {"image": {"height": 4, "width": 20}, "annotations": rows}
        (folder / f"{name}.json").write_text(json.dumps(table))
    return open_sa1b(folder)


def test_every_photo_of_the_split_is_judged(photos):
    steps = []
    judged = Halves()
    report = evaluate_automatic(judged, [photos], progress=lambda *step: steps.append(step))
    assert (report.sets, len(report.scores), judged.seen) == (("halves",), 1, [(4, 20, 3)])
    assert steps == [(0, 1), (1, 1)]
    assert (report.mean("ar1000"), report.mean("precision")) == (0.5, 1)
    assert len(evaluate_automatic(Halves(), [photos], split="all").scores) == 2
    assert len(evaluate_automatic(Halves(), [photos], split="all", limit=1).scores) == 1


def test_the_same_input_gives_the_same_report(photos):
    first, second = (evaluate_automatic(Halves(), [photos], split="all") for _ in range(2))
    assert first.to_dict() == second.to_dict()


def test_wrong_splits_and_twin_sets_are_refused(photos):
    for sets, split, code in (
        ([photos], "test", "split-unknown"),
        ([photos] * 2, "val", "set-twice"),
    ):
        with pytest.raises(DataError) as error:
            evaluate_automatic(Halves(), sets, split=split)
        assert error.value.code == code
