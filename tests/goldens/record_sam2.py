"""Small goldens of SAM 2 and EdgeTAM, taken from the large reference data.

    python tests/goldens/record_sam2.py REFERENCE    # the folder goldens/sam2 of the shared data

Writes into ``sam2/``: what the official files hold (names, shapes, addresses), tensors that files
have in common once; and what the official code computed of the tiny trunk's positions and of small
images, with synthetic weights, whose rule is `sam1/synthetic.py`'s with other factors.
"""

import gzip
import importlib.util
import json
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent / "sam2"
SIZES = ("tiny", "small", "base_plus", "large")
NAMES = (
    *(f"sam2_hiera_{size}" for size in SIZES),
    *(f"sam2.1_hiera_{size}" for size in SIZES),
    "edgetam",
)
FUNCTIONS = (
    *(f"hiera_small_{part}" for part in ("input", "out0", "out1", "out2", "out3")),
    *(f"hiera_160_{part}" for part in ("input", "out0", "out1", "out2", "out3")),
    *(f"hiera_pos_tiny_{size}" for size in ("128x128", "160x96", "40x40")),
    *(f"dynamic_multimask_{part}" for part in ("logits", "iou", "out", "iou_out")),
    "preprocess_down_u8",
    "preprocess_down_out",
)


@cache
def _manifests() -> dict[str, Any]:
    with gzip.open(HERE / "manifests.json.gz", "rt") as file:
        tables: dict[str, Any] = json.load(file)
    return tables


def manifest(name: str) -> dict[str, Any]:
    """What the official file of a variant holds."""
    tables = _manifests()
    table: dict[str, Any] = dict(tables[name])
    table["tensors"] = {**tables["common"], **table["tensors"]}
    return table


def synthetic(name: str, beginning: str) -> dict[str, Tensor]:
    """Synthetic tensors of a variant whose official names begin so."""
    spec = importlib.util.spec_from_file_location("synthetic_sam2", HERE / "synthetic.py")
    assert spec is not None and spec.loader is not None
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    shapes = manifest(name)["tensors"]
    return {
        key: torch.from_numpy(np.asarray(rule.tensor(key, shape)))
        for key, shape in shapes.items()
        if key.startswith(beginning)
    }


def functions() -> dict[str, np.ndarray]:
    """What single functions gave."""
    with np.load(HERE / "functions.npz") as file:
        return dict(file)


def record(reference: Path) -> None:
    """Write all files."""
    HERE.mkdir(exist_ok=True)
    tables = {
        name: json.loads((reference / "manifests" / f"{name}.json").read_text()) for name in NAMES
    }
    tensors = {
        name: {t["name"]: t["shape"] for t in table["tensors"]} for name, table in tables.items()
    }
    common = dict(
        set.intersection(*({(k, tuple(s)) for k, s in t.items()} for t in tensors.values()))
    )
    kept = ("file", "url", "sha256", "bytes", "git_blob_sha1", "hugging_face")
    small: dict[str, Any] = {"common": dict(sorted(common.items()))}
    for name, table in tables.items():
        small[name] = {k: table["checkpoint"].get(k) for k in kept}
        small[name]["parameters"] = table["parameters"]
        small[name]["tensors"] = {k: s for k, s in tensors[name].items() if k not in common}
    data = json.dumps(small, separators=(",", ":")).encode()
    (HERE / "manifests.json.gz").write_bytes(gzip.compress(data, mtime=0))
    with np.load(reference / "functions" / "functions.npz") as file:
        np.savez_compressed(HERE / "functions.npz", **{name: file[name] for name in FUNCTIONS})
    shutil.copyfile(reference / "synthetic.py", HERE / "synthetic.py")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
