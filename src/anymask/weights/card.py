"""What a fine-tuned weight file says of itself, in the header of its safetensors.

    {"anymask-card": "{\"format\": 1, \"model\": \"nano\", ...}", "format": "pt"}

Files without a card are weights like any other.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

KEY = "anymask-card"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measure before and after; 0..1, None where it was not taken."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Where fine-tuned weights come from.

    Attributes
    ----------
    model
        The row of the table that they belong to.
    start
        SHA-256 of the tensors that it began with, hex.
    method
        How they were learnt.
    data, data_sha256
        Name of the set, and SHA-256 of its ids, pictures and masks, hex.
    train, val, test
        Numbers of pictures to learn from, to stop by, and to judge by.
    categories
        The set's own words and their numbers of masks; the model itself knows no categories.
    steps, minutes, seed
        Of the run.
    figures
        Mean IoU on the pictures that were judged by.
    others
        The same on other sets, by name, and what became of photos of all sorts.
    made_with
        Version of anymask.
    """

    model: str
    start: str
    method: str
    data: str
    data_sha256: str
    train: int
    val: int
    test: int
    categories: tuple[tuple[str, int], ...]
    steps: int
    minutes: float
    seed: int
    figures: tuple[Figure, ...]
    others: tuple[tuple[str, tuple[Figure, ...]], ...] = ()
    made_with: str = ""

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.model} fine-tuned ({self.method}) on {self.train} pictures of {self.data}"
            f" ({self.data_sha256[:8]})"
        )

    def metadata(self) -> dict[str, str]:
        """For the header of a file; ASCII."""
        return {"format": "pt", KEY: json.dumps({"card": _FORMAT, **asdict(self)})}


def read_card(path: Path) -> Card | None:
    """The card of a weight file, or of the ``model.safetensors`` in a folder; None without one.

    A header that is no card of this version is as none: the tensors say what they are.
    """
    inside = path / "model.safetensors" if path.is_dir() else path
    try:
        with safe_open(inside, framework="pt") as file:
            facts = file.metadata() or {}
        return _card(json.loads(facts[KEY]))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def _card(table: Mapping[str, Any]) -> Card:
    if table["card"] != _FORMAT:
        raise ValueError("another version")
    return Card(
        **{name: _plain(table[name]) for name in ("model", "start", "method", "data")},
        data_sha256=_plain(table["data_sha256"]),
        made_with=_plain(table["made_with"]),
        train=int(table["train"]),
        val=int(table["val"]),
        test=int(table["test"]),
        steps=int(table["steps"]),
        minutes=float(table["minutes"]),
        seed=int(table["seed"]),
        categories=tuple((str(word), int(count)) for word, count in table["categories"]),
        figures=_figures(table["figures"]),
        others=tuple((str(name), _figures(rows)) for name, rows in table["others"]),
    )


def _plain(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is wanted")
    return value


def _figures(rows: Any) -> tuple[Figure, ...]:
    return tuple(
        Figure(name=str(row["name"]), before=row["before"], after=row["after"]) for row in rows
    )
