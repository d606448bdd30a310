"""The bundled detector on real photos: right boxes for right words."""

from importlib import resources

import numpy as np
import pytest

from anymask import load_detector, read_image
from anymask.detectors import detector_row
from anymask.predict.text import TextPredictor
from anymask.predict.text_coco import CocoDetector
from anymask.text_boxes import TextBoxes, suppress

PHOTOS = resources.files("anymask") / "photos"


@pytest.fixture(scope="module")
def coco() -> CocoDetector:
    return load_detector("coco", device="cpu")


def strongest(coco: CocoDetector, pixels: np.ndarray, word: str) -> list[float]:
    found = coco.detect(pixels, [word], 0.3)
    return suppress(found, 0.6, found.phrases).boxes[0].tolist()


@pytest.mark.parametrize(
    ("file", "word", "box"),
    [("chelsea.png", "cat", [0, 0, 442, 296]), ("astronaut.jpg", "woman", [15, 15, 364, 508])],
)
def test_the_photos_of_the_package_show_what_they_show(coco, file, word, box):
    found = strongest(coco, read_image(str(PHOTOS / file)), word)
    np.testing.assert_allclose(found, box, atol=25)


def test_boxes_move_with_the_picture(coco):
    pixels = read_image(str(PHOTOS / "chelsea.png"))
    twice = np.repeat(np.repeat(pixels, 2, 0), 2, 1)
    plain = strongest(coco, pixels, "cat")
    np.testing.assert_allclose(strongest(coco, twice, "cat"), [2 * v for v in plain], atol=12)


def test_t05_words_asked_together_give_what_each_gives_alone(coco):
    pixels = read_image(str(PHOTOS / "chelsea.png"))
    words = ["cat", "animal", "tree", "kitten"]
    together = coco.detect(pixels, words, 0.2)
    for i, word in enumerate(words):
        alone = coco.detect(pixels, [word], 0.2)
        part = together.keep(np.flatnonzero(together.phrases == i))
        assert np.array_equal(part.boxes, alone.boxes)
        assert np.array_equal(part.scores, alone.scores)
        assert part.names == alone.names and together.best[i] == alone.best[0]


def test_a_word_for_several_classes_finds_an_object_once(coco):
    class OneLook:
        row = detector_row("coco")

        def check(self, phrases):
            return ()

        def detect(self, pixels, phrases, least):
            square = np.array([[0, 0, 20, 20], [0, 0, 20, 19.5]], np.float32)
            return TextBoxes(
                boxes=square,
                scores=np.array([0.6, 0.5], np.float32),
                phrases=np.zeros(2, np.int64),
                kinds=np.array([2, 7]),
                names=("car", "truck"),
                best=np.array([0.6], np.float32),
            )

    from tiny import tiny_sam

    finder = TextPredictor(tiny_sam(), OneLook())
    assert finder.boxes(np.zeros((32, 32, 3), np.uint8), ["vehicle"]).names == ("car",)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (500, 2)])
def test_t06_pictures_of_any_shape_are_looked_at(coco, size):
    found = coco.detect(np.zeros((*size, 3), np.uint8), ["dog", "cat"], 0.35)
    assert found.best.shape == (2,)
