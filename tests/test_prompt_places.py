"""Prompts in a network's pixels: where points and boxes are, and what masks become (P10 to P13)."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymask.mask_prompts import SURE
from anymask.prompts import BOX_FIRST, BOX_LAST, PADDING, Frame, network_points
from anymask.variants import InputSpec, sam_padding
from conftest import DATA
from parsed_prompts import FRAME, NANO, SAM, SIZE, codes, parse, refusal

sides = st.integers(1, 12_000)
sizes = st.tuples(sides, sides)


def disc(size, centre, radius):
    ys, xs = np.mgrid[: size[0], : size[1]]
    return (xs - centre[0]) ** 2 + (ys - centre[1]) ** 2 <= radius**2


# --- P10: where things are


@given(size=sizes, share=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)))
def test_p10_the_round_trip_to_the_network_and_back_is_exact_to_a_hundredth_px(size, share):
    x, y = (share[0] * size[1], share[1] * size[0])
    for spec in (SAM, NANO):
        frame = Frame.fit(size, spec)
        points = np.array([[x, y]], np.float32)
        points = np.minimum(points, np.nextafter(np.float32(size[::-1]), np.float32(0)))
        net, _ = network_points(parse(size, frame, points=points), frame, spec)
        back = (net[0, 0] - spec.point_shift_net) / frame.scale - spec.point_shift_px
        assert np.abs(back - points[0]).max() <= 0.01


@given(size=sizes)
def test_p10_the_whole_image_as_a_box_is_the_whole_resized_image(size):
    frame = Frame.fit(size, NANO)
    box = (0, 0, size[1], size[0])
    net, labels = network_points(parse(size, frame, boxes=box), frame, NANO)
    assert net[0].ravel().tolist() == [0, 0, frame.resized[1], frame.resized[0]]
    assert labels.tolist() == [[BOX_FIRST, BOX_LAST]]


@given(size=st.tuples(st.integers(8, 300), st.integers(8, 300)), data=st.data())
def test_p10_a_marked_pixel_is_found_where_its_point_says(size, data):
    """The centre of mass of a marker block in the resized image is its point in network px."""
    y = data.draw(st.integers(2, size[0] - 3))
    x = data.draw(st.integers(2, size[1] - 3))
    marker = np.zeros(size, np.float32)
    marker[y - 1 : y + 2, x - 1 : x + 2] = 1
    spec = InputSpec(
        side=4 * max(size), multiple=1, mean=(0.0,) * 3, std=(1.0,) * 3, point_shift_px=0.5
    )
    frame = Frame.fit(size, spec)
    large = cv2.resize(marker, frame.resized[::-1], interpolation=cv2.INTER_LINEAR)
    ys, xs = np.mgrid[: large.shape[0], : large.shape[1]]
    centre = ((xs + 0.5) * large).sum() / large.sum(), ((ys + 0.5) * large).sum() / large.sum()
    net, _ = network_points(parse(size, frame, points=(x, y)), frame, spec)
    assert net[0, 0] == pytest.approx(centre, abs=0.05)


@given(size=sizes, side=st.integers(1, 2048))
def test_p10_every_frame_holds_its_image(size, side):
    frame = Frame.fit(size, NANO, side)
    assert max(frame.resized) == side and min(frame.resized) >= 1
    for axis in (0, 1):
        assert frame.padded[axis] % 32 == 0
        assert 0 <= frame.padded[axis] - frame.resized[axis] < 32
        assert frame.covered[axis] <= frame.logits[axis] == frame.padded[axis] // 4


def test_p10_points_and_boxes_are_where_the_official_code_puts_them():
    for case in json.loads((DATA / "sam1_functions.json").read_text())["resize_longest_side"]:
        size = (case["hw"][0], case["hw"][1])
        frame = Frame.fit(size, SAM, case["target_length"])
        assert list(frame.resized) == case["preprocess_shape"]
        points, boxes = np.array(case["coords_in"]), np.array(case["boxes_in"])
        net, labels = network_points(parse(size, frame, points=points), frame, SAM)
        wanted = np.array(case["coords_out_float64"]).astype(np.float32) + np.float32(0.5)
        same_in_32 = points == points.astype(np.float32)
        assert np.array_equal(net[0, :-1][same_in_32], wanted[same_in_32])
        assert np.abs(net[0, :-1] - wanted).max() < 2e-4  # last bits of 1024
        assert labels[0].tolist() == [1] * len(points) + [PADDING]
        full = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])  # others are no boxes here
        net, _ = network_points(parse(size, frame, boxes=boxes[full]), frame, SAM)
        wanted = np.array(case["boxes_out_float64"])[full].astype(np.float32) + np.float32(0.5)
        assert np.abs(net.reshape(-1, 4) - wanted).max() < 2e-4


def test_p10_padding_comes_between_clicks_and_box_and_only_where_the_row_wants_it():
    both = parse(points=[(5, 6)], labels=[0], boxes=(1, 2, 30, 40))
    assert network_points(both, FRAME, SAM)[1].tolist() == [[0, BOX_FIRST, BOX_LAST]]
    assert network_points(parse(points=[(5, 6)]), FRAME, NANO)[1].tolist() == [[1]]
    assert [sam_padding(n, box) for n, box in ((0, False), (3, False), (3, True))] == [0, 1, 0]


# --- P12, P13: masks


@given(size=st.tuples(st.integers(1, 90), st.integers(1, 90)), seed=st.integers(0, 99))
def test_p12_a_mask_of_the_images_size_is_resized_and_padded_like_the_image(size, seed):
    spec = InputSpec(side=64, multiple=64, mean=(0.0,) * 3, std=(1.0,) * 3)
    frame = Frame.fit(size, spec)
    probability = np.random.default_rng(seed).random(size).astype(np.float32)
    found = parse(size, frame, masks=probability, kind="probability").masks
    assert found.shape == (1, 16, 16)
    rows, columns = frame.covered
    outside = found[0].copy()
    outside[:rows, :columns] = -9
    assert (outside < -6).all()  # padding is not the object
    if size != frame.resized and min(size) > 1:
        whole = parse(size, frame, masks=np.ones(size)).masks[0]
        inner = whole[: frame.resized[0] // 4, : frame.resized[1] // 4]
        assert np.allclose(inner, SURE, atol=1e-4)


def test_p12_logits_of_low_resolution_are_taken_as_they_are():
    logits = np.random.default_rng(0).normal(size=(1, 256, 256)).astype(np.float32) * 9
    prompts = parse(masks=logits)
    assert prompts.single and np.array_equal(prompts.masks, logits) and not prompts.notes
    for many in (logits.repeat(2, 0), logits.repeat(2, 0)[:, None]):
        assert not parse(masks=many).single
        assert np.array_equal(parse(masks=many).masks[1], logits[0])


@given(size=st.tuples(st.integers(1, 700), st.integers(1, 700)))
def test_p12_a_mask_of_another_size_is_refused_with_both_sizes(size):
    if size in ((256, 256), SIZE):
        return
    error = refusal(masks=np.zeros(size))
    assert error.code == "mask-size"
    assert all(f"{h}x{w}" in str(error) for h, w in (size, SIZE, (256, 256)))
    assert ("swapped" in str(error)) == (size == SIZE[::-1])


def test_p12_a_turned_mask_is_told_so():
    assert "swapped" in str(refusal(masks=np.zeros(SIZE[::-1])))


@given(
    size=st.sampled_from([(40, 60), (61, 33)]),
    value=st.sampled_from([True, 1, 255, 0.5, 3.0]),
    at_image=st.booleans(),
)
def test_p13_masks_of_two_values_are_binary(size, value, at_image):
    frame = Frame.fit(size, NANO)
    mask = np.zeros(size if at_image else frame.logits, type(value) if value != 255 else np.uint8)
    mask[3:20, 5:15] = value
    prompts = parse(size, frame, masks=mask)
    assert codes(prompts)[0] == "mask-binary" and codes(prompts)[-1] == "mask-described"
    assert np.abs(prompts.masks).max() == SURE
    signed = np.where(mask > 0, 7.0, -5.0)
    assert np.array_equal(parse(size, frame, masks=signed).masks, prompts.masks)


def test_p13_soft_masks_are_probabilities_and_others_logits_unless_told():
    rng = np.random.default_rng(1)
    soft = rng.random((1, 256, 256))
    assert np.allclose(
        parse(masks=soft).masks, np.log(soft / (1 - soft)).clip(-6.91, 6.91), atol=2e-2
    )
    bytes_ = (soft * 255).astype(np.uint8)
    assert np.allclose(parse(masks=bytes_).masks[0], parse(masks=bytes_ / 255.0).masks[0])
    assert np.allclose(parse(masks=soft, kind="logits").masks, soft)
    assert set(np.unique(parse(masks=soft - 0.5, kind="binary").masks)) == {-SURE, SURE}
    assert np.array_equal(
        parse(masks=np.zeros((256, 256)), kind="logits").masks[0], np.zeros((256, 256))
    )


def test_p13_empty_masks_and_masks_that_are_not_finite_are_refused():
    empty = refusal(masks=np.stack([np.ones((256, 256)), np.zeros((256, 256))]) > 0)
    assert empty.code == "mask-empty" and empty.where == "masks[1]"
    broken = np.zeros((2, 256, 256))
    broken[1, 2, 3] = np.nan
    error = refusal(masks=broken)
    assert error.code == "not-finite" and error.where == "masks[1][2][3]"
    assert refusal(masks=np.full((256, 256), "x")).code == "mask-values"


@given(
    size=st.sampled_from([(200, 300), (300, 110)]),
    x=st.integers(20, 80),
    y=st.integers(20, 90),
    radius=st.integers(3, 15),
    low=st.booleans(),
)
def test_p13_a_binary_mask_brings_its_box_and_innermost_point(size, x, y, radius, low):
    frame = Frame.fit(size, NANO)
    shape, scale = (frame.logits, frame.cell) if low else (size, (1, 1))
    if low:
        x, y, radius = x // 3, y // 3, max(2, radius // 3)
    prompts = parse(size, frame, masks=disc(shape, (x, y), radius))
    centre = np.array([x + 0.5, y + 0.5]) * scale
    assert prompts.points[0][0] == pytest.approx(centre - 0.5, abs=1e-3)
    a, b, c, d = prompts.boxes[0].tolist()
    assert c - a == pytest.approx((2 * radius + 1) * scale[0], abs=1e-3)
    assert ((a + c) / 2, (b + d) / 2) == pytest.approx(tuple(centre), abs=1e-3)
    clicked = parse(size, frame, masks=disc(shape, (9, 9), 5), points=(1, 1))
    assert clicked.boxes is None and clicked.points[0].tolist() == [[1, 1]]
