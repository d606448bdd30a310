"""How much room remembered things take, and which go first: those untouched the longest."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Ledger(Generic[K]):
    """Sizes of things that are kept elsewhere, the longest untouched first.

    Parameters
    ----------
    bound
        Bytes that all may take together; None is no bound.
    shrink
        Called with a key when there is too much: makes that thing smaller, lets it go, or leaves
        it because it is still needed; gives the bytes it takes from now on.
    """

    def __init__(self, bound: int | None, shrink: Callable[[K], int]) -> None:
        self.bound = bound
        self.total = 0
        self._shrink = shrink
        self._sizes: OrderedDict[K, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sizes)

    def put(self, key: K, size: int) -> None:
        """A thing is there, of this many bytes, and was touched just now."""
        self.drop(key)
        self._sizes[key] = size
        self.total += size

    def drop(self, key: K) -> None:
        """A thing is gone."""
        self.total -= self._sizes.pop(key, 0)

    def drop_where(self, gone: Callable[[K], bool]) -> None:
        """Things are gone."""
        for key in [key for key in self._sizes if gone(key)]:
            self.drop(key)

    def settle(self) -> None:
        """Make things smaller, the longest untouched first, until the bound holds or all is needed.

        What is needed stays above the bound.
        """
        if self.bound is None or self.total <= self.bound:
            return
        for key in list(self._sizes):
            size = self._shrink(key)
            self.total += size - self._sizes[key]
            if size:
                self._sizes[key] = size
            else:
                del self._sizes[key]
            if self.total <= self.bound:
                return
