"""Boxes and masks that answer words: values, and which boxes are doubles."""

import numpy as np
import pytest

from anymask.detectors import DETECTORS, detector_row
from anymask.errors import DataError, PromptError
from anymask.text_boxes import TextBoxes, suppress
from anymask.text_masks import TextMasks


def boxes(*rows: tuple[list[float], float, int, int], phrases: int = 2) -> TextBoxes:
    """From (box, score, phrase, kind)."""
    found = TextBoxes.none(phrases)
    return TextBoxes(
        boxes=np.array([r[0] for r in rows], np.float32).reshape(-1, 4),
        scores=np.array([r[1] for r in rows], np.float32),
        phrases=np.array([r[2] for r in rows], np.int64),
        kinds=np.array([r[3] for r in rows], np.int64),
        names=tuple(str(r[3]) for r in rows),
        best=found.best,
    )


def test_the_lower_of_two_doubles_of_a_group_goes():
    square = [0.0, 0.0, 10.0, 10.0]
    found = boxes((square, 0.5, 0, 1), (square, 0.9, 0, 1), (square, 0.7, 1, 1))
    assert suppress(found, 0.6, found.phrases).scores.tolist() == pytest.approx([0.9, 0.7])
    alone = suppress(found, 0.6, np.zeros(3, np.int64))
    assert alone.scores.tolist() == pytest.approx([0.9])


def test_no_boxes_stay_no_boxes():
    none = TextBoxes.none(3)
    assert len(suppress(none, 0.5, none.phrases)) == 0
    assert TextBoxes.join([none, none]).best.shape == (3,)


def test_the_best_score_of_several_looks_is_the_highest():
    first, second = TextBoxes.none(2), TextBoxes.none(2)
    first.best[:] = 0.2, 0.1
    second.best[:] = 0.1, 0.3
    assert TextBoxes.join([first, second]).best.tolist() == pytest.approx([0.2, 0.3])


def text_masks(**changes: object) -> TextMasks:
    bits = np.zeros((3, 4, 6), bool)
    bits[:, 1:3, 1:4] = True
    plain = TextMasks.__mro__[1].from_bits(bits)
    facts = {
        "phrases": ("dog", "cat"),
        "phrase": np.array([0, 0, 1]),
        "names": ("dog", "dog", "cat"),
        "found": np.zeros((3, 4), np.float32),
        "detector_scores": np.ones(3, np.float32),
        "mask_scores": np.ones(3, np.float32),
        "best": np.ones(2, np.float32),
    }
    whole = {"size": plain.size, "rles": plain.rles, "scores": plain.scores} | facts | changes
    return TextMasks(**whole)


def test_masks_say_which_phrase_they_answer():
    masks = text_masks()
    assert masks.labels == ("dog", "dog", "cat")
    assert masks.of(1).labels == ("cat",)
    assert masks.keep([2, 0]).labels == ("cat", "dog")
    assert masks.keep([]).phrases == ("dog", "cat")


@pytest.mark.parametrize("name", ["phrase", "names", "found", "detector_scores", "mask_scores"])
def test_facts_that_are_not_as_many_as_the_masks_are_refused(name):
    with pytest.raises(DataError) as error:
        text_masks(**{name: getattr(text_masks(), name)[:2]})
    assert (error.value.code, error.value.where) == ("facts-count", name)


def test_a_detector_has_bundled_weights_or_a_place_to_fetch_them():
    names = [row.name for row in DETECTORS]
    assert names == ["coco", "grounding-dino-tiny", "grounding-dino-base", "sam3"]
    for row in DETECTORS:
        assert (row.weights is None) != (row.repository is None)


def test_an_unknown_detector_is_answered_with_the_names_there_are():
    with pytest.raises(PromptError, match="grounding-dino-tiny") as error:
        detector_row("dino")
    assert error.value.code == "unknown-detector"
