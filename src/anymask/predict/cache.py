"""Features on disk by what they are made from; several processes may share a folder."""

import hashlib
import os
import time
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

import anymask
from anymask.frame import Frame
from anymask.model import Model
from anymask.predict.embedding import (
    FORMAT,
    pack_features,
    seal,
    unpack_features,
    unseal,
    write_whole,
)

_STALE_S = 3600.0  # a part file this old belongs to a process that died
# sources that features depend on
_MAKERS = ("image.py", "frame.py", "model.py", "nn", "predict/steps.py")


class EmbeddingCache:
    """Keeps features by SHA-256 of pixels, weights and code; bounded in bytes.

    Entries are written whole or not at all and carry their own checksum, so that processes need no
    lock: two that encode the same image write equal entries, and a damaged one is dropped and made
    again. The least recently used entries go first.

    Parameters
    ----------
    folder
        Made where it does not exist.
    max_bytes
        Size that the entries are kept below.
    """

    def __init__(self, folder: str | os.PathLike[str], *, max_bytes: int = 2_000_000_000) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes

    def key(self, pixels: UInt8[np.ndarray, "H W 3"], frame: Frame, model: Model) -> str:
        """Name of the entry of an image and a model."""
        row = model.variant
        spec = row.spec
        network = (row.builder, sorted(row.network.items()), spec.mean, spec.std, spec.resize)
        facts = (FORMAT, code_version(), model.fingerprint, network, frame, pixels.shape)
        digest = hashlib.sha256(repr(facts).encode())
        digest.update(np.ascontiguousarray(pixels).data)
        return digest.hexdigest()

    def get(self, key: str) -> tuple[Tensor, ...] | None:
        """The features, or None; a damaged entry is removed."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:  # never there, or removed by another process
            return None
        try:
            features = unpack_features(unseal(data)[0])
        except ValueError:
            path.unlink(missing_ok=True)
            return None
        try:
            os.utime(path)  # used just now
        except OSError:  # another's file, or removed meanwhile: it only ages faster
            return features
        return features

    def put(self, key: str, features: tuple[Tensor, ...]) -> None:
        """Keep features, then drop what was not used for the longest time.

        Features larger than the whole cache are not kept.

        Raises
        ------
        OutputError
            ``write-failed``: there is no room, or the folder is read-only.
        """
        data = seal(pack_features(features), {})
        if len(data) > self.max_bytes:
            return
        write_whole(self._path(key), data)
        self._make_room()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _make_room(self) -> None:
        entries, now = [], time.time()
        for path in self.folder.iterdir():
            try:
                status = path.stat()
            except OSError:  # gone meanwhile
                continue
            if path.suffix == ".safetensors":
                entries.append((status.st_mtime_ns, status.st_size, path))
            elif path.suffix == ".part" and now - status.st_mtime > _STALE_S:
                path.unlink(missing_ok=True)
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries, key=lambda entry: entry[0]):
            if total <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


@cache
def code_version() -> str:
    """SHA-256 of the sources behind features: a changed network finds no old ones."""
    digest = hashlib.sha256(anymask.__version__.encode())

    def add(place: Traversable, name: str) -> None:
        if place.is_dir():
            for child in sorted(place.iterdir(), key=lambda child: child.name):
                if child.is_dir() or child.name.endswith(".py"):
                    add(child, f"{name}/{child.name}")
        elif place.is_file():
            digest.update(f"{name}\0".encode())
            digest.update(place.read_bytes())

    for maker in _MAKERS:
        add(resources.files("anymask").joinpath(maker), maker)
    return digest.hexdigest()
