"""SAM 2 and EdgeTAM on videos give, step by step, the recorded numbers of the official code.

Synthetic weights go through a file in the official layout and `load_variant`. What memory attention
saw on each frame is as recorded; memories are our own, carried from step to step. Bounds are those
of the reference data's own page: about ten times the spread between its authors' runs.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_video import Replay, Step
from test_sam2_parity import FOLDER, arrays, synthetic_file

from anymask.model import load_variant
from anymask.variants import variant
from conftest import SHARED

FILES = sorted((FOLDER / "video").glob("*.json")) if SHARED else []
ROWS = {"sam2.1_hiera_tiny": "sam2.1-tiny", "sam2_hiera_tiny": "sam2-tiny", "edgetam": "edgetam"}
# Of the largest value. Memories are rounded to bfloat16 before they are read: where theirs and ours
# (1e-5 apart) round to different sides, one value in a thousand, they are then 2^-8 apart.
FEATURES = 4e-5
LOGITS, SCORES, OBJECT, POINTERS, MEMORY = 1e-3, 3e-5, 5e-4, 1e-4, 1e-3
STEP = 2.0**-8  # of bfloat16, relative
ABSENT = -1024.0

pytestmark = pytest.mark.slow


@cache
def model(name: str, size: int, folder: Path):
    path = synthetic_file(name, folder / f"{name}.pt")
    found = load_variant(variant(ROWS[name]), checkpoint=path, device="cpu", size=size)
    path.unlink()
    return found


@cache
def clip() -> np.ndarray:
    pixels = arrays("pixels.npz")
    return np.stack([pixels[name] for name in sorted(pixels) if name.startswith("clip_")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def scenario(file: Path) -> tuple[str, int]:
    name, size, *_ = file.stem.replace("_512_", "|512|").replace("_1024_", "|1024|").split("|")
    return name, int(size)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_recorded_step(file, folder):
    replay = Replay(model(*scenario(file), folder), file, clip())
    worst: dict[str, float] = {}
    count = 0
    for step in replay.steps():
        count += 1
        for what, (far, most) in differences(step, replay.arrays).items():
            worst[what] = max(worst.get(what, 0), far / most)
            where = f"{step.facts['key']} frame {step.facts['frame']}"
            assert far <= most, f"{where}: {what} {far:.2g}, at most {most:.2g}"
    recorded = sum(len(call.get("steps", [])) for call in replay.table["calls"])
    assert count == recorded
    print(file.stem, {k: f"{v:.3f}" for k, v in worst.items()})


def differences(step: Step, known: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """How far each result is from the record, and how far it may be."""
    facts, found = step.facts, {}
    key = facts["key"]

    def compare(what: str, ours: torch.Tensor, theirs: np.ndarray, most: float) -> None:
        assert ours.numel() == theirs.size, what
        far = np.abs(ours.float().numpy().reshape(theirs.shape) - theirs)
        found[what] = (float(far.max()), most)

    if facts["what"] == "track_step":
        answer = step.answer
        low = known[f"{key}_low_res"]
        stride = facts["low_res_stride"]
        compare("logits", answer.logits[::stride, ::stride], low, LOGITS)
        gone = low == ABSENT
        assert np.array_equal(answer.logits[::stride, ::stride].numpy()[None, None] == ABSENT, gone)
        compare("pointer", answer.pointer, known[f"{key}_obj_ptr"], POINTERS)
        present = facts["object_score_logits"][0]
        found["present"] = (abs(answer.present - present), OBJECT)
        if not facts["mask"]:  # a mask is its own answer
            score = max(facts["sam_iou_predictions"][0])
            found["score"] = (abs(answer.score - score), SCORES)
    if f"{key}_memory_conditioned" in known:
        theirs = known[f"{key}_memory_conditioned"]
        cells = step.recalled[0].flatten(1).t()
        some = cells[:: cells.shape[0] // len(theirs), :: cells.shape[1] // theirs.shape[2]]
        compare("recalled", some, theirs, FEATURES * float(cells.abs().max()))
    if f"{key}_memory_features" in known:
        theirs, ours = known[f"{key}_memory_features"], step.remembered[0]
        assert step.memory.spatial.dtype == torch.bfloat16
        if theirs.ndim == 4:
            side = int(len(ours) ** 0.5)
            ours = ours.t().unflatten(1, (side, side))
            ours = ours[::4, :: side // 8, :: side // 8]
        else:
            ours = ours[::8, ::4]
        rounded = facts["what"] != "track_step"
        most = MEMORY + (STEP * float(np.abs(theirs).max()) if rounded else 0)
        compare("memory", ours, theirs, most)
    return found
