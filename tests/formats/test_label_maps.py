"""Label maps and folders of masks: pixels that number objects, and black-and-white PNGs."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anymask.errors import DataError, OutputError
from anymask.formats.label_map import generated_png, looks_like, map_png, open_set, paint
from anymask.formats.mask_folder import open_set as open_masks
from anymask.formats.records import ReadOptions, Remarks
from anymask.generated import GeneratedMasks
from anymask.mask_rle import encode_rle
from mask_sets import bits, codes, picture, record, write


def png(path, values, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values))
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    image.save(path, **options)
    return path


def read(path, name="a", **options):
    return open_set(path, ReadOptions(**options)).read(name)


def test_the_smaller_mask_stays_in_front_and_what_is_covered_is_told(tmp_path):
    masks = [bits(["#...", "...."]), bits(["####", "####"]), bits(["##..", "...."])]
    notes = write("labelmap", tmp_path, [record("x.jpg", masks)])
    assert codes(notes) == ["overlap-cut", "overlap-cut"]
    assert "2 of 8 px" in notes[0].text and "1 of 2 px" in notes[1].text
    values = np.asarray(Image.open(tmp_path / "x.png"))
    assert values.tolist() == [[1, 3, 2, 2], [2, 2, 2, 2]]


def test_a_mask_that_is_wholly_covered_is_told_and_refused_if_strict(tmp_path):
    masks = [bits(["##.."]), bits(["#..."]), bits([".#.."])]
    one = record("x.jpg", masks)
    assert codes(write("labelmap", tmp_path / "a", [one])) == ["mask-hidden"]
    assert [a.id for a in read(tmp_path / "a", "x").annotations] == [2, 3]
    with pytest.raises(DataError, match="mask-hidden"):
        write("labelmap", tmp_path / "b", [one], strict=True)
    assert not list((tmp_path / "b").rglob("*.png"))


@pytest.mark.parametrize(("count", "mode"), [(1, "P"), (255, "P"), (256, "I;16"), (65535, "I;16")])
def test_few_objects_have_a_palette_and_many_sixteen_bits(count, mode):
    labels = np.arange(65536, dtype=np.int32).reshape(256, 256) % (count + 1)
    with Image.open(io.BytesIO(map_png(labels))) as image:
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image), labels)


def test_more_objects_than_a_png_numbers_are_refused():
    with pytest.raises(OutputError, match="labels-many"):
        map_png(np.full((1, 1), 65536, np.int32))


def test_what_everything_mode_found_is_a_label_map_with_its_scores(tmp_path):
    masks = [bits(["##..", "...."]), bits(["..##", "..##"])]
    found = GeneratedMasks(
        size=(2, 4),
        rles=tuple(map(encode_rle, masks)),
        scores=np.array([0.9, 0.8], np.float32),
        stability=np.array([0.7, np.nan], np.float32),
        points=np.array([[0, 0], [3, 1.0]]),
        crop_boxes=np.array([[0, 0, 4, 2]] * 2),
    )
    (tmp_path / "a.png").write_bytes(generated_png(found, "a.jpg"))
    one = read(tmp_path)
    assert one.file_name == "a.jpg" and not one.notes
    assert [a.predicted_iou for a in one.annotations] == [0.9, 0.8]
    assert [a.stability_score for a in one.annotations] == [0.7, None]
    assert [a.points for a in one.annotations] == [((0, 0),), ((3, 1),)]


@given(st.lists(st.integers(0, 4), min_size=12, max_size=12))
def test_any_label_map_of_others_is_read(values):
    labels = np.array(values, np.uint8).reshape(3, 4)
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        png(Path(folder) / "a.png", labels)
        one = read(Path(folder))
    assert [a.id for a in one.annotations] == sorted(set(values) - {0})
    for annotation in one.annotations:
        np.testing.assert_array_equal(annotation.mask(), labels == annotation.id)


@pytest.mark.parametrize(
    ("values", "mode", "ids", "notes"),
    [
        ([[0, 255]], "L", [255], []),
        ([[0, 255, 3]], "P", [3], ["void-left-out"]),
        ([[0, 254, 255]], "P", [254, 255], []),
        ([[0, 255]], "P", [255], []),
    ],
)
def test_the_value_255_of_a_palette_is_unknown_not_an_object(tmp_path, values, mode, ids, notes):
    png(tmp_path / "a.png", np.array(values, np.uint8), mode)
    picture(tmp_path / "images" / "a.jpg", (1, len(values[0])))
    one = read(tmp_path)
    assert ([a.id for a in one.annotations], codes(one.notes)) == (ids, notes)
    assert one.file_name == "a.jpg" and one.has_picture


BROKEN = {
    "no PNG": (b"hello", "label-map-broken"),
    "nothing": (b"", "label-map-broken"),
    "colours": (np.zeros((2, 2, 3), np.uint8), "label-map-colours"),
    "half": (np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8), "label-map-broken"),
}


@pytest.mark.parametrize(("content", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_map_is_refused_with_its_file(tmp_path, content, code):
    path = tmp_path / "a.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        png(path, content)
        if content.ndim == 2:
            path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=rf"{code}: .*a\.png"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"objects": 3}', '{"objects": [3]}',
                                  '{"objects": [{"value": 1, "category": 3}]}'])  # fmt: skip
def test_a_broken_text_inside_is_refused(tmp_path, text):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("anymask", text)
    png(tmp_path / "a.png", np.ones((2, 2), np.uint8), pnginfo=info)
    with pytest.raises(DataError, match=r"(json|record)-broken: .*a\.png"):
        read(tmp_path)


def test_what_looks_like_a_label_map(tmp_path):
    assert not looks_like(tmp_path)
    png(tmp_path / "a.png", np.ones((2, 2), np.uint8))
    assert not looks_like(tmp_path)  # grey of 8 bits is any picture
    png(tmp_path / "a.png", np.ones((2, 2), np.uint16))
    assert looks_like(tmp_path)


def test_paint_without_masks_is_empty():
    assert paint([], (2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_masks_as_segment_writes_them(tmp_path):
    square = bits(["##..", "##.."]).astype(np.uint8) * 255
    for name in (
        "x/a.jpg.10.mask.png",
        "x/a.jpg.2.mask.png",
        "b.c.png.mask.png",
        "b.c.png.overlay.png",
    ):
        png(tmp_path / name, square)
    data = open_masks(tmp_path, ReadOptions())
    assert data.ids == ("b.c", "x/a")
    assert [(r.file_name, len(r.annotations)) for r in data] == [("b.c.png", 1), ("x/a.jpg", 2)]
    np.testing.assert_array_equal(data.read("x/a").annotations[1].mask(), square > 0)


def test_masks_as_sams_script_writes_them_with_their_scores(tmp_path):
    for i in (0, 1, 10):
        png(tmp_path / "cat" / f"{i}.png", np.eye(4, dtype=np.uint8) * 255)
    (tmp_path / "cat/metadata.csv").write_text(
        "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,"
        "stability_score,crop_box_x0,crop_box_y0,crop_box_w,crop_box_h\n"
        "0,4,0,0,3,3,1.5,2,0.9,0.8,0,0,4,4\n10,4,0,0,3,3,1,2,oops,0.5,0,0,4,4\n"
    )
    [one] = list(open_masks(tmp_path, ReadOptions()))
    scores = [(a.predicted_iou, a.stability_score) for a in one.annotations]
    assert scores == [(0.9, 0.8), (None, None), (None, 0.5)]
    assert one.annotations[0].points == ((1.5, 2),)
    assert one.annotations[0].crop_box == (0, 0, 4, 4)


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        ([[0, 1], [1, 0]], [".#", "#."]),
        ([[7, 200], [200, 7]], [".#", "#."]),
        ([[255, 255], [255, 255]], ["##", "##"]),
        ([[0, 100], [128, 255]], ["..", "##"]),
    ],
)
def test_a_mask_is_the_brighter_half(tmp_path, values, rows):
    png(tmp_path / "a.png", np.array(values, np.uint8))
    one = open_masks(tmp_path, ReadOptions()).read("a")
    np.testing.assert_array_equal(one.annotations[0].mask(), bits(rows))


def test_f15_an_empty_mask_is_left_out_and_masks_of_two_sizes_are_refused(tmp_path):
    png(tmp_path / "a/0.png", np.zeros((2, 2), np.uint8))
    png(tmp_path / "a/1.png", np.ones((2, 2), np.uint8))
    one = open_masks(tmp_path, ReadOptions()).read("a")
    assert len(one.annotations) == 1 and "mask-empty" in codes(one.notes)
    png(tmp_path / "a/2.png", np.ones((2, 3), np.uint8))
    with pytest.raises(DataError, match=r"masks-sizes: .*2\.png"):
        open_masks(tmp_path, ReadOptions()).read("a")
    (tmp_path / "a/2.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"mask-broken: .*2\.png"):
        open_masks(tmp_path, ReadOptions()).read("a")


def test_remarks_are_errors_where_nothing_may_be_lost():
    with pytest.raises(DataError, match=r"some-code: here: id 1: lost; mend"):
        Remarks("here", strict=True).lost("some-code", "lost", at="id 1")


def test_folders_of_masks_in_folders_inside_are_recognised_by_their_table(tmp_path):
    from anymask.formats import guess_format
    from anymask.formats.png import mask_png

    inner = tmp_path / "set/x/a.jpg"
    inner.mkdir(parents=True)
    (inner / "0.png").write_bytes(mask_png(bits(["##.."])))
    picture(inner.parent / "a.jpg.overlay.png", (1, 4))
    picture(tmp_path / "set/sheet.png", (1, 4))
    (inner / "metadata.csv").write_text("id,area,predicted_iou\n0,2,0.5")
    assert guess_format(tmp_path / "set").name == "masks"
    [found] = list(open_masks(tmp_path / "set", ReadOptions()))
    assert (found.file_name, found.annotations[0].predicted_iou) == ("x/a.jpg", 0.5)
