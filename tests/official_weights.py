"""Reference data: weights that a rule makes under official names, and what was recorded of them."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def official_state(
    folder: Path, name: str, wanted: Callable[[Any], bool] | None = None
) -> dict[str, Tensor]:
    """The tensors of a file as the rule of a folder makes them; of a list, those wanted."""
    spec = importlib.util.spec_from_file_location("synthetic", folder / "synthetic.py")
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    manifest = json.loads((folder / "manifests" / f"{name}.json").read_text())
    if wanted is not None:
        manifest["tensors"] = [tensor for tensor in manifest["tensors"] if wanted(tensor)]
    state = rule.synthetic_state_dict(manifest)
    return {key: torch.as_tensor(value) for key, value in state.items()}


def recorded_beside(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the table of one recording, a path without an ending."""
    with np.load(path.with_name(f"{path.name}.npz")) as file:
        arrays = dict(file)
    return arrays, json.loads(path.with_name(f"{path.name}.json").read_text())
