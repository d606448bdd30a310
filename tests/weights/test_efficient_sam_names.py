"""EfficientSAM's name table covers the official files of both sizes, to the letter, both ways."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anymask.errors import CheckpointError
from anymask.model import blank, load_variant
from anymask.variants import variant
from anymask.weights.convert import Layout, convert, recognise
from anymask.weights.efficient_sam import LAYOUTS, OFFICIAL
from goldens.record_efficient_sam import manifest

SIZES = ("ti", "s")


def official(size: str) -> dict[str, torch.Tensor]:
    """Names and shapes of an official file; a single number stands for a tensor's."""
    return {t["name"]: torch.zeros(1).expand(t["shape"]) for t in manifest(size)["tensors"]}


@pytest.mark.parametrize("size", SIZES)
def test_a_whole_official_file_has_a_place_for_each_tensor(size):
    state = official(size)
    assert recognise(state, LAYOUTS) is OFFICIAL
    network = blank(variant(f"efficient-sam-{size}"))
    wanted = {name: t.shape for name, t in network.state_dict().items()}
    ours = convert(state, LAYOUTS)
    assert {name: t.shape for name, t in ours.items()} == wanted
    network.load_state_dict(ours, strict=True, assign=True)


def test_every_line_of_the_table_is_of_use():
    for pattern in OFFICIAL.table:
        alone = Layout(name="alone", table={pattern: None})
        assert any(alone.knows(name) for name in official("ti")), pattern


@pytest.mark.parametrize("size", SIZES)
def test_rows_name_the_official_file_and_count_its_parameters(size):
    table, row = manifest(size), variant(f"efficient-sam-{size}")
    assert row.weights.git_blob == table["git_blob_sha1"]
    assert str(row.weights.url).endswith(f"{table['source_commit']}/{table['git_path']}")
    assert row.licence == table["licence"]
    frequencies = 2 * 128  # fixed, not learnt
    assert row.parameters == table["element_count"] - frequencies


def test_the_file_of_the_other_size_is_named(tmp_path: Path):
    path = tmp_path / "efficient_sam_vitt.safetensors"
    save_file({name: t.contiguous() for name, t in official("ti").items()}, path)
    with pytest.raises(CheckpointError, match=r"wrong-variant.*efficient-sam-ti"):
        load_variant(variant("efficient-sam-s"), checkpoint=path, device="cpu")


def test_a_stranger_among_the_names_is_an_error_that_names_it():
    state = official("ti") | {"image_encoder.blocks.0.attn.rel_pos_h": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"unknown-tensor.*rel_pos_h"):
        convert(state, LAYOUTS)
