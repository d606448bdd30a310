"""Results of `anymask segment` as a set that other formats are made of."""

import json

import numpy as np
import pytest
from PIL import Image

from anymask.errors import DataError
from anymask.formats import guess_format, set_format
from anymask.formats.coco import json_file
from anymask.formats.png import mask_png
from anymask.formats.records import ReadOptions
from anymask.formats.result import Asked, Result
from anymask.masks import Masks

BITS = np.zeros((3, 12, 16), bool)
BITS[0, 2:6, 3:9] = True
BITS[1, 7:9, 1:15] = True  # the third mask is empty


@pytest.fixture
def folder(tmp_path):
    asked = (
        Asked(box=(3, 2, 9, 6), text="red car", name="car", detector_score=0.5),
        Asked(points=((4.0, 8.0),), labels=(1,)),
        Asked(text="dog"),
    )
    masks = Masks.from_bits(BITS, [0.75, 0.5, 0.25])
    pixels = np.zeros((12, 16, 3), np.uint8)
    result = Result(file="photos/a.png", pixels=pixels, masks=masks, asked=asked)
    (tmp_path / "a.png.json").write_bytes(json_file(result))
    (tmp_path / "a.png.1.mask.png").write_bytes(mask_png(BITS[0]))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path


def test_the_words_that_asked_for_a_mask_are_its_category(folder):
    data = set_format("segment").open(folder, ReadOptions())
    (record,) = data
    assert [(a.category, a.predicted_iou) for a in record.annotations] == [
        ("red car", 0.75),
        (None, 0.5),
    ]
    assert np.array_equal(record.annotations[1].mask(), BITS[1])
    assert record.annotations[1].points == ((4.0, 8.0),)
    assert record.file_name == "a.png" and record.pixels().shape == (12, 16, 3)
    assert [note.code for note in record.notes] == ["mask-empty"]


def test_a_folder_of_results_is_known_by_itself_though_masks_lie_there_too(folder):
    assert guess_format(folder).name == "segment"
    (folder / "a.png.json").unlink()
    assert guess_format(folder).name == "masks"


def test_f14_an_empty_mask_is_an_error_where_nothing_may_be_lost(folder):
    data = set_format("segment").open(folder, ReadOptions(strict=True))
    with pytest.raises(DataError, match="mask-empty"):
        list(data)


@pytest.mark.parametrize("size", [[16, 12], [12, 15], "12x16"])
def test_f16_run_lengths_of_another_size_are_refused(folder, size):
    table = json.loads((folder / "a.png.json").read_text())
    table["images"][0]["masks"][0]["segmentation"]["size"] = size
    (folder / "a.png.json").write_text(json.dumps(table))
    with pytest.raises(DataError):
        list(set_format("segment").open(folder, ReadOptions()))


def test_cocos_own_json_is_no_result(folder):
    (folder / "a.png.json").write_text(json.dumps({"images": [{"id": 1}], "annotations": []}))
    with pytest.raises(DataError, match="set-empty"):
        set_format("segment").open(folder, ReadOptions())
