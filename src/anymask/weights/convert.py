"""Names in weight files to ours, by tables; every name is known or an error.

A table maps a file's name to ours; ``{}`` stands for a block's number and moves along; ``None``
drops a tensor on purpose. Two names may lead to one of ours where files hold a tensor twice.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anymask.errors import CheckpointError

_MOST_NUMBERS = 4  # in the name of a tensor


def as_they_are(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that need a new name only."""
    return dict(state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One way in which a model's tensors are named.

    Attributes
    ----------
    name
        Such as ``"official"``, for messages.
    table
        File's name to ours, ``{}`` for a number, None for tensors that are not used.
    finish
        What is done with the tensors once they have our names: several to one, another shape.
    """

    name: str
    table: Mapping[str, str | None]
    finish: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = as_they_are

    def rename(self, name: str) -> str | None:
        """Our name, or None where the tensor is not used.

        Raises
        ------
        KeyError
            The name is not in the table.
        """
        # a number in a name is either part of the table's entry or an index: try both ways
        for pattern in _patterns(name):
            if pattern in self.table:
                ours = self.table[pattern]
                kept = pattern.split("{}")
                used = _filled(name, kept) if len(kept) > 1 else []
                return None if ours is None else ours.format(*used)
        raise KeyError(name)

    def knows(self, name: str) -> bool:
        """Whether the table has the name."""
        return any(pattern in self.table for pattern in _patterns(name))


def _patterns(name: str) -> list[str]:
    """The name with any of its numbers replaced by ``{}``, the plain name first."""
    if "{" in name:
        return []  # no file's name has one: it would pass for a pattern
    parts = name.split(".")
    spots = [i for i, part in enumerate(parts) if part.isdecimal()]
    if len(spots) > _MOST_NUMBERS:
        return [name]  # none of ours has so many, and each doubles the work
    found = []
    for mask in range(2 ** len(spots)):
        chosen = {spot for bit, spot in enumerate(spots) if mask >> bit & 1}
        found.append(".".join("{}" if i in chosen else part for i, part in enumerate(parts)))
    return found


def _filled(name: str, kept: Sequence[str]) -> list[str]:
    """What stood where the pattern has ``{}``."""
    match = re.fullmatch(r"(\d+)".join(re.escape(part) for part in kept), name)
    return list(match.groups()) if match else []


def recognise(names: Collection[str], layouts: Sequence[Layout]) -> Layout | None:
    """The layout whose table has every name, or None."""
    return next((lay for lay in layouts if all(lay.knows(name) for name in names)), None)


def convert(state: Mapping[str, Tensor], layouts: Sequence[Layout]) -> dict[str, Tensor]:
    """A file's tensors under our names.

    Raises
    ------
    CheckpointError
        ``unknown-tensor``: no layout has all the names; ``tensor-twice``: two tensors that should
        be one are not the same.
    """
    layout = recognise(state, layouts)
    if layout is None:
        best = max(layouts, key=lambda lay: sum(lay.knows(name) for name in state))
        stranger = next(name for name in state if not best.knows(name))
        raise CheckpointError(
            "unknown-tensor",
            f"the file has a tensor that the {best.name} layout has not",
            given=stranger,
            hint="is it the file of another model?",
        )
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours = layout.rename(name)
        if ours is None:
            continue
        if ours in out and not torch.equal(out[ours], tensor):
            problem = "a tensor that the file holds under two names differs between them"
            raise CheckpointError("tensor-twice", problem, given=name, hint="get the file again")
        out[ours] = tensor
    return layout.finish(out)
