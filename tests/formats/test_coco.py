"""Masks as JSON, and back."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from anymask.errors import DataError, Note
from anymask.formats.coco import (
    json_file,
    masks_from_entries,
    masks_to_entries,
    parse_images,
    result_to_entry,
    to_text,
)
from anymask.formats.result import Asked, Result
from anymask.masks import Masks

stacks = st.tuples(st.integers(0, 3), st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(bool, shape)
)


def filled(polygons: list[list[list[list[float]]]], size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie inside, told ring by ring by the even-odd rule."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, bool)
    for ring in (ring for polygon in polygons for ring in polygon):
        for (x0, y0), (_, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
            if y0 != y1:  # rings run along pixel edges: sides are upright or level
                inside ^= (x > x0) & (y > min(y0, y1)) & (y < max(y0, y1))
    return inside


@given(stacks, st.data())
def test_masks_come_back_from_the_text_as_they_were(bits: np.ndarray, data: st.DataObject) -> None:
    count = len(bits)
    scores = data.draw(st.lists(st.floats(0, 2, width=32), min_size=count, max_size=count))
    masks = Masks.from_bits(bits, scores)
    entries = json.loads(to_text({"masks": masks_to_entries(masks)}))["masks"]
    back = masks_from_entries(entries, masks.size)
    assert np.array_equal(back.bits, bits)
    assert np.array_equal(back.scores, masks.scores)


@given(stacks)
def test_box_area_and_outlines_tell_of_the_same_mask(bits: np.ndarray) -> None:
    for mask, entry in zip(bits, masks_to_entries(Masks.from_bits(bits)), strict=True):
        assert entry["area"] == mask.sum()
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        tight = [xs[0], ys[0], np.ptp(xs) + 1, np.ptp(ys) + 1] if len(ys) else [0, 0, 0, 0]
        assert entry["bbox"] == tight
        assert np.array_equal(filled(entry["polygons"], mask.shape), mask)


def test_a_ring_has_an_outline_with_a_hole() -> None:
    mask = np.zeros((9, 9), np.uint8)
    cv2.rectangle(mask, (1, 1), (7, 7), 1, 2)
    (polygon,) = masks_to_entries(Masks.from_bits(mask[None].astype(bool)))[0]["polygons"]
    assert len(polygon) == 2


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools with numpy 2.4
def test_pycocotools_reads_the_run_lengths() -> None:
    mask = np.arange(35).reshape(5, 7) % 3 == 0
    entry = json.loads(to_text(masks_to_entries(Masks.from_bits(mask[None]))[0]))
    assert np.array_equal(coco.decode(entry["segmentation"]), mask)
    assert entry["area"] == coco.area(entry["segmentation"])
    assert entry["bbox"] == coco.toBbox(entry["segmentation"]).tolist()


def result(**changes: object) -> Result:
    bits = np.zeros((2, 4, 6), bool)
    bits[0, 1:3, 2:5] = True
    values: dict[str, object] = {
        "file": "x/zw\u00f6lf \n.jpg",
        "pixels": np.zeros((4, 6, 3), np.uint8),
        "masks": Masks.from_bits(bits, [0.9, 0.1]),
        "asked": (
            Asked(points=((2.5, 1.0), (0.0, 0.0)), labels=(1, 0)),
            Asked(box=(0.0, 0.0, 6.0, 4.0), mask="m.png"),
        ),
        "notes": (Note("some-code", "A sentence."),),
    }
    return Result(**(values | changes))  # type: ignore[arg-type]


def test_a_picture_tells_all_about_its_masks() -> None:
    assert result_to_entry(result()) == {
        "file": "x/zw\u00f6lf \n.jpg",
        "width": 6,
        "height": 4,
        "masks": [
            {
                "segmentation": {"size": [4, 6], "counts": "9220003"},
                "bbox": [2.0, 1.0, 3.0, 2.0],
                "area": 6,
                "score": 0.9,
                "polygons": [[[[2.0, 1.0], [2.0, 3.0], [5.0, 3.0], [5.0, 1.0]]]],
                "prompts": {"points": [[2.5, 1.0], [0.0, 0.0]], "labels": [1, 0]},
            },
            {
                "segmentation": {"size": [4, 6], "counts": "h0"},
                "bbox": [0.0, 0.0, 0.0, 0.0],
                "area": 0,
                "score": 0.1,
                "polygons": [],
                "prompts": {"box": [0.0, 0.0, 6.0, 4.0], "mask": "m.png"},
            },
        ],
        "notes": [{"code": "some-code", "text": "A sentence."}],
    }


def test_l9_the_file_is_ascii_and_reads_back() -> None:
    content = json_file(result())
    assert content.isascii()
    assert content.endswith(b"}\n")
    (image,) = parse_images(json.loads(content))
    assert image == result_to_entry(result())


def test_h6_a_picture_without_masks_has_an_empty_list() -> None:
    empty = result(masks=Masks.from_bits(np.zeros((0, 4, 6), bool)), asked=())
    assert result_to_entry(empty)["masks"] == []


def test_numbers_that_are_not_finite_never_reach_a_file() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_text({"score": float("nan")})


@pytest.mark.parametrize(
    "entry",
    [{}, {"segmentation": None}, {"segmentation": {"size": [1], "counts": "1"}}],
    ids=repr,
)
def test_an_entry_without_run_lengths_is_named(entry: object) -> None:
    good = masks_to_entries(Masks.from_bits(np.ones((1, 2, 2), bool)))[0]
    with pytest.raises(DataError, match=r"^json-shape: masks\[1\]"):
        masks_from_entries([good, entry], (2, 2))


@pytest.mark.parametrize("table", [[], {}, {"images": {}}, {"images": [{"file": "a"}]}], ids=repr)
def test_json_of_another_kind_is_an_error(table: object) -> None:
    with pytest.raises(DataError, match=r"^json-shape"):
        parse_images(table)
