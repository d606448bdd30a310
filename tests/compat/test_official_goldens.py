"""Through the official names come the recorded results of the official code.

Weights are synthetic and go through a file in the official layout and the registry. Bounds are
those of the reference data's own page; records of automatic masks are matched by point, crop and
overlap.
"""

import gzip
import json
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from anymask.compat.segment_anything import (
    SamAutomaticMaskGenerator,
    SamPredictor,
    sam_model_registry,
)
from anymask.compat.segment_anything.modeling import Sam
from anymask.compat.segment_anything.utils.amg import rle_to_mask
from conftest import SHARED
from official_weights import official_state, recorded_beside

EMBEDDING, CODES, LOGITS, SCORES = 1e-4, 5e-6, 3e-3, 5e-5
FLIPS = 2e-4  # share of a mask's pixels that may differ, where logits are nearly 0
IOU, SCORE = 0.999, 1e-3  # of automatic masks
FOLDER = SHARED / "goldens" / "sam1" if SHARED else None
KEYS = {"sam_vit_b": "vit_b", "mobile_sam_vit_t": "vit_t"}  # of the registry
RUNS = (
    (
        "vit_b_truck_pps8",
        "vit_b_groceries_pps4_crops1",
        "mobile_dog_pps4_binary",
        "mobile_groceries_pps4_crops1_maskthreshold",
        "mobile_truck_pps8_nms95",
    )
    if FOLDER
    else ()
)

pytestmark = pytest.mark.slow


@cache
def built(name: str, folder) -> Sam:
    file = folder / f"{name}.pth"
    torch.save(official_state(FOLDER, name), file)
    sam = sam_model_registry[KEYS[name]](checkpoint=str(file))
    file.unlink()
    return sam


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator:
    yield tmp_path_factory.mktemp("weights")
    built.cache_clear()


def photo(name: str) -> np.ndarray:
    return np.array(Image.open(FOLDER / "images" / f"{name}.png").convert("RGB"))


@pytest.fixture(scope="module", params=["dog", "truck"] if FOLDER else [])
def recorded(request, folder):
    """A predictor with a photo set, what was recorded for it, and the prompts."""
    predictor = SamPredictor(built("sam_vit_b", folder))
    predictor.set_image(photo(request.param))
    return predictor, *recorded_beside(FOLDER / "sam_vit_b" / request.param)


def known_mask(prompt: dict, arrays: dict) -> np.ndarray | None:
    origin = prompt.get("mask_input_from")
    return None if origin is None else arrays[f"mask_input_full_{origin}"][None]


def ask(predictor: SamPredictor, name: str, prompt: dict, arrays: dict):
    """Masks, scores and logits of a recorded prompt, in the way that it was asked officially."""
    given = {k: np.array(v) for k, v in prompt.items() if k.startswith("point_") or k == "box"}
    multimask = prompt["multimask_output"]
    if not name.startswith("batch"):
        known = known_mask(prompt, arrays)
        return predictor.predict(**given, mask_input=known, multimask_output=multimask)
    size, transform = predictor.original_size, predictor.transform
    points = labels = boxes = None
    if "point_coords" in given:
        points = transform.apply_coords_torch(torch.from_numpy(given["point_coords"]), size)
        labels = torch.from_numpy(given["point_labels"])
    if "boxes" in prompt:
        boxes = transform.apply_boxes_torch(torch.tensor(prompt["boxes"]), size)
    found = predictor.predict_torch(points, labels, boxes, multimask_output=multimask)
    return tuple(tensor.numpy() for tensor in found)


def test_every_prompt_gives_the_official_masks_scores_and_logits(recorded):
    predictor, arrays, table = recorded
    height, width = predictor.original_size
    embedding = predictor.get_image_embedding().numpy()[:, ::5, ::5, ::5]
    assert np.abs(embedding - arrays["image_embedding"]).max() < EMBEDDING
    assert len(table["prompts"]) > 15
    for name, prompt in table["prompts"].items():
        masks, scores, low = ask(predictor, name, prompt, arrays)
        assert masks.dtype == bool and low.dtype == scores.dtype == np.float32
        stride = 11 if name.startswith("batch") else 5
        assert np.abs(low[..., ::stride, ::stride] - arrays[f"p/{name}/low_res"]).max() < LOGITS
        assert np.abs(scores - arrays[f"p/{name}/iou"]).max() < SCORES, name
        packed = arrays[f"p/{name}/masks_packed"]
        bits = np.unpackbits(packed, axis=1)[:, : height * width].astype(bool)
        flat = masks.reshape(-1, height * width)[: len(bits)]
        assert (flat != bits).mean(1).max() <= FLIPS, name


def test_logits_at_the_image_size_are_the_official_ones(recorded):
    predictor, arrays, table = recorded
    for name in ("point", "box_points"):
        prompt = table["prompts"][name]
        given = {k: np.array(v) for k, v in prompt.items() if k.startswith("point_") or k == "box"}
        found, _, _ = predictor.predict(
            **given, multimask_output=prompt["multimask_output"], return_logits=True
        )
        assert np.abs(found[:, ::11, ::11] - arrays[f"p/{name}/logits"]).max() < LOGITS


def test_the_prompt_encoder_gives_the_official_embeddings(recorded):
    predictor, arrays, table = recorded
    sam = predictor.model
    if "dense_pe" in arrays:  # with one photo only
        codes = sam.prompt_encoder.get_dense_pe()[:, ::5, ::5, ::5].numpy()
        assert np.abs(codes - arrays["dense_pe"]).max() < CODES
    for name in ("point", "points3", "box", "box_points", "point_mask", "label_minus1"):
        prompt = table["prompts"][name]
        points = boxes = masks = None
        if "point_coords" in prompt:
            coords = predictor.transform.apply_coords(
                np.array(prompt["point_coords"]), predictor.original_size
            )
            labels = torch.tensor(prompt["point_labels"])[None]
            points = (torch.as_tensor(coords, dtype=torch.float32)[None], labels)
        if "box" in prompt:
            corners = predictor.transform.apply_boxes(
                np.array(prompt["box"]), predictor.original_size
            )
            boxes = torch.as_tensor(corners, dtype=torch.float32)
        known = known_mask(prompt, arrays)
        if known is not None:
            masks = torch.from_numpy(known)[None]
        with torch.no_grad():
            sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
        assert np.abs(sparse.numpy() - arrays[f"p/{name}/sparse"]).max() < CODES, name
        if known is not None:
            found = dense[:, ::5, ::5, ::5].numpy()
            assert np.abs(found - arrays[f"p/{name}/dense"]).max() < EMBEDDING, name


def bits_of(segmentation) -> np.ndarray:
    """A mask of a record, whatever the output mode."""
    return segmentation if isinstance(segmentation, np.ndarray) else rle_to_mask(segmentation)


@pytest.mark.parametrize("run", RUNS)
def test_automatic_masks_are_the_official_ones(run, folder):
    table = json.loads(gzip.decompress((FOLDER / "amg" / f"{run}.json.gz").read_bytes()))
    sam = built(table["variant"], folder)
    sam.mask_threshold = table.get("mask_threshold", 0.0)
    generator = SamAutomaticMaskGenerator(
        sam, **table["generator_arguments"], output_mode=table["output_mode"]
    )
    found = generator.generate(photo(table["image"]))
    sam.mask_threshold = 0.0
    theirs = table["records"]
    assert len(found) == len(theirs) == table["count"]
    free = list(range(len(found)))
    for record in theirs:
        mask = bits_of(record["segmentation"])
        place = [*record["point_coords"][0], *record["crop_box"]]
        same = [
            i
            for i in free
            if np.allclose([*found[i]["point_coords"][0], *found[i]["crop_box"]], place)
        ]
        overlaps = {i: iou(bits_of(found[i]["segmentation"]), mask) for i in same}
        best = max(overlaps, key=overlaps.__getitem__)
        free.remove(best)
        assert overlaps[best] >= IOU, place
        assert list(found[best]) == list(record)
        for key in ("predicted_iou", "stability_score"):
            assert found[best][key] == pytest.approx(record[key], abs=SCORE)
        assert np.abs(np.subtract(found[best]["bbox"], record["bbox"])).max() <= 1
        assert found[best]["area"] == pytest.approx(record["area"], rel=1e-3)
    scores = [record["predicted_iou"] for record in theirs]
    assert np.allclose([record["predicted_iou"] for record in found], scores, atol=SCORE)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    either = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / either if either else 1.0
