"""What is to be fine-tuned, on what: an order, and the data it names, read and parted.

Everything that can be refused is refused here, before a model is loaded.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from anymask.errors import DataError, OutputError
from anymask.formats import guess_format, set_format
from anymask.formats.atomic import ensure_folder, exists
from anymask.formats.records import ReadOptions
from anymask.model import Model
from anymask.train.finetune_data import (
    Entry,
    Part,
    Split,
    Stock,
    some_of,
    split_set,
    take_stock,
)
from anymask.train.finetune_loop import Course
from anymask.train.finetune_methods import method

ENDING = ".safetensors"

Progress = Callable[[str, int, int | None, str], None]  # what is done, how many, of how many, more


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done.

    Attributes
    ----------
    data
        A folder, tar or JSON of pictures with masks; see `anymask.formats.SETS`.
    output
        The weight file that is made.
    model, checkpoint, device
        As `anymask.load` takes them; no model: what the checkpoint is, else nano. A `Model` is
        copied, and the two others are not looked at.
    method
        A row of `anymask.train.finetune_methods.METHODS`, or ``"auto"``.
    format, images, strict
        How `data` is read: its format where it is not to be guessed, its folder of pictures, and
        whether what would be cut or left out is an error.
    held_out
        Another set to judge by; None keeps some of `data` aside.
    group
        Regular expression for what belongs together; see `groups_of`.
    also
        Other sets to judge on before and after: what was forgotten?
    course
        How long and how fast.
    force
        Save what is no better, too.
    cache
        Where features are kept, None for the usual place; at most `cache_bytes`.
    """

    data: Path
    output: Path
    model: str | Model | None = None
    checkpoint: Path | None = None
    device: str = "auto"
    method: str = "auto"
    format: str | None = None
    images: Path | None = None
    strict: bool = False
    held_out: Path | None = None
    group: str | None = None
    also: tuple[Path, ...] = ()
    course: Course = field(default_factory=Course)
    force: bool = False
    cache: Path | None = None
    cache_bytes: int = 2_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """An order whose data were read and parted.

    Attributes
    ----------
    train, val, judged
        What is learnt from, what decides when to stop, what is judged on.
    entries
        Of the pictures to learn from.
    also
        Other sets to judge on.
    """

    order: Order
    stock: Stock
    split: Split
    train: Part
    val: Part
    judged: Part
    entries: tuple[Entry, ...]
    also: tuple[Part, ...]


def prepare(order: Order, progress: Progress | None = None) -> Job:
    """Read and part the data; everything that can be refused before a model is loaded is.

    Raises
    ------
    DataError
        ``method-unknown``; ``too-few-pictures``; what the format's reader raises.
    OutputError
        ``file-exists``, ``output-ending``, ``folder-read-only`` and others of `ensure_folder`.
    """
    if order.method != "auto":
        method(order.method)
    check_output(order.output)
    options = ReadOptions(strict=order.strict, images=order.images)
    row = guess_format(order.data) if order.format is None else set_format(order.format)
    data = row.open(order.data, options)
    others = [guess_format(path).open(path, ReadOptions()) for path in order.also]
    apart = None
    if order.held_out is not None:
        apart = guess_format(order.held_out).open(order.held_out, ReadOptions(strict=order.strict))
    stock = take_stock(data, telling(progress, "pictures read"))
    entries, judged = stock.entries, None
    if apart is not None:
        kept = take_stock(apart).entries
        judged = some_of(apart, kept)
        known = {entry.digest for entry in kept}
        entries = tuple(entry for entry in entries if entry.digest not in known)
        if not entries:
            raise DataError(
                "too-few-pictures",
                "all pictures are in the set to judge by, too",
                given=str(order.held_out),
                hint="judge by other pictures than those to learn from",
            )
    split = split_set(entries, pattern=order.group, apart=judged is not None)
    chosen = set(split.train)
    return Job(
        order=order,
        stock=stock,
        split=split,
        train=Part(data=data, ids=split.train),
        val=Part(data=data, ids=split.val),
        judged=Part(data=data, ids=split.test) if judged is None else judged,
        entries=tuple(entry for entry in entries if entry.image_id in chosen),
        also=tuple(some_of(each, take_stock(each).entries) for each in others),
    )


def check_output(path: Path) -> None:
    """Refuse a place that cannot be written before the long work, not after it.

    Raises
    ------
    OutputError
        ``output-ending``, ``is-a-folder``, ``file-exists``, and those of `ensure_folder`.
    """
    if path.suffix != ENDING:
        raise OutputError(
            "output-ending", f"the file must end in {ENDING}", where=str(path), hint="name it so"
        )
    if path.is_dir():
        raise OutputError(
            "is-a-folder",
            "a folder of this name is in the way",
            where=str(path),
            hint="choose another name",
        )
    if os.path.lexists(path):
        raise exists(path)
    ensure_folder(path.parent)


def telling(progress: Progress | None, what: str) -> Callable[[int, int | None], None] | None:
    """A progress of one kind of thing."""
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total, "")
