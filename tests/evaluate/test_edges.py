"""Edges score what their definition says: cases whose answer is known, and the slow way."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from rich.console import Console

from anymask.evaluate.edge_match import match_edges, steps_within
from anymask.evaluate.edge_metrics import count_edges, figures_of, thresholds
from anymask.evaluate.edge_sheets import edge_sheets, f_at
from anymask.evaluate.edge_thin import thin
from anymask.evaluate.edge_truth import annotator_maps, edges_between, true_edges
from anymask.evaluate.edges import evaluate_edges
from anymask.formats.records import Annotation
from anymask.formats.sa1b import open_sa1b
from anymask.mask_rle import encode_rle

SIZE = (60, 80)  # diagonal 100 px: a tolerance of 0.03 is 3 px


def line(column, size=SIZE):
    edges = np.zeros(size, bool)
    edges[:, column] = True
    return edges


def figures(strength, *truths, **options):
    known = count_edges(strength.astype(np.float32), truths, **{"tolerance": 0.03} | options)
    return figures_of([known])


def test_the_edges_that_were_drawn_are_perfect():
    known = figures(line(40), line(40))
    assert (known.ods, known.ois, known.ap, known.r50) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("shift", "score"), [(1, 1), (3, 1), (4, 0), (-3, 1)], ids=["1", "reach", "beyond", "back"]
)
def test_edges_may_be_as_far_off_as_the_tolerance(shift, score):
    known = figures(line(40 + shift), line(40))
    assert (known.ods, known.ois, known.ap, known.r50) == (score,) * 4


def test_an_edge_found_twice_counts_once():
    known = figures(line(38) | line(42), line(40))
    assert (known.precision[0], known.recall[0]) == (0.5, 1)
    assert known.ods == pytest.approx(2 / 3)
    assert known.r50 == 1


def test_an_edge_that_half_the_annotators_drew_is_right_and_half_complete():
    known = figures(line(20), line(20), line(20) | line(60))
    assert known.precision[0] == 1
    assert known.recall[0] == pytest.approx(2 / 3)  # 2 x 60 px of 3 x 60
    assert known.ods == pytest.approx(0.8)
    assert known.ap == pytest.approx(67 / 101)  # recalls 0, 0.01 ... 0.66 are reached
    assert known.r50 == pytest.approx(2 / 3)


def test_the_best_threshold_leaves_out_what_is_wrong():
    strength = np.maximum(line(40) * 0.9, line(10) * 0.3)
    known = figures(strength, line(40))
    assert known.ods == 1
    assert 0.3 < known.threshold <= 0.9
    assert (known.precision[0], known.recall[0]) == (0.5, 1)
    assert (known.precision[95], known.recall[95]) == (0, 0)  # nothing is so strong


def test_each_photo_may_have_a_threshold_of_its_own():
    bright = count_edges((line(40) * 0.9 + line(10) * 0.5).astype(np.float32), [line(40)])
    faint = count_edges((line(40) * 0.2).astype(np.float32), [line(40)])
    known = figures_of([bright, faint])
    assert known.ois == 1 > known.ods == pytest.approx(0.8)


def test_nothing_found_scores_nothing_and_no_photo_has_no_score():
    known = figures(np.zeros(SIZE), line(40))
    assert (known.ods, known.ois, known.ap, known.r50) == (0, 0, 0, 0)
    assert math.isnan(figures_of([]).ods)


def test_photos_are_pooled_by_their_pixels():
    one = count_edges(line(40).astype(np.float32), [line(40)])
    other = count_edges(np.zeros(SIZE, np.float32), [line(40) | line(20) | line(60)])
    assert figures_of([one, other]).recall[0] == pytest.approx(1 / 4)


def most_pairs(found, truth, reach):
    """The largest matching by the textbook's search from each pixel."""
    ours, theirs = np.argwhere(found), np.argwhere(truth)
    near = [np.flatnonzero(((theirs - one) ** 2).sum(1) <= reach**2 + 1e-9) for one in ours]
    taken = {}

    def take(row, seen):
        for one in near[row]:
            if one not in seen:
                seen.add(one)
                if one not in taken or take(taken[one], seen):
                    taken[one] = row
                    return True
        return False

    return sum(take(row, set()) for row in range(len(ours)))


small = arrays(bool, (7, 9), elements=st.booleans(), fill=st.booleans())


@settings(max_examples=120)
@given(found=small, truth=small, reach=st.sampled_from([0.5, 1.0, 1.5, 2.3, 3.2]))
def test_as_many_pixels_are_paired_as_can_be(found, truth, reach):
    matched = match_edges(found, truth, reach)
    assert matched.found.sum() == matched.truth.sum() == most_pairs(found, truth, reach)
    assert not (matched.found & ~found).any() and not (matched.truth & ~truth).any()


def test_pairs_are_shifted_along_where_the_nearest_would_leave_one_alone():
    found, truth = np.zeros((1, 8), bool), np.zeros((1, 8), bool)
    found[0, [2, 4]] = truth[0, [3, 0]] = True  # 4 can take 3 only, so 2 has to take 0
    assert match_edges(found, truth, 2.0).found.sum() == 2


def test_steps_are_round_not_square():
    steps = steps_within(2.0)
    assert len(steps) == 13
    assert np.array_equal((steps**2).sum(1), np.sort((steps**2).sum(1)))


@settings(max_examples=60)
@given(edges=arrays(bool, (12, 14), elements=st.booleans(), fill=st.booleans()))
def test_thinning_keeps_every_part_in_one_piece(edges):
    import cv2

    lines = thin(edges)
    assert not (lines & ~edges).any()
    counts = [cv2.connectedComponents(e.view(np.uint8), connectivity=8)[0] for e in (edges, lines)]
    assert counts[0] == counts[1]
    assert np.array_equal(thin(lines), lines)


def test_a_thick_line_becomes_the_line_in_its_middle():
    thick = line(19) | line(20) | line(21)
    inner = thin(thick)[2:-2]
    assert np.array_equal(inner, line(20)[2:-2])


def test_thresholds_lie_between_0_and_1():
    assert len(thresholds()) == 99
    assert (thresholds()[0], thresholds()[-1]) == (0.01, 0.99)


def regions(*columns, size=SIZE):
    """Annotations of upright strips (first, past the last column)."""
    found = []
    for number, (first, last) in enumerate(columns, 1):
        mask = np.zeros(size, bool)
        mask[:, first:last] = True
        box = (float(first), 0.0, float(last - first), float(size[0]))
        found.append(Annotation(id=number, rle=encode_rle(mask), bbox=box, area=float(mask.sum())))
    return found


def test_edges_are_where_regions_meet():
    (edges,) = true_edges(regions((0, 30), (30, 80)), SIZE)
    assert np.array_equal(edges, line(29))


def test_annotators_are_told_apart_by_the_order_and_overlap_of_regions():
    drawn = regions((0, 30), (30, 80), (0, 50), (50, 80), (20, 80))
    maps = annotator_maps(drawn, SIZE)
    assert [int(edges_between(one)[0].argmax()) for one in maps] == [29, 49, 19]


def test_a_region_that_was_left_out_as_a_duplicate_comes_back():
    # the second annotator drew 0-29 again, which is not repeated, and split the rest
    maps = annotator_maps(regions((0, 30), (30, 80), (29, 60), (60, 80)), SIZE)
    assert len(maps) == 2
    assert np.flatnonzero(edges_between(maps[1])[0]).tolist() == [28, 59]
    assert all((one > 0).all() for one in maps)


def test_narrow_rests_go_to_their_neighbours_and_wide_ones_are_regions():
    (narrow,) = true_edges(regions((0, 30), (34, 80)), SIZE)
    assert np.flatnonzero(narrow[0]).tolist() == [31]
    (wide,) = true_edges(regions((0, 30), (50, 80)), SIZE)
    assert np.flatnonzero(wide[0]).tolist() == [29, 49]


def test_crowds_are_no_regions_and_a_photo_without_regions_has_no_edges():
    crowd = Annotation(
        id=1, rle=encode_rle(np.ones(SIZE, bool)), bbox=(0, 0, 80, 60), area=1, iscrowd=True
    )
    assert true_edges([crowd], SIZE) == ()


class Drawn:
    """Finds one upright line, as strong as the first pixel is red."""

    def edges(self, image):
        return (line(29, image.shape[:2]) * (image[0, 0, 0] / 255)).astype(np.float32)


@pytest.fixture
def strips(tmp_path):
    folder = tmp_path / "st|rips"
    folder.mkdir()
    for name in ("p0", "p1"):
        Image.new("RGB", SIZE[::-1], "red").save(folder / f"{name}.png")
        rows = [{"segmentation": one.rle} for one in regions((0, 30), (30, 80))]
        table = {"image": {"height": SIZE[0], "width": SIZE[1]}, "annotations": rows}
        (folder / f"{name}.json").write_text(json.dumps(table))
    return open_sa1b(folder)


def test_a_set_has_its_line_and_the_same_photos_give_the_same_report(strips):
    steps = []
    first = evaluate_edges(
        Drawn(), [strips], split="all", progress=lambda *step: steps.append(step)
    )
    assert steps == [(0, 2), (1, 2), (2, 2)]
    table = first.to_dict()
    assert table["sets"]["st|rips"] == {
        "photos": 2, "ods": 1, "ois": 1, "ap": 1, "r50": 1, "threshold": 0.01
    }  # fmt: skip
    assert len(table["pooled"]["curve"]["recall"]) == 99
    assert json.loads(json.dumps(table)) == table
    assert table == evaluate_edges(Drawn(), [strips], split="all").to_dict()
    assert "| st\\|rips | 2 | 1.000 | 1.000 | 1.000 | 1.000 |" in first.markdown()
    console = Console(width=80, record=True, quiet=False, file=__import__("io").StringIO())
    console.print(first.table())
    assert "st|rips" in console.export_text()


def test_only_the_split_that_was_asked_for_is_judged(strips):
    assert [one.image_id for one in evaluate_edges(Drawn(), [strips]).counts] == ["p0"]


def test_sheets_show_the_worst_and_the_best_photos(strips):
    report = evaluate_edges(Drawn(), [strips], split="all")
    worst, best = edge_sheets(report, [strips], Drawn())
    assert (worst.name, best.name) == ("00-edges-worst", "00-edges-best")
    assert f_at(report.counts[0], 0.5) == 1
    # photo, annotators, found side by side: the same line in the two on the right
    tile = worst.pixels[12 : 12 + 180, 12 : 12 + 720]
    red, drawn, found = tile[:, :240], tile[:, 240:480], tile[:, 480:]
    assert (red[90, 100] == (254, 0, 0)).all() or (red[90, 100] == (255, 0, 0)).all()
    assert np.array_equal(drawn, found) and (drawn[90].min() < 60)
