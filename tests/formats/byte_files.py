"""Files of given bytes, in a folder or in a tar."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def as_folder(root: Path, content: Mapping[str, bytes]) -> Path:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def as_tar(path: Path, content: Mapping[str, bytes], prefix: str = "") -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in content.items():
            about = tarfile.TarInfo(prefix + name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return path
