"""SAM 2's and EdgeTAM's name tables cover the official files, to the letter and both ways."""

import pytest
import torch

from anymask.errors import CheckpointError
from anymask.model import adopt, blank, load, shapes
from anymask.model_weights import row_of
from anymask.variants import variant
from anymask.weights.convert import Layout, convert, recognise
from anymask.weights.edgetam import OFFICIAL as EDGETAM
from anymask.weights.match import LAYOUTS
from anymask.weights.sam2 import OFFICIAL as SAM2
from goldens.record_sam2 import NAMES, manifest


def row_name(name: str) -> str:
    return name.replace("_hiera_", "-").replace("_", "-")


def official(name: str) -> dict[str, torch.Tensor]:
    """Names, shapes and types of an official file; a single number stands for a tensor's."""
    state = {}
    for key, shape in manifest(name)["tensors"].items():
        kind = torch.int64 if key.endswith("num_batches_tracked") else torch.float32
        state[key] = torch.ones((), dtype=kind).expand(shape)
    return state


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_official_file_has_a_place_for_each_tensor(name):
    state, row = official(name), variant(row_name(name))
    layouts = LAYOUTS[row.builder]
    assert recognise(state, layouts) is layouts[0]
    network = blank(row)
    wanted = {name: t.shape for name, t in network.state_dict().items()}
    ours = convert(state, layouts)
    assert {name: t.shape for name, t in ours.items()} == wanted
    network.load_state_dict(ours, strict=True, assign=True)


@pytest.mark.parametrize("name", NAMES)
def test_rows_name_the_official_file_and_count_what_is_learnt(name):
    table, row = manifest(name), variant(row_name(name))
    asset = row.weights
    assert (asset.file, asset.sha256, asset.bytes) == (
        table["file"],
        table["sha256"],
        table["bytes"],
    )
    assert asset.git_blob == table["git_blob_sha1"]
    assert asset.url == table["url"] or asset.url.endswith("/checkpoints/edgetam.pt")
    assert row.parameters == sum(p.numel() for p in blank(row).parameters())
    if name != "edgetam":  # whose norms and branches become part of convolutions
        assert row.parameters == table["parameters"]


@pytest.mark.parametrize(
    ("name", "layout"), [("sam2.1_hiera_tiny", SAM2), ("edgetam", EDGETAM)], ids=["sam2", "edgetam"]
)
def test_every_line_of_a_table_is_of_use(name, layout):
    names = official(name)
    only_in_2_1 = {"memory.absent", "memory.pointer_time.weight", "memory.pointer_time.bias"}
    for pattern, ours in layout.table.items():
        alone = Layout(name="alone", table={pattern: None})
        used = any(alone.knows(name) for name in names)
        assert used or (name == "edgetam" and ours in only_in_2_1), pattern


@pytest.mark.parametrize("layout", [0, 1], ids=["official", "hugging face"])
@pytest.mark.parametrize("builder", ["sam2", "edgetam"])
def test_both_layouts_lead_to_the_same_tensors(builder, layout):
    parts = {"k": "kv", "v": "kv"}

    def plain(names):  # one has a number where the other has a pattern, or two where one has one
        return {
            ".".join("#" if p in "{}0123456789" else parts.get(p, p) for p in n.split("."))
            for n in names
            if n and not n.startswith("prompt_encoder.kinds")
        }

    found = plain(LAYOUTS[builder][layout].table.values())
    other = plain(LAYOUTS[builder][1 - layout].table.values())
    assert found == other


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ("sam2_hiera_tiny", "sam2.1-tiny"),  # three tensors make the difference
        ("sam2.1_hiera_tiny", "sam2-tiny"),
        ("sam2.1_hiera_small", "sam2.1-tiny"),
        ("sam2.1_hiera_base_plus", "sam2.1-large"),
        ("edgetam", "sam2.1-tiny"),
        ("sam2_hiera_tiny", "edgetam"),
        ("sam2_hiera_large", "sam-vit-b"),
    ],
)
def test_the_file_of_another_model_is_named(held, asked, tmp_path):
    state, row = official(held), variant(asked)
    with pytest.raises(CheckpointError, match="wrong-variant") as caught:
        adopt(state, row, shapes(blank(row)), tmp_path / "weights.pt")
    assert f"holds {row_name(held)}, {asked} was asked" in str(caught.value)


def test_a_file_says_which_model_it_is(tmp_path):
    for name in ("sam2_hiera_small", "sam2.1_hiera_small", "edgetam"):
        assert row_of(official(name), tmp_path / "weights.pt").name == row_name(name)


def test_a_file_cut_down_to_what_images_need_lacks_a_tensor(tmp_path):
    state = {k: v for k, v in official("sam2.1_hiera_tiny").items() if "memory" not in k}
    row = variant("sam2.1-tiny")
    with pytest.raises(CheckpointError, match=r"missing-tensor.*memory\.attention"):
        adopt(state, row, shapes(blank(row)), tmp_path / "weights.pt")


def test_an_official_file_loads_with_its_wrapper(tmp_path):
    file = tmp_path / "edgetam.pt"
    state = {k: t.clone() for k, t in official("edgetam").items()}
    torch.save({"model": state}, file)
    model = load(checkpoint=file, device="cpu")
    assert model.variant.name == "edgetam"
    assert torch.equal(model.network.memory.times, state["maskmem_tpos_enc"])
