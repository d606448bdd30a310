"""LabelMe's JSONs: shapes of all kinds become masks; broken ones are refused with their place."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anymask.errors import DataError
from anymask.formats.labelme import looks_like, open_set, record_json
from anymask.formats.records import ReadOptions, Remarks
from mask_sets import bits, codes, picture, record

BOX = [[1, 1], [3, 1], [3, 3], [1, 3]]


def shape(points, kind="polygon", label="cat", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def table(*shapes, **more):
    base = {
        "version": "5.0.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": "a.jpg",
        "imageData": None,
        "imageHeight": 4,
        "imageWidth": 6,
    }
    return base | more


def read(path, given, strict=False, name="a"):
    file = path / f"{name}.json"
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(given if isinstance(given, str) else json.dumps(given))
    return open_set(path, ReadOptions(strict=strict)).read(name)


KINDS = {
    "polygon": (shape(BOX), ["......", ".##...", ".##...", "......"]),
    "no kind": (shape(BOX, None), ["......", ".##...", ".##...", "......"]),
    "rectangle": (shape([[4, 3], [1, 1]], "rectangle"), ["......", ".###..", ".###..", "......"]),
    "circle": (shape([[3, 2], [3, 0.5]], "circle"), ["......", "..##..", "..##..", "......"]),
    "turned box": (shape([[3, -0.1], [5.1, 2], [3, 4.1], [0.9, 2]], "rotation"),
                   ["..##..", ".####.", ".####.", "..##.."]),
}  # fmt: skip


@pytest.mark.parametrize(("given", "rows"), KINDS.values(), ids=KINDS)
def test_a_shape_becomes_its_pixels(tmp_path, given, rows):
    found = read(tmp_path, table(given))
    [annotation] = found.annotations
    np.testing.assert_array_equal(annotation.mask(), bits(rows))
    assert (annotation.category, found.file_name, found.size) == ("cat", "a.jpg", (4, 6))


def test_shapes_of_one_group_and_label_are_parts_of_one_mask(tmp_path):
    shapes = [
        shape([[0, 0], [1, 0], [1, 1], [0, 1]], group_id=1),
        shape([[4, 0], [5, 0], [5, 1], [4, 1]], label="dog", group_id=1),
        shape([[2, 0], [3, 0], [3, 1], [2, 1]], group_id=1),
        shape([[5, 3], [6, 3], [6, 4], [5, 4]]),
    ]
    found = read(tmp_path, table(*shapes)).annotations
    assert [(a.category, a.area, a.bbox) for a in found] == [
        ("cat", 2, (0, 0, 3, 1)),
        ("dog", 1, (4, 0, 1, 1)),
        ("cat", 1, (5, 3, 1, 1)),
    ]


def test_a_mask_with_a_hole_is_written_as_a_mask_and_parts_as_a_group():
    hole, parts = bits(["####", "#..#", "####"]), bits(["#.#.", "....", "...."])
    remarks = Remarks("here")
    made = json.loads(record_json(record("a.jpg", [hole, parts], words=["x", "y"]), remarks))
    kinds = [(s["shape_type"], s["group_id"], s["label"]) for s in made["shapes"]]
    assert kinds == [("mask", None, "x"), ("polygon", 2, "y"), ("polygon", 2, "y")]
    assert made["shapes"][0]["points"] == [[0, 0], [3, 2]]
    assert (made["imageHeight"], made["imageWidth"], made["imageData"]) == (3, 4, None)
    assert not remarks.notes


LOST = {
    "a point": (shape([[1, 1]], "point"), "shape-no-area", 0),
    "a line": (shape([[1, 1], [3, 3]], "line"), "shape-no-area", 0),
    "something new": (shape(BOX, "hologram"), "shape-no-area", 0),
    "two corners": (shape(BOX[:2]), "polygon-degenerate", 0),
    "no area": (shape([[1, 1], [1, 1], [1, 1]]), "mask-empty", 0),
    "outside": (shape([[9, 9], [12, 9], [12, 12]]), "polygon-clipped", 0),
    "partly outside": (shape([[1, 1], [99, 1], [99, 3], [1, 3]]), "polygon-clipped", 1),
    "a circle partly outside": (shape([[0, 0], [0, 3]], "circle"), "polygon-clipped", 1),
}


@pytest.mark.parametrize(("given", "code", "kept"), LOST.values(), ids=LOST)
def test_f15_what_is_degenerate_is_cut_or_left_out_and_counted(tmp_path, given, code, kept):
    found = read(tmp_path, table(given, shape(BOX, label="sound")))
    assert len(found.annotations) == kept + 1 and code in codes(found.notes)
    with pytest.raises(DataError, match=rf"{code}: .*a\.json: shapes\[0\]"):
        read(tmp_path, table(given), strict=True)


BROKEN = {
    "no JSON": "{",
    "no object": [],
    "no shapes": table(shapes=None),
    "a shape that is none": table(3),
    "points of one number": table(shape([[1], [2], [3]])),
    "points of texts": table(shape([["1", "2"]] * 3)),
    "points of NaN": table(shape([[float("nan"), 1], [2, 2], [3, 1]])),
    "no points": table(shape(None)),
    "a label of a number": table(shape(BOX, label=3)),
    "a size of texts": table(imageHeight="4"),
    "an absurd size": table(imageHeight=10**9, imageWidth=10**9),
    "no size at all": table(imageHeight=None),
    "a mask of nothing": table(shape([[0, 0], [1, 1]], "mask")),
    "a mask of no PNG": table(shape([[0, 0], [1, 1]], "mask", mask="aGVsbG8=")),
    "a mask of no base64": table(shape([[0, 0], [1, 1]], "mask", mask="%")),
    "an endless outline": table(shape([[0, 0], [1, 4]] * 99)) | {"imageHeight": 3, "shapes": 1},
}


@pytest.mark.parametrize("given", BROKEN.values(), ids=BROKEN)
def test_a_broken_json_is_refused_with_its_place(tmp_path, given):
    with pytest.raises(DataError, match=r"(json|record)-broken|picture-missing") as caught:
        read(tmp_path, given)
    assert "a.json" in caught.value.where


@settings(max_examples=60)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    ),
    key=st.sampled_from(["label", "points", "shape_type", "group_id", "flags", "mask", "shapes"]),
    kind=st.sampled_from(["polygon", "mask", "circle", "rectangle"]),
)
def test_any_value_anywhere_is_a_mask_or_an_error(tmp_path_factory, value, key, kind):
    base = table(shape([[1, 1], [3, 3]], kind))
    given_table = base | {key: value} if key == "shapes" else base
    if key != "shapes":
        base["shapes"][0][key] = value
    try:
        read(tmp_path_factory.mktemp("any"), given_table)
    except DataError as error:
        assert "a.json" in str(error.where)


def test_the_picture_inside_is_used_where_none_lies_beside(tmp_path):
    content = picture(tmp_path / "made" / "x.png", (4, 6), (1, 2, 3)).read_bytes()
    given = table(imageData=base64.b64encode(content).decode(), imageHeight=None, imagePath="x.png")
    found = read(tmp_path / "set", given)
    assert found.size == (4, 6) and found.image_bytes() == content and found.image_path() is None
    picture(tmp_path / "set" / "x.png", (4, 6), (9, 9, 9))
    assert read(tmp_path / "set", given).pixels()[0, 0].tolist() == [9, 9, 9]


@pytest.mark.parametrize(
    "stated", ["../secret.png", "..\\secret.png", "/secret.png", "C:\\secret.png"]
)
def test_o6_the_path_inside_is_taken_for_its_name_alone(tmp_path, stated):
    picture(tmp_path / "secret.png", (4, 6))
    found = read(tmp_path / "set", table(imagePath=stated))
    assert not found.has_picture and "/" not in found.file_name
    picture(tmp_path / "set" / "secret.png", (4, 6), (5, 5, 5))
    assert read(tmp_path / "set", table(imagePath=stated)).pixels()[0, 0, 0] == 5


def test_what_looks_like_labelme_is_told_from_other_json(tmp_path):
    assert not looks_like(tmp_path)
    read(tmp_path, table())
    assert looks_like(tmp_path)
    (tmp_path / "a.json").write_text('{"image": {}, "annotations": []}')
    assert not looks_like(tmp_path)
