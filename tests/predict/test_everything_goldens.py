"""Everything mode gives the recorded results of the official generator, mask by mask.

Synthetic weights go through a file in the official layout and the real converter. Records are
matched by point, crop and overlap; the order of the official result is held as well, where scores
differ by more than noise.
"""

import gzip
import json
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from anymask import load
from anymask.generated import GeneratedMasks
from anymask.masks import Masks
from anymask.predict.everything import MaskGenerator
from conftest import SHARED
from official_weights import official_state

FOLDER = SHARED / "goldens" / "sam1" if SHARED else None
ROWS = {"sam_vit_b": "sam-vit-b", "mobile_sam_vit_t": "mobile-sam"}
RUNS = sorted(p.name for p in (FOLDER / "amg").glob("*.json.gz")) if FOLDER else []
IOU, SCORE = 0.999, 1e-3

pytestmark = pytest.mark.slow


def recorded(run: str) -> dict:
    return json.loads(gzip.decompress((FOLDER / "amg" / run).read_bytes()))


RUNS = [run for run in RUNS if recorded(run)["variant"] in ROWS]


@cache
def model(name: str, folder):
    file = folder / f"{name}.pth"
    torch.save(official_state(FOLDER, name), file)
    made = load(ROWS[name], checkpoint=file, device="cpu")
    file.unlink()
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    yield tmp_path_factory.mktemp("weights")
    model.cache_clear()
    result_of.cache_clear()


@cache
def result_of(run: str, folder) -> GeneratedMasks:
    table = recorded(run)
    pixels = np.asarray(Image.open(FOLDER / "images" / f"{table['image']}.png").convert("RGB"))
    settings = dict(table["generator_arguments"])
    settings.pop("output_mode", None)
    settings.pop("points_per_batch", None)
    if table.get("mask_threshold"):
        settings["mask_threshold"] = table["mask_threshold"]
    return MaskGenerator(model(table["variant"], folder), **settings).generate(pixels)


@pytest.mark.parametrize("run", RUNS)
def test_the_official_result_is_found_mask_by_mask(run, folder):
    table = recorded(run)
    ours = result_of(run, folder)
    theirs = table["records"]
    assert len(ours) == len(theirs) == table["count"]
    overlap = ours.iou(Masks.from_rles([r["segmentation"] for r in theirs], ours.size))
    mine = ours.records("coco_rle")
    free = set(range(len(mine)))
    for j, record in enumerate(theirs):
        same = [
            i
            for i in free
            if np.allclose(mine[i]["point_coords"], record["point_coords"], atol=1e-9)
            and mine[i]["crop_box"] == record["crop_box"]
        ]
        assert same, record["point_coords"]
        i = max(same, key=lambda i: overlap[i, j])
        free.remove(i)
        assert overlap[i, j] >= IOU, (record["point_coords"], overlap[i, j])
        assert mine[i]["predicted_iou"] == pytest.approx(record["predicted_iou"], abs=SCORE)
        assert mine[i]["stability_score"] == pytest.approx(record["stability_score"], abs=SCORE)
        assert np.abs(np.subtract(mine[i]["bbox"], record["bbox"])).max() <= 1
        assert mine[i]["area"] == pytest.approx(record["area"], rel=1e-3)
        assert list(mine[i]) == list(record)


@pytest.mark.parametrize("run", RUNS)
def test_the_order_is_the_official_one_up_to_noise(run, folder):
    scores = [r["predicted_iou"] for r in recorded(run)["records"]]
    assert np.allclose(result_of(run, folder).scores, scores, atol=SCORE)
