"""Prompts: what is refused and how it is said, and what is converted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anymask.errors import PromptError
from anymask.prompts import Frame, Prompts, network_points
from parsed_prompts import FRAME, SAM, SIZE, codes, parse, refusal

inside = st.tuples(
    st.floats(0, 639, width=32, allow_subnormal=False),
    st.floats(0, 426, width=32, allow_subnormal=False),
)


# --- P1, P2, P17: outside, clipped, swapped


@given(
    x=st.one_of(st.floats(-1e6, -1e-3), st.floats(640, 1e6)),
    y=st.floats(0, 426),
    at=st.integers(0, 3),
)
def test_p01_a_point_outside_is_named_with_index_and_value(x, y, at):
    points = [(5.0, 5.0)] * 3
    points.insert(at, (x, y))
    error = refusal(points=points)
    assert error.code == "point-outside" and error.where == f"points[{at}]"
    assert tuple(error.given) == (np.float32(x), np.float32(y)) and "640x427" in str(error)
    many = refusal(points=[[(1, 1)], points])
    assert many.where == f"points[1][{at}]"


@given(x=st.floats(-1e6, 1e6, width=32), y=st.floats(-1e6, 1e6, width=32))
def test_p01_clip_moves_points_outside_to_the_border_and_leaves_others(x, y):
    prompts = parse(points=[(x, y), (639.5, 3.25)], clip=True)
    (first, second), *_ = prompts.points
    assert (first >= 0).all() and (first < (640, 427)).all()
    assert second.tolist() == [639.5, 3.25]
    outside = not (0 <= x < 640 and 0 <= y < 427)
    assert codes(prompts) == ["points-clipped"] * outside
    if not outside:
        assert first.tolist() == [x, y]


def test_p01_the_first_and_the_last_pixel_are_inside_and_the_width_is_not():
    assert parse(points=[(0, 0), (639, 426), (639.99, 426.99)]).single
    assert refusal(points=(640, 0)).code == "point-outside"


@given(
    x0=st.floats(-900, 600, width=16),
    y0=st.floats(-900, 400, width=16),
    width=st.floats(1, 2000, width=16),
    height=st.floats(1, 2000, width=16),
)
def test_p02_boxes_partly_outside_are_clipped_and_boxes_wholly_outside_refused(
    x0, y0, width, height
):
    box = (x0, y0, x0 + width, y0 + height)
    if box[2] <= 0 or box[3] <= 0:
        assert refusal(boxes=[(1, 1, 2, 2), box]).where == "boxes[1]"
        assert refusal(boxes=box).code == "box-outside"
        return
    prompts = parse(boxes=box)
    a, b, c, d = prompts.boxes[0].tolist()
    assert 0 <= a < c <= 640 and 0 <= b < d <= 427
    assert ("box-clipped" in codes(prompts)) == ((a, b, c, d) != box)


@pytest.mark.parametrize("box", [(640, 0, 700, 9), (0, 427, 9, 500), (-9, 0, 0, 9), (0, -9, 9, 0)])
def test_p02_a_box_that_only_touches_the_image_is_outside(box):
    assert refusal(boxes=box).code == "box-outside"


def test_p17_a_point_that_fits_when_swapped_is_told_so():
    error = refusal(size=(900, 1500), frame=Frame.fit((900, 1500), SAM), points=[(40, 1200)])
    assert "it fits as (1200, 40), swapped: give (x, y), x to the right" in str(error)
    assert "swapped" not in str(refusal(points=(5, 5000)))
    assert "fits if swapped" in str(refusal(boxes=(10, 500, 20, 600)))


@given(points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5))
def test_p17_numbers_within_0_and_1_look_normalised(points):
    assert "points-normalised" in codes(parse(points=points))
    assert "points-normalised" not in codes(parse(points=[*points, (2, 0)]))


def test_p17_a_normalised_box_is_remarked_on():
    assert codes(parse(boxes=(0.1, 0.2, 0.9, 0.8))) == ["boxes-normalised"]


# --- P3, P5 to P9: kinds and shapes of numbers

STRANGE = [float("nan"), float("inf"), -float("inf"), None, "12", "x", b"1", 1j, 1e300, object()]


@given(value=st.sampled_from(STRANGE), row=st.integers(0, 2), column=st.integers(0, 1))
def test_p03_what_is_no_finite_number_is_named_with_its_index(value, row, column):
    points = [[1, 2], [3, 4], [5, 6]]
    points[row][column] = value
    error = refusal(points=points)
    assert error.code in ("not-finite", "not-numbers")
    assert error.where == f"points[{row}][{column}]"
    ragged = refusal(points=[[(1, 1)], points])
    assert ragged.where == f"points[1][{row}][{column}]"
    box = refusal(boxes=[[1, 1, 2, 2], [1, value, 2, 2]])
    assert box.where == "boxes[1][1]"
    assert refusal(points=[(1, 1), (2, 2)], labels=[1, value]).where == "labels[1]"


@pytest.mark.parametrize("what", ["text", b"bytes", {"x": 1}, {1, 2}, object(), 7, None])
def test_p03_what_is_no_array_is_refused_without_a_crash(what):
    assert refusal(points=what, labels=[1]).code in ("not-numbers", "points-shape", "labels-alone")


def test_p04_empty_lists_are_no_objects_and_nothing_at_all_is_an_error():
    assert len(parse(points=[])) == len(parse(boxes=[])) == 0
    assert len(parse(points=np.zeros((0, 3, 2)))) == len(parse(boxes=np.zeros((0, 4)))) == 0
    assert len(parse(masks=np.zeros((0, 256, 256)))) == 0
    assert not parse(points=[]).single
    assert refusal().code == "no-prompt"
    assert refusal(points=np.zeros((0, 2))).code == "no-prompt"
    assert refusal(points=[[(1, 1)], []]).where == "points[1]"
    assert refusal(labels=[1]).code == "labels-alone"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"points": (1, 2, 3)}, "points-shape"),
        ({"points": [[1, 2, 3]]}, "points-shape"),
        ({"points": np.ones((2, 2, 2, 2))}, "points-shape"),
        ({"points": [(1, 2), (3,)]}, "points-shape"),
        ({"points": [[(1, 2)], [(3, 4, 5)]]}, "points-shape"),
        ({"points": [[(1, 2)], [(3, 4), (5,)]]}, "points-shape"),
        ({"points": 3}, "points-shape"),
        ({"boxes": (1, 2, 3)}, "boxes-shape"),
        ({"boxes": np.ones((1, 1, 4))}, "boxes-shape"),
        ({"boxes": np.ones((2, 5))}, "boxes-shape"),
        ({"masks": np.ones((2, 2, 256, 256))}, "mask-shape"),
        ({"masks": np.ones(256)}, "mask-shape"),
        ({"masks": [np.ones((2, 2)), np.ones((3, 3))]}, "mask-shape"),
    ],
)
def test_p05_a_wrong_shape_is_refused_with_got_and_wanted(given, code):
    error = refusal(**given)
    assert error.code == code
    assert "(" in str(error)  # a shape stands in the message


def test_p05_two_numbers_are_one_point_and_four_one_box():
    for prompts in (parse(points=(3, 4)), parse(points=(3, 4), labels=1)):
        assert prompts.single and prompts.points[0].tolist() == [[3, 4]]
    one = parse(boxes=(1, 2, 3, 4))
    assert one.single and one.boxes.tolist() == [[1, 2, 3, 4]]
    assert not parse(boxes=[(1, 2, 3, 4)]).single
    assert not parse(points=[[(3, 4)]]).single


def test_p06_labels_left_out_are_all_1_and_a_differing_count_is_refused():
    prompts = parse(points=[[(1, 1), (2, 2)], [(3, 3)]])
    assert [labels.tolist() for labels in prompts.labels] == [[1, 1], [1]]
    for labels in ([1], [1, 0, 1], 1, [[1, 0]]):
        assert refusal(points=[(1, 1), (2, 2)], labels=labels).code == "labels-count"
    assert refusal(points=[[(1, 1)], [(2, 2)]], labels=[[1]]).code == "labels-count"
    assert refusal(points=[[(1, 1)], [(2, 2)]], labels=[[1], [1, 0]]).where == "labels[1]"


@given(label=st.one_of(st.integers(-9, -1), st.integers(2, 9), st.floats(0.01, 0.99)))
def test_p07_a_label_other_than_0_and_1_is_named(label):
    error = refusal(points=[(1, 1), (2, 2)], labels=[1, label])
    assert error.code == "label-value" and error.where == "labels[1]"
    assert error.given == pytest.approx(label)


@given(
    x=st.integers(0, 500),
    y=st.integers(0, 400),
    width=st.integers(-9, 0),
    height=st.integers(-9, 26),
)
def test_p08_a_box_without_area_is_refused(x, y, width, height):
    for box in ((x, y, x + width, y + height), (x, y, x + height, y + width)):
        assert refusal(boxes=box).code == "box-order"


def test_p08_the_hint_says_where_a_box_fits_as_xywh():
    assert "it fits as xywh: give x0, y0, x1, y1 = (300, 200, 350, 260)" in str(
        refusal(boxes=(300, 200, 50, 60))
    )
    assert "xywh" not in str(refusal(boxes=(600, 200, 500, 60)))


@given(points=st.lists(st.tuples(st.integers(0, 639), st.integers(0, 426)), min_size=1))
def test_p09_ints_floats_lists_arrays_and_tensors_give_equal_bits(points):
    wanted = parse(points=points).points[0]
    assert wanted.dtype == np.float32
    for kind in (np.int16, np.int64, np.float32, np.float64, ">f8"):
        given = np.array(points, kind)
        assert np.array_equal(parse(points=given).points[0], wanted)
        assert np.array_equal(given, np.array(points, kind))
    assert np.array_equal(parse(points=torch.tensor(points)).points[0], wanted)
    ragged = parse(points=[points, np.array(points)])
    assert np.array_equal(ragged.points[1], wanted)


@given(inside)
def test_p09_float64_is_cast_to_float32_once(point):
    wide = (np.nextafter(point[0], 1), point[1])
    assert np.array_equal(parse(points=[wide]).points[0], np.array([wide], np.float32))


# --- P11, P14, P15: negative points, many prompts


def test_p11_only_negative_points_are_remarked_on():
    assert codes(parse(points=[(3, 4)], labels=[0])) == ["only-negative"]
    assert codes(parse(points=[[(3, 4)], [(3, 4)]], labels=[[1], [0]])) == ["only-negative"]
    assert codes(parse(points=[(3, 4)], labels=[0], boxes=(1, 1, 9, 9))) == []


@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_p14_prompts_with_as_many_points_each_go_together(counts):
    points = [[(float(p), float(i)) for i in range(n)] for p, n in enumerate(counts)]
    prompts = parse(points=points, boxes=[(0, 0, 5, 5)] * len(counts))
    assert len(prompts) == len(counts)
    groups = prompts.groups()
    assert sorted(i for group in groups for i in group) == list(range(len(counts)))
    for group in groups:
        assert len({counts[i] for i in group}) == 1
        part = prompts.take(group)
        assert [p[0, 0] for p in part.points] == group
        net, labels = network_points(part, FRAME, SAM)
        assert net.shape == (len(group), counts[group[0]] + 2, 2) and labels.shape == net.shape[:2]


def test_p15_points_box_and_mask_refine_one_object():
    logits = np.full((1, 256, 256), -3.0)
    logits[0, :9] = 1.5
    logits[0, 9] = 0.3
    prompts = parse(points=[(1, 1), (9, 9)], labels=[1, 0], boxes=(0, 0, 20, 20), masks=logits)
    assert prompts.single and len(prompts) == 1 and prompts.masks.shape == (1, 256, 256)
    assert prompts.points[0].shape == (2, 2) and prompts.boxes.shape == (1, 4)


@given(a=st.integers(1, 4), b=st.integers(1, 4), c=st.integers(1, 4))
def test_p15_unequal_counts_of_objects_are_refused(a, b, c):
    given = {
        "points": np.ones((a, 2, 2)),
        "boxes": np.tile([0, 0, 2, 2], (b, 1)),
        "masks": np.random.default_rng(0).normal(size=(c, 256, 256)),
    }
    if a == b == c:
        assert len(parse(**given)) == a
        return
    error = refusal(**given)
    assert error.code == "object-counts" and error.given == {"points": a, "boxes": b, "masks": c}


def test_p15_an_empty_list_of_points_beside_a_box_is_no_points():
    assert parse(points=[], labels=[], boxes=(1, 1, 2, 2)).single


def test_prompts_can_be_checked_before_there_is_a_model():
    assert len(Prompts.parse(size=SIZE, points=(3, 4))) == 1
    with pytest.raises(PromptError, match="mask-frame"):
        Prompts.parse(size=SIZE, masks=np.ones(SIZE))
