"""A user's own set: which of its pictures can teach, and which are kept aside to judge by.

Every picture is read and decoded once, before any model is loaded: broken ones are told of and left
out. Pictures whose bytes are equal are one group, whatever they are called.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from anymask.errors import DataError, ImageError, Note
from anymask.evaluate.photos import digest
from anymask.formats.records import Annotation, Category, Loss, Record, RecordSet

OF_ONE_PICTURE = (DataError, ImageError)
FEWEST_FOR_THREE = 8  # groups; below them nothing is kept aside to stop by
MOST_TEST, MOST_VAL = 40, 16  # pictures that judging takes, at most

_TEST, _VAL = 0.25, 0.15  # shares of the pictures
_FEWEST_PIXELS, _LARGEST = 16, 0.9  # of a mask: px, and share of the picture

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A picture that can teach.

    Attributes
    ----------
    image_id
        Its name in the set.
    masks
        How many of its masks can be asked for.
    digest
        SHA-256 of the picture's bytes, hex.
    """

    image_id: str
    masks: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What a set has.

    Attributes
    ----------
    entries
        The pictures that can teach, in the order of the set.
    empty
        Pictures without a mask that can be asked for; no prompt can be made of them.
    lost
        How often something was cut or left out while reading, by code.
    failed
        Pictures that could not be read, and why.
    categories
        How many masks each category has, by the source's own word.
    sha256
        Of all ids, pictures and masks, hex.
    """

    entries: tuple[Entry, ...]
    empty: tuple[str, ...]
    lost: tuple[tuple[str, int], ...]
    failed: tuple[tuple[str, Exception], ...]
    categories: tuple[tuple[str, int], ...]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Who learns from which pictures; no group is in two parts.

    Attributes
    ----------
    train
        Ids of pictures to learn from.
    val
        Ids of those by which it is decided when to stop; empty where there are too few.
    test
        Ids of those that are judged on before and after, and by which nothing is decided.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Some pictures of a set, as a set; see `anymask.formats.records.RecordSet`."""

    data: RecordSet
    ids: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.data.categories

    @property
    def notes(self) -> tuple[Note, ...]:
        return ()

    def stem_of(self, image_id: str) -> str:
        return self.data.stem_of(image_id)

    def read(self, image_id: str) -> Record:
        return self.data.read(image_id)

    def __iter__(self) -> Iterator[Record]:
        return (self.data.read(image_id) for image_id in self.ids)


def usable(record: Record) -> tuple[Annotation, ...]:
    """Masks that can be asked for: no crowds, no specks, not nearly the whole picture.

    Masks with ignored pixels are left out too: what lies there is not known.
    """
    most = _LARGEST * record.size[0] * record.size[1]
    return tuple(
        each
        for each in record.annotations
        if not each.iscrowd and each.ignore is None and _FEWEST_PIXELS <= each.pixels <= most
    )


def take_stock(data: RecordSet, progress: Progress | None = None) -> Stock:
    """Read and decode every picture of a set once.

    Raises
    ------
    DataError
        ``no-photos``: no picture has a mask that can be asked for. If the set is strict, what its
        `read` raises for the first picture that is wrong.
    """
    entries, empty = [], []
    failed: list[tuple[str, Exception]] = []
    lost: Counter[str] = Counter(note.code for note in data.notes if isinstance(note, Loss))
    words: Counter[str] = Counter()
    whole = hashlib.sha256()
    for done, image_id in enumerate(data.ids):
        if progress is not None:
            progress(done, len(data.ids))
        try:
            record = data.read(image_id)
            record.pixels()  # a broken picture is told of now, not in the middle of a run
            content = hashlib.sha256(record.image_bytes()).hexdigest()
        except OF_ONE_PICTURE as error:
            if getattr(data, "strict", False):
                raise
            failed.append((image_id, error))
            continue
        lost.update(note.code for note in record.notes if isinstance(note, Loss))
        masks = usable(record)
        whole.update(f"{image_id}\0{content}\0".encode("utf-8", "surrogateescape"))
        for each in masks:
            whole.update(repr(each.rle).encode())
            words[each.category or ""] += 1
        if masks:
            entries.append(Entry(image_id=image_id, masks=len(masks), digest=content))
        else:
            empty.append(image_id)
    if not entries:
        if failed:
            raise failed[0][1]
        raise DataError(
            "no-photos",
            "no picture has a mask to learn from",
            given=data.name,
            hint=f"a mask has at least {_FEWEST_PIXELS} px, and at most {_LARGEST:.0%} of its "
            "picture",
        )
    return Stock(
        entries=tuple(entries),
        empty=tuple(empty),
        lost=tuple(sorted(lost.items())),
        failed=tuple(failed),
        categories=tuple(sorted(words.items())),
        sha256=whole.hexdigest(),
    )


def groups_of(entries: Sequence[Entry], pattern: str | None = None) -> dict[str, list[str]]:
    """Ids by group: what belongs together, such as sections of one sample, is never parted.

    Parameters
    ----------
    pattern
        A regular expression that is found in every id; its first bracket, else all that it
        matches, names the group. None makes each picture a group of its own.

    Raises
    ------
    DataError
        ``group-pattern``: it is no such expression, or an id does not have it.
    """
    names = {entry.image_id: _group(entry.image_id, pattern) for entry in entries}
    one: dict[str, str] = {name: name for name in names.values()}

    def root(name: str) -> str:
        while one[name] != name:
            name = one[name]
        return name

    seen: dict[str, str] = {}
    for entry in entries:  # groups that share a picture are one
        name = root(names[entry.image_id])
        other = root(seen.setdefault(entry.digest, name))
        one[max(name, other)] = min(name, other)
    found: dict[str, list[str]] = {}
    for entry in entries:
        found.setdefault(root(names[entry.image_id]), []).append(entry.image_id)
    return found


def split_set(
    entries: Sequence[Entry], *, pattern: str | None = None, apart: bool = False
) -> Split:
    """Part a set by the SHA-256 of its groups' names: the same each time and on every machine.

    A quarter of the pictures is judged on, 15 % decide when to stop, the others teach; with fewer
    than eight groups nothing is kept aside to stop by.

    Parameters
    ----------
    pattern
        See `groups_of`.
    apart
        Another set is judged on: all of this one is for learning and stopping.

    Raises
    ------
    DataError
        ``too-few-pictures``; ``group-pattern``.
    """
    groups = groups_of(entries, pattern)
    order = sorted(groups, key=digest)
    three = len(order) >= FEWEST_FOR_THREE
    if len(order) < 2 and not apart:
        raise DataError(
            "too-few-pictures",
            f"{len(entries)} pictures in {len(order)} group cannot be parted into some to learn "
            "from and some to judge by",
            hint="add pictures, or name a set to judge by with held_out (--held-out)",
        )
    total, at = len(entries), 0

    def take(share: float, most: int) -> tuple[str, ...]:
        """The next groups, until they have the share."""
        nonlocal at
        wanted = min(most, max(1, round(share * total)))
        found: list[str] = []
        while len(found) < wanted and at < len(order) - 1:  # one is left to learn from
            found += groups[order[at]]
            at += 1
        return tuple(found)

    test = () if apart else take(_TEST, MOST_TEST)
    val = take(_VAL, MOST_VAL) if three else ()
    train = tuple(image_id for name in order[at:] for image_id in groups[name])
    return Split(train=train, val=val, test=test)


def some_of(data: RecordSet, entries: Sequence[Entry], most: int = MOST_TEST) -> Part:
    """At most so many pictures of a set, those with the lowest SHA-256 of their ids."""
    chosen = set(sorted((entry.image_id for entry in entries), key=digest)[:most])
    kept = tuple(entry.image_id for entry in entries if entry.image_id in chosen)
    return Part(data=data, ids=kept)


def _group(image_id: str, pattern: str | None) -> str:
    if pattern is None:
        return image_id
    try:
        match = re.search(pattern, image_id)
    except re.error as error:
        raise DataError(
            "group-pattern", f"no regular expression ({error})", given=pattern
        ) from None
    if match is None:
        raise DataError(
            "group-pattern",
            "a picture's name does not have the pattern of groups",
            given=pattern,
            where=image_id,
            hint="every name must have it; its first bracket is the group",
        )
    return match[1] if match.re.groups and match[1] is not None else match[0]
