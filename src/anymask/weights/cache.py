"""Where downloaded weights lie."""

import os
from pathlib import Path

import pooch

from anymask.errors import CheckpointError
from anymask.variants import Asset

SETTING = "ANYMASK_CACHE"


def cache_folder() -> Path:
    """The cache: what ANYMASK_CACHE says, else the platform's place for caches."""
    return Path(os.environ.get(SETTING) or pooch.os_cache("anymask"))


def cache_path(asset: Asset) -> Path:
    """Where a weight file lies, or would lie."""
    return cache_folder() / asset.file


def cached(asset: Asset, name: str) -> Path:
    """The downloaded file.

    Raises
    ------
    CheckpointError
        ``weights-missing``: it is not there; no socket is opened to look for it.
    """
    path = cache_path(asset)
    if not path.is_file():  # a dangling link is no file
        raise CheckpointError(
            "weights-missing",
            f"the weights of {name} are not here",
            where=str(path),
            hint=f"run: anymask models download {name}, or pass checkpoint=; from {asset.url}",
        )
    return path
