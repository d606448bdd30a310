"""Masks: run lengths, boxes, outlines and clean-up, on cases with known answers and by law."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anymask.errors import DataError
from anymask.mask_geometry import (
    mask_iou,
    nms,
    remove_small_regions,
    stability_score,
    tight_boxes,
)
from anymask.mask_outlines import polygons
from anymask.mask_rle import decode_rle, encode_rle, runs_of
from anymask.masks import Masks
from conftest import DATA

OFFICIAL = json.loads((DATA / "sam1_functions.json").read_text())

shapes = st.tuples(st.integers(1, 14), st.integers(1, 14))
masks = shapes.flatmap(lambda shape: arrays.arrays(bool, shape))


def stacks(most=5):
    return st.tuples(st.integers(0, most), st.integers(1, 9), st.integers(1, 9)).flatmap(
        lambda shape: arrays.arrays(bool, shape)
    )


def drawn(text):
    """A mask from lines of # and dots."""
    return np.array([[c == "#" for c in line] for line in text.split()])


def filled(parts, shape):
    """Even-odd filling by pixel centres of rings along pixel edges."""
    crossings = np.zeros((shape[0] + 1, shape[1] + 1), int)
    for ring in (ring for part in parts for ring in part):
        for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
            assert (x0 == x1) != (y0 == y1)
            if x0 == x1:
                crossings[int(min(y0, y1)) : int(max(y0, y1)), int(x0) :] += 1
    return crossings[:-1, :-1] % 2 == 1


def signed_area(ring):
    """Positive for rings that go counterclockwise on the screen."""
    x, y = np.array(ring).T
    return (y * np.roll(x, -1) - x * np.roll(y, -1)).sum() / 2


# --- what the official code gives


@pytest.mark.parametrize("case", OFFICIAL["mask_to_rle"])
def test_run_lengths_are_the_official_ones(case):
    if "mask" in case:
        mask = np.array(case["mask"], bool)
    else:
        ys, xs = np.mgrid[:40, :50]
        mask = (ys + 3 * xs) % 17 < 8
    rle = encode_rle(mask)
    assert rle == case["coco"]
    assert {"size": rle["size"], "counts": runs_of(rle).tolist()} == case["rle"]
    for given_ in (case["coco"], case["rle"]):
        assert np.array_equal(decode_rle(given_), mask)
        held = Masks.from_rles([given_], mask.shape)
        assert held.rles[0] == case["coco"] and held.areas.tolist() == [case["area"]]


@pytest.mark.parametrize("case", OFFICIAL["batched_mask_to_box"])
def test_inclusive_boxes_are_the_official_ones(case):
    if "masks_shape" in case:
        assert tight_boxes(np.zeros(case["masks_shape"], bool)).shape == tuple(case["boxes_shape"])
        return
    assert tight_boxes(np.array(case["masks"], bool)).tolist() == case["boxes_xyxy"]


@pytest.mark.parametrize("case", OFFICIAL["calculate_stability_score"])
def test_stability_scores_are_the_official_ones(case):
    logits = np.array(case["masks"], np.float32)
    found = stability_score(logits, case["mask_threshold"], case["threshold_offset"])
    wanted = [np.nan if score is None else score for score in case["score"]]
    assert np.array_equal(found, np.array(wanted, np.float32), equal_nan=True)


@pytest.mark.parametrize("case", OFFICIAL["remove_small_regions"])
def test_small_regions_are_removed_as_the_official_code_does(case):
    mask = np.array(case["mask"], bool)
    before = mask.copy()
    found, changed = remove_small_regions(mask, case["area_thresh"], case["mode"])
    assert np.array_equal(found, np.array(case["out"], bool)) and changed == case["changed"]
    assert np.array_equal(mask, before)


@pytest.mark.parametrize("case", OFFICIAL["batched_nms"])
def test_suppression_keeps_the_official_boxes(case):
    boxes, scores = np.array(case["boxes_xyxy"]), np.array(case["scores"])
    assert nms(boxes, scores, case["iou_threshold"]).tolist() == case["keep"]


# --- laws of run lengths


@given(masks)
def test_run_lengths_come_back_as_the_same_mask(mask):
    rle = encode_rle(mask)
    assert np.array_equal(decode_rle(rle), mask)
    runs = runs_of(rle)
    assert runs.sum() == mask.size and (runs[1:] > 0).all()
    plain = Masks.from_rles([{"size": list(mask.shape), "counts": runs.tolist()}], mask.shape)
    bytes_ = Masks.from_rles([{**rle, "counts": rle["counts"].encode()}], mask.shape)
    assert plain.rles == bytes_.rles == (rle,)


@pytest.mark.parametrize(
    "counts",
    [
        *("", "f2", "e1", "zzzzzzzz", "0P", "PPPP", "`````", "\x00", "f1 ", "é", "f" * 40, b"\xff"),
        *([], [55], [60, -6], [2.5, 51.5], [[54]], ["a"], None, 54, {"a": 1}),
    ],
    ids=repr,
)
def test_f16_broken_run_lengths_are_named_and_never_read_past_the_end(counts):
    rle = {"size": [6, 9], "counts": counts}
    with pytest.raises(DataError) as caught:
        decode_rle(rle)
    assert caught.value.code == "rle-broken"
    with pytest.raises(DataError) as caught:
        Masks.from_rles([encode_rle(np.ones((6, 9), bool)), rle], (6, 9))
    assert caught.value.code == "rle-broken" and caught.value.where == "masks[1]"


@given(text=st.binary(max_size=30))
def test_f16_any_bytes_are_run_lengths_or_refused(text):
    try:
        mask = decode_rle({"size": [6, 9], "counts": text})
    except DataError as error:
        assert error.code == "rle-broken"
    else:
        assert mask.shape == (6, 9)


@pytest.mark.parametrize("size", [None, [6], [6, 9, 1], [6, -9], [6.0, 9.0], "69", [2**40, 1]])
def test_f16_a_size_that_is_none_is_named(size):
    with pytest.raises(DataError, match="rle-broken"):
        runs_of({"size": size, "counts": "f1"})
    with pytest.raises(DataError, match="rle-broken"):
        Masks.from_rles([{"counts": "f1"}], (6, 9))


def test_f16_run_lengths_of_another_size_are_named_with_both_sizes():
    rle = encode_rle(np.ones((6, 9), bool))
    with pytest.raises(DataError, match=r"6x9.*9x6; swapped\?") as caught:
        Masks.from_rles([rle], (9, 6))
    assert caught.value.code == "rle-size" and caught.value.where == "masks[0]"
    with pytest.raises(DataError) as caught:
        Masks.from_rles([rle], (5, 6))
    assert "swapped" not in str(caught.value)


# --- laws of masks


@given(stacks())
def test_masks_hold_bits_areas_and_boxes(bits):
    held = Masks.from_bits(bits)
    assert len(held) == len(bits) and np.array_equal(held.bits, bits)
    assert held.bits.shape == bits.shape and held.bits.dtype == bool
    assert held.areas.tolist() == bits.sum((1, 2)).tolist()
    assert held.scores.tolist() == [1.0] * len(bits)
    for i, mask in enumerate(held):
        assert np.array_equal(mask, bits[i]) and np.array_equal(held[i], bits[i])
    inclusive = tight_boxes(bits)
    some = bits.any((1, 2))
    assert np.array_equal(held.boxes, inclusive + np.array([0, 0, 1, 1]) * some[:, None])


@given(data=st.data(), bits=stacks())
def test_keeping_some_masks_keeps_their_order_and_scores(data, bits):
    scores = np.arange(len(bits), dtype=np.float32) / 8
    index = data.draw(st.lists(st.integers(0, len(bits) - 1)) if len(bits) else st.just([]))
    kept = Masks.from_bits(bits, scores).keep(index)
    assert kept.scores.tolist() == [i / 8 for i in index]
    assert kept.size == bits.shape[1:]
    assert np.array_equal(kept.bits, bits[index])


def test_masks_and_scores_must_be_as_many():
    bits = np.zeros((2, 3, 4), bool)
    with pytest.raises(DataError, match="scores-count"):
        Masks.from_bits(bits, [1.0])


@given(
    shape=st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 999),
)
def test_overlap_is_symmetric_and_the_same_from_bits_and_from_run_lengths(shape, seed):
    n, m, height, width = shape
    rng = np.random.default_rng(seed)
    a, b = (rng.random((count, height, width)) < rng.random() for count in (n, m))
    found = mask_iou(a, b)
    assert found.shape == (n, m) and np.array_equal(mask_iou(b, a), found.T)
    for i in range(n):
        for j in range(m):
            either = (a[i] | b[j]).sum()
            wanted = (a[i] & b[j]).sum() / either if either else 1.0
            assert found[i, j] == pytest.approx(wanted)
    assert np.allclose(Masks.from_bits(a).iou(Masks.from_bits(b)), found)
    assert np.array_equal(np.diag(mask_iou(a, a)), np.ones(n))


def test_overlap_is_counted_in_parts_without_a_difference(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 20, 30)) < 0.5, rng.random((2, 20, 30)) < 0.5
    whole = mask_iou(a, b)
    monkeypatch.setattr("anymask.mask_geometry._PIXELS_AT_ONCE", 7)
    assert np.array_equal(mask_iou(a, b), whole)


@given(masks, st.floats(0.5, 20))
def test_cleaning_leaves_no_small_region_and_is_done_at_once(mask, below):
    for kind in ("holes", "islands"):
        found, changed = remove_small_regions(mask, below, kind)
        assert changed or np.array_equal(found, mask)
        again, more = remove_small_regions(found, below, kind)
        if kind == "holes" or found.sum() >= below:
            assert not more and np.array_equal(again, found)
        assert (found | mask == found).all() if kind == "holes" else (found & mask == found).all()
        assert found.any() == mask.any() or kind == "holes"


@given(
    boxes=st.lists(st.tuples(*[st.integers(0, 9)] * 4), max_size=12), threshold=st.floats(0.1, 0.9)
)
def test_suppressed_boxes_overlap_a_better_one_and_kept_ones_do_not(boxes, threshold):
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], float).reshape(-1, 4)
    scores = np.linspace(1, 0, len(corners)) if len(corners) else np.zeros(0)
    kept = nms(corners, scores, threshold).tolist()

    def overlap(i, j):
        a, b = corners[i], corners[j]
        both = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
        either = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both
        return both / either if either else 0

    for i in range(len(corners)):
        better = [j for j in kept if j < i]
        assert (i in kept) == all(overlap(i, j) <= threshold + 1e-6 for j in better) or any(
            abs(overlap(i, j) - threshold) < 1e-6 for j in better
        )


# --- outlines


@given(masks)
def test_outlines_filled_again_are_the_mask(mask):
    parts = polygons(mask)
    assert np.array_equal(filled(parts, mask.shape), mask)
    assert sum(signed_area(ring) for part in parts for ring in part) == mask.sum()
    for outer, *holes in parts:
        assert signed_area(outer) > 0 and all(signed_area(hole) < 0 for hole in holes)
    pieces, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    assert len(parts) == pieces - 1


def test_a_ring_inside_a_hole_is_a_part_of_its_own():
    mask = drawn("#######  #.....#  #.###.#  #.#.#.#  #.###.#  #.....#  #######")
    first, second = polygons(mask)
    assert first == [
        [[0, 0], [0, 7], [7, 7], [7, 0]],
        [[1, 1], [6, 1], [6, 6], [1, 6]],
    ]
    assert len(second) == 2 and signed_area(second[0]) == 9 and signed_area(second[1]) == -1


def test_pixels_that_touch_at_a_corner_are_two_parts_and_keep_their_own_rings():
    for text in ("#.  .#", ".#  #."):
        parts = polygons(drawn(text))
        assert [len(part) for part in parts] == [1, 1]
        assert all(len(part[0]) == 4 and signed_area(part[0]) == 1 for part in parts)


def test_outlines_of_nothing_are_none_and_of_all_the_border():
    assert polygons(np.zeros((4, 5), bool)) == []
    assert polygons(np.ones((4, 5), bool)) == [[[[0, 0], [0, 4], [5, 4], [5, 0]]]]
    assert Masks.from_bits(np.ones((1, 4, 5), bool)).polygons(0) == polygons(np.ones((4, 5), bool))


def test_i17_many_masks_of_a_large_image_take_little_memory():
    ys, xs = np.mgrid[:1200, :1600]
    one = (ys - 600) ** 2 + (xs - 800) ** 2 < 400**2
    held = Masks.from_rles([encode_rle(one)] * 500, one.shape)
    assert sum(len(rle["counts"]) for rle in held.rles) < 500 * 4000
    assert held.areas[499] == one.sum() and held.boxes[0].tolist() == [401, 201, 1200, 1000]
