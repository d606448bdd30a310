"""Dtypes and devices: which are taken, noted and refused when a model is loaded (C12, X2, X9)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import anymask
from anymask import model_devices
from anymask.errors import AnymaskError, DeviceError
from anymask.model import choose_device, choose_dtype, load_variant
from anymask.variants import Variant, variant
from tiny import TINY_SAM, load_tiny, tiny_state, write_tiny


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_c12_weights_of_another_dtype_are_cast_once_and_noted(
    tmp_path: Path, stored: torch.dtype
) -> None:
    state = {name: tensor.to(stored) for name, tensor in tiny_state().items()}
    save_file(state, tmp_path / "w")
    model = load_tiny(tmp_path / "w")
    assert [note.code for note in model.notes] == ["weights-cast"]
    assert str(stored).removeprefix("torch.") in model.notes[0].text
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, state[name].float())


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("row", [TINY_SAM, variant("nano")], ids=lambda row: row.name)
def test_c12_every_dtype_encodes_and_decodes_alike(tmp_path: Path, row: Variant, name: str) -> None:
    path = write_tiny(tmp_path) if row is TINY_SAM else None
    exact = load_variant(row, checkpoint=path, device="cpu")
    model = load_variant(row, checkpoint=path, device="cpu", dtype=name)
    assert model.dtype == getattr(torch, name)
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1, 40, 64, 3), dtype=torch.uint8, generator=noise)
    points, labels = torch.tensor([[[20.5, 10.5]]]), torch.tensor([[1]])
    with torch.inference_mode():
        (logits, scores), (wanted, _) = (
            m.decode(m.encode(pixels), points, labels) for m in (model, exact)
        )
    assert logits.dtype == scores.dtype == torch.float32
    spread = float(wanted.std())
    assert (logits - wanted).abs().mean() <= {"float32": 0.0}.get(name, 0.05) * spread


def test_c12_a_dtype_that_models_do_not_have_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"^dtype-unknown: .*'int8'; take one of float32"):
        anymask.load(dtype="int8")


def test_c12_a_dtype_that_a_device_cannot_compute_in_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"^dtype-device: .*'bfloat16'; take float32"):
        choose_dtype("bfloat16", torch.device("vulkan"))


def test_c12_slow_halves_are_noted() -> None:
    kind, notes = choose_dtype("float16", torch.device("cpu"))
    assert kind == torch.float16
    assert [note.code for note in notes] == ["dtype-slow"]


def test_x02_an_overflow_is_an_error_never_an_empty_mask(tmp_path: Path) -> None:
    state = tiny_state()
    state["encoder.patch_embed.weight"] *= 1e6
    save_file(state, tmp_path / "w")
    pixels = torch.full((1, 64, 64, 3), 255, dtype=torch.uint8)
    with pytest.raises(DeviceError, match=r"^dtype-overflow: .*'float16'; .*float32"):
        load_tiny(tmp_path / "w", dtype="float16").encode(pixels)
    assert all(part.isfinite().all() for part in load_tiny(tmp_path / "w").encode(pixels))


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "mps", "gpu", ""])
def test_x09_a_device_that_is_not_there_is_answered_with_those_that_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_devices, "devices", lambda: ["cpu"])
    with pytest.raises(DeviceError) as caught:
        anymask.load(device=name)
    assert caught.value.code == "device-missing"
    assert "it offers cpu;" in str(caught.value)


@pytest.mark.parametrize(
    ("have", "taken"),
    [
        (["cpu"], "cpu"),
        (["cpu", "mps"], "mps"),
        (["cpu", "cuda:0", "cuda:1"], "cuda:0"),
    ],
)
def test_x09_auto_takes_the_best_and_says_which(
    have: list[str], taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_devices, "devices", lambda: have)
    device, notes = choose_device("auto")
    assert device == torch.device(taken)
    assert [note.code for note in notes] == ["device-auto"]
    assert taken in notes[0].text


def test_x09_an_asked_device_needs_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_devices, "devices", lambda: ["cpu", "cuda:0"])
    assert choose_device("cuda") == (torch.device("cuda:0"), [])
    assert choose_device("cpu") == (torch.device("cpu"), [])


def test_h2_a_bad_argument_fails_before_any_file_is_read(tmp_path: Path) -> None:
    for arguments in ({"device": "gpu"}, {"dtype": "int8"}):
        with pytest.raises(DeviceError):
            anymask.load(checkpoint=tmp_path / "not there", **arguments)  # type: ignore[arg-type]
    with pytest.raises(AnymaskError, match=r"^unknown-model"):
        anymask.load("x", checkpoint=tmp_path / "not there")
