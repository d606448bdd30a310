"""Where downloaded weights lie, and whether they are what they should be. Opens no socket."""

import hashlib
import os
from importlib import resources
from pathlib import Path

from anymask.errors import CheckpointError
from anymask.variants import Asset

SETTING = "ANYMASK_CACHE"
_GIT = "git blob"  # a kind of hash


def cache_folder() -> Path:
    """The cache: what ANYMASK_CACHE says, else the platform's place for caches."""
    named = os.environ.get(SETTING)
    if named:
        return Path(named).expanduser()
    import pooch  # takes a while, and is not needed where the place is named

    return Path(pooch.os_cache("anymask"))


def cache_path(asset: Asset) -> Path:
    """Where a weight file lies, or would lie."""
    return cache_folder() / asset.file


def cached(asset: Asset) -> Path | None:
    """The file in the cache, or None; links are followed, one that leads nowhere is no file.

    A file gets its name only after its hash was checked, so it is not hashed again here; see
    `check_hash`.
    """
    path = cache_path(asset)
    return path if path.is_file() else None


def bundled(asset: Asset) -> Path:
    """Where a file lies that comes with the package, or would lie."""
    return Path(str(resources.files("anymask.weights").joinpath(asset.file)))


def located(asset: Asset) -> Path | None:
    """The file in the package or in the cache, or None."""
    if asset.url is not None:
        return cached(asset)
    path = bundled(asset)
    return path if path.is_file() else None


def digest(asset: Asset) -> tuple[str, str]:
    """Kind and value of the hash that identifies a file: SHA-256, else MD5, else git's.

    Raises
    ------
    CheckpointError
        ``weights-unpinned``: the row states none, so nothing can be trusted.
    """
    if asset.sha256 is not None:
        return "sha256", asset.sha256
    if asset.md5 is not None:
        return "md5", asset.md5
    if asset.git_blob is not None:
        return _GIT, asset.git_blob
    raise CheckpointError(
        "weights-unpinned", "the table of models states no hash of the file", given=asset.file
    )


def found_digest(asset: Asset, path: Path) -> str:
    """The same kind of hash of a file on disk."""
    from pooch import file_hash

    kind, _ = digest(asset)
    try:
        return _git_blob(path) if kind == _GIT else str(file_hash(str(path), alg=kind))
    except OSError as error:
        raise CheckpointError(
            "checkpoint-unreadable", f"the file cannot be read ({error.strerror})", where=str(path)
        ) from error


def _git_blob(path: Path) -> str:
    """Name that git gives a file's content."""
    found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def check_hash(asset: Asset, path: Path) -> None:
    """Read a whole file and compare its hash with the row's.

    Raises
    ------
    CheckpointError
        ``weights-hash``, with both hashes.
    """
    kind, wanted = digest(asset)
    found = found_digest(asset, path)
    if found != wanted:
        raise CheckpointError(
            "weights-hash",
            f"the file's {kind} is {found}, it should be {wanted}",
            where=str(path),
            hint="delete it and fetch it again",
        )
