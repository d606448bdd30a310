"""Options of `load`: what each changes, what it may not, and what is refused where."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from anymask import model_options
from anymask.errors import DeviceError
from anymask.model import BUILDERS, Model, load, load_variant
from anymask.model_options import Options
from anymask.nn.int8 import Int8Linear, quantise, to_bytes
from anymask.predict.image import ImagePredictor
from anymask.variant_sizes import sized
from anymask.variants import VARIANTS, variant
from conftest import PHOTOS
from tiny import TINY_SAM, write_tiny

CPU = torch.device("cpu")
CUDA = torch.device("cuda:0")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    noise = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3), np.uint8)
    return torch.from_numpy(noise)


def tiny(checkpoint: Path, **options: object) -> Model:
    return load_variant(
        TINY_SAM,
        checkpoint=checkpoint,
        device="cpu",
        options=Options(**options),  # type: ignore[arg-type]
    )


def codes(model: Model) -> set[str]:
    return {note.code for note in model.notes}


def difference(one: Model, other: Model, pixels: torch.Tensor) -> float:
    """Largest difference of features, over the largest value."""
    with torch.inference_mode():
        (a,), (b,) = one.encode(pixels), other.encode(pixels)
    assert a.dtype == b.dtype == torch.float32
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({"channels_last": True}, 1e-5),
        ({"autocast": "bfloat16"}, 0.05),
        ({"autocast": "float16"}, 0.01),
        ({"quantise": "int8"}, 0.05),
        ({"quantise": "int8", "channels_last": True, "autocast": None}, 0.05),
        ({"quantise": "int8", "autocast": "bfloat16"}, 0.1),
    ],
    ids=str,
)
def test_features_stay_near_those_of_float32(checkpoint, pixels, options, bound):
    assert difference(tiny(checkpoint, **options), tiny(checkpoint), pixels) < bound


def test_weights_stay_float32_under_autocast_and_the_decoder_is_the_same(checkpoint, pixels):
    plain, model = tiny(checkpoint), tiny(checkpoint, autocast="bfloat16")
    assert model.dtype == torch.float32
    points, labels = torch.tensor([[[30.0, 20.0]]]), torch.tensor([[1]])
    with torch.inference_mode():
        features = plain.encode(pixels)
        one, other = (m.decode(features, points, labels) for m in (plain, model))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_features_of_other_numbers_are_another_fingerprint(checkpoint):
    plain = tiny(checkpoint).fingerprint
    assert tiny(checkpoint, channels_last=True).fingerprint == plain
    others = [
        tiny(checkpoint, **options).fingerprint
        for options in ({"autocast": "bfloat16"}, {"autocast": "float16"}, {"quantise": "int8"})
    ]
    assert len({plain, *others}) == 4


def test_int8_says_how_many_layers_it_changed(checkpoint):
    model = tiny(checkpoint, quantise="int8")
    (note,) = [note for note in model.notes if note.code == "quantised"]
    assert note.text == "8 linear layers of the encoder compute in int8"
    assert not any(isinstance(m, torch.nn.Linear) for m in model.network.encoder.modules())
    assert any(isinstance(m, torch.nn.Linear) for m in model.network.decoder.modules())


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", [(7, 12), (3, 5, 12), (1200, 12)], ids=str)
def test_a_linear_layer_in_bytes_is_near_the_one_of_floats(bias, shape):
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(12, 9, bias=bias), torch.randn(shape)
    rounded = Int8Linear(linear)
    wanted = linear(x)
    found = rounded(x)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()
    assert (rounded.weight - linear.weight).abs().max() <= linear.weight.abs().max() / 254 + 1e-7
    assert torch.equal(torch.cat(rounded.thirds(x), -1), found)


@torch.inference_mode()
def test_rows_of_zeros_and_large_rows_keep_their_scale():
    rows = torch.tensor([[0.0, 0.0], [1e-3, -1e-3], [2e4, 1e4]])
    found, scale = to_bytes(rows)
    assert found.tolist() == [[0, 0], [127, -127], [127, 64]]
    assert torch.allclose(found * scale, rows, rtol=0.01)


def test_only_linear_layers_are_counted():
    parts = torch.nn.Sequential(
        torch.nn.Conv2d(3, 3, 1), torch.nn.Sequential(torch.nn.Linear(2, 2)), torch.nn.Linear(2, 2)
    )
    assert quantise(parts) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"autocast": "float8"}, r"option-unknown.*autocast.*float8.*bfloat16 or float16"),
        ({"autocast": "float32"}, "option-unknown"),
        ({"quantise": "int4"}, r"option-unknown.*quantise.*int4.*take int8"),
    ],
)
def test_an_unknown_value_is_refused_with_those_that_there_are(options, message):
    with pytest.raises(DeviceError, match=message):
        Options(**options).check(CPU, torch.float32)


@pytest.mark.parametrize("options", [{"autocast": "bfloat16"}, {"quantise": "int8"}], ids=str)
def test_halves_as_weights_and_an_option_that_starts_from_floats_conflict(options):
    with pytest.raises(DeviceError, match=r"option-conflict.*bfloat16.*leave dtype out"):
        load("nano", device="cpu", dtype="bfloat16", **options)


def test_int8_is_for_a_cpu():
    with pytest.raises(DeviceError, match=r"option-device.*cuda:0.*quantise.*device='cpu'"):
        Options(quantise="int8").check(CUDA, torch.float32)


def test_autocast_needs_a_device_that_has_it(monkeypatch):
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda kind: kind != "cuda")
    with pytest.raises(DeviceError, match=r"option-device.*cuda:0.*autocast"):
        Options(autocast="bfloat16").check(CUDA, torch.float32)


def test_float16_on_a_cpu_is_remarked_as_slow(checkpoint):
    assert "dtype-slow" in codes(tiny(checkpoint, autocast="float16"))
    assert "dtype-slow" not in codes(tiny(checkpoint, autocast="bfloat16"))


def test_compiling_without_a_compiler_is_refused_before_anything_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(DeviceError, match=r"option-device.*C\+\+ compiler"):
        load("nano", checkpoint=tmp_path / "none", device="cpu", compile=True)
    monkeypatch.setenv("CXX", os.fspath(shutil.which("python3", path=os.defpath) or ""))
    assert model_options._has_compiler() is bool(os.environ["CXX"])


@pytest.mark.parametrize(("device", "what"), [("cuda:0", "triton"), ("mps", "compile=True")])
def test_compiling_for_a_gpu_needs_what_it_needs(monkeypatch, device, what):
    monkeypatch.setattr(model_options.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=f"option-device.*{what}"):
        Options(compile=True).check(torch.device(device), torch.float32)


def test_float16_that_overflows_is_an_error_and_bfloat16_has_room(checkpoint, pixels):
    for name, fails in (("float16", True), ("bfloat16", False)):
        model = tiny(checkpoint, autocast=name)
        with torch.no_grad():
            model.network.encoder.neck[2].weight.mul_(1e6)
            model.network.encoder.neck[3].weight.mul_(1e6)
        if fails:
            with pytest.raises(DeviceError, match=r"dtype-overflow.*float16.*bfloat16"):
                model.encode(pixels)
        else:
            (features,) = model.encode(pixels)
            assert features.isfinite().all()


SMALLEST = {
    builder: min((row for row in VARIANTS if row.builder == builder), key=lambda r: r.parameters)
    for builder in BUILDERS
}


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("builder", BUILDERS)
def test_every_family_runs_with_every_option(builder):
    row = sized(SMALLEST[builder], 256)
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (1, 256, 256, 3), dtype=torch.uint8)
    network = BUILDERS[builder](**row.network)
    plain = Model(network, row).encode(pixels)
    options = [{"autocast": "bfloat16"}, {"channels_last": True}, {"quantise": "int8"}]
    for more in options:  # int8 last: it changes the network for good
        changed = Options(**more)
        changed.apply(network)
        found = Model(network, row, options=changed).encode(pixels)
        for one, other in zip(found, plain, strict=True):
            assert one.shape == other.shape and one.dtype == torch.float32
            alike = torch.cosine_similarity(one.flatten(), other.flatten(), dim=0)
            assert alike > 0.99, (row.name, more)


# mask IoU with float32, at least; the real figures are in docs/concepts/precision.md
AGREE = [
    ({"channels_last": True}, 0.9999),
    ({"autocast": "bfloat16"}, 0.95),
    ({"autocast": "float16"}, 0.99),
    ({"quantise": "int8"}, 0.98),
]


@pytest.mark.parametrize(("options", "least"), AGREE, ids=str)
def test_masks_of_the_bundled_model_agree_with_float32(options, least):
    photo = PHOTOS / "truck.png"
    plain, model = (
        ImagePredictor(load("nano", device="cpu", **more), zoom=False) for more in ({}, options)
    )
    size = plain.encode(photo).size
    points = [[[size[1] * x / 4, size[0] * y / 4]] for x in (1, 2, 3) for y in (1, 2, 3)]
    one, other = (
        p.predict(p.encode(photo), points=points, multimask=False) for p in (plain, model)
    )
    shared = (one.masks & other.masks).sum((1, 2, 3))
    iou = shared / np.maximum((one.masks | other.masks).sum((1, 2, 3)), 1)
    assert iou.mean() >= least


@pytest.mark.slow
def test_a_compiled_encoder_gives_the_same_features(checkpoint, pixels, recwarn):
    plain, model = tiny(checkpoint), tiny(checkpoint, compile=True)
    assert "compile-first" in codes(model)
    assert model.fingerprint == plain.fingerprint
    assert difference(model, plain, pixels) < 1e-5
    both = tiny(checkpoint, compile=True, autocast="bfloat16", channels_last=True)
    assert difference(both, plain, pixels) < 0.05


def test_the_table_s_rows_are_named_in_the_page_on_precision():
    page = (Path(__file__).parents[1] / "docs/concepts/precision.md").read_text()
    for option in ("compile", "autocast", "channels_last", "quantise", "size"):
        assert f"`{option}" in page, option
    assert variant("nano").name in page
