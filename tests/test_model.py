"""Models are loaded from any file of theirs, and from no other (rows C3, C6)."""

import inspect
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import anymask
from anymask import model as model_module
from anymask import model_weights
from anymask.errors import CheckpointError
from anymask.model import Model, adopt, blank, load_variant, shapes
from anymask.variants import VARIANTS, Asset, Variant, variant
from anymask.weights import sam as sam_names
from anymask.weights.convert import Layout
from tiny import TINY_SAM, load_tiny, tiny_sam, tiny_state, write_tiny

WIDE_SAM = replace(
    TINY_SAM,
    name="wide-sam",
    network=MappingProxyType({**TINY_SAM.network, "dim": 48}),
    weights=Asset(file="wide-sam.safetensors"),
)
DEEP_SAM = replace(
    TINY_SAM,
    name="deep-sam",
    network=MappingProxyType({**TINY_SAM.network, "depth": 3}),
    weights=Asset(file="deep-sam.safetensors"),
)
TABLE = (variant("nano"), TINY_SAM, WIDE_SAM, DEEP_SAM)


def as_named_by(layout: Layout, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names turned into a layout's."""
    back = {ours: theirs for theirs, ours in layout.table.items() if ours is not None}
    inverse = Layout(name="inverse", table=back)
    return {str(inverse.rename(name)): tensor for name, tensor in state.items()}


OFFICIAL, HUGGING_FACE = sam_names.OFFICIAL, sam_names.HUGGING_FACE


def refused(row: Variant, path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_variant(row, checkpoint=path, device="cpu")
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path)), "no dump of names"
    return caught.value


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> tuple[Variant, ...]:
    """A table of small models in place of the real one."""
    monkeypatch.setattr(model_weights, "VARIANTS", TABLE)
    monkeypatch.setattr(model_module, "variant", {row.name: row for row in TABLE}.__getitem__)
    return TABLE


def test_the_default_is_nano_bundled_and_ready() -> None:
    model = anymask.load(device="cpu")
    assert model.variant is variant("nano")
    assert not model.training and not any(m.training for m in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    assert model.dtype == torch.float32 and model.device.type == "cpu"
    assert model.notes == ()
    assert len(model.fingerprint) == 64
    assert inspect.signature(anymask.load).parameters["name"].default == "nano"


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(CheckpointError, match=r"^unknown-model: .*'sam-vit-x'.*nano, sam-vit-b"):
        anymask.load("sam-vit-x")


@pytest.mark.parametrize("layout", [None, OFFICIAL, HUGGING_FACE], ids=["ours", "official", "hf"])
@pytest.mark.parametrize("kind", ["safetensors", "pth", "old pth", "folder"])
def test_a_model_is_the_same_from_every_kind_of_file(
    tmp_path: Path, layout: Layout | None, kind: str
) -> None:
    state = tiny_state()
    if layout is not None:
        state = as_named_by(layout, state)
    path = tmp_path / "w"
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "folder":
        path.mkdir()
        save_file(state, path / "model.safetensors")
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "pth")
    model = load_tiny(path)
    assert model.fingerprint == tiny_sam().fingerprint
    assert model.notes == ()


def test_a_fingerprint_changes_with_any_weight_and_with_the_dtype(tmp_path: Path) -> None:
    known = {tiny_sam(seed).fingerprint for seed in (0, 1)}
    state = tiny_state()
    state["decoder.mask_tokens"][0, 0] += 1e-6
    save_file(state, tmp_path / "a")
    known |= {load_tiny(tmp_path / "a").fingerprint}
    known |= {load_tiny(write_tiny(tmp_path), dtype="bfloat16").fingerprint}
    assert len(known) == 4


def test_weights_are_taken_as_they_lie_in_the_file_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[dict[str, Tensor]] = []
    real = model_module.read_state

    def spy(*args: object, **more: object) -> dict[str, Tensor]:
        read.append(real(*args, **more))  # type: ignore[arg-type]
        return read[0]

    monkeypatch.setattr(model_module, "read_state", spy)
    tensors = load_tiny(write_tiny(tmp_path)).network.state_dict()
    assert {n: t.data_ptr() for n, t in tensors.items()} == {
        n: t.data_ptr() for n, t in read[0].items()
    }


@pytest.mark.parametrize("row", [TINY_SAM, variant("nano")], ids=lambda row: row.name)
def test_a_loaded_network_is_a_built_one_with_the_file_s_tensors(
    tmp_path: Path, row: Variant
) -> None:
    state = tiny_state(row)
    save_file(state, tmp_path / "w")
    loaded = load_variant(row, checkpoint=tmp_path / "w", device="cpu").network
    built = model_module.BUILDERS[row.builder](**row.network)
    built.load_state_dict(state)
    named = dict(built.named_parameters()) | dict(built.named_buffers())
    for name, tensor in [*loaded.named_parameters(), *loaded.named_buffers()]:
        assert torch.equal(tensor, named[name]), name
        assert tensor.stride() == named[name].stride(), f"memory layout of {name}"
        assert not tensor.is_meta
    names = [name for name, _ in [*loaded.named_parameters(), *loaded.named_buffers()]]
    assert sorted(names) == sorted(named)


# C3: the right file


@pytest.mark.parametrize("holds", TABLE[1:], ids=lambda row: row.name)
@pytest.mark.parametrize("asked", TABLE, ids=lambda row: row.name)
def test_c03_a_file_of_another_model_is_named_with_both(
    tmp_path: Path, table: tuple[Variant, ...], asked: Variant, holds: Variant
) -> None:
    path = write_tiny(tmp_path, holds)
    if asked.name == holds.name:
        assert load_variant(asked, checkpoint=path, device="cpu").variant is asked
        return
    error = refused(asked, path)
    assert error.code == "wrong-variant"
    assert f"holds {holds.name}, {asked.name} was asked" in str(error)


@pytest.mark.parametrize("asked", VARIANTS, ids=lambda row: row.name)
@pytest.mark.parametrize("holds", VARIANTS, ids=lambda row: row.name)
def test_c03_all_pairs_of_the_table_are_told_apart(asked: Variant, holds: Variant) -> None:
    state = dict(blank(holds).state_dict())  # memory that is never touched
    if holds.builder == "sam":
        state = as_named_by(OFFICIAL, state)
    wanted = shapes(blank(asked))
    if asked is holds:
        assert adopt(state, asked, wanted, Path("b.pth")).keys() == wanted.keys()
        return
    with pytest.raises(CheckpointError) as caught:
        adopt(state, asked, wanted, Path("b.pth"))
    assert str(caught.value) == (
        f"wrong-variant: b.pth: the file holds {holds.name}, {asked.name} was asked; "
        f"ask for {holds.name}, or give the file of {asked.name}"
    )


@pytest.mark.parametrize("holds", TABLE[1:], ids=lambda row: row.name)
def test_c03_without_a_name_the_file_says_which_model_it_is(
    tmp_path: Path, table: tuple[Variant, ...], holds: Variant
) -> None:
    path = write_tiny(tmp_path, holds)
    assert anymask.load(checkpoint=path, device="cpu").variant is holds
    with pytest.raises(CheckpointError, match=r"^wrong-variant"):
        anymask.load("nano", checkpoint=path, device="cpu")


def test_c03_without_a_name_an_unknown_file_is_answered_with_the_models_there_are(
    tmp_path: Path,
) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "w")
    with pytest.raises(CheckpointError, match=r"^checkpoint-unknown: .*nano, sam-vit-b"):
        anymask.load(checkpoint=tmp_path / "w")


def test_c03_what_differs_is_told_where_no_model_fits(tmp_path: Path) -> None:
    def differs(code: str, said: str, **changes: Tensor | None) -> None:
        state = as_named_by(OFFICIAL, tiny_state())
        for key, value in changes.items():
            name = key.replace("__", ".")
            if value is None:
                del state[name]
            else:
                state[name] = value
        path = tmp_path / "w"
        torch.save(state, path)
        error = refused(TINY_SAM, path)
        assert error.code == code
        assert said in str(error)

    token = "mask_decoder__iou_token__weight"
    differs("missing-tensor", "decoder.score_token", **{token: None})
    differs("tensor-shape", "(1, 5)", **{token: torch.zeros(1, 5)})
    differs("tensor-type", "int64", **{token: torch.zeros(1, 32, dtype=torch.int64)})
    differs("unknown-tensor", "'extra.tensor'", extra__tensor=torch.zeros(1))
    block = {f"image_encoder__blocks__2__norm1__{kind}": torch.ones(32) for kind in ("weight",)}
    differs("unknown-tensor", "encoder.blocks.2.norm1.weight", **block)


def test_c01_a_hostile_file_runs_nothing(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "marker",)

    torch.save({**tiny_state(), "x": Payload()}, tmp_path / "w.pth")
    assert refused(TINY_SAM, tmp_path / "w.pth").code == "checkpoint-unsafe"
    assert not (tmp_path / "marker").exists()


def test_a_name_full_of_numbers_does_not_hold_the_loader_up(tmp_path: Path) -> None:
    save_file({".".join(["1"] * 200): torch.zeros(1)}, tmp_path / "w")
    assert refused(TINY_SAM, tmp_path / "w").code == "unknown-tensor"


# C6, C2: the cache


def test_c06_without_network_and_weights_the_path_and_the_address_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYMASK_CACHE", str(tmp_path))
    monkeypatch.setattr("anymask.weights.download._sleep", lambda _: None)
    url = "http://127.0.0.1:9/tiny.pth"
    row = replace(TINY_SAM, weights=Asset(file="tiny.pth", url=url, sha256="0" * 64))
    with pytest.raises(CheckpointError) as caught:
        load_variant(row)
    assert str(tmp_path / "tiny.pth") in str(caught.value)
    assert url in str(caught.value)


def cached_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Variant, Path]:
    """A row whose weights are in the cache."""
    monkeypatch.setenv("ANYMASK_CACHE", str(folder))
    path = folder / "tiny.pth"
    torch.save(tiny_state(), path)
    asset = Asset(
        file=path.name, url="http://127.0.0.1:9/", bytes=path.stat().st_size, sha256="0" * 64
    )
    return replace(TINY_SAM, weights=asset), path


def test_c06_cached_weights_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, _ = cached_row(tmp_path, monkeypatch)
    assert load_variant(row, device="cpu").fingerprint == tiny_sam().fingerprint


def test_c02_a_cached_file_that_lost_its_end_is_told_with_both_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, path = cached_row(tmp_path, monkeypatch)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=rf"has 5000 bytes of {row.weights.bytes}; delete it"):
        load_variant(row)


def test_a_package_without_its_weights_says_so() -> None:
    row = replace(TINY_SAM, weights=Asset(file="gone.safetensors"))
    with pytest.raises(CheckpointError, match=r"^weights-missing: .*gone\.safetensors"):
        load_variant(row)


# what a model does


class Recorder(torch.nn.Module):
    """A network that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(1, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        self.given = x
        return (x,)


@pytest.mark.parametrize(("h", "w", "padded"), [(64, 40, (64, 64)), (5, 64, (64, 64))])
def test_pixels_are_normalised_and_padded_with_zeros(
    h: int, w: int, padded: tuple[int, int]
) -> None:
    model = Model(Recorder(), TINY_SAM)
    pixels = torch.randint(0, 256, (2, h, w, 3), dtype=torch.uint8)
    (x,) = model.encode(pixels)
    assert x.shape == (2, 3, *padded)
    spec = TINY_SAM.spec
    for channel in range(3):
        wanted = (pixels[..., channel].float() - spec.mean[channel]) / spec.std[channel]
        assert torch.allclose(x[:, channel, :h, :w], wanted)
    assert not x[:, :, h:].any() and not x[:, :, :, w:].any()


def test_a_model_moves_and_is_saved_as_one_module() -> None:
    model = tiny_sam()
    assert {name.split(".")[0] for name in model.state_dict()} == {"network"}
    moved = model.to("cpu")
    assert moved is model and model.device == torch.device("cpu")
