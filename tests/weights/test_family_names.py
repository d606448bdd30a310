"""MobileSAM's and SAM-HQ's name tables cover the official files, to the letter and both ways."""

import re

import pytest
import torch
from safetensors.torch import save_file

from anymask import load
from anymask.errors import CheckpointError
from anymask.model import BUILDERS, blank, load_variant
from anymask.nn.mobile_sam import build_mobile_sam
from anymask.variants import variant
from anymask.weights import mobile_sam, sam_hq
from anymask.weights.convert import Layout, convert, recognise
from anymask.weights.match import LAYOUTS
from anymask.weights.mobile_sam import fold
from anymask.weights.sam_hq import join
from goldens.record_family import ROWS, manifest

CONSTANTS = {"pixel_mean", "pixel_std"}  # in some files; the row has them


def official(name: str) -> dict[str, torch.Tensor]:
    """Names, shapes and types of an official file; a single number stands for a tensor's."""
    return {
        t["name"]: torch.ones((), dtype=getattr(torch, t["dtype"])).expand(t["shape"])
        for t in manifest(name)["tensors"]
    }


@pytest.mark.parametrize("name", ROWS)
def test_a_whole_official_file_has_a_place_for_each_tensor(name):
    state, row = official(name), variant(ROWS[name])
    layouts = LAYOUTS[row.builder]
    assert recognise(state, layouts) is layouts[0]
    network = blank(row)
    wanted = {name: t.shape for name, t in network.state_dict().items()}
    ours = convert(state, layouts)
    assert {name: t.shape for name, t in ours.items()} == wanted
    network.load_state_dict(ours, strict=True, assign=True)


@pytest.mark.parametrize("name", ROWS)
def test_rows_name_the_official_file_and_count_what_is_learnt(name):
    table, row = manifest(name), variant(ROWS[name])
    assert (row.weights.file, row.licence) == (table["file_name"], table["licence"])
    assert table["md5"] in (row.weights.md5, None)
    assert row.parameters == sum(p.numel() for p in blank(row).parameters())


@pytest.mark.parametrize(("name", "layout"), [
    ("mobile_sam_vit_t", mobile_sam.OFFICIAL),
    ("sam_hq_vit_b", sam_hq.OFFICIAL),
    ("sam_hq_vit_tiny", sam_hq.LIGHT),
])  # fmt: skip
def test_every_line_of_a_table_is_of_use(name, layout):
    names = official(name)
    for pattern in layout.table.keys() - CONSTANTS:
        alone = Layout(name="alone", table={pattern: None})
        assert any(alone.knows(name) for name in names), pattern


def test_what_only_training_or_imagenet_needs_is_dropped_on_purpose():
    dropped = {n for n, ours in mobile_sam.OFFICIAL.table.items() if ours is None} - CONSTANTS
    plain = {re.sub(r"\{\}|\d", "#", name) for name in dropped}
    assert {n for n in plain if "num_batches_tracked" not in n} == {
        f"image_encoder.{part}.{kind}"
        for part in ("norm_head", "head")
        for kind in ("weight", "bias")
    }


def small(name: str) -> dict[str, torch.Tensor]:
    return {n: t.contiguous() for n, t in official(name).items()}


@pytest.mark.parametrize(("gone", "ours"), [
    ("image_encoder.patch_embed.seq.0.bn.running_var", "encoder.embed.conv1"),
    ("mask_decoder.iou_token.weight", "decoder.score_token"),
])  # fmt: skip
def test_a_gap_is_an_error_that_names_it(gone, ours, tmp_path):
    path = tmp_path / "file.safetensors"
    save_file({n: t for n, t in small("mobile_sam_vit_t").items() if n != gone}, path)
    with pytest.raises(CheckpointError, match=rf"missing-tensor.*{ours}"):
        load("mobile-sam", checkpoint=path, device="cpu")


def test_a_stranger_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "file.safetensors"
    save_file(small("mobile_sam_vit_t") | {"image_encoder.nonsense": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"unknown-tensor.*image_encoder\.nonsense"):
        load("mobile-sam", checkpoint=path, device="cpu")


@pytest.mark.parametrize(("held", "asked"), [
    ("mobile_sam_vit_t", "sam-hq-light"),
    ("sam_hq_vit_tiny", "mobile-sam"),
    ("sam_hq_vit_tiny", "sam-vit-b"),
])  # fmt: skip
def test_the_file_of_another_model_is_named(held, asked, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(small(held), path)
    with pytest.raises(CheckpointError, match=rf"wrong-variant.*{ROWS[held]}"):
        load_variant(variant(asked), checkpoint=path, device="cpu")


@pytest.mark.parametrize("name", ["mobile_sam_vit_t", "sam_hq_vit_tiny"])
def test_a_file_says_which_model_it_holds(name, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(small(name), path)
    model = load(checkpoint=path, device="cpu")
    assert model.variant.name == ROWS[name]
    assert not model.notes


@pytest.mark.parametrize("name", ["mobile_sam_vit_t", "sam_hq_vit_tiny"])
def test_what_was_loaded_can_be_saved_and_loaded_under_our_names(name, tmp_path):
    theirs, ours = tmp_path / "weights.pth", tmp_path / "ours.safetensors"
    torch.save(small(name), theirs)
    model = load(ROWS[name], checkpoint=theirs, device="cpu")
    save_file({n: t.contiguous() for n, t in model.network.state_dict().items()}, ours)
    assert load(checkpoint=ours, device="cpu").fingerprint == model.fingerprint


def test_a_norm_that_does_not_fit_its_convolution_is_left_for_the_comparison_to_name():
    whole = {"a.weight": torch.ones(4, 2, 1, 1)}
    norm = {f"a.bn.{p}": torch.ones(4) for p in ("weight", "bias", "running_mean", "running_var")}
    assert fold(whole | norm).keys() == {"a.weight", "a.bias"}
    for name, wrong in (("a.bn.bias", torch.ones(3)), ("a.weight", torch.ones(4, 2))):
        kept = whole | norm | {name: wrong}
        assert fold(kept).keys() == kept.keys()
    assert fold(norm).keys() == norm.keys()


def test_a_token_that_does_not_fit_the_others_is_left_for_the_comparison_to_name():
    tokens = {"decoder.mask_tokens": torch.ones(4, 8), "decoder.hq_token": torch.zeros(1, 8)}
    assert join(tokens)["decoder.mask_tokens"].shape == (5, 8)
    for wrong in ({"decoder.hq_token": torch.zeros(1, 7)}, {"decoder.mask_tokens": torch.ones(4)}):
        kept = tokens | wrong
        assert join(kept).keys() == kept.keys()


def test_builders_and_tables_go_together():
    assert BUILDERS["mobile_sam"] is build_mobile_sam
    assert {"mobile_sam", "sam_hq", "sam_hq_light"} <= BUILDERS.keys() & LAYOUTS.keys()
