"""Which photos of which sets an evaluation takes, and the walk through them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from anymask.errors import DataError
from anymask.formats.records import Record, RecordSet
from anymask.formats.sa1b import split_of

Progress = Callable[[int, int | None], None]


def chosen_photos(
    sets: Sequence[RecordSet], split: str, limit: int | None
) -> tuple[tuple[RecordSet, str], ...]:
    """Set and id of each photo that takes part, set after set; see `chosen_ids`.

    Raises
    ------
    DataError
        ``split-unknown``; ``set-twice``: a report could not tell two sets apart.
    """
    if split not in ("val", "all"):
        raise DataError(
            "split-unknown", "there is no such split", given=split, hint="val or all is there"
        )
    names = [data.name for data in sets]
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                "set-twice",
                "two sets have one name, which is that of their folder or tar",
                given=name,
                hint="rename one",
            )
    return tuple((data, image_id) for data in sets for image_id in chosen_ids(data, split, limit))


def chosen_ids(data: RecordSet, split: str, limit: int | None) -> list[str]:
    """Ids of the photos that take part, sorted; of more than `limit` the lowest by SHA-256."""
    ids = [image_id for image_id in data.ids if split == "all" or split_of(image_id) == split]
    return ids if limit is None else sorted(sorted(ids, key=digest)[:limit])


def digest(image_id: str) -> bytes:
    """SHA-256 of an id: what chance goes by, so that it is the same on every machine."""
    return hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()


def walk(
    photos: Sequence[tuple[RecordSet, str]], progress: Progress | None
) -> Iterator[tuple[RecordSet, Record]]:
    """Read one photo after the other.

    Parameters
    ----------
    progress
        Called with (photos done, photos in all) before each one and after the last.

    Raises
    ------
    DataError
        A broken record; see `anymask.formats.records.RecordSet.read`.
    """
    for done, (data, image_id) in enumerate(photos):
        if progress is not None:
            progress(done, len(photos))
        yield data, data.read(image_id)
    if progress is not None:
        progress(len(photos), len(photos))
