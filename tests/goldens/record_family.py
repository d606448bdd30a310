"""The small part of MobileSAM's and SAM-HQ's reference data that CI needs, and how it was taken.

    python tests/goldens/record_family.py ../shared/goldens/sam1

``mobile_sam.json`` and ``sam_hq.json`` are the official code's names and shapes; SAM-HQ's are those
of SAM or MobileSAM and some more, which alone are kept. The numbers are what ours made of drawn
inputs on a day when `tests/nn/test_mobile_sam_parity.py` and `test_sam_hq_parity.py` held: they
guard against change, the long proofs against error.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anymask.model import BUILDERS
from anymask.nn.mobile_sam import build_mobile_sam
from anymask.nn.sam import Sam
from anymask.nn.sam_hq import SamHq
from anymask.variants import variant
from anymask.weights import mobile_sam, sam_hq
from anymask.weights.convert import convert
from goldens.record import asked, random_embedding, rule
from goldens.record import manifest as sam_manifest

HERE = Path(__file__).parent / "family"
ROWS = {f"sam_hq_vit_{size}": f"sam-hq-vit-{size}" for size in "blh"}
ROWS |= {"mobile_sam_vit_t": "mobile-sam", "sam_hq_vit_tiny": "sam-hq-light"}
SIZE = (104, 72)  # H, W of a drawn image: no window divides its cells
PROMPTS = ("point", "box_points")
STRIDE = 8  # of recorded logits


def manifest(name: str) -> dict[str, Any]:
    """What the official file of a variant holds."""
    mobile: dict[str, Any] = json.loads((HERE / "mobile_sam.json").read_text())
    if name == "mobile_sam_vit_t":
        return mobile
    table: dict[str, Any] = json.loads((HERE / "sam_hq.json").read_text())[name]
    size = name.removeprefix("sam_hq_vit_")
    base = mobile if size == "tiny" else sam_manifest(size)
    return table | {"tensors": [*base["tensors"], *table["tensors"]]}


def synthetic(name: str, without: str = " ") -> dict[str, Tensor]:
    """Synthetic tensors of a variant under the official names, but for some parts."""
    table = manifest(name)
    table["tensors"] = [t for t in table["tensors"] if without not in t["name"]]
    return {k: torch.from_numpy(v) for k, v in rule().synthetic_state_dict(table).items()}


def mobile() -> Sam:
    """MobileSAM with synthetic weights."""
    network = build_mobile_sam()
    network.load_state_dict(convert(synthetic("mobile_sam_vit_t"), mobile_sam.LAYOUTS))
    return network.eval()


def hq_side() -> SamHq:
    """SAM-HQ ViT-B's prompt side and its convolutions, behind an encoder of no blocks."""
    state = synthetic("sam_hq_vit_b", without="encoder.blocks.")
    row = variant("sam-hq-vit-b")
    network = BUILDERS[row.builder](**{**row.network, "depth": 0, "global_blocks": ()})
    network.load_state_dict(convert(state, sam_hq.LAYOUTS))
    assert isinstance(network, SamHq)
    return network.eval()


@torch.inference_mode()
def encoded(network: Sam) -> dict[str, np.ndarray]:
    """Early map and embedding of a drawn image."""
    x = torch.from_numpy(rule().draw("an image", (1, 3, *SIZE)))
    early, embedding = network.encoder.levels(x)  # type: ignore[operator]
    return {"early": early[:, ::3].numpy(), "embedding": embedding[:, ::5].numpy()}


@torch.inference_mode()
def fine_maps(network: SamHq) -> Tensor:
    """Of a drawn early map and a drawn embedding."""
    early = torch.from_numpy(rule().draw("early features", (1, 768, 64, 64)))
    fine: Tensor = network.encoder.late(random_embedding()) + network.encoder.early(early)
    return fine


@torch.inference_mode()
def decoded(network: SamHq, facts: dict[str, Any], mask: np.ndarray) -> dict[str, np.ndarray]:
    """Fine maps, and what prompts on them and on the drawn embedding give."""
    fine = fine_maps(network)
    found = {"fine": fine[:, ::4, ::STRIDE, ::STRIDE].numpy()}
    for name in PROMPTS:
        prompt = asked(facts, facts["prompts"][name], mask)
        logits, scores = network.decode((random_embedding(), fine), *prompt)
        found[f"{name}/logits"] = logits[..., ::STRIDE, ::STRIDE].numpy()
        found[f"{name}/scores"] = scores.numpy()
    return found


def prompts_of_sam() -> tuple[dict[str, Any], np.ndarray]:
    """The prompts that were recorded for SAM, and their mask."""
    folder = HERE.parent / "sam1"
    facts = json.loads((folder / "prompts.json").read_text())
    with np.load(folder / "mask.npz") as file:
        return facts, file["mask"]


def main(source: Path) -> None:
    HERE.mkdir(exist_ok=True)
    tables = {n: json.loads((source / "manifests" / f"{n}.json").read_text()) for n in ROWS}
    mobile_table = tables.pop("mobile_sam_vit_t")
    for name, table in tables.items():
        size = name.removeprefix("sam_hq_vit_")
        base = mobile_table if size == "tiny" else sam_manifest(size)
        kept = [t for t in table["tensors"] if t not in base["tensors"]]
        assert len(kept) + len(base["tensors"]) == len(table["tensors"])
        table["tensors"] = kept
    compact = {"separators": (",", ":")}
    (HERE / "mobile_sam.json").write_text(json.dumps(mobile_table, **compact) + "\n")
    (HERE / "sam_hq.json").write_text(json.dumps(tables, **compact) + "\n")
    np.savez_compressed(HERE / "tiny_vit.npz", **encoded(mobile()))
    np.savez_compressed(HERE / "hq.npz", **decoded(hq_side(), *prompts_of_sam()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
