"""What is said about single answers: cases that one can see."""

import json

import numpy as np
import pytest
from growing import OBJECT, SIZE, Grows, bits, detail, one_photo

from anymask.evaluate import noc
from anymask.evaluate.detail import FAULTS, fault_of, near_border
from anymask.evaluate.detail_report import Judged, figures_of, pearson
from anymask.evaluate.interactive import Target, evaluate_interactive
from anymask.formats.records import Annotation
from anymask.mask_rle import encode_rle


def target(mask=OBJECT, ignore=None):
    left_out = None if ignore is None else encode_rle(ignore)
    return Target.of(
        Annotation(id=1, rle=encode_rle(mask), bbox=(0, 0, 1, 1), area=1, ignore=left_out)
    )


@pytest.mark.parametrize(
    ("found", "best", "others", "fault"),
    [
        (bits(20, 20, 40, 39), 0.95, [], "right"),
        (bits(20, 20, 40, 30), 0.9, [], "other output"),
        (bits(10, 20, 70, 40), 0.4, [bits(12, 20, 70, 40)], "other level"),
        (bits(50, 20, 70, 40), 0.1, [bits(50, 20, 70, 41)], "other object"),
        (bits(10, 10, 50, 50), 0.3, [bits(50, 20, 70, 40)], "too large"),
        (bits(20, 20, 40, 30), 0.5, [], "too small"),
        (bits(30, 20, 60, 40), 0.3, [], "partly"),
        (bits(60, 0, 70, 10), 0.0, [], "elsewhere"),
        (np.zeros(SIZE, bool), 0.0, [], "elsewhere"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_way_to_be_wrong_has_its_name(found, best, others, fault):
    assert fault in FAULTS
    assert fault_of(target(), found, best, [encode_rle(one) for one in others]) == fault


def test_ignored_pixels_make_no_fault():
    too_large = bits(20, 20, 60, 40)
    assert fault_of(target(), too_large, 0.5, []) == "too large"
    assert fault_of(target(ignore=bits(40, 0, 80, 60)), too_large, 0.5, []) == "right"


def test_errors_at_the_border_and_inside_are_told_apart():
    # the tolerance is 0.008 of 100 px, rounded up: 1 px
    assert near_border(target(), bits(20, 20, 41, 40)) == 1
    hole = OBJECT & ~bits(26, 26, 34, 34)
    assert near_border(target(), hole) == 0
    assert np.isnan(near_border(target(), OBJECT))
    assert near_border(target(np.ones(SIZE, bool)), OBJECT) == 0  # a border beyond the photo


@pytest.mark.parametrize(
    ("pixels", "size"),
    [(1, "small"), (1023, "small"), (1024, "medium"), (9215, "medium"), (9216, "large")],
)
def test_sizes_are_those_of_coco(pixels, size):
    assert detail(pixels=pixels).size == size


def test_means_are_those_of_the_masks():
    masks = [
        Judged(detail=detail(), box=0.9),
        Judged(detail=detail(after=(1.0, 0.5), fault="right", near=float("nan")), box=0.7),
    ]
    known = figures_of(masks)
    assert known["mean_after"] == [0.75, 0.7]
    assert known["more_clicks_never_worse"] == {"holds": False, "falls_at": [2]}
    assert known["boundary_f"] == {
        "box": pytest.approx(0.7), "click1": pytest.approx(0.4), "click2": pytest.approx(0.6)
    }  # fmt: skip
    assert known["near_border"] == 0.5
    assert known["sizes"]["small"]["masks"] == 2
    assert known["sizes"]["large"] == {"masks": 0} | dict.fromkeys(
        ("box", "click1", "boundary_f_box", "near_border")
    )
    assert known["faults"]["too small"] == {"masks": 1, "share": 0.5, "of_lost_iou": 1}
    assert known["noc"] == {}


def test_a_mean_that_stays_is_not_worse():
    known = figures_of([Judged(detail=detail(after=(0.5, 0.5)), box=0.9)])
    assert known["more_clicks_never_worse"] == {"holds": True, "falls_at": []}


def test_scores_that_rise_with_the_truth_correlate():
    masks = [
        Judged(detail=detail(predicted_box=p, predicted=(p, 1 - p), after=(iou, iou)), box=iou)
        for p, iou in ((0.1, 0.2), (0.5, 0.6), (0.8, 0.9))
    ]
    known = figures_of(masks)["pearson"]
    assert known == {"box": 1, "click1": 1, "click2": -1}
    assert pearson([1, 1], [0, 1]) is None
    rows = np.random.default_rng(0).random((2, 50))
    assert pearson(*rows.tolist()) == pytest.approx(np.corrcoef(rows)[0, 1])


def test_the_clicks_that_are_needed_are_counted_and_never_is_20():
    assert noc.reached([0.2, 0.85, 0.95], 0.85) == 2
    assert noc.reached([0.2, 0.84], 0.85) is None
    assert noc.mean_clicks([1, 3, None]) == 8
    assert noc.never([1, 3, None]) == pytest.approx(1 / 3)
    assert np.isnan(noc.mean_clicks([])) and np.isnan(noc.never([]))


@pytest.fixture
def photo(tmp_path):
    return one_photo(tmp_path / "x")


def judge(photo, predictor, **options):
    return evaluate_interactive(predictor, [photo], split="all", baselines=False, **options)


def test_a_model_that_needs_nine_clicks_is_asked_no_tenth_time(photo):
    model = Grows()
    report = judge(photo, model, clicks=(1, 3), noc=True)
    details = report.to_dict()["details"]
    assert details["noc"] == {"noc85": 9, "never85": 0, "noc90": 9, "never90": 0}
    assert details["mean_after"] == pytest.approx([0.1, 0.2, 0.3])
    assert model.asked == [10, *range(1, 10)]
    assert report.mean("click3") == pytest.approx(0.3)


def test_clicks_that_were_asked_for_are_clicked_however_good_the_mask_is(photo):
    model = Grows()
    assert judge(photo, model, clicks=(10,), noc=True).mean("click10") == 1
    assert model.asked == [10, *range(1, 11)]


def test_a_model_that_never_gets_there_is_clicked_twenty_times(photo):
    model = Grows()
    predict = model.predict
    model.predict = lambda size, **asked: predict(
        size, **{**asked, "points": None if asked.get("points") is None else asked["points"][:, :1]}
    )
    report = judge(photo, model, clicks=(1,), noc=True)
    assert report.to_dict()["details"]["noc"] == {
        "noc85": 20, "never85": 1, "noc90": 20, "never90": 1
    }  # fmt: skip
    assert len(model.asked) == 21


def test_details_do_not_change_the_scores_and_are_left_out_unless_wanted(photo):
    plain, more = judge(photo, Grows()), judge(photo, Grows(), details=True)
    assert "details" not in plain.to_dict()
    assert [one.ious for one in plain.scores] == [one.ious for one in more.scores]
    known = more.to_dict()["details"]
    assert known["faults"]["too small"]["masks"] == 1
    assert known["noc"] == {}
    assert json.loads(json.dumps(known, allow_nan=False)) == known
    assert more == judge(photo, Grows(), details=True)
