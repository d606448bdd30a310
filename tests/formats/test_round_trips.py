"""What is written in a format comes back from it: laws that hold for every row of the table."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anymask.formats import SETS, guess_format, set_format
from anymask.formats.records import ReadOptions
from mask_sets import SHAPES, bits, picture, record, stacks, stored, write

WRITTEN = [row.name for row in SETS if row.writer]
EXACT = [name for name in WRITTEN if name != "labelmap"]  # which cannot hold overlaps
FEW = settings(max_examples=15)


def back(name, root, *records, **options):
    """Written, with pictures where they belong, and read again."""
    categories = options.pop("categories", ())
    if name == "yolo" and not categories:
        from anymask.formats.records import NO_CATEGORY, Category

        given = (a.category for each in records for a in each.annotations)
        words = {NO_CATEGORY if word is None else word for word in given}
        categories = tuple(Category(id=i, name=w) for i, w in enumerate(sorted(words)))
    write(name, root, records, categories=categories, **options)
    made = set_format(name).create(root, _options(categories))
    for each in records:
        picture(made.picture_path(each.file_name), each.size)
    return set_format(name).open(root, ReadOptions())


def _options(categories):
    from anymask.formats.records import WriteOptions

    return WriteOptions(categories=categories)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("rows", SHAPES.values(), ids=SHAPES)
def test_a_mask_of_any_shape_comes_back(name, rows, tmp_path):
    mask = bits(rows)
    read = back(name, tmp_path / "set", record("a.png", [mask], words=["cat"]))
    [found] = list(read)
    [annotation] = found.annotations
    np.testing.assert_array_equal(annotation.mask(), mask)
    assert (annotation.category, found.size, found.notes) == ("cat", mask.shape, ())
    assert annotation.bbox == record("a.png", [mask]).annotations[0].bbox
    assert annotation.area == mask.sum()


@pytest.mark.parametrize("name", EXACT)
@FEW
@given(masks=stacks())
def test_any_masks_come_back_and_empty_ones_are_told(name, masks):
    with tempfile.TemporaryDirectory() as folder:
        one = record("x.png", list(masks), size=masks.shape[1:])
        read = back(name, Path(folder) / "set", one)
        [found] = list(read)
    np.testing.assert_array_equal(
        np.array(stored(found.annotations)).reshape(-1, *one.size), masks[masks.any((1, 2))]
    )
    assert found.size == one.size


@FEW
@given(masks=stacks())
def test_polygons_of_coco_give_any_masks_back(masks):
    with tempfile.TemporaryDirectory() as folder:
        one = record("x.png", list(masks), size=masks.shape[1:])
        [found] = list(back("coco", Path(folder) / "set", one, polygons=True))
    kept = masks[masks.any((1, 2))]
    np.testing.assert_array_equal(np.array(stored(found.annotations)).reshape(kept.shape), kept)


@FEW
@given(masks=stacks(6))
def test_a_label_map_keeps_of_each_mask_what_no_smaller_one_covers(masks):
    with tempfile.TemporaryDirectory() as folder:
        one = record("x.png", list(masks), size=masks.shape[1:])
        [found] = list(back("labelmap", Path(folder) / "set", one))
    areas = masks.sum((1, 2))
    for annotation in found.annotations:
        own = annotation.id - 1
        front = [mask for i, mask in enumerate(masks) if (areas[i], i) < (areas[own], own)]
        hidden = np.any(front, axis=0) if front else np.zeros(one.size, bool)
        np.testing.assert_array_equal(annotation.mask(), masks[own] & ~hidden)


WORDS = [
    "",
    "a/b",
    "../up",
    "größe 猫",
    "two\nlines",
    'it\'s "quoted"',
    "#no: [comment]",
    " ",
    "\\",
]


@pytest.mark.parametrize("name", WRITTEN)
def test_f18_categories_of_any_name_come_back_and_are_no_paths(name, tmp_path):
    mask = np.zeros((9, 12), bool)
    masks = [mask.copy() for _ in WORDS]
    for i, each in enumerate(masks):
        each[i, 2:7] = True
    read = back(name, tmp_path / "set", record("a.png", masks, words=WORDS))
    [found] = list(read)
    assert [annotation.category for annotation in found.annotations] == WORDS
    assert not (tmp_path / "up").exists() and not list(tmp_path.rglob("b"))


@pytest.mark.parametrize("name", ["coco", "yolo", "sa1b", "labelmap"])
def test_f18_twins_stay_apart(name, tmp_path):
    from dataclasses import replace

    from anymask.formats.records import Category

    twins = (Category(id=0, name="cat"), Category(id=1, name="cat"))
    one = record("a.png", [bits(["##.."]), bits(["..##"])], words=["cat", "cat"])
    one = replace(
        one,
        annotations=tuple(replace(a, category_id=i) for i, a in enumerate(one.annotations)),
    )
    [found] = list(back(name, tmp_path / "set", one, categories=twins))
    assert [(a.category, a.category_id) for a in found.annotations] == [("cat", 0), ("cat", 1)]


@pytest.mark.parametrize("name", WRITTEN)
@FEW
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_any_text_is_a_category(name, text):
    with tempfile.TemporaryDirectory() as folder:
        one = record("x.png", [np.ones((2, 3), bool)], words=[text])
        [found] = list(back(name, Path(folder) / "set", one))
    assert found.annotations[0].category == text


@pytest.mark.parametrize("name", WRITTEN)
def test_names_of_pictures_with_folders_spaces_and_accents_come_back(name, tmp_path):
    names = ["a/zwölf 1.jpg", "a/b/x.y.jpg", "z.jpg"]
    read = back(name, tmp_path / "set", *(record(n, [np.ones((3, 5), bool)]) for n in names))
    found = [each.file_name for each in read]
    if name == "sa1b":  # whose pictures lie side by side
        names = [each.replace("/", "__") for each in names]
    assert sorted(found) == sorted(names)
    assert sorted(read.stem_of(i) for i in read.ids) == sorted(n[:-4] for n in names)
    assert all(each.has_picture and each.image_bytes() for each in read)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_picture_without_masks_stays(name, tmp_path):
    [found] = list(back(name, tmp_path / "set", record("a.jpg", [], size=(7, 5))))
    assert (found.size, found.annotations) == ((7, 5), ())


@pytest.mark.parametrize("name", WRITTEN)
def test_a_set_is_recognised_as_what_it_is(name, tmp_path):
    masks = [bits(["##....", "##...."])]
    back(name, tmp_path / "set", *(record(f"{i}.jpg", masks) for i in range(2)))
    assert guess_format(tmp_path / "set").name == name


@pytest.mark.parametrize("name", ["sa1b", "coco", "labelmap"])
def test_what_a_model_said_of_its_masks_comes_back(name, tmp_path):
    from dataclasses import replace

    one = record("a.png", [bits(["##..", "##.."])])
    facts = {
        "predicted_iou": 0.9,
        "stability_score": 0.75,
        "points": ((1.5, 0.25),),
        "crop_box": (0.0, 0.0, 4.0, 2.0),
    }
    one = replace(one, annotations=(replace(one.annotations[0], **facts),))
    [found] = list(back(name, tmp_path / "set", one))
    assert {key: getattr(found.annotations[0], key) for key in facts} == facts


@pytest.mark.parametrize(
    ("name", "kept"),
    [("sa1b", True), ("coco", True), ("labelme", True), ("labelmap", True), ("yolo", False)],
)
def test_a_crowd_stays_one_or_it_is_told(name, kept, tmp_path):
    from dataclasses import replace

    one = record("a.png", [bits(["##.."])], words=["cat"])
    one = replace(one, annotations=(replace(one.annotations[0], iscrowd=True),))
    [found] = list(back(name, tmp_path / "set", one))
    assert found.annotations[0].iscrowd is kept


def test_two_writers_give_the_same_bytes(tmp_path):
    records = [record(f"{i}.jpg", [bits(["##..", "#..."])], words=["b"]) for i in range(3)]
    for name in WRITTEN:
        for run in ("x", "y"):
            back(name, tmp_path / run / name, *records)
    for first in (tmp_path / "x").rglob("*"):
        if first.is_file():
            second = tmp_path / "y" / first.relative_to(tmp_path / "x")
            assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_is_there_is_not_replaced(name, tmp_path):
    from anymask.errors import OutputError

    root = tmp_path / "set"
    back(name, root, record("a.jpg", [bits(["##"])]))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"file-exists|classes-differ"):
        write(name, root, [record("a.jpg", [bits([".#"])])])
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize(
    "hostile", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", "C:\\x.jpg", "nul.jpg"]
)
def test_o6_a_hostile_name_is_refused_and_nothing_written(name, hostile, tmp_path):
    from anymask.errors import AnymaskError

    with pytest.raises(AnymaskError, match="name-unsafe"):
        back(name, tmp_path / "a" / "set", record(hostile, [bits(["##"])]))
    assert not [p for p in tmp_path.rglob("*x*") if p.is_file()]
