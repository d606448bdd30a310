"""COCO's data sets: what others write is read, cut, counted or refused with its place."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from anymask.errors import DataError, OutputError
from anymask.formats import json_stream
from anymask.formats.coco_set import looks_like, open_coco
from anymask.formats.coco_writer import CocoWriter
from anymask.formats.json_stream import elements
from anymask.mask_rle import encode_rle, runs_of
from mask_sets import bits, codes, picture, record

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]
ONE = {"id": 1, "file_name": "a.jpg", "width": 6, "height": 4}
CAT = {"id": 1, "name": "cat", "supercategory": "animal"}


def row(**changes):
    base = {"id": 7, "image_id": 1, "category_id": 1, "segmentation": [SQUARE], "iscrowd": 0}
    return {key: value for key, value in (base | changes).items() if value != "gone"}


def table(*rows, images=(ONE,), categories=(CAT,)):
    return {"images": list(images), "annotations": list(rows), "categories": list(categories)}


def opened(path, given, **options):
    file = path / "set.json"
    file.write_text(given if isinstance(given, str) else json.dumps(given))
    return open_coco(file, **options)


def test_polygons_become_what_cocos_own_tools_draw(tmp_path):
    shapes = [[0.4, 0.2, 5.1, 0.9, 3.3, 3.7], [4, 2, 6, 2, 6, 4, 4, 4]]
    [found] = opened(tmp_path, table(row(segmentation=shapes))).read("1").annotations
    theirs = coco.merge(coco.frPyObjects(shapes, 4, 6))
    assert found.rle == {"size": [4, 6], "counts": theirs["counts"].decode()}
    assert (found.id, found.category, found.category_id) == (7, "cat", 1)


LOST = {
    "two corners": (row(segmentation=[[1, 1, 3, 1], SQUARE]), "polygon-degenerate", 1),
    "an odd number": (row(segmentation=[[*SQUARE, 4]]), "polygon-degenerate", 0),
    "beyond the picture": (row(segmentation=[[1, 1, 9, 1, 9, 3]]), "polygon-clipped", 1),
    "far beyond": (row(segmentation=[[1, 1, 1e9, 1, 1e9, 3, 1, 3]]), "polygon-clipped", 1),
    "wholly outside": (row(segmentation=[[7.5, 1, 9, 1, 9, 3]]), "polygon-clipped", 0),
    "zero area": (row(segmentation=[[1, 1, 1, 1, 1, 1]]), "mask-empty", 0),
    "no polygon": (row(segmentation=[]), "mask-empty", 0),
    "no run": (row(segmentation={"size": [4, 6], "counts": [24]}), "mask-empty", 0),
    "a box alone": (row(segmentation="gone", bbox=[1, 1, 2, 2]), "box-only", 0),
    "a box beyond": (row(bbox=[1, 1, 50, 2]), "box-clipped", 1),
    "an empty box": (row(bbox=[1, 1, 0, 0]), "box-empty", 1),
    "a picture not listed": (row(image_id=9), "image-unknown", 0),
}


@pytest.mark.parametrize(("given", "code", "kept"), LOST.values(), ids=LOST)
def test_f15_what_is_degenerate_is_cut_or_left_out_and_counted(tmp_path, given, code, kept):
    data = opened(tmp_path, table(given))
    found = data.read("1")
    assert len(found.annotations) == kept
    assert code in codes([*found.notes, *data.notes])
    for annotation in found.annotations:
        x, y, w, h = annotation.bbox
        assert 0 <= x < x + w <= 6 and 0 <= y < y + h <= 4 and annotation.area > 0
    with pytest.raises(DataError, match=code):
        opened(tmp_path, table(given), strict=True).read("1")


@pytest.mark.parametrize(("size", "hint"), [([6, 4], "swapped"), ([9, 9], "scale")])
def test_f16_run_lengths_of_another_size_name_the_id_and_both_sizes(tmp_path, size, hint):
    given = row(segmentation={"size": size, "counts": [size[0] * size[1]]})
    with pytest.raises(DataError) as caught:
        opened(tmp_path, table(given)).read("1")
    message = str(caught.value)
    assert caught.value.code == "rle-size" and "annotation 7" in message
    assert str(size) in message and "[4, 6]" in message and hint in message


def test_f17_ids_with_gaps_and_from_zero_are_kept(tmp_path):
    images = [ONE | {"id": i, "file_name": f"{i}.jpg"} for i in (0, 5, 900)]
    categories = [{"id": i, "name": f"c{i}"} for i in (0, 90)]
    rows = [
        row(id=i, image_id=image, category_id=c)
        for i, image, c in ((0, 0, 90), (3, 900, 0), (11, 900, 90))
    ]
    data = opened(tmp_path, table(*rows, images=images, categories=categories))
    assert data.ids == ("0", "5", "900")
    read = {i: [(a.id, a.category) for a in data.read(i).annotations] for i in data.ids}
    assert read == {"0": [(0, "c90")], "5": [], "900": [(3, "c0"), (11, "c90")]}
    with CocoWriter(tmp_path / "again.json", categories=data.categories) as writer:
        for each in data:
            writer.add(each)
        assert writer.finish() == ()
    again = json.loads((tmp_path / "again.json").read_text())
    assert [(a["id"], a["image_id"], a["category_id"]) for a in again["annotations"]] == [
        (0, 0, 90),
        (3, 900, 0),
        (11, 900, 90),
    ]


TWICE = {
    "images": table(images=[ONE, ONE | {"file_name": "b.jpg"}]),
    "a number and a text": table(images=[ONE, ONE | {"id": "1"}]),
    "annotations": table(row(), row()),
    "categories": table(categories=[CAT, CAT]),
}


@pytest.mark.parametrize("given", TWICE.values(), ids=TWICE)
def test_f17_two_of_one_id_are_refused(tmp_path, given):
    with pytest.raises(DataError, match=r"id-twice.*set\.json"):
        opened(tmp_path, given)


def test_f18_categories_of_one_name_and_of_none_stay_apart(tmp_path):
    categories = [{"id": 1, "name": "a/b"}, {"id": 2, "name": "a/b"}, {"id": 3, "name": ""}]
    rows = [row(id=i, category_id=i) for i in (1, 2, 3)] + [row(id=4, category_id="gone")]
    found = opened(tmp_path, table(*rows, categories=categories)).read("1").annotations
    words = [(a.category, a.category_id) for a in found]
    assert words == [("a/b", 1), ("a/b", 2), ("", 3), (None, None)]


BROKEN = {
    "no JSON": "{",
    "a list of results": "[]",
    "nothing": "",
    "no images": table(images=[]),
    "more after the end": json.dumps(table()) + "x",
    "a comma too many": '{"images": [{"id": 1, "file_name": "a", "width": 1, "height": 1},]}',
    "a list twice": '{"images": [], "images": []}',
    "an image that is none": table(images=[3]),
    "an image without a name": table(images=[{"id": 1, "width": 1, "height": 1}]),
    "an image without an id": table(images=[{"file_name": "a", "width": 1, "height": 1}]),
    "a category of a text id": table(categories=[{"id": "1", "name": "a"}]),
    "a category of a number": table(categories=[{"id": 1, "name": 3}]),
    "an annotation that is none": table(4),
    "an annotation of no image": table(row(image_id="gone")),
    "nested deeply": '{"images": ' + "[" * 100_000,
}


@pytest.mark.parametrize("given", BROKEN.values(), ids=BROKEN)
def test_a_broken_set_is_refused_when_opened(tmp_path, given):
    with pytest.raises(DataError, match=r"(json-broken|json-shape|record-broken): .*set\.json"):
        opened(tmp_path, given)


WRONG = {
    "a size as text": (table(row(), images=[ONE | {"width": "6"}]), "record-broken"),
    "no size": (table(row(), images=[ONE | {"height": None}]), "record-broken"),
    "an absurd size": (table(images=[ONE | {"width": 10**9, "height": 10**9}]), "record-broken"),
    "a category not listed": (table(row(category_id=5)), "category-unknown"),
    "a category as text": (table(row(category_id="cat")), "category-unknown"),
    "polygons of texts": (table(row(segmentation=[["1", "2"]])), "record-broken"),
    "polygons of NaN": (table(row(segmentation=[[1, 1, float("nan"), 1, 3, 3]])), "record-broken"),
    "a mask of a number": (table(row(segmentation=3)), "record-broken"),
    "broken runs": (table(row(segmentation={"size": [4, 6], "counts": "!"})), "rle-broken"),
    "too many runs": (table(row(segmentation={"size": [4, 6], "counts": [9, 90]})), "rle-broken"),
    "a box of three": (table(row(bbox=[1, 2, 3])), "record-broken"),
    "a name that leads out": (table(images=[ONE | {"file_name": "../a.jpg"}]), "name-unsafe"),
}


@pytest.mark.parametrize(("given", "code"), WRONG.values(), ids=WRONG)
def test_a_broken_picture_is_refused_when_read_with_its_id(tmp_path, given, code):
    data = opened(tmp_path, given)
    with pytest.raises(DataError, match=rf"{code}: .*set\.json: image 1"):
        data.read("1")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=6
)


@settings(max_examples=60)
@given(value=VALUES, key=st.sampled_from(sorted(row(bbox=0, area=0, score=0, ignore_region=0))))
def test_any_value_anywhere_is_a_mask_or_an_error(tmp_path_factory, value, key):
    folder = tmp_path_factory.mktemp("any")
    try:
        data = opened(folder, table(row(**{key: value})))
        data.read("1")
    except DataError as error:
        assert "set.json" in str(error.where)


@settings(max_examples=25)
@given(
    given_table=st.dictionaries(
        st.text(max_size=4), st.lists(VALUES | st.dictionaries(st.text(), VALUES), max_size=4)
    ),
    chunk=st.integers(1, 9),
    spaces=st.sampled_from([None, 1]),
)
def test_a_json_read_in_small_pieces_is_the_json(given_table, chunk, spaces):
    text = json.dumps(given_table, indent=spaces, ensure_ascii=False, allow_nan=True)
    raw = text.encode("utf-8", "surrogatepass")
    before, json_stream._CHUNK = json_stream._CHUNK, chunk
    try:
        found = {}
        for element in elements(io.BytesIO(raw), "here"):
            piece = json.loads(raw[element.start : element.start + element.length])
            key = element.key.encode("latin-1").decode("utf-8", "surrogatepass")
            found.setdefault(key, []).append(piece)
    finally:
        json_stream._CHUNK = before
    filled = {key: value for key, value in given_table.items() if value}
    assert json.dumps(found) == json.dumps(filled)


def test_texts_in_utf_8_and_a_byte_order_mark_are_read(tmp_path):
    name = "größe 猫.jpg"
    given = table(row(id="ä"), images=[ONE | {"file_name": name}])
    file = tmp_path / "set.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(given, ensure_ascii=False).encode())
    found = open_coco(file).read("1")
    assert (found.file_name, found.annotations[0].id) == (name, "ä")


def test_pictures_are_found_in_the_usual_places(tmp_path):
    (tmp_path / "annotations").mkdir()
    file = tmp_path / "annotations" / "instances_val2017.json"
    file.write_text(json.dumps(table(row())))
    assert not open_coco(file).read("1").has_picture
    picture(tmp_path / "val2017" / "a.jpg", (4, 6))
    assert open_coco(file).read("1").pixels().shape == (4, 6, 3)
    picture(tmp_path / "elsewhere" / "a.jpg", (6, 4))
    found = open_coco(file, images=tmp_path / "elsewhere").read("1")
    with pytest.raises(DataError, match="record-size"):
        found.pixels()


def test_what_looks_like_a_data_set_is_told_from_other_json(tmp_path):
    for name, content, fits in (
        ("a", table(row()), True),
        ("b", {"info": {}, "licenses": [], **table()}, True),
        ("c", {"image": {}, "annotations": []}, False),
        ("d", [row()], False),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        assert looks_like(tmp_path / f"{name}.json") is fits


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools with numpy 2.4
def test_pycocotools_reads_what_is_written(tmp_path, capsys):
    from pycocotools.coco import COCO

    masks = [bits(["####", "#..#", "####"]), bits(["....", ".##.", "...."])]
    for polygons in (False, True):
        path = tmp_path / f"{polygons}.json"
        with CocoWriter(path, polygons=polygons) as writer:
            writer.add(record("a.jpg", masks, words=["x", "y"]))
            writer.finish()
        theirs = COCO(str(path))
        rows = theirs.loadAnns(theirs.getAnnIds())
        for each, mask in zip(rows, masks, strict=True):
            found = coco.decode(theirs.annToRLE(each)).astype(bool)
            np.testing.assert_array_equal(found, mask)
            assert each["bbox"] == coco.toBbox(theirs.annToRLE(each)).tolist()
        kinds = [type(each["segmentation"]) for each in rows]
        assert kinds == ([dict, list] if polygons else [dict, dict])
        assert len(theirs.loadRes([{**rows[0], "score": 1.0}]).anns) == 1


def test_the_order_of_pictures_does_not_matter(tmp_path):
    records = [
        record(f"{n}.jpg", [bits(["##."])], words=[w]) for n, w in zip("cab", "xzy", strict=True)
    ]
    made = []
    for order in (records, records[::-1]):
        with CocoWriter(tmp_path / "x.json", overwrite=True) as writer:
            for each in order:
                writer.add(each)
            writer.finish()
        made.append((tmp_path / "x.json").read_bytes())
    assert made[0] == made[1]
    found = json.loads(made[0])
    assert [image["file_name"] for image in found["images"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [image["id"] for image in found["images"]] == [1, 2, 3]
    assert [category["name"] for category in found["categories"]] == ["x", "y", "z"]


def test_o1_a_writer_that_is_given_up_leaves_nothing(tmp_path):
    with CocoWriter(tmp_path / "x.json") as writer:
        writer.add(record("a.jpg", [bits(["##."])]))
    assert not list(tmp_path.iterdir())


def test_two_pictures_of_one_name_are_refused(tmp_path):
    with CocoWriter(tmp_path / "x.json") as writer:
        writer.add(record("a.jpg", [bits(["##."])]))
        with pytest.raises(OutputError, match="picture-twice"):
            writer.add(record("a.jpg", []))


def test_run_lengths_and_crowds_are_read(tmp_path):
    mask = bits(["######", "#....#", "######", "......"])
    plain = {"size": [4, 6], "counts": runs_of(encode_rle(mask)).tolist()}
    for segmentation in (encode_rle(mask), plain):
        given = table(row(segmentation=segmentation, iscrowd=1))
        [found] = opened(tmp_path, given).read("1").annotations
        assert found.iscrowd
        np.testing.assert_array_equal(found.mask(), mask)
