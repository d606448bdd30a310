"""Through SAM 2's official names come the recorded results of the official code.

Weights are synthetic and go through a file in the official layout and `build_sam2`. Bounds are
those of the reference data's own page.
"""

import json
from functools import cache

import numpy as np
import pytest
import torch

from anymask.compat.sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from anymask.compat.sam2.build_sam import build_sam2
from anymask.compat.sam2.modeling import SAM2Base
from anymask.compat.sam2.sam2_image_predictor import SAM2ImagePredictor
from conftest import SHARED
from official_weights import official_state, recorded_beside

FOLDER = SHARED / "goldens" / "sam2" if SHARED else None
CONFIGS = {
    "sam2.1_hiera_tiny": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "edgetam": "configs/edgetam.yaml",
}
EMBEDDING = 1e-5  # of the largest value
LOGITS, SCORES, FLIPS = 1e-3, 3e-5, 1e-4
IOU, SCORE = 0.999, 1e-3  # of automatic masks

pytestmark = pytest.mark.slow


@cache
def built(name: str, folder) -> SAM2Base:
    file = folder / f"{name}.pt"
    torch.save({"model": official_state(FOLDER, name)}, file)
    sam = build_sam2(CONFIGS[name], str(file), device="cpu")
    file.unlink()
    return sam


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    yield tmp_path_factory.mktemp("weights")
    built.cache_clear()


@cache
def photo(name: str) -> np.ndarray:
    with np.load(FOLDER / "pixels.npz") as file:
        return file[f"photos_{name}"]


def bits(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(packed)[: np.prod(shape)].reshape(shape).astype(bool)


@pytest.fixture(scope="module", params=list(CONFIGS) if FOLDER else [])
def recorded(request, folder):
    """A predictor, the arrays, the table of cases."""
    predictor = SAM2ImagePredictor(built(request.param, folder))
    return predictor, *recorded_beside(FOLDER / "image" / request.param)


def compare(name: str, found, arrays) -> None:
    """Masks, scores and logits of an answer with what was recorded under a name."""
    masks, scores, low = found
    assert masks.dtype == scores.dtype == low.dtype == np.float32
    assert set(np.unique(masks)) <= {0.0, 1.0}
    assert low.shape[:-2] == scores.shape == masks.shape[:-2]
    assert np.abs(low[..., ::4, ::4] - arrays[f"{name}_low_s4"]).max() < LOGITS, name
    assert np.abs(scores - arrays[f"{name}_iou"]).max() < SCORES, name
    wrong = masks.astype(bool) != bits(arrays[f"{name}_bits"], masks.shape)
    assert wrong.mean((-1, -2)).max() <= FLIPS, name


def test_every_prompt_gives_the_official_masks_scores_and_logits(recorded):
    predictor, arrays, table = recorded
    known = None
    for case in table["cases"]:
        if known != case["photo"]:
            known = case["photo"]
            predictor.set_image(photo(known))
        name, given = f"{known}_{case['case']}", dict(case["args"])
        if "mask_input" in given:
            given["mask_input"] = arrays[f"{known}_point_multi_low_full0"][None]
        arguments = {k: np.array(v) if isinstance(v, list) else v for k, v in given.items()}
        compare(name, predictor.predict(**arguments), arrays)
        if f"{name}_logits_s8" in arrays:
            full, _, _ = predictor.predict(**arguments, return_logits=True)
            assert np.abs(full[..., ::8, ::8] - arrays[f"{name}_logits_s8"]).max() < LOGITS


def test_batches_of_images_give_the_official_results(recorded):
    predictor, arrays, table = recorded
    if "predict_batch" not in table:  # recorded for one model only
        return
    predictor.set_image_batch([photo(name) for name in table["predict_batch"]["photos"]])
    embedding = predictor.get_image_embedding().numpy()[:, ::8, ::8, ::8]
    expected = arrays["batch_image_embed"]
    assert np.abs(embedding - expected).max() < EMBEDDING * np.abs(expected).max() * 10
    points = table["predict_batch"]
    found = predictor.predict_batch(
        [np.array(p) for p in points["point_coords"]],
        [np.array(p) for p in points["point_labels"]],
        multimask_output=True,
    )
    for i in range(2):
        compare(f"batch{i}", tuple(part[i] for part in found), arrays)
    boxes = [np.array(box) for box in table["predict_batch_boxes"]["box"]]
    found = predictor.predict_batch(None, None, boxes, multimask_output=False)
    for i in range(2):
        compare(f"batchbox{i}", tuple(part[i] for part in found), arrays)


def test_a_mask_threshold_of_the_predictor_counts(recorded):
    predictor, arrays, table = recorded
    name = "truck_point_multi_threshold1.5_bits"
    if name not in arrays:
        return
    other = SAM2ImagePredictor(predictor.model, mask_threshold=1.5)
    other.set_image(photo("truck"))
    arguments = table["cases"][0]["args"]
    masks, _, _ = other.predict(
        np.array(arguments["point_coords"]), np.array(arguments["point_labels"])
    )
    assert (masks.astype(bool) != bits(arrays[name], masks.shape)).mean() <= FLIPS


def runs() -> list[dict]:
    if FOLDER is None:
        return []
    return json.loads((FOLDER / "automatic" / "sam2.1_hiera_tiny.json").read_text())["runs"]


@pytest.mark.parametrize("run", runs(), ids=lambda run: run["name"])
def test_automatic_masks_are_the_official_ones(run, folder):
    sam = built("sam2.1_hiera_tiny", folder)
    found = SAM2AutomaticMaskGenerator(sam, **run["settings"]).generate(photo("truck"))
    with np.load(FOLDER / "automatic" / "sam2.1_hiera_tiny.npz") as file:
        packed = file[f"{run['name']}_masks"]
    assert len(found) == run["count"]
    free = list(range(len(found)))
    for record, row in zip(run["records"], packed, strict=True):
        mask = bits(row, (400, 600))
        overlaps = {
            i: iou(found[i]["segmentation"], mask)
            for i in free
            if np.allclose(found[i]["point_coords"], record["point_coords"], atol=1e-4)
        }
        best = max(overlaps, key=overlaps.__getitem__)
        free.remove(best)
        mine = dict(found[best])
        assert overlaps[best] >= IOU
        assert mine.pop("segmentation").dtype == bool
        assert list(mine) == list(record)
        for key in ("predicted_iou", "stability_score"):
            assert mine[key] == pytest.approx(record[key], abs=SCORE)
        assert mine["crop_box"] == record["crop_box"]
        assert all(type(v) is float for key in ("bbox", "crop_box") for v in mine[key])
        assert np.abs(np.subtract(mine["bbox"], record["bbox"])).max() <= 1
        assert mine["area"] == pytest.approx(record["area"], rel=1e-3)
    scores = [record["predicted_iou"] for record in run["records"]]
    assert np.allclose([record["predicted_iou"] for record in found], scores, atol=SCORE)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    either = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / either if either else 1.0
