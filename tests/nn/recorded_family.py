"""What the official code of SAM's relatives recorded, and ours beside it.

Synthetic weights go through a file in the official layout, `anymask.load` and the real converter.
Bounds are those of the reference data's own page, several times the spread between its authors'
runs.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from anymask import load
from anymask.nn.resize import upscale
from anymask.predict.image import ImagePredictor, Prediction
from conftest import SHARED
from official_weights import official_state

FOLDER = SHARED / "goldens" / "sam1" if SHARED else Path()
EMBEDDING, CODES, SCORES = 1e-4, 5e-6, 5e-5
EARLY = 2e-5  # of a stage's largest value
FLIPS = 2e-4  # share of a mask's pixels that may differ, where logits are nearly 0
NOT_PUBLIC = {"label_minus1", "no_prompt"}  # a network takes these, a user cannot ask them


def photos_of(name: str) -> list[str]:
    """Photos that were recorded for a variant."""
    tables = sorted((FOLDER / name).glob("*.json")) if SHARED else []
    return [path.stem for path in tables]


def loaded(name: str, row: str, folder: Path) -> ImagePredictor:
    """A variant with synthetic weights, through a file in the official layout."""
    file = folder / "weights.pth"
    torch.save(official_state(FOLDER, name), file)
    predictor = ImagePredictor(load(row, checkpoint=file, device="cpu"))
    file.unlink()
    return predictor


@contextmanager
def watched(parts: Mapping[str, nn.Module], seen: dict[str, object]) -> Iterator[None]:
    """Note what modules give while it is open."""
    handles = [
        part.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        for name, part in parts.items()
    ]
    yield
    for handle in handles:
        handle.remove()


def near(found: object, wanted: np.ndarray, bound: float, what: object = "") -> None:
    """Same shape, and no value further away than the bound."""
    found = np.asarray(found)
    assert found.shape == wanted.shape, what
    assert np.abs(found - wanted).max(initial=0) <= bound, what


class Recorded:
    """A photo encoded, what the encoder's parts gave, and what was recorded."""

    def __init__(
        self,
        predictor: ImagePredictor,
        name: str,
        photo: str,
        parts: Callable[[nn.Module], Mapping[str, nn.Module]],
        logits: float,
    ) -> None:
        self.table = json.loads((FOLDER / name / f"{photo}.json").read_text())
        with np.load(FOLDER / name / f"{photo}.npz") as file:
            self.arrays = dict(file)
        self.predictor, self.logits = predictor, logits
        self.network = predictor.model.network
        self.seen: dict[str, Tensor] = {}
        with watched(parts(self.network.encoder), self.seen):
            first = self.network.encoder.register_forward_pre_hook(
                lambda _, given: self.seen.update(preprocessed=given[0])
            )
            self.embedding = predictor.encode(FOLDER / "images" / f"{photo}.png")
            first.remove()
        self.prompts = self.table["prompts"]

    def wanted(self, prompt: str) -> dict[str, np.ndarray]:
        """What was recorded for a prompt."""
        key = f"p/{prompt}/"
        return {k.removeprefix(key): v for k, v in self.arrays.items() if k.startswith(key)}

    def check_stages(self, places: Mapping[str, Callable[[Tensor], Tensor]]) -> int:
        """Compare all recorded stages but windows; `places` put ours as the original has them."""
        checked = 0
        for key, wanted in self.arrays.items():
            stage = key.removeprefix("stage/")
            if stage == key or "windows" in stage:
                continue
            facts = self.table["stages"][stage]
            found = places.get(stage, lambda t: t)(self.seen[stage.removesuffix("_global")])
            found = found[tuple(slice(None, None, s) for s in facts["stride"])]
            near(found, wanted, EMBEDDING if stage == "neck3" else EARLY * facts["absmax"], stage)
            checked += 1
        return checked

    def network_prompt(self, prompt: Mapping) -> tuple[Tensor, Tensor, Tensor | None]:
        """A recorded prompt as the network takes it, the ones that are not public too."""
        frame, spec = self.embedding.frame, self.predictor.model.variant.spec
        scale = np.array(frame.resized[::-1]) / np.array(frame.image[::-1])
        boxes = prompt.get("boxes", prompt.get("box"))
        corners = np.zeros((1, 0, 2))
        if boxes is not None:
            corners = np.array(boxes, np.float64).reshape(-1, 2, 2)
        points = np.array(prompt.get("point_coords", np.zeros((1, 0, 2))), np.float64)
        points = points if points.ndim == 3 else points[None]
        labels = np.array(prompt.get("point_labels", [])).reshape(points.shape[:2])
        count = max(len(points), len(corners))
        pad = spec.padding(points.shape[1], boxes is not None)
        xy = np.concatenate(
            [np.tile(a, (count // len(a), 1, 1)) for a in (points, np.zeros((1, pad, 2)), corners)],
            axis=1,
        )
        kinds = [labels, np.full((1, pad), -1)]
        kinds += [np.array([[2, 3]])] if boxes is not None else []
        kinds = np.concatenate([np.tile(a, (count // len(a), 1)) for a in kinds], axis=1)
        masks = None
        if "mask_input_from" in prompt:
            masks = torch.from_numpy(self.arrays["mask_input_full_point"])[None, None]
        net = (xy * scale).astype(np.float32) + np.float32(0.5)
        return torch.from_numpy(net), torch.from_numpy(kinds).long(), masks

    def predict(self, prompt: Mapping, predictor: ImagePredictor | None = None) -> Prediction:
        """A public prompt as a user asks it."""
        masks = None
        if "mask_input_from" in prompt:
            masks = self.arrays["mask_input_full_point"][None]
        return (predictor or self.predictor).predict(
            self.embedding,
            points=prompt.get("point_coords"),
            labels=prompt.get("point_labels"),
            boxes=prompt.get("boxes", prompt.get("box")),
            masks=masks,
            multimask=prompt["multimask_output"],
        )

    def check_masks(self, prompt: str, found: Prediction) -> None:
        """Scores, logits at low resolution, and masks of the photo's size."""
        wanted, frame = self.wanted(prompt), self.embedding.frame
        near(found.scores, wanted["iou"], SCORES, prompt)
        step = 11 if prompt.startswith("batch") else 5
        near(found.logits[..., ::step, ::step], wanted["low_res"], self.logits, prompt)
        packed = wanted["masks_packed"]
        masks = found.masks.reshape(-1, *frame.image)[: len(packed)]
        flat = np.unpackbits(packed, axis=1)[:, : masks[0].size].astype(bool)
        wrong = masks != flat.reshape(masks.shape)
        assert wrong.mean((1, 2)).max() <= FLIPS, prompt
        if wrong.any() or "logits" in wanted:
            low = torch.from_numpy(found.logits.reshape(-1, *frame.logits))[: len(packed)]
            full = upscale(low, frame.padded, frame.resized, frame.image).numpy()
            assert np.abs(full[wrong]).max(initial=0) <= self.logits, prompt
            if "logits" in wanted:
                near(full[:, ::11, ::11], wanted["logits"], self.logits, prompt)
