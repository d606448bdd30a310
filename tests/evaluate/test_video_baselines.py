"""Baselines of video: what no network is needed for."""

import numpy as np
import pytest

from anymask.evaluate.video_baselines import flow, hold, moved
from anymask.evaluate.video_metrics import score_clip, statistics


def textured(side: int = 96) -> np.ndarray:
    """Smooth noise: something for optical flow to hold on to."""
    noise = np.random.default_rng(0).random((side // 6, side // 6, 3))
    return np.kron(noise, np.ones((6, 6, 1)))


def clip(frames: int = 5, step: int = 3) -> tuple[list[np.ndarray], np.ndarray]:
    """Two textured squares on a textured ground; one goes right, the other down."""
    ground, thing = (textured() * 120).astype(np.uint8), (255 - textured() * 120).astype(np.uint8)
    pictures, maps = [], np.zeros((frames, 96, 96), np.uint8)
    for t in range(frames):
        picture = ground.copy()
        at = 12 + step * t
        picture[12:40, at : at + 28] = thing[:28, :28]
        picture[at + 30 : at + 54, 60:84] = thing[40:64, 40:64]
        maps[t, 12:40, at : at + 28] = 1
        maps[t, at + 30 : at + 54, 60:84] = 2
        pictures.append(picture)
    return pictures, maps


def test_hold_gives_the_first_masks_again():
    frames, maps = clip(3)
    found = list(hold(maps[0], frames))
    assert len(found) == 3
    assert all(np.array_equal(each, maps[0]) for each in found)


def test_flow_follows_textured_squares():
    frames, maps = clip()
    held, flown = (score_clip(maps, list(way(maps[0], frames))) for way in (hold, flow))
    assert all(statistics(score.j).mean > 0.85 for score in flown)
    assert all(a.jf > b.jf + 0.1 for a, b in zip(flown, held, strict=True))


def test_x04_flow_twice_is_the_same_to_the_bit():
    frames, maps = clip()
    one, two = (list(flow(maps[0], frames)) for _ in range(2))
    assert np.array_equal(one, two)


def test_flow_on_frames_that_stand_still_keeps_the_masks():
    frames, maps = clip(1)
    found = list(flow(maps[0], frames * 3))
    assert np.array_equal(found, np.repeat(maps, 3, axis=0))


@pytest.mark.parametrize(
    ("dx", "dy", "expected"),
    [
        (0, 0, "0770 0770 0000"),
        (1, 0, "7700 7700 0000"),
        (0, -1, "0000 0770 0770"),
        (0.5, 0, "7770 7770 0000"),  # halves on both sides: a half is inside
        (0.6, 0, "7700 7700 0000"),
        (4, 0, "0000 0000 0000"),  # from beyond the border comes nothing
    ],
)
def test_a_map_moves_as_the_flow_says(dx, dy, expected):
    labels = np.array([[0, 7, 7, 0]] * 2 + [[0] * 4], np.uint8)
    back = np.zeros((3, 4, 2), np.float32)
    back[...] = dx, dy
    rows = expected.split()
    assert moved(labels, back).tolist() == [[int(c) for c in row] for row in rows]


def test_void_is_left_behind():
    labels = np.array([[255, 3, 3]], np.uint8)
    assert moved(labels, np.zeros((1, 3, 2), np.float32)).tolist() == [[0, 3, 3]]
