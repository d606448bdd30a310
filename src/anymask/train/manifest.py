"""What a run learns from, written beside it: photos by content, categories by number.

A run that goes on does so on the same photos in the same order; what has changed is told, and is
accepted only when asked for.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anymask.errors import RunError
from anymask.formats.atomic import write_atomic
from anymask.train.samples import Photo
from anymask.train.sources import Source

_NAME = "data.json"
_SHOWN = 5  # photos of each kind that a message names


def manifest_of(photos: Sequence[Photo], sources: Sequence[Source]) -> dict[str, Any]:
    """Digests of all photos by set and id, and each set's categories by its own numbers."""
    sets: dict[str, dict[str, str]] = {}
    for photo in photos:
        sets.setdefault(photo.set, {})[photo.image_id] = photo.digest
    categories = {
        source.name: [[c.id, c.name, c.supercategory] for c in source.data.categories]
        for source in sources
        if source.data.categories
    }
    return {"sets": sets, "categories": categories}


def check_data(
    folder: Path,
    photos: Sequence[Photo],
    sources: Sequence[Source],
    *,
    accept: bool = False,
    write: bool = True,
) -> list[str]:
    """Compare the photos with those that the run in `folder` began with; what has changed.

    Parameters
    ----------
    folder
        Of the run; a new one gets its manifest.
    photos, sources
        What there is now.
    accept
        Go on with what has changed, from now on.
    write
        Whether this process writes.

    Raises
    ------
    RunError
        ``data-changed``: photos are new, gone or others than before; ``manifest-broken``.
    """
    path = folder / _NAME
    now = manifest_of(photos, sources)
    before = _read(path)
    changed = [] if before is None else _changes(before["sets"], now["sets"])
    if changed and not accept:
        raise RunError(
            "data-changed",
            f"the data are not what the run began with: {'; '.join(changed)}",
            where=str(folder),
            hint="bring them back, or pass --accept-changes",
        )
    if write and (before is None or before != now):
        data = json.dumps(now, ensure_ascii=True).encode("ascii")
        write_atomic(path, data, overwrite=True)
    return changed


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
        if isinstance(found["sets"], dict) and isinstance(found["categories"], dict):
            return found  # type: ignore[no-any-return]
        raise ValueError("no sets")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            "manifest-broken",
            f"the list of the run's photos cannot be read ({error})",
            where=str(path),
            hint="move it away to take the data as they are now",
        ) from error


def _changes(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """In words, some photos of each kind named."""
    old = {(name, i): d for name, ids in before.items() for i, d in ids.items()}
    new = {(name, i): d for name, ids in now.items() for i, d in ids.items()}
    kinds = {
        "new": new.keys() - old.keys(),
        "gone": old.keys() - new.keys(),
        "changed": {key for key in old.keys() & new.keys() if old[key] != new[key]},
    }
    found = []
    for kind, keys in kinds.items():
        if keys:
            some = ", ".join(f"{name}/{i}" for name, i in sorted(keys)[:_SHOWN])
            more = ", ..." if len(keys) > _SHOWN else ""
            found.append(f"{len(keys)} {kind} ({some}{more})")
    return found
