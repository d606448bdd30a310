"""EfficientSAM from a photo to masks of its size, part by part: what the official code recorded.

The weights are synthetic (the masks mean nothing) and come through a file in the official layout.
The bounds are those of the reference data's own page, several times the spread of its authors'
runs.
"""

import json

import numpy as np
import pytest
import torch

from anymask import load
from anymask.nn.resize import upscale
from anymask.predict.image import ImagePredictor
from anymask.prompts import Prompts, network_points
from conftest import SHARED
from official_weights import official_state

EMBEDDING, EARLY, CODES = 1e-4, 2e-5, 5e-6  # EARLY of the largest value of a stage
LOGITS, SCORES = 3e-3, 5e-5
FLIPS = 2e-4  # share of a mask's pixels that may differ, where logits are nearly 0
FOLDER = SHARED / "goldens" / "sam1" if SHARED else None
RECORDED = (
    [("ti", "dog"), ("ti", "groceries"), ("ti", "truck"), ("s", "dog"), ("s", "truck")]
    if FOLDER
    else []
)
RECORDED = [(s, p) for s, p in RECORDED if (FOLDER / f"efficient_sam_{s}" / f"{p}.npz").is_file()]

pytestmark = pytest.mark.slow


def synthetic_file(size, folder):
    """A file as the publisher's, with the synthetic weights."""
    name = f"efficient_sam_{size}"
    path = folder / json.loads((FOLDER / "manifests" / f"{name}.json").read_text())["file_name"]
    torch.save({"model": official_state(FOLDER, name)}, path)
    return path


class Case:
    """A photo encoded, what the encoder's parts gave, and what was recorded."""

    def __init__(self, predictor, name, photo) -> None:
        folder = FOLDER / f"efficient_sam_{name}"
        self.table = json.loads((folder / f"{photo}.json").read_text())
        with np.load(folder / f"{photo}.npz") as file:
            self.arrays = dict(file)
        self.predictor, self.network = predictor, predictor.model.network
        self.spec = predictor.model.variant.spec
        encoder = self.network.encoder
        parts = {f"block{i}": block for i, block in enumerate(encoder.blocks)}
        parts |= {f"neck{i}": part for i, part in enumerate(encoder.neck)}
        parts |= {"patch_embed": encoder.patch_embed, "block0_attn": encoder.blocks[0].attn}
        self.seen = {}
        with watched(parts, self.seen):
            hook = encoder.register_forward_pre_hook(
                lambda _, given: self.seen.update(preprocessed=given[0])
            )
            first = encoder.blocks[0].register_forward_pre_hook(
                lambda _, given: self.seen.update(block0_input_with_pos=given[0])
            )
            self.embedding = predictor.encode(FOLDER / "images" / f"{photo}.png")
            hook.remove()
            first.remove()

    def asked(self, prompt) -> Prompts:
        """A recorded prompt as a user would ask it: clicks, boxes, no padding."""
        points, labels, boxes = [], [], []
        for xy, kinds in zip(prompt["points"], prompt["labels"], strict=True):
            at = dict(zip(kinds, xy, strict=True))
            boxes += [[*at[2], *at[3]]] if 2 in at else []
            clicks = [(p, k) for p, k in zip(xy, kinds, strict=True) if k in (0, 1)][:6]
            points.append([p for p, _ in clicks])
            labels.append([k for _, k in clicks])
        frame = self.embedding.frame
        given = {"points": points, "labels": labels} if any(labels) else {}
        return Prompts.parse(size=frame.image, frame=frame, boxes=boxes or None, **given)


class watched:  # noqa: N801 - reads as a phrase
    """Hooks that note what parts give."""

    def __init__(self, parts, seen) -> None:
        self.handles = [
            module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
            for name, module in parts.items()
        ]

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


@pytest.fixture(scope="module", params=sorted({size for size, _ in RECORDED}))
def predictor(request, tmp_path_factory):
    file = synthetic_file(request.param, tmp_path_factory.mktemp("weights"))
    yield ImagePredictor(load(f"efficient-sam-{request.param}", checkpoint=file, device="cpu"))
    file.unlink()


@pytest.fixture(scope="module")
def cases(predictor):
    size = predictor.model.variant.name.rsplit("-", 1)[1]
    return [Case(predictor, name, photo) for name, photo in RECORDED if name == size]


def near(found, wanted, bound):
    found = np.asarray(found)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max(initial=0) <= bound


def test_the_photo_is_stretched_as_recorded(cases):
    for case in cases:
        assert list(case.embedding.size) == case.table["image_size_hw"]
        near(
            case.seen["preprocessed"][:, :, ::31, ::31], case.arrays["input/preprocessed"], 1e-5
        )  # official pixels are scaled in 0..1, ours in 0..255


def test_each_stage_of_the_encoder(cases):
    for case in cases:
        checked = 0
        for key, wanted in case.arrays.items():
            if not key.startswith("stage/"):
                continue
            name = key.removeprefix("stage/")
            facts, part = case.table["stages"][name], case.seen[name]
            if part.ndim == 3:  # rows, columns, channels: tokens in the records
                part = part.flatten(0, 1)[None]
            bound = EMBEDDING if name == "neck3" else EARLY * facts["absmax"]
            near(part[tuple(slice(None, None, s) for s in facts["stride"])], wanted, bound)
            checked += 1
        assert checked >= 11
        (embedding,) = case.embedding.features
        near(embedding[:, ::5, ::5, ::5], case.arrays["image_embedding"], EMBEDDING)
        if "dense_pe" in case.arrays:
            grid = case.network.prompt_encoder.grid().permute(2, 0, 1)[None]
            near(grid[:, ::5, ::5, ::5], case.arrays["dense_pe"], CODES)


def mixed(prompt) -> bool:
    """Whether its queries are of different kinds, which one call here does not take."""
    return len({tuple(kinds) for kinds in prompt["labels"]}) > 1


@torch.inference_mode()
def test_every_prompt_through_every_part(cases):
    for case in cases:
        for name, prompt in case.table["prompts"].items():
            if mixed(prompt):
                continue
            key = f"p/{name}/"
            want = {k.removeprefix(key): v for k, v in case.arrays.items() if k.startswith(key)}
            points, labels = (
                torch.from_numpy(a)
                for a in network_points(case.asked(prompt), case.embedding.frame, case.spec)
            )
            order = slot_order(prompt, labels[0])
            sparse = case.network.prompt_encoder.sparse(points, labels)[:, order]
            near(sparse, want["sparse"], CODES)
            seen = {}
            decoder = case.network.decoder
            parts = {"layer0": decoder.transformer.layers[0], "transformer": decoder.transformer}
            parts["up2"] = decoder.up2
            with watched(parts, seen):
                logits, scores = case.network.decode(case.embedding.features, points, labels)
            stride = prompt["low_res_stride"]
            near(logits[None, :, 1:, ::stride, ::stride], want["low_res"], LOGITS)
            near(scores[None, :, 1:], want["iou"], SCORES)
            if "single_low_res" in want:
                near(logits[None, :, :1, ::5, ::5], want["single_low_res"], LOGITS)
                near(scores[None, :, :1], np.array(prompt["single_iou"], np.float32), SCORES)
            if "layer0_tokens" in want:
                tokens = [0, 1, 2, 3, 4, *(5 + i for i in order)]
                for part, stage in (("layer0", "layer0_{}"), ("transformer", "{}_out")):
                    found, image = seen[part]
                    near(found[:, tokens], want[stage.format("tokens")], EMBEDDING)
                    near(image[:, ::41, ::7], want[stage.format("image_tokens")], EMBEDDING)
                big = torch.nn.functional.gelu(seen["up2"])
                near(big[:, :, ::13, ::13], want["upscaled"], EMBEDDING)
                near(scores, want["iou_all"], SCORES)


def slot_order(prompt, labels) -> list[int]:
    """Our slots (clicks, padding, corners) in the order of the record (as asked, padding)."""
    left = {kind: (labels == kind).nonzero()[:, 0].tolist() for kind in (-1, 0, 1, 2, 3)}
    asked = [kind for kind in prompt["labels"][0] if kind != -1][:6]
    order = [left[kind].pop(0) for kind in asked]
    return order + left[-1]


def test_every_prompt_gives_the_official_masks_and_scores(cases):
    for case in cases:
        assert len(case.table["prompts"]) >= 5
        for name, prompt in case.table["prompts"].items():
            want = {k: case.arrays[f"p/{name}/{k}"] for k in ("iou", "masks_packed", "low_res")}
            found = [
                case.predictor.predict_prompts(case.embedding, case.asked(one))
                for one in ([prompt] if not mixed(prompt) else queries(prompt))
            ]
            scores = np.concatenate([one.scores.reshape(-1, 3) for one in found])
            near(scores[None], want["iou"], SCORES)
            masks = np.concatenate([one.masks.reshape(-1, *case.embedding.size) for one in found])
            packed = want["masks_packed"]
            flat = np.unpackbits(packed, axis=1)[:, : masks[0].size].astype(bool)
            wrong = masks[: len(packed)] != flat.reshape(-1, *masks.shape[1:])
            assert wrong.mean((1, 2)).max() <= FLIPS, name
            logits = np.concatenate(
                [one.logits.reshape(-1, *one.logits.shape[-2:]) for one in found]
            )
            frame = case.embedding.frame
            sizes = (frame.padded, frame.resized, frame.image, frame.enlarge)
            full = upscale(torch.from_numpy(logits[: len(packed)]), *sizes).numpy()
            assert np.abs(full[wrong]).max(initial=0) < LOGITS, name
            if f"p/{name}/output" in case.arrays:
                near(full[None, None, :, ::11, ::11], case.arrays[f"p/{name}/output"], LOGITS)


def queries(prompt):
    """The queries of a record one by one."""
    for xy, kinds in zip(prompt["points"], prompt["labels"], strict=True):
        yield {"points": [xy], "labels": [kinds]}
