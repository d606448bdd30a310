"""Every pixel has one mask at most, and which one is a rule, whatever the order of the masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymask.errors import PromptError
from anymask.generated import GeneratedMasks
from anymask.mask_windows import decode_window
from anymask.masks import Masks
from anymask.predict.panoptic import panoptic


def drawn(*pictures, scores=None):
    """Masks from pictures: rows of dots and hashes, rows apart by spaces."""
    bits = np.array([[[c == "#" for c in row] for row in p.split()] for p in pictures])
    return Masks.from_bits(bits, scores)


def seen(result):
    """The label map as rows of digits."""
    return " ".join("".join(map(str, row)) for row in result.labels)


ALL = {"min_area": 1, "min_visible": 0.0}


@pytest.mark.parametrize("scores", [(0.9, 0.9), (0.9, 0.8)])
def test_of_masks_of_like_scores_the_smaller_lies_on_top(scores):
    for order in (1, -1):
        masks = drawn(*["#### ####", ".##. ...."][::order], scores=scores[::order])
        assert seen(panoptic(masks, **ALL)) == ("1221 1111" if order == 1 else "2112 2222")


def test_a_doubtful_scrap_does_not_cut_up_what_was_found_well():
    whole, part = "########## ##########", "##........ .........."  # ten times smaller
    assert seen(panoptic(drawn(whole, part, scores=[0.9, 0.72]), **ALL))[:2] == "22"
    assert seen(panoptic(drawn(whole, part, scores=[0.9, 0.70]), **ALL))[:2] == "11"


def test_of_equally_large_masks_the_better_scored_wins_then_the_earlier():
    masks = drawn("##..", ".##.", "..##", scores=[0.5, 0.5, 0.9])
    result = panoptic(masks, **ALL)
    assert (seen(result), result.kept.tolist()) == ("1122", [0, 2])


def test_a_mask_that_is_hidden_is_dropped_and_the_labels_have_no_gap():
    masks = drawn("####", "##..", "##..", "..##", scores=[0.9, 0.89, 0.88, 0.87])
    result = panoptic(masks, **ALL)
    assert seen(result) == "1122"
    assert result.kept.tolist() == [1, 3]


def test_what_lies_below_a_dropped_mask_shows():
    masks = drawn("########", "#####...", "####....")
    assert seen(panoptic(masks, min_area=1, min_visible=0.0)) == "33332111"
    assert seen(panoptic(masks, min_area=1, min_visible=0.3)) == "22221111"
    assert seen(panoptic(masks, min_area=2, min_visible=0.0)) == "22221111"


def test_masks_come_back_without_overlaps_and_in_their_order():
    masks = drawn("#### ####", ".##. ....", scores=[0.9, 0.85])
    result = panoptic(masks, **ALL)
    assert result.masks.scores.tolist() == masks.scores.tolist()
    assert result.masks.bits.sum(0).max() == 1
    for k, mask in enumerate(result.masks, 1):
        assert (mask == (result.labels == k)).all()


def test_crumbs_go_to_the_nearest_mask_and_small_holes_are_filled():
    torn = drawn("###....# #.#..... ###.....")
    assert seen(panoptic(torn, min_area=2)) == "11100000 11100000 11100000"
    assert seen(panoptic(torn, min_area=1)) == "11100001 10100000 11100000"


def test_a_mask_in_crumbs_alone_keeps_its_largest():
    masks = drawn("##....#....#....")
    assert seen(panoptic(masks, min_area=3)) == "1100000000000000"


def test_a_crumb_between_two_masks_goes_to_one_of_them():
    masks = drawn("####....", "....###.", ".......#", scores=[0.9, 0.8, 0.7])
    assert seen(panoptic(masks, min_area=2)) == "11112222"


def test_what_each_mask_was_is_kept():
    masks = drawn("####", "##..", "##..")
    facts = GeneratedMasks(
        size=masks.size,
        rles=masks.rles,
        scores=np.array([0.9, 0.86, 0.88], np.float32),
        stability=np.array([0.3, 0.2, 0.1], np.float32),
        points=np.array([[1.0, 0], [2, 0], [3, 0]]),
        crop_boxes=np.zeros((3, 4), np.int64),
    )
    result = panoptic(facts, **ALL)
    assert isinstance(result.masks, GeneratedMasks)
    assert result.masks.points.tolist() == [[1, 0], [3, 0]]
    assert result.masks.stability.tolist() == pytest.approx([0.3, 0.1])


@pytest.mark.parametrize("masks", [drawn("...."), Masks.from_bits(np.zeros((0, 2, 3), bool))])
def test_nothing_found_is_an_empty_map_of_full_shape(masks):
    result = panoptic(masks)
    assert result.labels.shape == masks.size and not result.labels.any()
    assert (len(result.masks), result.masks.size) == (0, masks.size)


@pytest.mark.parametrize("wrong", [{"min_area": -1}, {"min_visible": 1.5}, {"min_visible": -0.1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(PromptError) as error:
        panoptic(drawn("##"), **wrong)
    assert error.value.code == "setting"


some_masks = st.tuples(st.integers(0, 6), st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: st.binary(min_size=int(np.prod(shape)), max_size=int(np.prod(shape))).map(
        lambda raw: np.frombuffer(raw, np.uint8).reshape(shape) % 3 == 0
    )
)


@given(bits=some_masks, min_area=st.integers(0, 6), min_visible=st.sampled_from([0.0, 0.2, 0.7]))
def test_every_result_is_a_partition_of_a_part_of_the_image(bits, min_area, min_visible):
    masks = Masks.from_bits(bits)
    result = panoptic(masks, min_area=min_area, min_visible=min_visible)
    assert result.labels.dtype == np.int32
    assert len(result.masks) == result.labels.max(initial=0) == len(result.kept)
    total = result.masks.bits.sum(0) if len(result.masks) else np.zeros(masks.size)
    assert (total == (result.labels > 0)).all()
    assert (result.masks.areas > 0).all()
    if min_area <= 1:  # then nothing is moved: what is left was there
        for left, k in zip(result.masks, result.kept, strict=True):
            assert not (left & ~bits[k]).any()


@given(bits=some_masks, seed=st.integers(0, 9))
def test_the_order_of_the_masks_does_not_matter_where_areas_and_scores_differ(bits, seed):
    areas = bits.sum((1, 2))
    order = np.random.default_rng(seed).permutation(len(bits))
    if len(set(areas.tolist())) < len(areas):
        return
    one, other = panoptic(Masks.from_bits(bits)), panoptic(Masks.from_bits(bits[order]))
    assert sorted(rle["counts"] for rle in one.masks.rles) == sorted(
        rle["counts"] for rle in other.masks.rles
    )


@given(bits=some_masks)
def test_a_window_of_a_mask_holds_all_of_it(bits):
    for mask, rle in zip(bits, Masks.from_bits(bits).rles, strict=True):
        window, (x, y) = decode_window(rle)
        back = np.zeros_like(mask)
        back[y : y + window.shape[0], x : x + window.shape[1]] = window
        assert (back == mask).all()
        assert mask.any() or window.size == 0
