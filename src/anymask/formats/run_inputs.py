"""What a run over many inputs works on."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One input.

    Attributes
    ----------
    index
        Its place, from 0.
    name
        Its relative path, with ``/``.
    path
        Where it lies.
    sha256
        Of its content when the run began; None if it could not be read.
    done
        Its results are in place.
    """

    index: int
    name: str
    path: str
    sha256: str | None
    done: bool = False


@runtime_checkable
class Source(Protocol):
    """The inputs of a run, to be gone through as often as needed."""

    def names(self) -> Iterable[str]:
        """Their relative paths, each once."""

    def locate(self, name: str) -> str:
        """Where one lies."""


class Again:
    """Something to go through as often as needed."""

    def __init__(self, begin: Callable[[], Iterable[str]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[str]:
        return iter(self._begin())
