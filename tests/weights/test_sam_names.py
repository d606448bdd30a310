"""SAM's name tables cover the official files of all sizes, to the letter and both ways."""

import json

import pytest
import torch

from anymask.errors import CheckpointError
from anymask.model import blank
from anymask.variants import variant
from anymask.weights.convert import convert, recognise
from anymask.weights.sam import LAYOUTS, OFFICIAL
from conftest import SHARED

SIZES = ("b", "l", "h") if SHARED else ()


def manifest(size: str) -> dict[str, torch.Tensor]:
    path = SHARED / "goldens" / "sam1" / "manifests" / f"sam_vit_{size}.json"
    table = json.loads(path.read_text())["tensors"]
    return {t["name"]: torch.zeros(1).expand(t["shape"]) for t in table}


@pytest.mark.parametrize("size", SIZES)
def test_a_whole_official_file_has_a_place_for_each_tensor(size):
    state = manifest(size)
    assert recognise(list(state), LAYOUTS) is OFFICIAL
    found = {name: tuple(t.shape) for name, t in convert(state, LAYOUTS).items()}
    wanted = {n: tuple(t.shape) for n, t in blank(variant(f"sam-vit-{size}")).state_dict().items()}
    assert found == wanted


@pytest.mark.parametrize("size", SIZES)
def test_rows_name_the_official_file_and_count_its_parameters(size):
    path = SHARED / "goldens" / "sam1" / "manifests" / f"sam_vit_{size}.json"
    table = json.loads(path.read_text())
    row = variant(f"sam-vit-{size}")
    assert (row.weights.file, row.weights.url) == (table["file_name"], table["official_url"])
    assert row.weights.md5 == table["md5"]
    frequencies = 2 * 128  # fixed, not learnt
    assert row.parameters == table["element_count"] - frequencies


def test_a_stranger_among_the_names_is_an_error_that_names_it():
    state = {"image_encoder.pos_embed": torch.zeros(1), "image_encoder.nonsense": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"unknown-tensor.*image_encoder\.nonsense"):
        convert(state, LAYOUTS)
