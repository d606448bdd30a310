"""SAM's name tables cover the official files of all sizes, to the letter and both ways."""

import pytest
import torch

from anymask.errors import CheckpointError
from anymask.model import blank
from anymask.variants import variant
from anymask.weights.convert import Layout, convert, recognise
from anymask.weights.sam import HUGGING_FACE, LAYOUTS, OFFICIAL
from goldens.record import manifest

SIZES = ("b", "l", "h")
CONSTANTS = {"pixel_mean", "pixel_std"}  # in some files; the row has them


def official(size: str) -> dict[str, torch.Tensor]:
    """Names and shapes of an official file; a single number stands for a tensor's."""
    return {t["name"]: torch.zeros(1).expand(t["shape"]) for t in manifest(size)["tensors"]}


@pytest.mark.parametrize("size", SIZES)
def test_a_whole_official_file_has_a_place_for_each_tensor(size):
    state = official(size)
    assert recognise(state, LAYOUTS) is OFFICIAL
    network = blank(variant(f"sam-vit-{size}"))
    wanted = {name: t.shape for name, t in network.state_dict().items()}
    ours = convert(state, LAYOUTS)
    assert {name: t.shape for name, t in ours.items()} == wanted
    network.load_state_dict(ours, strict=True, assign=True)


@pytest.mark.parametrize("size", SIZES)
def test_rows_name_the_official_file_and_count_its_parameters(size):
    table = manifest(size)
    row = variant(f"sam-vit-{size}")
    assert (row.weights.file, row.weights.url) == (table["file_name"], table["official_url"])
    assert row.weights.md5 == table["md5"]
    frequencies = 2 * 128  # fixed, not learnt
    assert row.parameters == table["element_count"] - frequencies


def test_every_line_of_the_official_table_is_of_use():
    names = official("b")
    for pattern in OFFICIAL.table.keys() - CONSTANTS:
        alone = Layout(name="alone", table={pattern: None})
        assert any(alone.knows(name) for name in names), pattern


def test_the_two_tables_lead_to_the_same_tensors():
    ours = [{name for name in layout.table.values() if name} for layout in LAYOUTS]

    def plain(names: set[str]) -> set[str]:  # one has a number where the other has a pattern
        return {".".join("#" if p in "{}0123456789" else p for p in n.split(".")) for n in names}

    assert plain(ours[0]) == plain(ours[1])


def test_constants_in_a_file_are_dropped():
    state = {
        "pixel_mean": torch.zeros(3, 1, 1),
        "prompt_encoder.no_mask_embed.weight": torch.ones(1),
    }
    assert list(convert(state, LAYOUTS)) == ["prompt_encoder.no_mask"]


def test_a_stranger_among_the_names_is_an_error_that_names_it_alone():
    state = official("b") | {"image_encoder.nonsense": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"unknown-tensor.*image_encoder\.nonsense") as caught:
        convert(state, LAYOUTS)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["image_encoder.blocks.{}.norm1.weight", "{}", "a.1.2.3.4.5.6.7"])
def test_a_name_made_to_look_like_a_line_of_the_table_is_a_stranger(name):
    with pytest.raises(CheckpointError, match="unknown-tensor"):
        convert({name: torch.zeros(1)}, LAYOUTS)


def test_a_tensor_held_twice_must_be_the_same_twice():
    names = [
        n for n, ours in HUGGING_FACE.table.items() if ours == "prompt_encoder.position.matrix"
    ]
    assert len(names) == 2
    same = {name: torch.ones(2, 3) for name in names}
    assert list(convert(same, LAYOUTS)) == ["prompt_encoder.position.matrix"]
    with pytest.raises(CheckpointError, match="tensor-twice"):
        convert(same | {names[1]: torch.zeros(2, 3)}, LAYOUTS)
