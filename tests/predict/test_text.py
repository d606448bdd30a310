"""Words to masks: what is found, what is not, and what is refused."""

import numpy as np
import pytest

from anymask import load_detector
from anymask.detectors import detector_row
from anymask.errors import AnymaskWarning, CheckpointError, PromptError
from anymask.predict.image import ImagePredictor
from anymask.predict.text import TextPredictor, TextSettings, tile_windows
from anymask.text_boxes import TextBoxes, sure_or_best
from tiny import tiny_sam

SQUARES = {  # word: boxes and scores on a picture of 48 x 64
    "dog": [([4, 4, 24, 20], 0.9), ([5, 4, 25, 20], 0.8), ([40, 20, 60, 44], 0.5)],
    "cat": [([4, 4, 24, 20], 0.7)],
    "bird": [([0, 0, 30, 30], 0.2)],
}


class Pretender:
    """Finds what the table above says where the picture is not dark; counts its looks."""

    def __init__(self):
        self.row = detector_row("coco")
        self.looks = 0

    def check(self, phrases):
        return ()

    def detect(self, pixels, phrases, least):
        self.looks += 1
        parts = [TextBoxes.none(len(phrases))]
        for i, phrase in enumerate(phrases):
            known = SQUARES.get(phrase, [])
            best = np.zeros(len(phrases), np.float32)
            best[i] = max((s for _, s in known), default=0.0)
            taken = [(b, s) for b, s in known if s >= least]
            parts.append(
                TextBoxes(
                    boxes=np.array([b for b, _ in taken], np.float32).reshape(-1, 4),
                    scores=np.array([s for _, s in taken], np.float32),
                    phrases=np.full(len(taken), i, np.int64),
                    kinds=np.zeros(len(taken), np.int64),
                    names=(phrase,) * len(taken),
                    best=best,
                )
            )
        return TextBoxes.join(parts)


@pytest.fixture
def image():
    return np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def finder():
    return TextPredictor(tiny_sam(), Pretender())


def codes(result) -> list[str]:
    return [note.code for note in result.notes]


def test_boxes_become_masks_and_scores_are_products(finder, image):
    found = finder.predict(image, "dog")
    assert found.labels == ("dog", "dog")  # the double is gone
    assert sorted(found.detector_scores.tolist()) == pytest.approx([0.5, 0.9])
    np.testing.assert_allclose(found.scores, found.detector_scores * found.mask_scores)
    assert (np.diff(found.scores) <= 0).all()


def test_the_masks_are_those_of_the_boxes(finder, image):
    found = finder.predict(image, "dog")
    predictor = ImagePredictor(tiny_sam())
    wanted = predictor.predict(predictor.encode(image), boxes=found.found, multimask=False)
    assert np.array_equal(found.bits, wanted.masks[:, 0])


def test_t05_several_phrases_stay_apart_and_are_what_each_gives_alone(finder, image):
    together = finder.predict(image, "dog . cat . unicorn . dog")
    assert together.phrases == ("dog", "cat", "unicorn", "dog")
    assert together.labels == ("dog", "dog", "cat", "dog", "dog")
    assert together.phrase.tolist() == [0, 0, 1, 3, 3]
    for i, phrase in enumerate(together.phrases):
        part, alone = together.of(i), finder.predict(image, [phrase])
        assert np.array_equal(part.found, alone.found)
        assert np.array_equal(part.bits, alone.bits)
        np.testing.assert_allclose(part.scores, alone.scores, atol=1e-4)
        assert together.best[i] == alone.best[0]


def test_one_object_may_be_kept_to_one_phrase(image):
    settings = TextSettings(phrase_overlap=0.8)
    found = TextPredictor(tiny_sam(), Pretender(), settings=settings).predict(image, "cat . dog")
    assert found.labels == ("dog", "dog")


@pytest.mark.parametrize("tiles", [None, 64])
def test_t06_nothing_found_is_a_result_of_full_shape(finder, image, tiles):
    found = finder.predict(np.tile(image, (2, 2, 1)), "bird", tiles=tiles)
    assert found.bits.shape == (0, 96, 128)
    assert found.best.tolist() == pytest.approx([0.2])
    assert codes(found) == ["nothing-found"] and "0.20" in found.notes[0].text


def test_t06_nothing_found_costs_no_encoding(image):
    class Untouchable(ImagePredictor):
        def encode(self, image):
            raise RuntimeError("encoded for nothing")

    found = TextPredictor(Untouchable(tiny_sam()), Pretender()).predict(image, "bird")
    assert len(found) == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "text-empty"), ([" "], "text-empty"), ("d\x00g", "text-control"), (7, "text-type")],
)
def test_t02_t04_bad_text_is_refused_before_the_image_is_read(finder, text, code):
    with pytest.raises(PromptError) as error:
        finder.predict("no/such/file.jpg", text)
    assert error.value.code == code
    assert finder.detector.looks == 0


def test_tiles_cover_a_large_image_and_overlap():
    covered = np.zeros((130, 300), int)
    for window in tile_windows((130, 300), 100):
        assert window.size == (100, 100)
        covered[window.y0 : window.y1, window.x0 : window.x1] += 1
    assert covered.min() == 1 and covered.max() > 1
    assert tile_windows((90, 100), 100) == [] == tile_windows((900, 100), None)


def test_boxes_that_a_tile_cuts_off_are_left_to_others(image):
    finder = TextPredictor(tiny_sam(), Pretender())
    wide = np.tile(image, (2, 2, 1))
    found = finder.boxes(wide, ["dog"], tiles=64)
    assert finder.detector.looks == 1 + len(tile_windows((96, 128), 64))
    assert (found.boxes[:, 2:] <= [128, 96]).all()
    # 60 to 64 of a tile: only where the picture ends there is that box whole
    assert [40, 20, 60, 44] in found.boxes.tolist()


@pytest.mark.parametrize("settings", [{"least": 1.5}, {"cross_overlap": -1}, {"most": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(PromptError) as error:
        TextSettings(**settings)
    assert error.value.code == "setting"


def test_tiles_of_no_size_are_refused(finder, image):
    with pytest.raises(PromptError):
        finder.predict(image, "dog", tiles=0)


@pytest.fixture(scope="module")
def coco():
    return load_detector("coco", device="cpu")


def test_t01_an_unknown_word_finds_nothing_and_says_what_is_known(coco, image):
    finder = TextPredictor(tiny_sam(), coco)
    with pytest.warns(AnymaskWarning, match="word-unknown"):
        found = finder.predict(image, ["horsse"])
    assert found.bits.shape == (0, 48, 64) and found.best.tolist() == [0.0]
    assert codes(found) == ["word-unknown"]
    assert "spelt alike are horse" in found.notes[0].text
    assert "anymask[text]" in found.notes[0].text


def test_t01_a_known_word_that_is_not_there_gives_its_best_score(coco):
    grey = np.full((60, 80, 3), 90, np.uint8)
    found = TextPredictor(tiny_sam(), coco).predict(grey, "giraffe")
    assert len(found) == 0 and 0 < found.best[0] < 0.35


def test_t03_too_long_a_phrase_names_its_words_and_the_limit(coco):
    with pytest.raises(PromptError, match=r"40 words, coco takes 32") as error:
        TextPredictor(tiny_sam(), coco).predict("no/such/file.jpg", "very " * 39 + "dog")
    assert error.value.code == "text-tokens"


def test_t03_a_phrase_without_end_is_refused(coco):
    with pytest.raises(PromptError, match="100000 characters") as error:
        TextPredictor(tiny_sam(), coco).predict("no/such/file.jpg", "x" * 100_000)
    assert error.value.code == "text-long"


def test_dropped_words_are_told_once(coco):
    (note,) = coco.check(["red car", "car"])
    assert note.code == "words-dropped" and '"red"' in note.text


def test_the_bundled_detector_takes_no_other_weights(tmp_path):
    with pytest.raises(CheckpointError) as error:
        load_detector("coco", weights=tmp_path)
    assert error.value.code == "detector-weights"


@pytest.mark.parametrize(
    ("scores", "kept"),
    [([0.4, 0.3], [0]), ([0.3, 0.32], [1]), ([0.2, 0.1], []), ([0.5, 0.36], [0, 1])],
    ids=["one is sure", "the best of two weak ones", "none is good enough", "both are sure"],
)
def test_a_phrase_that_nothing_answers_surely_takes_its_best_box(scores, kept):
    found = TextBoxes(
        boxes=np.array([[0, 0, 9, 9], [10, 0, 19, 9]], np.float32),
        scores=np.array(scores, np.float32),
        phrases=np.zeros(2, np.int64),
        kinds=np.zeros(2, np.int64),
        names=("dog", "dog"),
        best=np.array([max(scores)], np.float32),
    )
    reached = found.keep(np.flatnonzero(found.scores >= 0.25))
    assert sure_or_best(reached, 0.35).boxes[:, 0].tolist() == [10.0 * k for k in kept]
