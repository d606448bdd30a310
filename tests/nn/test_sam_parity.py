"""SAM's networks give the recorded numbers of the official code, part by part.

Synthetic weights go through a file in the official layout and the real converter. Of ViT-L and -H
the recorded encoders end after their first global block. Bounds are those of the reference data's
own page, several times the spread between its authors' runs.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anymask.frame import Frame
from anymask.image import resize
from anymask.nn.resize import upscale
from anymask.nn.sam import build_sam
from anymask.variants import variant
from anymask.weights.convert import convert
from anymask.weights.files import read_state
from anymask.weights.sam import LAYOUTS
from conftest import SHARED
from official_weights import official_state

FOLDER = SHARED / "goldens" / "sam1" if SHARED else Path()
# variant's folder, our row, blocks kept, photos
RECORDED = (
    [
        ("sam_vit_b", "sam-vit-b", 12, "dog"),
        ("sam_vit_b", "sam-vit-b", 12, "truck"),
        ("sam_vit_l_first6", "sam-vit-l", 6, "dog"),
        ("sam_vit_h_first8", "sam-vit-h", 8, "dog"),
    ]
    if SHARED
    else []
)
EMBEDDING, CODES, LOGITS, SCORES = 1e-4, 5e-6, 3e-3, 5e-5
EARLY = 2e-5  # of a stage's largest value
FLIPS = 2e-4

pytestmark = pytest.mark.slow


def synthetic_state(name: str, depth: int) -> dict[str, torch.Tensor]:
    def within(tensor) -> bool:
        parts = tensor["name"].split(".")
        return ".blocks." not in tensor["name"] or int(parts[2]) < depth

    return official_state(FOLDER, name.split("_first")[0], within)


class Case:
    """A network, what its parts gave for a photo, and what was recorded."""

    def __init__(self, name: str, row: str, depth: int, photo: str, tmp_path: Path) -> None:
        self.table = json.loads((FOLDER / name / f"{photo}.json").read_text())
        with np.load(FOLDER / name / f"{photo}.npz") as file:
            self.arrays = dict(file)
        shape = dict(variant(row).network)
        shape |= {
            "depth": depth,
            "global_blocks": tuple(b for b in shape["global_blocks"] if b < depth),
        }
        self.network = build_sam(**shape).eval()
        file = tmp_path / "weights.pth"
        torch.save(synthetic_state(name, depth), file)
        self.network.load_state_dict(convert(read_state(file), LAYOUTS), strict=True)
        file.unlink()
        self.seen: dict[str, torch.Tensor] = {}
        self.spec = variant(row).spec
        pixels = np.asarray(Image.open(FOLDER / "images" / f"{photo}.png").convert("RGB"))
        self.frame = Frame.fit(pixels.shape[:2], self.spec)
        self.resized = np.array(resize(pixels, self.frame.resized))
        self.input = torch.zeros(1, 3, 1024, 1024)
        mean, std = torch.tensor(self.spec.mean), torch.tensor(self.spec.std)
        h, w = self.frame.resized
        self.input[0, :, :h, :w] = ((torch.from_numpy(self.resized).float() - mean) / std).permute(
            2, 0, 1
        )
        with watched(self.network, self.seen), torch.inference_mode():
            self.features = self.network.encode(self.input)

    def ask(self, prompt: dict) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        scale = np.array(
            [b / a for a, b in zip(self.frame.image[::-1], self.frame.resized[::-1], strict=True)]
        )
        points = np.zeros((1, 0, 2))
        labels = np.zeros((1, 0))
        if "point_coords" in prompt:
            points = np.array(prompt["point_coords"], np.float64)
            points = points if points.ndim == 3 else points[None]
            labels = np.array(prompt["point_labels"]).reshape(points.shape[:2])
        boxes = prompt.get("boxes", prompt.get("box"))
        pad = self.spec.padding(points.shape[1], boxes is not None)
        points = (points * scale).astype(np.float32) + np.float32(0.5)
        points = np.pad(points, ((0, 0), (0, pad), (0, 0)))
        labels = np.pad(labels, ((0, 0), (0, pad)), constant_values=-1)
        if boxes is not None:
            corners = np.array(boxes, np.float64).reshape(-1, 2, 2) * scale
            corners = corners.astype(np.float32) + np.float32(0.5)
            count = len(corners)
            points = np.concatenate(
                [points[:1].repeat(count, 0) if len(points) != count else points, corners], 1
            )
            labels = np.concatenate(
                [labels[:1].repeat(count, 0) if len(labels) != count else labels, [[2, 3]] * count],
                1,
            )
        masks = None
        if "mask_input_from" in prompt:
            masks = torch.from_numpy(self.arrays["mask_input_full_point"])[None, None]
        seen: dict[str, torch.Tensor] = {}
        with watched(self.network, seen), torch.inference_mode():
            xy, kinds = torch.from_numpy(points).float(), torch.from_numpy(labels).long()
            seen["sparse"] = self.network.prompt_encoder.sparse(xy, kinds)
            seen["dense"] = self.network.prompt_encoder.dense(masks)
            logits, scores = self.network.decode(self.features, xy, kinds, masks)
            state, seen["looked"] = self.network.look(self.features, xy, kinds, masks)
            pairs = torch.ones_like(scores).nonzero(as_tuple=True)
            seen["drawn"] = self.network.draw(state, *pairs).view_as(logits)
        return logits, scores, seen


class watched:  # noqa: N801 - reads as a phrase
    """Hooks that note what the parts give, under the names of the recorded stages."""

    def __init__(self, network, seen) -> None:
        self.handles = []
        parts = {"patch_embed": network.encoder.patch_embed}
        for i, block in enumerate(network.encoder.blocks):
            parts |= {f"block{i}": block, f"block{i}_attn": block.attn}
        parts |= {f"neck{i}": m for i, m in enumerate(network.encoder.neck)}
        parts |= {"layer0": network.decoder.transformer.layers[0]}
        parts |= {"transformer": network.decoder.transformer}
        for name, module in parts.items():
            self.handles.append(
                module.register_forward_hook(
                    lambda _m, _i, out, name=name: seen.update({name: out})
                )
            )
        self.upscaled = type(network.decoder).upscaled
        enlarge = self.upscaled
        self.decoder = type(network.decoder)

        def enlarged(decoder, image):
            seen["upscaled"] = enlarge(decoder, image)
            return seen["upscaled"]

        self.decoder.upscaled = enlarged

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
        self.decoder.upscaled = self.upscaled


@pytest.fixture(scope="module", params=RECORDED, ids=lambda r: f"{r[0]}-{r[3]}")
def case(request, tmp_path_factory):
    return Case(*request.param, tmp_path_factory.mktemp("weights"))


def near(found, wanted, bound):
    assert found.shape == wanted.shape
    assert np.abs(np.asarray(found) - wanted).max(initial=0) <= bound


def test_the_photo_is_scaled_and_normalised_to_the_bit(case):
    assert np.array_equal(case.resized[::17, ::17], case.arrays["input/resized"])
    near(case.input[:, :, ::31, ::31], case.arrays["input/preprocessed"], 1e-6)


def test_each_stage_of_the_encoder(case):
    checked = 0
    for key, wanted in case.arrays.items():
        if not key.startswith("stage/") or "windows" in key:
            continue
        name = key.removeprefix("stage/")
        facts = case.table["stages"][name]
        part = case.seen[name.removesuffix("_global")]
        if name == "patch_embed":
            part = part.permute(0, 2, 3, 1)
        elif part.ndim == 3:
            part = part[None]
        part = part[tuple(slice(None, None, s) for s in facts["stride"])]
        bound = EMBEDDING if name == "neck3" else EARLY * facts["absmax"]
        near(part, wanted, bound)
        checked += 1
    assert checked >= 8


def test_windows_of_the_first_block_where_they_show_the_photo(case):
    found = case.seen["block0_attn"]
    padded = torch.nn.functional.pad(found, (0, 0, 0, 6, 0, 6), value=float("nan"))
    windows = padded.view(5, 14, 5, 14, -1).transpose(1, 2).reshape(25, 14, 14, -1)
    facts = case.table["stages"]["block0_attn_windows"]
    found = windows[tuple(slice(None, None, s) for s in facts["stride"])].numpy()
    wanted = case.arrays["stage/block0_attn_windows"]
    real = ~np.isnan(found)
    assert real.mean() > 0.7
    assert np.abs(found[real] - wanted[real]).max() <= EARLY * facts["absmax"]


def test_the_embedding_and_the_codes_of_places(case):
    near(case.features[0][:, ::5, ::5, ::5], case.arrays["image_embedding"], EMBEDDING)
    if "dense_pe" in case.arrays:
        grid = case.network.prompt_encoder.grid().permute(2, 0, 1)[None].detach()
        near(grid[:, ::5, ::5, ::5], case.arrays["dense_pe"], CODES)


def test_every_prompt_through_every_part(case):
    for name, prompt in case.table["prompts"].items():
        logits, scores, seen = case.ask(prompt)
        key = f"p/{name}/"
        want = {k.removeprefix(key): v for k, v in case.arrays.items() if k.startswith(key)}
        outputs = slice(1, 4) if prompt["multimask_output"] else slice(0, 1)
        chosen, known = logits[:, outputs], scores[:, outputs]
        near(seen["sparse"], want["sparse"], CODES)
        step = 11 if name.startswith("batch") else 5
        halves = seen["drawn"][:, outputs], seen["looked"][:, outputs]
        for maps, predicted in ((chosen, known), halves):
            single = maps[0] if want["low_res"].ndim == 3 else maps
            near(single[..., ::step, ::step], want["low_res"], LOGITS)
            near(predicted[0] if want["iou"].ndim == 1 else predicted, want["iou"], SCORES)
        if "dense" in want:
            near(seen["dense"][:, ::5, ::5, ::5], want["dense"], EMBEDDING)
        check_inside(seen, logits, scores, want)
        check_masks(case, chosen, want)


def check_inside(seen, logits, scores, want):
    if "layer0_tokens" not in want:
        return
    tokens, image = seen["layer0"]
    near(tokens, want["layer0_tokens"], EMBEDDING)
    near(image[:, ::41, ::7], want["layer0_image_tokens"], EMBEDDING)
    tokens, image = seen["transformer"]
    near(tokens, want["tokens_out"], EMBEDDING)
    near(image[:, ::41, ::7], want["image_tokens_out"], EMBEDDING)
    near(seen["upscaled"][:, :, ::13, ::13], want["upscaled"], EMBEDDING)
    near(scores, want["iou_all"], SCORES)
    near(logits[:, :, ::13, ::13], want["masks_all"], LOGITS)


def check_masks(case, chosen, want):
    frame = case.frame
    height, width = frame.image
    packed = want["masks_packed"]
    rows = chosen.flatten(0, 1)[: len(packed)]
    full = torch.cat([upscale(row[None], frame.padded, frame.resized, frame.image) for row in rows])
    if "logits" in want:
        near(full[:, ::11, ::11], want["logits"], LOGITS)
    wanted = np.unpackbits(packed, axis=1)[:, : height * width].reshape(-1, height, width) > 0
    differ = wanted != (full > 0).numpy()
    assert differ.mean((1, 2)).max() <= FLIPS
    assert np.abs(full.numpy()[differ]).max(initial=0) <= LOGITS
