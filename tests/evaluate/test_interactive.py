"""The simulated user scores masks whose IoU is known."""

import io
import json
import math

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from answers import Answer
from anymask.errors import DataError
from anymask.evaluate.interactive import (
    MASKS_A_PHOTO,
    evaluate_interactive,
    masks_of_record,
)
from anymask.formats.sa1b import open_sa1b
from rectangles import rectangle


def rle(bits):
    table = coco.encode(np.asfortranarray(bits.astype(np.uint8)))
    return {"size": list(bits.shape), "counts": table["counts"].decode()}


@pytest.fixture
def make_set(tmp_path):
    """``make_set(name, {id: [mask, ...]}, {id: {key: value of its annotations}})``.

    The red channel of a photo's first pixel is its number, for predictors that know the answer.
    """

    def make(name, photos, more=None):
        folder = tmp_path / name
        folder.mkdir()
        for number, (image_id, masks) in enumerate(photos.items()):
            pixels = np.full((*masks[0].shape, 3), 128, np.uint8)
            for mask in masks:
                pixels[mask] = (200, 40, 40)
            pixels[0, 0] = (number, 0, 0)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            rows = [
                {"id": i + 1, "segmentation": rle(mask), **(more or {}).get(image_id, {})}
                for i, mask in enumerate(masks)
            ]
            size = {"height": masks[0].shape[0], "width": masks[0].shape[1]}
            (folder / f"{image_id}.png").write_bytes(file.getvalue())
            (folder / f"{image_id}.json").write_text(
                json.dumps({"image": size, "annotations": rows})
            )
        return open_sa1b(folder)

    return make


class Oracle:
    """Knows the masks of each photo; answers with `change(truth, clicks)` of the prompted one.

    Keeps all calls, to be looked at.
    """

    takes_masks = True

    def __init__(self, photos, change=lambda truth, clicks: truth):
        self.photos = list(photos.values())
        self.change = change
        self.encoded = []
        self.calls = []

    def encode(self, image):
        self.encoded.append(int(image[0, 0, 0]))
        return self.photos[self.encoded[-1]]

    def predict(
        self,
        embedding,
        *,
        points=None,
        labels=None,
        boxes=None,
        masks=None,
        multimask=True,
        kind=None,
    ):
        assert kind == (None if masks is None else "logits")
        self.calls.append(
            {"points": points, "labels": labels, "boxes": boxes, "masks": masks, "multi": multimask}
        )
        answers = []
        for i in range(len(points if boxes is None else boxes)):
            clicks = 0 if points is None else points.shape[1]
            truth = self.find(embedding, boxes[i] if clicks == 0 else points[i, 0], clicks)
            answer = self.change(truth, clicks)
            empty = np.zeros_like(truth)
            answers.append([empty, answer, empty] if multimask else [answer])
        found = np.array(answers)
        scores = np.tile(
            np.array([0.2, 0.9, 0.1] if multimask else [0.9], np.float32), (len(found), 1)
        )
        logits = np.where(found, 5, -5).astype(np.float32)[:, :, ::4, ::4]
        return Answer(found, scores, logits)

    @staticmethod
    def find(masks, prompt, clicks):
        if clicks:
            x, y = prompt.astype(int)
            return next(mask for mask in masks if mask[y, x])
        for mask in masks:
            rows, columns = np.nonzero(mask)
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            if tuple(prompt) == box:
                return mask
        raise AssertionError(f"no mask has the box {prompt}")


SIZE = (48, 64)
LEFT = rectangle(SIZE, 4, 8, 24, 28)  # 20 x 20
RIGHT = rectangle(SIZE, 34, 10, 54, 30)
KEYS = [
    "masks",
    "box",
    "click1",
    "click1_best",
    "click3",
    "click5",
    "filled_box",
    "grabcut_box",
]


def shifted(by):
    return lambda truth, clicks: np.roll(truth, by, 1)


def run(data, predictor, **options):
    return evaluate_interactive(predictor, [data], **{"split": "all", "baselines": False} | options)


def test_the_truth_scores_one(make_set):
    photos = {"a": [LEFT, RIGHT], "b": [RIGHT]}
    pooled = run(make_set("x", photos), Oracle(photos)).to_dict()["pooled"]
    assert pooled.pop("grabcut_box") is None
    assert pooled == {"masks": 3} | dict.fromkeys(KEYS[1:-1], 1.0)


def test_a_mask_moved_by_a_quarter_of_its_width_scores_three_fifths(make_set):
    photos = {"a": [LEFT, RIGHT]}
    report = run(make_set("x", photos), Oracle(photos, shifted(5)))
    for name in ("box", "click1", "click1_best", "click3", "click5"):
        assert report.mean(name) == pytest.approx(15 / 25)


def test_the_report_has_the_agreed_keys(make_set):
    photos = {"a": [LEFT]}
    report = run(make_set("x", photos), Oracle(photos), baselines=True).to_dict()
    assert list(report) == ["pooled", "mean_of_sets", "sets"]
    for part in (report["pooled"], report["mean_of_sets"], report["sets"]["x"]):
        assert list(part) == KEYS
        assert type(part["masks"]) is int
        assert all(type(part[name]) is float for name in KEYS[1:])
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_other_numbers_of_clicks_give_other_keys(make_set):
    photos = {"a": [LEFT]}
    predictor = Oracle(photos, shifted(5))
    report = run(make_set("x", photos), predictor, clicks=(4, 2))
    assert report.measures == ("box", "click2", "click4", "filled_box", "grabcut_box")
    assert [call["points"].shape[1] for call in predictor.calls[1:]] == [1, 2, 3, 4]


def test_the_highest_scored_counts_and_the_best_is_told_apart(make_set):
    photos = {"a": [LEFT]}
    predictor = Oracle(photos)
    predict = predictor.predict

    def worse(embedding, **prompts):
        answer = predict(embedding, **prompts)
        if prompts["multimask"]:
            answer.masks[:, 0] = np.roll(answer.masks[:, 1], 10, 2)
            answer.scores[:, 0] = 0.95  # surer of the worse mask
            answer.logits[:, 0] = 7
        return answer

    predictor.predict = worse
    report = run(make_set("x", photos), predictor)
    assert report.mean("click1") == pytest.approx(10 / 30)
    assert report.mean("click1_best") == 1
    assert (predictor.calls[2]["masks"] == 7).all()  # and it is the one that is fed back


def test_each_photo_is_encoded_once_and_its_masks_are_prompted_together(make_set):
    photos = {"a": [LEFT, RIGHT], "b": [RIGHT]}
    predictor = Oracle(photos, shifted(5))
    run(make_set("x", photos), predictor)
    assert predictor.encoded == [0, 1]
    assert len(predictor.calls) == 2 * 6
    assert [len(call["points"]) for call in predictor.calls[1:6]] == [2] * 5


def test_the_user_clicks_the_innermost_point_then_the_largest_error(make_set):
    photos = {"a": [LEFT]}
    predictor = Oracle(photos, shifted(5))  # misses columns 4 to 8, runs over columns 24 to 28
    run(make_set("x", photos), predictor, clicks=(3,))
    box, first, second, third = predictor.calls
    assert box["boxes"].tolist() == [[4, 8, 24, 28]]
    assert (box["multi"], first["multi"], second["multi"]) == (False, True, False)
    assert first["masks"] is None and first["points"].dtype == np.float32
    assert first["points"].tolist() == [[[13, 17]]]
    assert second["points"].tolist() == [[[13, 17], [6, 10]]]
    assert second["labels"].tolist() == [[1, 1]]
    assert third["points"].shape == (1, 3, 2)
    answer = np.where(np.roll(LEFT, 5, 1), 5, -5)[::4, ::4]
    np.testing.assert_array_equal(second["masks"], [answer])


def test_a_model_that_takes_no_masks_gets_none(make_set):
    photos = {"a": [LEFT]}
    predictor = Oracle(photos, shifted(5))
    predictor.takes_masks = False
    run(make_set("x", photos), predictor, clicks=(3,))
    assert len(predictor.calls) == 4
    assert all(call["masks"] is None for call in predictor.calls)


def test_a_mask_without_error_is_clicked_no_more(make_set):
    photos = {"a": [LEFT, RIGHT]}
    predictor = Oracle(
        photos, lambda truth, clicks: truth if truth[15, 10] else np.roll(truth, 5, 1)
    )
    report = run(make_set("x", photos), predictor)
    assert [len(call["points"]) for call in predictor.calls[1:]] == [2, 1, 1, 1, 1]
    assert report.mean("click5") == pytest.approx((1 + 0.6) / 2)


def test_later_clicks_may_mend_the_mask(make_set):
    photos = {"a": [LEFT]}
    predictor = Oracle(photos, lambda truth, clicks: np.roll(truth, 5 * (clicks < 3), 1))
    report = run(make_set("x", photos), predictor)
    assert [report.mean(f"click{n}") for n in (1, 3, 5)] == [pytest.approx(0.6), 1, 1]


def test_ignored_pixels_do_not_count(make_set):
    photos = {"a": [LEFT]}
    wrong = LEFT ^ np.roll(LEFT, 5, 1)
    data = make_set("x", photos, {"a": {"ignore": rle(wrong)}})
    report = run(data, Oracle(photos, shifted(5)), baselines=True)
    for name in ("box", "click1", "click3", "click5", "filled_box"):
        assert report.mean(name) == 1


def test_the_first_click_avoids_ignored_pixels(make_set):
    photos = {"a": [LEFT]}
    data = make_set("x", photos, {"a": {"ignore": rle(rectangle(SIZE, 0, 0, 14, 48))}})
    predictor = Oracle(photos)
    run(data, predictor, clicks=(1,))
    x, y = predictor.calls[1]["points"][0, 0]
    assert x >= 14 and LEFT[int(y), int(x)]


def test_a_photo_too_large_for_one_batch_is_prompted_mask_by_mask(make_set, monkeypatch):
    photos = {"a": [LEFT, RIGHT]}
    whole = run(make_set("x", photos), Oracle(photos, shifted(5)))
    monkeypatch.setattr("anymask.evaluate.interactive._BYTES_AT_ONCE", 1)
    predictor = Oracle(photos, shifted(5))
    assert str(run(make_set("y", photos), predictor).scores) == str(whole.scores).replace(
        "set='x'", "set='y'"
    )
    assert [len(call["points"]) for call in predictor.calls if call["boxes"] is None] == [1] * 10


def test_sets_are_pooled_by_mask_and_averaged_by_set(make_set):
    photos = {"a": [LEFT, RIGHT]}
    good, bad = make_set("good", photos), make_set("bad", {"a": [LEFT]})
    empty = make_set("empty", {"a": [np.ones(SIZE, bool)]})  # more than 85 %: takes no part
    predictor = Oracle(photos)

    def change(truth, clicks):
        return np.roll(truth, 20, 1) if len(predictor.encoded) == 2 else truth

    predictor.change = change
    report = evaluate_interactive(predictor, [good, bad, empty], split="all", baselines=False)
    table = report.to_dict()
    assert list(table["sets"]) == ["good", "bad", "empty"]
    assert table["pooled"]["box"] == pytest.approx(2 / 3)
    assert table["mean_of_sets"]["box"] == 0.5
    assert [part["masks"] for part in table["sets"].values()] == [2, 1, 0]
    assert table["sets"]["empty"]["box"] is None
    assert table["pooled"]["masks"] == table["mean_of_sets"]["masks"] == 3


def test_no_mask_at_all_is_a_report_too(make_set):
    data = make_set("x", {"a": [np.ones(SIZE, bool)]})
    report = run(data, Oracle({}))
    assert report.to_dict()["pooled"] == {"masks": 0} | dict.fromkeys(KEYS[1:])
    assert math.isnan(report.mean("box"))


def test_only_the_val_split_is_judged_by_default(make_set):
    ids = [f"p{i}" for i in range(40)]
    photos = {name: [LEFT] for name in ids}
    data = make_set("x", photos)
    report = evaluate_interactive(Oracle(photos), [data], baselines=False)
    judged = [score.image_id for score in report.scores]
    assert judged == ["p0", "p17", "p33", "p37", "p7"]  # SHA-256 begins with a byte below 26


def test_a_limit_takes_the_same_photos_of_each_set_every_time(make_set):
    ids = [f"p{i}" for i in range(12)]
    photos = {name: [LEFT] for name in ids}
    x, y = make_set("x", photos), make_set("y", photos)
    report = evaluate_interactive(Oracle(photos), [x, y], split="all", limit=3, baselines=False)
    judged = [(score.set, score.image_id) for score in report.scores]
    assert judged == [(name, i) for name in "xy" for i in ("p0", "p7", "p9")]


def test_the_same_input_gives_the_same_report(make_set):
    photos = {"a": [LEFT, RIGHT], "b": [RIGHT]}
    data = make_set("x", photos)
    first, second = (run(data, Oracle(photos, shifted(3)), baselines=True) for _ in range(2))
    assert first == second


def test_progress_counts_photos(make_set):
    photos = {"a": [LEFT], "b": [RIGHT]}
    told = []
    run(make_set("x", photos), Oracle(photos), progress=lambda *told_now: told.append(told_now))
    assert told == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"split": "test"}, "split-unknown"),
        ({"clicks": ()}, "clicks-wrong"),
        ({"clicks": (0,)}, "clicks-wrong"),
    ],
)
def test_wrong_options_are_refused(make_set, options, code):
    with pytest.raises(DataError, match=code):
        run(make_set("x", {"a": [LEFT]}), Oracle({}), **options)


def test_two_sets_of_one_name_are_refused(make_set):
    data = make_set("x", {"a": [LEFT]})
    with pytest.raises(DataError, match=r"set-twice.*'x'"):
        evaluate_interactive(Oracle({}), [data, data])


def columns(count):
    """Masks of one column each in a picture of 100 x 100: 1 % of it."""
    return [rectangle((100, 100), i, 0, i + 1, 100) for i in range(count)]


def test_at_most_eight_masks_of_a_photo_are_drawn_always_the_same(make_set):
    data = make_set("x", {"a": columns(20), "b": columns(20), "c": columns(8)})
    drawn = {i: [a.id for a in masks_of_record(data.read(i))] for i in "abc"}
    assert drawn == {
        "a": [1, 3, 6, 7, 8, 9, 11, 13],
        "b": [1, 3, 5, 10, 12, 13, 14, 15],
        "c": [1, 2, 3, 4, 5, 6, 7, 8],
    }
    assert all(len(ids) == MASKS_A_PHOTO for ids in drawn.values())


@pytest.mark.parametrize(
    ("pixels", "kept"), [(19, False), (20, True), (8500, True), (8501, False), (0, False)]
)
def test_masks_of_a_fifth_percent_to_85_percent_take_part(make_set, pixels, kept):
    mask = (np.arange(100 * 100) < pixels).reshape(100, 100)
    data = make_set("x", {"a": [mask]}, {"a": {"area": 500}})  # the stated area is not believed
    assert len(masks_of_record(data.read("a"))) == kept


def test_crowds_and_wholly_ignored_masks_take_no_part(make_set):
    photos = {"crowd": [LEFT], "ignored": [LEFT], "partly": [LEFT]}
    more = {
        "crowd": {"iscrowd": 1},
        "ignored": {"ignore": rle(LEFT | RIGHT)},
        "partly": {"ignore": rle(~LEFT)},
    }
    data = make_set("x", photos, more)
    assert [len(masks_of_record(data.read(i))) for i in photos] == [0, 0, 1]
