"""YOLO's labels: outlines, classes, backgrounds; broken lines are refused with their number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anymask.errors import DataError, OutputError
from anymask.formats.records import Category, ReadOptions
from anymask.formats.yolo import joined, open_set
from anymask.formats.yolo_names import names_text, read_names
from anymask.mask_fill import fill_rings
from anymask.mask_outlines import polygons
from mask_sets import bits, codes, picture, record, write

SQUARE = "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"


def made(path, text, names="names: [cat, dog]\n", labels="labels", images="images"):
    (path / labels).mkdir(parents=True)
    if text is not None:
        (path / labels / "a.txt").write_text(text)
    if names is not None:
        (path / "data.yaml").write_text(names)
    picture(path / images / "a.jpg", (4, 8))
    return path


def read(path, **options):
    return open_set(path, ReadOptions(**options)).read("a")


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), fill=st.booleans()))
def test_one_outline_with_bridges_is_the_mask(mask):
    parts = polygons(mask)
    found = fill_rings([joined(parts)] if parts else [], mask.shape)
    np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize(("labels", "images"), [("labels", "images"), ("", ""), ("l", "l")])
def test_pictures_lie_where_the_texts_are_or_beside_labels(tmp_path, labels, images):
    path = made(tmp_path / "set", SQUARE, labels=labels, images=images)
    data = open_set(path, ReadOptions())
    [found] = list(data)
    [annotation] = found.annotations
    rows = ["........", "..####..", "..####..", "........"]
    np.testing.assert_array_equal(annotation.mask(), bits(rows))
    assert (annotation.category, annotation.category_id) == ("cat", 0)
    assert found.file_name == ("l/a.jpg" if labels == "l" else "a.jpg")


def test_parts_of_a_set_stay_apart(tmp_path):
    for part in ("train", "valid"):
        made(tmp_path / "set" / part, SQUARE, names=None)
    (tmp_path / "set" / "data.yaml").write_text("train: ../train\nnames:\n- cat\n- dog\nnc: 2\n")
    data = open_set(tmp_path / "set", ReadOptions())
    assert data.ids == ("train/a", "valid/a")
    assert [each.annotations[0].category for each in data] == ["cat", "cat"]
    assert open_set(tmp_path / "set" / "data.yaml", ReadOptions()).ids == data.ids


@pytest.mark.parametrize("text", ["", "\n\n", None])
def test_a_picture_with_an_empty_text_or_none_is_background(tmp_path, text):
    path = made(tmp_path / "set", text)
    (path / "labels" / "b.txt").write_text(SQUARE)
    picture(path / "images" / "b.jpg", (4, 8))
    assert [len(each.annotations) for each in open_set(path, ReadOptions())] == [0, 1]


LOST = {
    "a box alone": ("0 0.5 0.5 0.2 0.2", "box-only", 0),
    "one corner": ("0 0.5 0.5", "polygon-degenerate", 0),
    "no area": ("0 0.5 0.5 0.5 0.5 0.5 0.5", "mask-empty", 0),
    "outside": ("0 1.3 1.3 1.6 1.3 1.6 1.6", "polygon-clipped", 0),
    "partly outside": ("0 0.5 0.25 1.5 0.25 1.5 0.75 0.5 0.75", "polygon-clipped", 1),
}


@pytest.mark.parametrize(("line", "code", "kept"), LOST.values(), ids=LOST)
def test_f15_what_is_degenerate_is_cut_or_left_out_and_counted(tmp_path, line, code, kept):
    path = made(tmp_path / "set", f"{SQUARE}\n{line}\n")
    found = read(path)
    assert len(found.annotations) == kept + 1 and code in codes(found.notes)
    with pytest.raises(DataError, match=rf"{code}: .*a\.txt: line 2"):
        read(path, strict=True)


BROKEN = {
    "a word": ("cat 0 0 1 0 1 1", "label-broken"),
    "a fraction for a class": ("0.5 0 0 1 0 1 1", "label-broken"),
    "a score at the end": (f"{SQUARE} 0.9", "label-broken"),
    "NaN": ("0 nan 0 1 0 1 1", "label-broken"),
    "px": ("0 10 10 30 10 30 30", "not-normalised"),
    "a class not listed": ("7 0 0 1 0 1 1", "category-unknown"),
    "a negative class": ("-1 0 0 1 0 1 1", "category-unknown"),
    "no ASCII": ("é", "label-broken"),
}


@pytest.mark.parametrize(("line", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_refused_with_its_number(tmp_path, line, code):
    with pytest.raises(DataError, match=rf"{code}: .*a\.txt"):
        read(made(tmp_path / "set", f"{SQUARE}\n{line}\n"))


@given(st.text(max_size=40))
def test_any_text_is_labels_or_an_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any")
    made(path / "set", None)
    (path / "set/labels/a.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read(path / "set")
    except DataError as error:
        assert "a.txt" in error.where


def test_a_text_without_a_picture_is_refused(tmp_path):
    path = made(tmp_path / "set", SQUARE)
    (path / "images" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"picture-missing: .*a\.txt"):
        read(path)
    picture(tmp_path / "elsewhere" / "a.png", (4, 8))
    assert read(path, images=tmp_path / "elsewhere").size == (4, 8)


def test_a_photo_taken_upright_is_measured_as_it_is_shown(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    path = made(tmp_path / "set", SQUARE)
    picture(path / "images" / "a.jpg", (4, 8), exif=exif)
    assert read(path).size == (8, 4) == read(path).pixels().shape[:2]


NASTY = '"a\\n\\"b\\""'
YAML = {
    "a list on one line": f"names: [cat, 'it''s', {NASTY}, größe ]  # all\nnc: 4",
    "a list on lines": f"nc: 4\nnames:\n- cat\n- 'it''s'\n- {NASTY}\n- größe  # last\ntrain: x",
    "an indented list": f"names:\n  - cat\n  # or\n\n  - 'it''s'\n  - {NASTY}\n  - größe",
    "a mapping": f"names:\n  0: cat\n  1: 'it''s'\n  2: {NASTY}\n  3: größe\nval: y",
    "a mapping on one line": f"names: {{0: cat, 1: 'it''s', 2: {NASTY}, 3: größe}}",
    "a list over lines": f"names: [cat,\n  'it''s',\n  {NASTY},\n  größe,\n]\nval: y",
    "Windows": f"names:\r\n- cat\r\n- it's\r\n- {NASTY}\r\n- größe\r\n",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_names_of_classes_are_read_as_yaml_has_them(tmp_path, text):
    (tmp_path / "data.yaml").write_bytes(text.encode())
    assert read_names(tmp_path) == dict(enumerate(["cat", "it's", 'a\n"b"', "größe"]))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_names_come_back(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("names")
    (path / "data.yaml").write_text(names_text(names))
    assert read_names(path) == dict(enumerate(names))


@pytest.mark.parametrize(
    "text",
    [
        "nc: 3",
        "names: [a, b",
        'names: ["a]',
        "names:\n  x: cat",
        "names:\n 0: a\n 0: b",
        "names: 3",
    ],
)
def test_broken_names_are_refused(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"classes-broken: .*data\.yaml"):
        read_names(tmp_path)


def test_classes_txt_and_no_names_at_all(tmp_path):
    path = made(tmp_path / "a", SQUARE, names=None)
    data = open_set(path, ReadOptions())
    assert codes(data.notes) == ["classes-missing"]
    assert data.read("a").annotations[0].category == "0"
    (path / "classes.txt").write_text("a cat\n\ndog\n")
    assert [c.name for c in open_set(path, ReadOptions()).categories] == ["a cat", "", "dog"]


def test_other_classes_of_an_earlier_run_are_refused(tmp_path):
    one = record("a.jpg", [bits(["##"])], words=["cat"])
    write("yolo", tmp_path, [one], categories=(Category(id=0, name="cat"),))
    (tmp_path / "labels/a.txt").unlink()
    with pytest.raises(OutputError, match="classes-differ"):
        write("yolo", tmp_path, [one], categories=(Category(id=0, name="dog"),))
