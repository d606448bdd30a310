"""J, F and their statistics are what one counts by hand."""

import numpy as np
import pytest

from anymask.errors import DataError
from anymask.evaluate.video_metrics import (
    ObjectScore,
    frame_scores,
    objects_of,
    region_similarity,
    score_clip,
    statistics,
)


def picture(text: str) -> np.ndarray:
    """Rows of digits: values of objects; v is void."""
    rows = text.split()
    return np.array([[255 if c == "v" else int(c) for c in row] for row in rows], np.uint8)


@pytest.mark.parametrize(
    ("truth", "found", "j"),
    [
        ("1100", "1100", 1.0),
        ("1100", "0011", 0.0),
        ("1100", "0110", 1 / 3),
        ("1111", "1000", 1 / 4),
        ("0000", "0000", 1.0),
        ("0000", "0001", 0.0),
        ("1100", "0000", 0.0),
    ],
    ids=["same", "apart", "overlap", "part", "both out of sight", "made up", "lost"],
)
def test_j_is_the_iou(truth, found, j):
    assert region_similarity(picture(truth) == 1, picture(found) == 1) == pytest.approx(j)


def test_void_pixels_belong_to_nobody():
    truth, found = picture("11v0 11v0"), picture("1110 1110")
    void = truth == 255
    assert region_similarity(truth == 1, found == 1) == pytest.approx(4 / 6)
    assert region_similarity(truth == 1, found == 1, void) == 1
    assert region_similarity(np.zeros_like(void), void, void) == 1  # nothing but void on one side


@pytest.mark.parametrize(
    ("values", "mean", "recall", "decay"),
    [
        ([1.0, 1.0, 1.0, 1.0], 1.0, 1.0, 0.0),
        ([0.8], 0.8, 1.0, 0.0),  # one frame: all quarters are that frame
        ([0.9, 0.3], 0.6, 0.5, 0.6),  # edges at 1, 1, 2, 2, 2: the last quarter is frame 2 alone
        ([0.5, 0.6], 0.55, 0.5, -0.1),  # exactly one half is not recalled
        # edges at 1, 2.75, 4.5, 6.25, 8 -> 1, 3, 5, 6, 8: frames 1 to 3 and 6 to 8
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], 0.55, 0.5, 0.5),
        # edges at 1, 1.75, 2.5, 3.25, 4 -> 1, 2, 3, 3, 4: the half is rounded up
        ([1.0, 0.9, 0.6, 0.3], 0.7, 0.75, 0.5),
    ],
)
def test_mean_recall_and_decay_by_hand(values, mean, recall, decay):
    found = statistics(np.array(values))
    assert (found.mean, found.recall) == (pytest.approx(mean), pytest.approx(recall))
    assert found.decay == pytest.approx(decay)


def test_quarters_of_long_clips_are_quarters():
    """Numbers of frames beyond 255 have spoiled this figure elsewhere."""
    values = np.concatenate([np.ones(600), np.zeros(200)])
    assert statistics(values).decay == pytest.approx(1 - 1 / 201)  # frame 600 is on the border


def moving(frames: int, value: int = 1) -> np.ndarray:
    """A square of 40 px in 100 x 100 that goes right by 4 px a frame."""
    maps = np.zeros((frames, 100, 100), np.uint8)
    for t in range(frames):
        maps[t, 30:70, 10 + 4 * t : 50 + 4 * t] = value
    return maps


def test_a_held_square_loses_what_the_square_has_moved():
    """Moved by 4 t px, 40 (40 - 4 t) px of 40 (40 + 4 t) are common: J is (10 - t) / (10 + t).

    F allows 2 px (0.008 of 141.4 rounded up). Of the border's 160 px, within 2 px of the moved
    one are, on the level sides, all but those 4 t - 2 at one end; of the upright sides, 2 px at
    both ends of the side inside the other square.
    """
    maps = moving(6)
    (score,) = score_clip(maps, np.repeat(maps[:1], 6, axis=0))
    assert score.j == pytest.approx([(10 - t) / (10 + t) for t in range(1, 5)])
    assert statistics(score.j).recall == 3 / 4  # 9/11, 8/12, 7/13 are above a half, 6/14 is not
    t1 = maps[1] == 1
    assert score.f[0] == pytest.approx(frame_scores(t1, maps[0] == 1)[1])
    assert score.f[0] == pytest.approx(80 / 160 + 4 / 160, abs=0.02)
    assert score.jf == pytest.approx((score.j.mean() + score.f.mean()) / 2)


def test_the_first_and_the_last_frame_are_left_out():
    truth = moving(5)
    wrong_ends = truth.copy()
    wrong_ends[[0, -1]] = 0
    (score,) = score_clip(truth, wrong_ends)
    assert len(score.j) == 3
    assert score.jf == 1


def test_objects_have_figures_of_their_own_and_late_ones_none():
    truth = np.repeat(picture("1120 1120 0000")[None], 4, axis=0)
    truth[2, 2, :] = 7  # comes in later
    found = truth.copy()
    found[1][found[1] == 2] = 1  # the first takes the second's pixels: 4 of 6
    scores = score_clip(truth, found)
    assert [score.object for score in scores] == [1, 2]
    assert scores[0].j == pytest.approx([4 / 6, 1])
    assert scores[1].j == pytest.approx([0, 1])


def test_v13_an_object_out_of_sight_is_right_as_an_empty_mask():
    truth = moving(5)
    truth[2] = 0
    found = truth.copy()
    assert score_clip(truth, found)[0].jf == 1
    found[2] = moving(5)[2]
    (score,) = score_clip(truth, found)
    assert (score.j[1], score.f[1]) == (0, 0)


def test_void_of_one_frame_counts_on_that_frame_alone():
    truth = np.repeat(picture("1100 1100")[None], 4, axis=0)
    truth[1, :, 2] = 255
    found = np.repeat(picture("1110 1110")[None], 4, axis=0)
    (score,) = score_clip(truth, found)
    assert score.j == pytest.approx([1, 4 / 6])


def test_void_is_no_object():
    assert objects_of(picture("0v30 1111")) == (1, 3)
    assert score_clip(np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8)) == ()


@pytest.mark.parametrize(
    ("truth", "found", "code"),
    [
        (moving(2), moving(2), "clip-short"),
        (moving(4), moving(3), "clip-lengths"),
        (moving(4), moving(4)[:, :50], "clip-sizes"),
    ],
)
def test_maps_that_do_not_belong_together_are_refused(truth, found, code):
    with pytest.raises(DataError) as caught:
        score_clip(truth, found)
    assert caught.value.code == code


def test_jf_weighs_both_alike():
    score = ObjectScore(object=1, j=np.array([0.2, 0.4]), f=np.array([0.6, 1.0]))
    assert score.jf == pytest.approx((0.3 + 0.8) / 2)
