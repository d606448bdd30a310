"""Which words are which of COCO's classes, and which phrases are refused."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymask.errors import PromptError
from anymask.predict.text_phrases import parse_phrases
from anymask.predict.text_words import coco_words, parse_words

WORDS = coco_words()


def classes(phrase: str) -> list[str]:
    return [WORDS.classes[i] for i in WORDS.meaning(phrase).classes]


def test_there_are_cocos_80_classes_in_its_order():
    assert len(WORDS.classes) == 80
    assert WORDS.classes[:3] == ("person", "bicycle", "car")
    assert WORDS.classes[-2:] == ("hair drier", "toothbrush")


@pytest.mark.parametrize("name", WORDS.classes)
def test_a_class_goes_by_its_own_name_alone_whatever_its_case(name):
    assert classes(name) == classes(name.upper()) == [name]


@pytest.mark.parametrize(
    ("phrase", "found"),
    [
        ("people", ["person"]),
        ("puppies", ["dog"]),
        ("two buses", ["bus"]),
        ("knives", ["knife"]),
        ("sheep", ["sheep"]),
        ("a pair of scissors", ["scissors"]),
        ("The Double-Decker Buses", ["bus"]),
        ("sofas", ["couch"]),
        ("lorry", ["truck"]),
        ("wine glasses", ["wine glass"]),
        ("cats and dogs", ["cat", "dog"]),
        ("cutlery", ["fork", "knife", "spoon"]),
        ("tree", []),
        ("dachshund's basket", []),
        ("of", []),
    ],
)
def test_plurals_synonyms_and_groups_are_known(phrase, found):
    assert classes(phrase) == found


@pytest.mark.parametrize(
    ("phrase", "known", "dropped"),
    [
        ("red car", "car", "red"),
        ("black and white cat", "cat", "black and white"),
        ("man in a red shirt", "man", "in a red shirt"),
        ("hot dog", "hot dog", ""),
        ("carpet car", "car", "carpet"),
    ],
)
def test_what_the_detector_does_not_look_at_is_told(phrase, known, dropped):
    meaning = WORDS.meaning(phrase)
    assert (meaning.known, meaning.dropped) == (known, dropped)


def test_words_that_are_spelt_alike_are_named():
    assert WORDS.near("horsse") == ("horse",)
    assert WORDS.near("xqzw") == ()


def test_a_word_stands_for_one_class_only_or_for_a_group():
    table = {
        "classes": {"car": ["auto"], "bus": []},
        "groups": {"vehicle": ["car", "bus"]},
        "plurals": {"autoes": "auto"},
    }
    words = parse_words(table)
    assert words.meaning("autoes").classes == (0,)
    assert words.meaning("vehicles").classes == (0, 1)


@given(st.text(max_size=60))
def test_t01_any_text_has_a_meaning_or_none_and_never_fails(text):
    meaning = WORDS.meaning(text)
    assert all(0 <= i < 80 for i in meaning.classes)


@pytest.mark.parametrize("text", ["", " ", ".", " . . ", [], [""], ["dog", " "], ["\u200d"]])
def test_t02_empty_and_blank_text_is_refused(text):
    with pytest.raises(PromptError) as error:
        parse_phrases(text)
    assert error.value.code == "text-empty"


@given(st.text(alphabet=" .\t\n\u3000\u00a0", max_size=20))
def test_t02_any_kind_of_blank_is_refused(text):
    with pytest.raises(PromptError):
        parse_phrases(text)


@pytest.mark.parametrize("text", [None, 3, b"dog", ["dog", 3], {"dog": 1}])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(PromptError) as error:
        parse_phrases(text)
    assert error.value.code == "text-type"


@given(st.text(max_size=30))
def test_t04_both_unicode_forms_are_one(text):
    results = []
    for form in ("NFC", "NFD"):
        try:
            results.append(parse_phrases([unicodedata.normalize(form, text)]))
        except PromptError as error:
            results.append(error.code)
    assert results[0] == results[1]


@given(st.sampled_from([chr(c) for c in (*range(32), *range(127, 160))]), st.integers(1, 2))
def test_t04_a_control_character_is_refused_by_its_number(character, place):
    text = "dog"[:place] + character + "dog"[place:]
    with pytest.raises(PromptError, match=f"{ord(character):04X}") as error:
        parse_phrases([text])
    assert (error.value.code, error.value.where) == ("text-control", "text[0]")


def test_t04_emoji_are_text():
    assert parse_phrases("🐶 . 👩‍🚀") == ("🐶", "👩‍🚀")


def test_t05_full_stops_part_phrases_and_their_order_stays():
    wanted = ("dog", "red car")
    assert parse_phrases("dog . red car") == parse_phrases(["dog ", "red car"]) == wanted
    assert parse_phrases("dog.red car..") == wanted
