"""`anymask everything --text`: of all masks those that words name."""

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anymask.cli import main
from anymask.cli.everything_job import EverythingJob
from anymask.errors import DataError
from anymask.formats.records import of_generated
from anymask.generated import GeneratedMasks
from anymask.image import load_image
from anymask.masks import Masks

CAT = resources.files("anymask") / "photos" / "chelsea.png"


class NoModel:
    """A generator whose model is never asked."""

    def __init__(self, model):
        self.model = model


def generated(*boxes, size):
    bits = np.zeros((len(boxes), *size), bool)
    for mask, (x0, y0, x1, y1) in zip(bits, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    plain = Masks.from_bits(bits)
    count = len(boxes)
    return GeneratedMasks(
        size=plain.size,
        rles=plain.rles,
        scores=plain.scores,
        stability=np.ones(count, np.float32),
        points=np.zeros((count, 2)),
        crop_boxes=np.zeros((count, 4), np.int64),
    )


def job(*text: str) -> EverythingJob:
    return EverythingJob(
        model="nano", checkpoint=None, device="cpu", options={}, layout="sa1b", text=text
    )


def test_only_the_masks_that_a_word_names_are_kept():
    from tiny import tiny_sam

    picture = load_image(str(CAT))
    size = picture.pixels.shape[:2]
    masks = generated((2, 2, 442, 296), (100, 100, 140, 130), size=size)
    maker = NoModel(tiny_sam())
    cat = job("cat").named(maker, picture, masks)
    assert cat.areas.tolist() == [440 * 294] and cat.labels == ("cat",)
    assert len(job("giraffe").named(maker, picture, masks)) == 0
    unknown = job("sideboard").named(maker, picture, masks)
    assert len(unknown) == 0 and "word-unknown" in [note.code for note in unknown.notes]
    assert job().named(maker, picture, masks) is masks


def test_words_are_the_categories_of_what_is_written():
    named = replace(
        generated((2, 2, 10, 9), (0, 0, 5, 5), size=(20, 30)), labels=("cat", "red car")
    )
    record = of_generated(named, "a.jpg", "a")
    assert [each.category for each in record.annotations] == ["cat", "red car"]
    assert named.keep([1]).labels == ("red car",)
    with pytest.raises(DataError, match="facts-count"):
        replace(named, labels=("cat",))


def test_an_unknown_detector_is_refused_before_work(tmp_path, capsys):
    out = tmp_path / "out"
    asked = [
        "everything",
        str(CAT),
        "--text",
        "cat",
        "--detector",
        "yoda",
        "-o",
        str(out),
        "--json",
    ]
    assert main(asked) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unknown-detector"
    assert not out.exists()


@pytest.mark.parametrize("word", ["", "cat\x07"])
def test_t02_t04_words_that_cannot_be_asked_are_refused_before_work(word, tmp_path, capsys):
    photo = tmp_path / "a.png"
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(photo)
    out = tmp_path / "out"
    assert main(["everything", str(photo), "--text", word, "-o", str(out), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"].startswith("text-")
    assert not Path(out).exists()
