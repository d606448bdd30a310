"""Fast mode: a share of the points, the promising ones; what it finds, exact mode finds too."""

import numpy as np
import pytest
from small_models import LOOSE, blocks

from anymask.frame_crops import point_grid
from anymask.predict import everything_fast
from anymask.predict.everything import MaskGenerator
from anymask.predict.everything_fast import rounds, wanted
from anymask.predict.everything_settings import cells_of
from tiny import tiny_sam

GRID = cells_of(point_grid(16))


def test_rounds_go_from_coarse_to_fine_and_hold_each_point_once():
    found = rounds(GRID)
    assert [step for step, _ in found] == [4, 2, 1]
    assert [len(chosen) for _, chosen in found] == [16, 48, 192]
    assert sorted(np.concatenate([chosen for _, chosen in found])) == list(range(256))


def test_the_first_round_is_decoded_whole():
    chosen = rounds(GRID)[0][1]
    nothing = np.full(256, np.nan, np.float32)
    assert len(wanted(chosen, GRID, nothing, np.zeros(256, np.int64), 4)) == 16


def test_points_beside_high_scores_come_first_and_covered_ones_not_at_all():
    (_, first), (_, second), _ = rounds(GRID)
    best = np.full(256, np.nan, np.float32)
    best[first] = np.where(GRID[first, 0] < 8, 0.9, 0.1)  # the left half is promising
    covers = np.zeros(256, np.int64)
    covers[GRID[:, 1] < 4] = everything_fast._COVERED
    kept = second[wanted(second, GRID, best, covers, 2)]
    assert (GRID[kept, 1] >= 4).all()
    left = second[(GRID[second, 0] < 6) & (GRID[second, 1] >= 4)]
    assert set(left) <= set(kept)


def test_no_more_than_a_share_of_all_points_is_decoded():
    best = np.full(256, np.nan, np.float32)
    for step, chosen in rounds(GRID):
        kept = chosen[wanted(chosen, GRID, best, np.zeros(256, np.int64), step)]
        best[kept] = 0.5
    assert np.count_nonzero(~np.isnan(best)) == int(everything_fast._SHARE * 256)


def test_a_regular_grid_is_known_by_its_points():
    assert cells_of(point_grid(3)).tolist()[:4] == [[0, 0], [1, 0], [2, 0], [0, 1]]
    assert cells_of(point_grid(3)[:8]) is None
    assert cells_of(point_grid(3) + 0.01) is None


@pytest.fixture(scope="module")
def pixels():
    return blocks()


@pytest.fixture
def fast_and_exact(pixels):
    settings = LOOSE | {"points_per_side": 12, "box_nms_thresh": 0.8}
    return [
        MaskGenerator(tiny_sam(3), **settings, mode=mode).generate(pixels)
        for mode in ("fast", "exact")
    ]


def test_what_fast_mode_finds_is_what_exact_mode_decodes(fast_and_exact, pixels):
    fast, exact = fast_and_exact
    settings = LOOSE | {"points_per_side": 12, "box_nms_thresh": 1.0}
    every = MaskGenerator(tiny_sam(3), **settings).generate(pixels)
    assert 0 < len(fast) <= len(exact)
    overlap = fast.iou(every)
    assert (overlap.max(1) > 0.999).all()  # each is one of exact mode's, before duplicates go
    found = overlap.argmax(1)
    assert np.allclose(fast.scores, every.scores[found], atol=1e-4)


def test_grids_of_ones_own_are_decoded_whole(pixels):
    grid = np.random.default_rng(0).random((20, 2))
    settings = LOOSE | {"points_per_side": None, "point_grids": [grid]}
    fast, exact = (
        MaskGenerator(tiny_sam(3), **settings, mode=mode).generate(pixels)
        for mode in ("fast", "exact")
    )
    assert fast.rles == exact.rles


def test_little_memory_thins_out_earlier_and_still_finds_masks(pixels, monkeypatch):
    settings = LOOSE | {"points_per_side": 12, "box_nms_thresh": 0.8}
    calls = []
    thin_out = everything_fast._Held.thin_out
    monkeypatch.setattr(
        everything_fast._Held,
        "thin_out",
        lambda held, threshold: (calls.append(len(held.scores)), thin_out(held, threshold)),
    )
    monkeypatch.setattr(everything_fast, "points_at_once", lambda frame, settings: 1)
    found = MaskGenerator(tiny_sam(3), **settings, mode="fast", memory_mb=1).generate(pixels)
    assert len(found)
    assert calls
