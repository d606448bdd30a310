"""Pixels of two edge maps paired one to one, as many as can be, none farther apart than allowed.

A found and a true pixel may be a pair where their centres lie at most ``reach`` px apart. Pairs
are made from the nearest on; where that leaves pixels alone, the pairs are shifted along
alternating paths until no more can be made (Hopcroft and Karp 1973): the number of pairs is the
largest there is.

The Berkeley benchmark (Arbelaez et al. 2011) minimises the sum of the distances instead, where a
pixel left alone costs 100 times the reach. Its optimum has as many pairs as ours, for one more pair
is always cheaper; the pairs themselves may be others, and so may be the pixels left alone.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matched:
    """Which pixels have a partner.

    Attributes
    ----------
    found, truth
        The pixels of either map that belong to a pair; as many in one as in the other.
    """

    found: Bool[np.ndarray, "H W"]
    truth: Bool[np.ndarray, "H W"]


def match_edges(
    found: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"], reach: float
) -> Matched:
    """Pair the pixels of two thin edge maps; ``reach`` in px.

    >>> line = np.zeros((5, 5), bool)
    >>> line[:, 2] = True
    >>> match_edges(np.roll(line, 1, 1), line, 1.0).found.sum()
    np.int64(5)
    >>> match_edges(line | np.roll(line, 1, 1), line, 1.0).found.sum()
    np.int64(5)
    """
    if np.count_nonzero(truth) < np.count_nonzero(found):  # searches begin at the fewer pixels
        other = match_edges(truth, found, reach)
        return Matched(found=other.truth, truth=other.found)
    steps = steps_within(reach)
    margin = max(1, math.floor(reach))
    ours, theirs = (_Nodes.of(edges, margin) for edges in (found, truth))
    pairs = _nearest_first(ours, theirs, steps)
    _improve(ours, theirs, steps, pairs)
    matched = np.zeros_like(found), np.zeros_like(truth)
    matched[0][tuple(ours.at[pairs >= 0].T - margin)] = True
    matched[1][tuple(theirs.at[pairs[pairs >= 0]].T - margin)] = True
    return Matched(found=matched[0], truth=matched[1])


def steps_within(reach: float) -> Int64[np.ndarray, "S 2"]:
    """All (dy, dx) of whole px not longer than ``reach``, the shortest first, then row-major.

    >>> steps_within(1.0).tolist()
    [[0, 0], [-1, 0], [0, -1], [0, 1], [1, 0]]
    """
    most = math.floor(reach)
    dy, dx = np.mgrid[-most : most + 1, -most : most + 1].reshape(2, -1)
    length = dy**2 + dx**2
    inside = length <= reach**2 + 1e-9
    order = np.argsort(length[inside], kind="stable")
    return np.stack([dy[inside], dx[inside]], 1)[order].astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Nodes:
    """The pixels of a map, numbered row by row.

    Attributes
    ----------
    at
        (y, x) of each in the map with a margin around it.
    number
        The map with its margin: the number of the pixel there, -1 for none.
    """

    at: Int64[np.ndarray, "N 2"]
    number: Int64[np.ndarray, "h w"]

    @classmethod
    def of(cls, edges: Bool[np.ndarray, "H W"], margin: int) -> "_Nodes":
        wide = np.pad(edges, margin)
        number = np.full(wide.shape, -1, np.int64)
        number[wide] = np.arange(np.count_nonzero(wide))
        return cls(at=np.argwhere(wide).astype(np.int64), number=number)

    def beside(
        self, other: "_Nodes", rows: Int64[np.ndarray, " n"], step: Int64[np.ndarray, " 2"]
    ) -> Int64[np.ndarray, " n"]:
        """The other map's pixel one step from each of these, -1 for none."""
        y, x = (self.at[rows] + step).T
        return np.asarray(other.number[y, x])


def _nearest_first(
    ours: _Nodes, theirs: _Nodes, steps: Int64[np.ndarray, "S 2"]
) -> Int64[np.ndarray, " N"]:
    """The partner of each of our pixels, -1 for none: of free pixels the nearest, step by step.

    Two of our pixels never reach one of theirs by the same step, so that a step is done at once.
    """
    pairs = np.full(len(ours.at), -1, np.int64)
    free = np.ones(len(theirs.at) + 1, bool)
    free[-1] = False  # where -1 points
    for step in steps:
        rows = np.flatnonzero(pairs < 0)
        reached = ours.beside(theirs, rows, step)
        take = free[reached]
        pairs[rows[take]] = reached[take]
        free[reached[take]] = False
    return pairs


def _improve(
    ours: _Nodes,
    theirs: _Nodes,
    steps: Int64[np.ndarray, "S 2"],
    pairs: Int64[np.ndarray, " N"],
) -> None:
    """Make pairs along alternating paths until none is left; `pairs` is changed.

    What a search without success has seen leads to no free pixel, now or later: it is seen once.
    """
    back = np.full(len(theirs.at), -1, np.int64)
    back[pairs[pairs >= 0]] = np.flatnonzero(pairs >= 0)
    dead = np.zeros(len(theirs.at), bool)
    for start in np.flatnonzero(pairs < 0).tolist():
        came: dict[int, int] = {}  # their pixel: ours that it was reached from
        waiting = deque([start])
        end = -1
        while waiting and end < 0:
            row = waiting.popleft()
            y, x = (ours.at[row] + steps).T
            for one in theirs.number[y, x].tolist():
                if one < 0 or one in came or dead[one]:
                    continue
                came[one] = row
                if back[one] < 0:
                    end = one
                    break
                waiting.append(int(back[one]))
        if end < 0:
            dead[list(came)] = True
            continue
        while end >= 0:  # back along the path, each of our pixels takes the next of theirs
            row = came[end]
            pairs[row], back[end], end = end, row, int(pairs[row])
