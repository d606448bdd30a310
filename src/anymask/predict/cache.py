"""Embeddings on disk by what they are made from; several processes may share a folder."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from anymask.errors import DataError, OutputError
from anymask.predict.embedding import FORMAT, ImageEmbedding, write_whole


class EmbeddingCache:
    """Keeps embeddings by SHA-256 of pixels, weights and code; bounded in bytes.

    Entries are written whole or not at all, so that processes need no lock: two that encode the
    same image write the same file. The least recently used entries go first.

    Parameters
    ----------
    folder
        Made where it does not exist.
    max_bytes
        Size that the folder is kept below.
    """

    def __init__(self, folder: str | Path, *, max_bytes: int = 2_000_000_000) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                "cache-folder", "the cache folder cannot be made", where=str(folder)
            ) from error

    def key(self, pixels: UInt8[np.ndarray, "H W 3"], fingerprint: str) -> str:
        """Name of the entry of an image and a model."""
        digest = hashlib.sha256(f"{FORMAT} {fingerprint} {pixels.shape}".encode())
        digest.update(np.ascontiguousarray(pixels).data)
        return digest.hexdigest()

    def get(self, key: str) -> ImageEmbedding | None:
        """The entry, or None; a damaged one is removed."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            path.touch()  # used just now
            return ImageEmbedding.load(path)
        except DataError:
            path.unlink(missing_ok=True)
            return None
        except OSError:
            return None  # removed by another process meanwhile

    def put(self, key: str, embedding: ImageEmbedding) -> None:
        """Keep an embedding; make room for it first."""
        data = embedding.to_bytes()
        self._make_room(len(data))
        write_whole(self._path(key), data)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _make_room(self, needed: int) -> None:
        entries = []
        for path in self.folder.glob("*.safetensors"):
            try:
                status = path.stat()
            except OSError:
                continue  # gone meanwhile
            entries.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries, key=lambda entry: entry[0]):
            if total + needed <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size
