"""A JSON that is too large to hold: the elements of its top-level lists one by one.

Each comes with its place in the file, so that it can be read again alone. Bytes are decoded as
Latin-1 to find where elements end, so that places are those of bytes; an element itself is decoded
as UTF-8.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymask.errors import DataError
from anymask.image_sniff import BinaryFile

_CHUNK = 2**22  # bytes
_LARGEST = 2**26  # bytes of one element
_TAIL = 2  # characters that may be left of a number that goes on: "1" of "1e+5"
_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a top-level list, or a top-level value that is no list.

    Attributes
    ----------
    key
        The list's name.
    value
        Decoded as Latin-1: numbers are right, texts only where they are ASCII.
    start, length
        Where it stands, bytes.
    """

    key: str
    value: Any
    start: int
    length: int


def elements(file: BinaryFile, where: str, seen: set[str] | None = None) -> Iterator[Element]:
    """All of them, in the order of the file, which is read once from its start.

    Parameters
    ----------
    file
        The JSON.
    where
        Goes into messages.
    seen
        Gets the names of all top-level values, of empty lists too, as they come.

    Raises
    ------
    DataError
        ``json-broken``: with the place; ``json-shape``: the JSON is no object.
    """
    reader = _Reader(file, where)
    if reader.peek() != "{":
        raise DataError(
            "json-shape",
            "the JSON is no object with lists",
            given=reader.text[:20],
            where=where,
            hint="a data set is wanted, not a list of results",
        )
    seen = set() if seen is None else seen
    reader.at += 1
    while reader.peek() != "}":
        key = reader.value()
        if not isinstance(key, str) or key in seen:
            raise reader.broken("a name is wanted that was not there before")
        seen.add(key)
        reader.take(":")
        if reader.peek() == "[":
            yield from _list(reader, key)
        else:
            yield reader.element(key)
        if reader.peek() != "}":
            reader.take(",")
    reader.at += 1
    if reader.peek():
        raise reader.broken("there is more after the end")


def _list(reader: "_Reader", key: str) -> Iterator[Element]:
    reader.at += 1
    while reader.peek() != "]":
        yield reader.element(key)
        if reader.peek() != "]":
            reader.take(",")
            if reader.peek() == "]":
                raise reader.broken("an element is wanted")
    reader.at += 1


class _Reader:
    """A window of text that moves over a file."""

    def __init__(self, file: BinaryFile, where: str) -> None:
        self.file, self.where = file, where
        self.text, self.at = "", 0
        self.begin = 0  # place in the file of the window's first byte
        file.seek(0)
        if file.read(3) == b"\xef\xbb\xbf":  # as some editors begin a file
            self.begin = 3
        else:
            file.seek(0)

    def more(self) -> bool:
        """Let the window begin here, and reach further; whether there was more."""
        read = self.file.read(max(_CHUNK, len(self.text) - self.at))
        if read:
            self.text = self.text[self.at :] + read.decode("latin-1")
            self.begin, self.at = self.begin + self.at, 0
        return bool(read)

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self, character: str) -> None:
        """Go over a character that must stand here."""
        if self.peek() != character:
            raise self.broken(f"{character} is wanted")
        self.at += 1

    def element(self, key: str) -> Element:
        """A value with its place."""
        self.peek()
        value = self.value()
        start = self.begin + self._first
        return Element(key, value, start, self.begin + self.at - start)

    def value(self) -> Any:
        """A decoded value."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except RecursionError as error:
                raise self.broken("it is nested too deeply") from error
            except ValueError as error:
                if len(self.text) - self.at > _LARGEST or not self.more():
                    raise self.broken(str(error)) from error
                continue
            if end >= len(self.text) - _TAIL and self.more():
                continue
            self._first, self.at = self.at, end
            return value

    def broken(self, problem: str) -> DataError:
        """The error of what stands here."""
        place = self.begin + self.at
        return DataError("json-broken", f"no JSON at byte {place}: {problem}", where=self.where)


def keys(path: Path) -> set[str]:
    """Names of the top-level values of a JSON; none where it is no such thing.

    >>> keys(Path("there-is-none"))
    set()
    """
    seen: set[str] = set()
    with contextlib.suppress(OSError, DataError), path.open("rb") as file:
        for _ in elements(file, "", seen):
            pass
    return seen
