"""The small part of the reference data that CI needs, and how it was taken.

    python tests/goldens/record.py ../shared/goldens/sam1

What is copied comes from the official code: names and shapes of its tensors, prompts, tokens of
points and boxes, the map of a mask, codes of places. Its image embeddings are too large to copy, so
the decoder is given random numbers for one, and ``decoder.npz`` is what ours made of it on a day
when `tests/nn/test_sam_parity.py` held and transformers' decoder, given the same weights, agreed to
6e-4 (absmax 22): it guards against change, the long proofs against error.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anymask.frame import Frame
from anymask.nn.sam import Sam, build_sam
from anymask.prompts import Prompts, network_points
from anymask.variants import variant
from anymask.weights.convert import convert
from anymask.weights.sam import LAYOUTS

HERE = Path(__file__).parent / "sam1"
SPEC = variant("sam-vit-b").spec
NOT_PUBLIC = {"label_minus1", "no_prompt"}  # a network takes these, a user cannot ask them
DECODED = ("point", "points3", "box_points", "mask_only", "batch2_points")
STRIDE = 8  # of recorded logits


def rule() -> ModuleType:
    """The module that draws synthetic weights; the reference data's own, formatted."""
    spec = importlib.util.spec_from_file_location("synthetic", HERE / "synthetic.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def manifest(size: str) -> dict[str, Any]:
    """What the official file of a size holds."""
    table: dict[str, Any] = json.loads((HERE / "manifests" / f"sam_vit_{size}.json").read_text())
    return table


def prompt_side() -> Sam:
    """ViT-B's prompt encoder and decoder with synthetic weights, behind an encoder of no blocks."""
    table = manifest("b")
    table["tensors"] = [t for t in table["tensors"] if "encoder.blocks." not in t["name"]]
    state = {k: torch.from_numpy(v) for k, v in rule().synthetic_state_dict(table).items()}
    network = build_sam(**{**variant("sam-vit-b").network, "depth": 0, "global_blocks": ()})
    network.load_state_dict(convert(state, LAYOUTS), strict=True)
    return network.eval()


def random_embedding() -> Tensor:
    """What the decoder is given for an image embedding, (1, 256, 64, 64)."""
    return torch.from_numpy(rule().draw("an image embedding", (1, 256, 64, 64)))


def asked(
    facts: dict[str, Any], prompt: dict[str, Any], mask: np.ndarray
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A recorded prompt as the network takes it."""
    height, width = facts["image_size_hw"]
    frame = Frame.fit((height, width), SPEC)
    prompts = Prompts.parse(
        size=frame.image,
        frame=frame,
        points=prompt.get("point_coords"),
        labels=prompt.get("point_labels"),
        boxes=prompt.get("boxes", prompt.get("box")),
        masks=mask if "mask_input_from" in prompt else None,
    )
    points, labels = network_points(prompts, frame, SPEC)
    masks = None if prompts.masks is None else torch.from_numpy(prompts.masks)[:, None]
    return torch.from_numpy(points), torch.from_numpy(labels), masks


@torch.inference_mode()
def decoded(facts: dict[str, Any], mask: np.ndarray) -> dict[str, np.ndarray]:
    """Our decoder's logits and scores for the random embedding."""
    network, embedding, found = prompt_side(), random_embedding(), {}
    for name in DECODED:
        logits, scores = network.decode((embedding,), *asked(facts, facts["prompts"][name], mask))
        found[f"{name}/logits"] = logits[..., ::STRIDE, ::STRIDE].numpy()
        found[f"{name}/scores"] = scores.numpy()
    return found


def main(source: Path) -> None:
    (HERE / "manifests").mkdir(exist_ok=True)
    for size in "blh":
        table = json.loads((source / "manifests" / f"sam_vit_{size}.json").read_text())
        text = json.dumps(table, separators=(",", ":"))
        (HERE / "manifests" / f"sam_vit_{size}.json").write_text(text + "\n")
    facts = json.loads((source / "sam_vit_b" / "dog.json").read_text())
    keys = ("point_coords", "point_labels", "box", "boxes", "mask_input_from")
    facts = {
        "image_size_hw": facts["image_size_hw"],
        "prompts": {
            name: {key: prompt[key] for key in keys if key in prompt}
            for name, prompt in facts["prompts"].items()
            if name not in NOT_PUBLIC
        },
    }
    (HERE / "prompts.json").write_text(json.dumps(facts, indent=1) + "\n")
    with np.load(source / "sam_vit_b" / "dog.npz") as file:
        arrays = {f"{name}/sparse": file[f"p/{name}/sparse"] for name in facts["prompts"]}
        arrays["mask_only/dense"] = file["p/mask_only/dense"]
        mask = file["mask_input_full_point"]
    with np.load(source / "sam_vit_h_first8" / "dog.npz") as file:
        arrays["dense_pe"] = file["dense_pe"]
    np.savez_compressed(HERE / "prompts.npz", **arrays)
    np.savez_compressed(HERE / "mask.npz", mask=mask)
    np.savez_compressed(HERE / "decoder.npz", **decoded(facts, mask))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
