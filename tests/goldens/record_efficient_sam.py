"""The small part of EfficientSAM's reference data that CI needs, and how it was taken.

    PYTHONPATH=tests python tests/goldens/record_efficient_sam.py ../shared/goldens/sam1

As in `record`: names and shapes of tensors, prompts, their tokens and the codes of places come from
the official code; ``decoder.npz`` is what our decoder made of a random embedding on a day when
`tests/nn/test_efficient_sam_parity.py` held.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anymask.frame import Frame
from anymask.nn.efficient_sam import build_efficient_sam
from anymask.nn.sam import Sam
from anymask.prompts import Prompts, network_points
from anymask.variants import variant
from anymask.weights.convert import convert
from anymask.weights.efficient_sam import LAYOUTS
from goldens.record import STRIDE, random_embedding, rule

HERE = Path(__file__).parent / "efficient_sam"
ROW = variant("efficient-sam-ti")
KEPT = ("q1_p1", "q1_p3_with_negative", "q1_box", "q1_box_point", "q2_p1", "q1_fractional")
DECODED = ("q1_p1", "q1_box_point", "q2_p1")


def manifest(size: str) -> dict[str, Any]:
    """What the official file of a size holds."""
    table: dict[str, Any] = json.loads((HERE / f"efficient_sam_{size}.json").read_text())
    return table


def prompt_side() -> Sam:
    """Ti's prompt encoder and decoder with synthetic weights, behind an encoder of no blocks."""
    table = manifest("ti")
    table["tensors"] = [t for t in table["tensors"] if "encoder.blocks." not in t["name"]]
    state = {k: torch.from_numpy(v) for k, v in rule().synthetic_state_dict(table).items()}
    network = build_efficient_sam(**{**ROW.network, "depth": 0})
    network.load_state_dict(convert(state, LAYOUTS), strict=True)
    return network.eval()


def asked(facts: dict[str, Any], prompt: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """A recorded prompt as the network takes it: clicks, padding, corners."""
    frame = Frame.fit(facts["image_size_hw"], ROW.spec)
    clicks = [
        [(p, k) for p, k in zip(xy, kinds, strict=True) if k in (0, 1)]
        for xy, kinds in zip(prompt["points"], prompt["labels"], strict=True)
    ]
    boxes = [
        [*xy[kinds.index(2)], *xy[kinds.index(3)]]
        for xy, kinds in zip(prompt["points"], prompt["labels"], strict=True)
        if 2 in kinds
    ]
    given = {
        "points": [[p for p, _ in some] for some in clicks],
        "labels": [[k for _, k in some] for some in clicks],
    }
    prompts = Prompts.parse(size=frame.image, boxes=boxes or None, **(given if any(clicks) else {}))
    points, labels = network_points(prompts, frame, ROW.spec)
    return torch.from_numpy(points), torch.from_numpy(labels)


def slots(prompt: dict[str, Any], labels: Tensor) -> list[int]:
    """Our slots (clicks, padding, corners) in the order of a record (as asked, then padding)."""
    left = {kind: (labels == kind).nonzero()[:, 0].tolist() for kind in (-1, 0, 1, 2, 3)}
    return [left[kind].pop(0) for kind in prompt["labels"][0]] + left[-1]


@torch.inference_mode()
def decoded(facts: dict[str, Any]) -> dict[str, np.ndarray]:
    """Our decoder's logits and scores for the random embedding."""
    network, found = prompt_side(), {}
    for name in DECODED:
        logits, scores = network.decode(
            (random_embedding(),), *asked(facts, facts["prompts"][name])
        )
        found[f"{name}/logits"] = logits[..., ::STRIDE, ::STRIDE].numpy()
        found[f"{name}/scores"] = scores.numpy()
    return found


def main(source: Path) -> None:
    HERE.mkdir(exist_ok=True)
    for size in ("ti", "s"):
        name = f"efficient_sam_{size}.json"
        table = json.loads((source / "manifests" / name).read_text())
        (HERE / name).write_text(json.dumps(table, separators=(",", ":")) + "\n")
    facts = json.loads((source / "efficient_sam_ti" / "dog.json").read_text())
    facts = {
        "image_size_hw": facts["image_size_hw"],
        "prompts": {
            name: {key: facts["prompts"][name][key] for key in ("points", "labels")}
            for name in KEPT
        },
    }
    (HERE / "prompts.json").write_text(json.dumps(facts, indent=1) + "\n")
    with np.load(source / "efficient_sam_ti" / "dog.npz") as file:
        arrays = {f"{name}/sparse": file[f"p/{name}/sparse"] for name in KEPT}
    with np.load(source / "sam_vit_h_first8" / "dog.npz") as file:
        arrays["dense_pe"] = file["dense_pe"]  # the same matrix by the rule of synthetic weights
    np.savez_compressed(HERE / "prompts.npz", **arrays)
    np.savez_compressed(HERE / "decoder.npz", **decoded(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
