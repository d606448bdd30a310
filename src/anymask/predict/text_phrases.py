"""Text as it was typed to phrases: split, brought to one form, checked."""

import unicodedata
from collections.abc import Sequence
from typing import Any

from anymask.errors import PromptError

# control characters, halves of surrogate pairs, private and unassigned ones; joiners in emoji stay
_REFUSED = {"Cc", "Cs", "Co", "Cn"}
_LONGEST = 4096  # characters, before anything looks for words in them


def parse_phrases(text: Any) -> tuple[str, ...]:
    """Phrases in their order, each stripped and in Unicode's composed form (NFC).

    Parameters
    ----------
    text
        ``"dog . red car"``, phrases parted by full stops, or a list of phrases.

    Raises
    ------
    PromptError
        ``text-type``; ``text-empty``: no phrase, or a blank one in a list; ``text-control``: a
        control character; ``text-long``: a phrase of more than 4096 characters.

    >>> parse_phrases("dog . red car.")
    ('dog', 'red car')
    """
    if isinstance(text, str):
        given = [part for part in text.split(".") if part.strip()]
    elif isinstance(text, Sequence) and all(isinstance(part, str) for part in text):
        given = list(text)
    else:
        raise PromptError(
            "text-type",
            "text is a string or a list of strings",
            given=text,
            hint='such as "dog . red car" or ["dog", "red car"]',
        )
    if not given:
        raise PromptError(
            "text-empty", "there is no word in the text", given=text, hint='name a thing: "dog"'
        )
    return tuple(_one(part, f"text[{i}]") for i, part in enumerate(given))


def _one(part: str, where: str) -> str:
    phrase = unicodedata.normalize("NFC", part.strip())
    if len(phrase) > _LONGEST:
        raise PromptError(
            "text-long",
            f"the phrase has {len(phrase)} characters, {_LONGEST} are the most",
            where=where,
            hint="name a thing in a few words",
        )
    for c in phrase:
        if unicodedata.category(c) in _REFUSED:
            raise PromptError(
                "text-control",
                f"the phrase holds the control character U+{ord(c):04X}",
                given=part,
                where=where,
                hint="remove it",
            )
    if not any(unicodedata.category(c)[0] not in "ZC" for c in phrase):
        raise PromptError("text-empty", "the phrase is blank", given=part, where=where)
    return phrase
