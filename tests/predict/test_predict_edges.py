"""Edges from masks: where many masks end."""

import cv2
import numpy as np
import pytest
import torch

import anymask
from anymask.predict.edges import EdgeFinder, distinct, slope, thin_crests


@pytest.fixture(scope="module")
def finder():
    torch.manual_seed(0)
    return EdgeFinder(anymask.load("nano"), points_per_side=4)


def disc(size=(120, 160), x=80, y=60, radius=34):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_the_strongest_edge_of_a_disc_is_its_outline(finder):
    inside = disc()
    photo = np.where(inside[..., None], (200, 60, 40), (70, 110, 150)).astype(np.uint8)
    edges = finder.edges(photo)
    assert (edges.shape, edges.dtype) == ((120, 160), np.float32)
    assert edges.max() == 1 and edges.min() == 0
    outline = inside ^ cv2.erode(inside.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
    away = cv2.distanceTransform((~outline).view(np.uint8), cv2.DIST_L2, 5)
    strong = edges > 0.5
    assert (away[strong] <= 2).mean() > 0.9
    near = cv2.dilate(strong.view(np.uint8), np.ones((5, 5), np.uint8)).view(bool)
    assert near[outline].mean() > 0.8


def test_the_same_photo_gives_the_same_edges(finder):
    finder = EdgeFinder(finder.predictor.model, points_per_side=2)
    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    photo.flags.writeable = False
    assert np.array_equal(finder.edges(photo), finder.edges(photo))


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (37, 5)])
def test_odd_sizes_have_edges_too(finder, size):
    finder = EdgeFinder(finder.predictor.model, points_per_side=1)
    found = finder.edges(np.full((*size, 3), 99, np.uint8))
    assert found.shape == size and np.isfinite(found).all()


def test_of_masks_alike_the_one_of_the_highest_score_stays():
    one, other = np.zeros((2, 8, 8), bool)
    one[:4], other[:5] = True, True
    far = ~one
    masks = np.stack([one, other, far, np.zeros_like(one)])
    scores = np.array([0.5, 0.9, 0.7, 1.0], np.float32)
    assert distinct(masks, scores, 0.7).tolist() == [1, 2]
    assert distinct(masks, scores, 1.1).tolist() == [1, 2, 0]


def test_slopes_lie_on_the_outline_alone_and_do_not_exceed_1():
    step = np.repeat(np.repeat(np.float32([[0, 1]]), 10, 1), 12, 0)
    found = slope(step)
    assert np.flatnonzero(found[5]).tolist() == [9, 10]
    assert found.max() <= 1
    weak = step * np.float32(0.4)  # never above a half: no mask, no outline
    assert not slope(weak).any()


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 135, 160])
def test_an_edge_in_any_direction_becomes_thin_and_stays_whole(degrees):
    y, x = np.mgrid[-30:31, -30:31].astype(np.float32)
    angle = np.deg2rad(degrees)
    off = np.abs(np.cos(angle) * x + np.sin(angle) * y)
    strength = np.clip(1 - off / 4, 0, 1).astype(np.float32)
    kept = thin_crests(strength) > 0
    inner = kept[8:-8, 8:-8]
    assert off[8:-8, 8:-8][inner].max() <= 1.5
    crest = (off <= 0.5)[8:-8, 8:-8]
    near = cv2.dilate(inner.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert near[crest].all()
