"""Words and the classes of a detector that has a fixed number of them.

    phrase -> normal form -> the whole phrase in the table, in the singular too
           -> else what stands before "with", "in" ... -> else its last words: "red car" is a car

What was left out is told, for the detector does not look at it.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

_ARTICLES = {"a", "an", "the", "all", "any", "every", "each", "some", "my", "your"}
_AFTER = re.compile(r" (?:with|in|on|at|of|near|under|behind|beside|next to|by|from) ")
_BOTH = re.compile(r" (?:and|or|&) ")
_MEASURE = re.compile(
    r"(?:pair|group|bunch|crowd|herd|flock|piece|slice|pictures?|photos?|images?) of "
)
_NEAR, _ALIKE = 4, 0.75  # how many known words are named, and how like they must be


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a phrase means to the detector.

    Attributes
    ----------
    classes
        Numbers of its classes; empty where it knows no word for it.
    known
        The part of the phrase that it knows.
    dropped
        What stands beside that, and is not looked at.
    """

    classes: tuple[int, ...] = ()
    known: str = ""
    dropped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A detector's classes by their names, and the words for them.

    Attributes
    ----------
    classes
        Names in the detector's order.
    table
        Normal form of each word, in the singular, to numbers of classes.
    plurals
        Those that no rule makes, to the singular.
    """

    classes: tuple[str, ...]
    table: Mapping[str, tuple[int, ...]]
    plurals: Mapping[str, str]

    def meaning(self, phrase: str) -> Meaning:
        """Which classes a phrase asks for.

        >>> words = coco_words()
        >>> words.classes[words.meaning("two red double-decker buses").classes[0]]
        'bus'
        """
        plain = normal(phrase)
        parts = [self._part(part) for part in _BOTH.split(plain)]
        if len(parts) > 1 and all(part.classes and not part.dropped for part in parts):
            classes = sorted({i for part in parts for i in part.classes})
            return Meaning(classes=tuple(classes), known=plain)
        return self._part(plain)

    def _part(self, plain: str) -> Meaning:
        """`meaning` of one thing, in normal form."""
        head = _AFTER.split(plain)[0]
        tail = plain[len(head) :].split()
        if classes := self._classes(plain):
            return Meaning(classes=classes, known=plain)
        tokens = head.split()
        for first in range(len(tokens)):
            known = " ".join(tokens[first:])
            if classes := self._classes(known):
                rest = " ".join([*tokens[:first], *tail])
                return Meaning(classes=classes, known=known, dropped=rest)
        return Meaning()

    def near(self, phrase: str) -> tuple[str, ...]:
        """Known words that are spelt alike, the nearest first."""
        plain = normal(phrase)
        tries = dict.fromkeys([plain, *plain.split()[-1:]])
        found = [difflib.get_close_matches(t, list(self.table), _NEAR, _ALIKE) for t in tries]
        return tuple(dict.fromkeys(word for words in found for word in words))[:_NEAR]

    def _classes(self, text: str) -> tuple[int, ...]:
        """Of a whole text, in the singular or the plural."""
        if not text:
            return ()
        *before, last = text.split()
        for one in (last, *self._singulars(last)):
            classes = self.table.get(" ".join([*before, one]))
            if classes is not None:
                return classes
        return ()

    def _singulars(self, word: str) -> list[str]:
        """What a word may be the plural of."""
        if word in self.plurals:
            return [self.plurals[word]]
        found = [f"{word}s"]  # skis and scissors are listed so
        if word.endswith("ies"):
            found.append(f"{word[:-3]}y")
        if word.endswith("es"):
            found.append(word[:-2])
        if word.endswith("s") and not word.endswith("ss"):
            found.append(word[:-1])
        return found


def normal(phrase: str) -> str:
    """Small letters, single spaces, no hyphens; no articles and no "pair of" in front.

    >>> normal(" The Double-Decker  BUS ")
    'double decker bus'
    """
    tokens = re.sub(r"[\s\-_/]+", " ", phrase.casefold()).strip(' .,;:!?"').split()
    while len(tokens) > 1 and tokens[0] in _ARTICLES:
        tokens.pop(0)
    plain = " ".join(tokens)
    bare = _MEASURE.sub("", plain, count=1) if _MEASURE.match(plain) else plain
    return bare if bare in ("", plain) else normal(bare)


@cache
def coco_words() -> Words:
    """The table that comes with the bundled detector."""
    file = resources.files("anymask.predict").joinpath("coco_words.toml")
    return parse_words(tomllib.loads(file.read_text("utf-8")))


def parse_words(table: Mapping[str, Mapping[str, Sequence[str]]]) -> Words:
    """A table of words; a word for a group of classes yields to a word for one class."""
    classes = tuple(table["classes"])
    number = {name: i for i, name in enumerate(classes)}
    words: dict[str, tuple[int, ...]] = {}
    for name, members in table["groups"].items():
        words[normal(name)] = tuple(number[member] for member in members)
    for name, others in table["classes"].items():
        for word in (name, *others):
            words[normal(word)] = (number[name],)
    plurals = {normal(many): normal(str(one)) for many, one in table["plurals"].items()}
    return Words(classes=classes, table=MappingProxyType(words), plurals=MappingProxyType(plurals))
