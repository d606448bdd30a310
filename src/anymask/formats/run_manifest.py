"""The manifest of a folder run: what is asked of which inputs, one JSON, read and written in lines.

    {"anymask": ..., "kind": ..., "settings": {...}, "machine": {...}, "memory_mb": 512, "inputs": [
    {"name": "a.jpg", "sha256": "..."},
    ...
    ]}

An input is known by its content. No time is in it, nor where anything lies, so that equal runs
have equal manifests.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, UInt64

from anymask.errors import RunError, shown
from anymask.formats.atomic import naming, write_atomic

_OPENING = ', "inputs": [\n'
_CLOSING = "\n]}\n"
_NAMED = 5  # names of each kind that a message holds
_CHUNK = 1 << 20
_DIGEST = 16  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does with every input.

    Attributes
    ----------
    kind
        The command.
    version
        Of anymask.
    settings
        All that results depend on; JSON.
    machine
        Where and within what they are made; changing it keeps what is done. JSON.
    memory_mb
        What one item may take, MB; halved where that was too much.
    """

    kind: str
    version: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    memory_mb: int

    @property
    def digest(self) -> str:
        """A short hash of all that results depend on."""
        facts = {"kind": self.kind, "version": self.version, "settings": self.settings}
        text = json.dumps(facts, sort_keys=True).encode("ascii")
        return hashlib.sha256(text).hexdigest()[:_DIGEST]

    def differences(self, before: "Plan") -> list[str]:
        """What results depend on, and is not as before: ``points_per_side: 32, now 16``."""
        old = {"anymask": before.version, **before.settings}
        new = {"anymask": self.version, **self.settings}
        return _told(old, new)

    def moved(self, before: "Plan") -> list[str]:
        """What else is not as before."""
        return _told(before.machine, self.machine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Names and contents of inputs, 16 bytes each, in their order.

    Attributes
    ----------
    names, contents
        Eight bytes of the hash of each.
    """

    names: UInt64[np.ndarray, " N"]
    contents: UInt64[np.ndarray, " N"]
    _order: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, lines: Iterable[tuple[str, str | None]]) -> "Inputs":
        """From (name, SHA-256) of each."""
        flat = np.fromiter((n for pair in lines for n in (short(pair[0]), short(pair[1]))), "u8")
        pairs = flat.reshape(-1, 2)
        return cls(
            names=pairs[:, 0].copy(), contents=pairs[:, 1].copy(), _order=np.argsort(pairs[:, 0])
        )

    def find(self, name: str) -> int | None:
        """The place of an input, None where there is none of that name."""
        key = np.uint64(short(name))
        at = int(np.searchsorted(self.names, key, sorter=self._order))
        place = int(self._order[at]) if at < len(self.names) else -1
        return place if place >= 0 and self.names[place] == key else None

    def holds(self, name: str, sha256: str | None) -> int | None:
        """As `find`, for an input of that content."""
        place = self.find(name)
        same = place is not None and self.contents[place] == np.uint64(short(sha256))
        return place if same else None

    def lacking(self, other: "Inputs") -> Bool[np.ndarray, " N"]:
        """Which of these the other has no name of."""
        return ~np.isin(self.names, other.names)

    def differing(self, other: "Inputs") -> Bool[np.ndarray, " N"]:
        """Which of these have the name, but not the content, of one of the other's."""
        if not len(other.names):
            return np.zeros(len(self.names), bool)
        at = np.searchsorted(other.names, self.names, sorter=other._order)
        place = other._order[np.minimum(at, len(other.names) - 1)]
        same_name = other.names[place] == self.names
        return np.asarray(same_name & (other.contents[place] != self.contents))


def short(text: str | None) -> int:
    """Eight bytes of a hash, as a number."""
    data = b"" if text is None else text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def write_manifest(path: Path, plan: Plan, lines: Iterable[tuple[str, str | None]]) -> None:
    """Write it whole or not at all, in place of an older one; `lines` is (name, SHA-256) of each.

    Raises
    ------
    OutputError
        As `write_atomic`.
    """
    head = {
        "anymask": plan.version,
        "kind": plan.kind,
        "settings": plan.settings,
        "machine": plan.machine,
        "memory_mb": plan.memory_mb,
    }

    def write(file: IO[bytes]) -> None:
        file.write((json.dumps(head)[:-1] + _OPENING).encode("ascii"))
        for i, (name, sha256) in enumerate(lines):
            line = json.dumps({"name": name, "sha256": sha256})
            file.write(((",\n" if i else "") + line).encode("ascii"))
        file.write(_CLOSING.encode("ascii"))

    write_atomic(path, write, overwrite=True)


def read_plan(path: Path) -> Plan | None:
    """What the manifest asks; None where there is none.

    Raises
    ------
    RunError
        ``run-broken``: it is no manifest of ours.
    """
    if not path.exists():
        return None
    with naming(path), path.open("rb") as file:
        first = file.readline(_CHUNK)
    try:
        table = json.loads(first.decode("ascii").removesuffix(_OPENING) + "}")
        return Plan(
            kind=str(table["kind"]),
            version=str(table["anymask"]),
            settings=dict(table["settings"]),
            machine=dict(table["machine"]),
            memory_mb=int(table["memory_mb"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(path) from error


def read_inputs(path: Path) -> Iterator[tuple[str, str | None]]:
    """(name, SHA-256) of each input, line by line.

    Raises
    ------
    RunError
        ``run-broken``: it is no manifest of ours.
    """
    with path.open("rb") as file:
        file.readline(_CHUNK)
        for line in file:
            if line.startswith(b"]") or not line.strip():
                return
            try:
                entry = json.loads(line.rstrip().removesuffix(b","))
                yield entry["name"], entry["sha256"]
            except (ValueError, KeyError, TypeError) as error:
                raise _broken(path) from error


def changes(
    before: Path, after: Path, plan: Plan, old: Plan, names: tuple[Inputs, Inputs]
) -> list[str]:
    """What is not as before, in words; nothing if all is.

    Parameters
    ----------
    before, after
        The manifests, for names.
    plan, old
        What is asked now, and was.
    names
        The inputs before and now.
    """
    found = [*plan.differences(old), *plan.moved(old)]
    earlier, now = names
    for path, mask, word in (
        (after, now.differing(earlier), "changed"),
        (after, now.lacking(earlier), "new"),
        (before, earlier.lacking(now), "gone"),
    ):
        if mask.any():
            found.append(_listed(path, mask, word))
    return found


def _listed(path: Path, mask: Bool[np.ndarray, " N"], word: str) -> str:
    """``2 inputs changed: 'a.jpg', 'b.jpg'``."""
    count, some = int(mask.sum()), []
    for (name, _), wanted in zip(read_inputs(path), mask, strict=False):
        if wanted:
            some.append(shown(name))
            if len(some) == _NAMED:
                break
    more = f" and {count - len(some)} more" if count > len(some) else ""
    return f"{count} input{'s' * (count != 1)} {word}: {', '.join(some)}{more}"


def _told(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys([*old, *new])
    return [
        f"{key}: {_value(old.get(key))}, now {_value(new.get(key))}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def _value(value: object) -> str:
    return "default" if value is None else shown(value) if isinstance(value, str) else str(value)


def _broken(path: Path) -> RunError:
    return RunError(
        "run-broken",
        "this is no manifest of a run",
        where=str(path),
        hint="choose another folder, or remove this one's results and its .anymask",
    )
