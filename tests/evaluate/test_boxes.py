"""Masks from boxes score what COCO's definition says, on cases whose answer is known."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console

from answers import without_logits
from anymask.errors import DataError
from anymask.evaluate.boxes import evaluate_boxes
from anymask.evaluate.coco_ap import AP_NAMES, Shown, average_precision
from anymask.formats.detections import Detection, of_picture, parse_detections, read_detections
from anymask.formats.sa1b import open_sa1b
from anymask.mask_rle import encode_rle
from rectangles import rectangle

SIZE = (48, 64)


def square(x, y, side=10):
    return rectangle(SIZE, x, y, x + side, y + side)


def shown(mask, score=0.0, category="thing", photo=0, crowd=False):
    return Shown(photo=photo, category=category, rle=encode_rle(mask), score=score, crowd=crowd)


A, B = square(2, 2), square(30, 20)


def test_the_truth_itself_is_perfect():
    known = average_precision([shown(A), shown(B)], [shown(A, 0.9), shown(B, 0.1)])
    assert (known.ap, known.ap50, known.ap75, known.small) == (1, 1, 1, 1)
    assert math.isnan(known.medium) and math.isnan(known.large)


def test_an_iou_of_0_72_counts_at_five_of_ten_thresholds():
    seven = A.copy()
    seven[9:12] = False
    seven[9, 2:4] = True  # 72 of 100 px
    known = average_precision([shown(A)], [shown(seven, 0.9)])
    assert (known.ap, known.ap50, known.ap75) == (0.5, 1, 0)


def test_half_of_the_objects_found_is_about_a_half():
    known = average_precision([shown(A), shown(B)], [shown(A, 0.9)])
    assert known.ap == pytest.approx(51 / 101)  # recalls 0, 0.01 ... 0.5


def test_a_wrong_mask_costs_precision_if_it_is_the_surer_one():
    wrong = square(50, 2)
    late = average_precision([shown(A)], [shown(A, 0.9), shown(wrong, 0.5)])
    early = average_precision([shown(A)], [shown(A, 0.5), shown(wrong, 0.9)])
    assert (late.ap, early.ap) == (1, 0.5)


def test_classes_are_averaged_and_one_that_nothing_true_has_is_not_judged():
    truths = [shown(A, category="cat"), shown(B, category="dog")]
    found = [shown(A, 0.9, "cat"), shown(B, 0.9, "cow")]
    assert average_precision(truths, found).ap == 0.5


def test_what_lies_in_a_crowd_is_not_wrong():
    truths = [shown(A), shown(square(20, 15, 30), crowd=True)]
    assert average_precision(truths, [shown(A, 0.5), shown(B, 0.9)]).ap == 1


def test_without_truth_there_is_no_figure():
    assert all(math.isnan(getattr(average_precision([], []), name)) for name in AP_NAMES)


def test_it_is_what_cocos_own_table_gives():
    random = np.random.default_rng(0)
    names, truths, found = ("a", "b"), [], []
    for photo in range(4):
        for number in range(6):
            x, y, side = random.integers(0, 40), random.integers(0, 30), random.integers(4, 34)
            name = names[number % 2]
            truths.append(shown(square(x, y, side), category=name, photo=photo))
            moved = square(x + random.integers(0, 5), y, side)
            found.append(shown(moved, float(random.random()), name, photo))
    ours = average_precision(truths, found)
    assert [getattr(ours, name) for name in AP_NAMES] == pytest.approx(
        coco_figures(truths, found), nan_ok=True
    )
    assert 0 < ours.ap < ours.ap50 < 1


def coco_figures(truths, found):
    def row(i, one):
        return {
            "id": i + 1, "image_id": one.photo, "category_id": "ab".index(one.category) + 1,
            "segmentation": one.rle, "area": int(np.prod([1])) * area(one), "iscrowd": 0,
            "bbox": [0, 0, 1, 1], "score": one.score,
        }  # fmt: skip

    def area(one):
        from pycocotools import mask

        return int(mask.area({**one.rle, "counts": one.rle["counts"].encode()}))

    with contextlib.redirect_stdout(io.StringIO()):
        table = COCO()
        table.dataset = {
            "info": {},
            "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(4)],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            "annotations": [row(i, one) for i, one in enumerate(truths)],
        }
        table.createIndex()
        results = table.loadRes([row(i, one) for i, one in enumerate(found)])
        judge = COCOeval(table, results, "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [math.nan if v == -1 else v for v in judge.stats[:6]]


class Fills:
    """Fills each box; surer of larger ones."""

    takes_masks = False

    def __init__(self):
        self.boxes = []

    def encode(self, image):
        return image.shape[:2]

    def predict(self, size, *, boxes, multimask):
        assert not multimask
        self.boxes += boxes.tolist()
        masks = np.zeros((len(boxes), 1, *size), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
            mask[0, y0:y1, x0:x1] = True
        sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1, keepdims=True)
        return without_logits(masks, sizes / 1e4)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "x|y"
    folder.mkdir()
    for name in ("0012", "p"):
        Image.new("RGB", SIZE[::-1]).save(folder / f"{name}.png")
        rows = [
            {"segmentation": encode_rle(A), "category": "cat", "category_id": 7},
            {"segmentation": encode_rle(B), "category": "dog", "category_id": 9},
            {"segmentation": encode_rle(square(0, 20, 20)), "category": "dog", "iscrowd": 1},
        ]
        table = {"image": {"height": SIZE[0], "width": SIZE[1]}, "annotations": rows}
        (folder / f"{name}.json").write_text(json.dumps(table))
    return open_sa1b(folder)


def test_the_boxes_of_the_truth_are_asked_and_crowds_are_not(photos):
    model = Fills()
    report = evaluate_boxes(model, [photos], split="all")
    assert model.boxes == [[2, 2, 12, 12], [30, 20, 40, 30]] * 2
    table = report.to_dict()
    assert table["pooled"] == {
        "photos": 2, "masks": 4, "boxes": 4, "ap": 1, "ap50": 1, "ap75": 1,
        "small": 1, "medium": None, "large": None,
    }  # fmt: skip
    assert json.loads(json.dumps(table)) == table
    assert table == evaluate_boxes(Fills(), [photos], split="all").to_dict()
    assert "| x\\|y | 2 | 4 | 4 | 1.000 |" in report.markdown()
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(report.table())
    assert "x|y" in console.export_text() and "…" not in console.export_text()


def test_a_detectors_boxes_scores_and_classes_count(photos):
    found = [
        Detection(image_id="12", box=(2, 2, 12, 12), score=0.9, category=7),
        Detection(image_id="12", box=(30, 20, 40, 30), score=0.5, category="dog"),
        Detection(image_id="p", box=(2, 2, 12, 12), score=0.8, category=9),  # a cat is no dog
        Detection(image_id="p", box=(60, 40, 99, 99), score=0.1, category=9),
        Detection(image_id="p", box=(64, 0, 99, 9), score=0.1, category=9),  # beyond the photo
        Detection(image_id="of another set", box=(0, 0, 9, 9), score=1.0, category=9),
    ]
    model = Fills()
    report = evaluate_boxes(model, [photos], split="all", detections=found)
    assert len(model.boxes) == 4 and model.boxes[3] == [60, 40, 64, 48]
    cats = 51 / 101  # one of two, nothing wrong
    dogs = 51 / 101 / 2  # one of two, after a wrong one
    assert report.figures().ap == pytest.approx((cats + dogs) / 2)


def test_boxes_without_a_class_are_judged_as_one_class(photos):
    found = [
        Detection(image_id=name, box=box, score=0.5)
        for name in ("0012", "p")
        for box in ((2, 2, 12, 12), (30, 20, 40, 30))
    ]
    assert evaluate_boxes(Fills(), [photos], split="all", detections=found).figures().ap == 1
    none = evaluate_boxes(Fills(), [photos], split="all", detections=[])
    assert none.figures().ap == 0


def test_files_of_boxes_are_read_as_coco_has_them(tmp_path):
    path = tmp_path / "boxes.json"
    row = {"image_id": 12, "bbox": [1, 2, 3, 4.5], "score": 0.5, "category_id": 7}
    path.write_text(json.dumps([row, {**row, "category": "cat"}]))
    one, other = read_detections(path)
    assert one == Detection(image_id="12", box=(1, 2, 4, 6.5), score=0.5, category=7)
    assert other.category == "cat"
    assert list(of_picture([one, other], ["p", "000012"])) == ["000012"]


@pytest.mark.parametrize(
    "row",
    [
        [],
        {"bbox": [0, 0, 1, 1], "score": 1},
        {"image_id": 1, "bbox": [0, 0, 1], "score": 1},
        {"image_id": 1, "bbox": [0, 0, -1, 1], "score": 1},
        {"image_id": 1, "bbox": [0, 0, 1, 1], "score": "high"},
        {"image_id": 1, "bbox": [0, 0, 1, float("nan")], "score": 1},
        {"image_id": 1, "bbox": [0, 0, 1, 1], "score": 1, "category_id": 1.5},
    ],
)
def test_a_broken_box_is_told_with_its_place(row):
    with pytest.raises(DataError) as error:
        parse_detections([row], "boxes.json")
    assert error.value.code == "record-broken"
    assert "boxes.json: [0]" in str(error.value)


def test_a_missing_or_broken_file_of_boxes_is_an_error(tmp_path):
    for make, code in ((None, "detections-missing"), ("[", "json-broken"), ("{}", "record-broken")):
        path = tmp_path / "boxes.json"
        if make is not None:
            path.write_text(make)
        with pytest.raises(DataError) as error:
            read_detections(path)
        assert error.value.code == code
