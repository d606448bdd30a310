"""The detector's neck and heads against recorded numbers of the original weights."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from anymask.nn.detector_head import BINS, CLASSES, Detector, DetectorHead, decoded
from anymask.nn.encoders.detector import MEAN, STD
from anymask.weights.files import read_state

# recorded from the original weights, at float32, before they were cut in two files
GOLDEN = Path(__file__).parents[1] / "goldens" / "coco" / "head.npz"
WEIGHTS = resources.files("anymask.weights")


def whole_detector() -> Detector:
    """The bundled head on nano's frozen backbone."""
    nano = read_state(WEIGHTS / "nano.safetensors")
    prefix = "encoder.detector."
    trunk = {k.removeprefix(prefix): v.float() for k, v in nano.items() if k.startswith(prefix)}
    head = read_state(WEIGHTS / "coco.safetensors")
    network = Detector()
    network.backbone.load_state_dict(trunk)
    network.top.load_state_dict({k: v.float() for k, v in head.items()})
    return network.eval()


def picture(name: str) -> np.ndarray:
    """The two images that the numbers were recorded on."""
    if name == "noise":
        return np.random.default_rng(0).integers(0, 256, (416, 416, 3), dtype=np.uint8)
    yy, xx = np.mgrid[0:416, 0:416]
    image = np.stack([xx * 255 // 415, yy * 255 // 415, (xx + yy) * 255 // 830], -1)
    image[(xx - 208) ** 2 + (yy - 208) ** 2 < 90**2] = (200, 60, 30)
    return image.astype(np.uint8)


@pytest.mark.parametrize("name", ["noise", "disc"])
@torch.inference_mode()
def test_the_head_on_nanos_backbone_gives_the_originals_numbers(name):
    wanted = np.load(GOLDEN)
    network = whole_detector()
    pixels = (torch.from_numpy(picture(name)).float() - torch.tensor(MEAN)) / torch.tensor(STD)
    maps = network.backbone(pixels.permute(2, 0, 1)[None])
    for level, found in zip(("p3", "n4", "n5"), network.top.neck(maps[1:]), strict=True):
        patch = wanted[f"{name}_{level}_patch"]
        np.testing.assert_allclose(found[0, :8, 3:6, 3:6], patch, atol=1e-3)
    for stride, found in zip((8, 16, 32), network.top(maps[1:]), strict=True):
        patch = wanted[f"{name}_head_s{stride}_patch"]
        np.testing.assert_allclose(found[0, :, 4:6, 4:6], patch, atol=1e-3)


def test_a_distance_is_the_mean_of_its_bins_in_cells():
    out = torch.full((1, CLASSES + 4 * BINS, 2, 3), -50.0)
    for side, cells in enumerate((1, 2, 3, 4)):  # left, top, right, bottom
        out[:, CLASSES + side * BINS + cells] = 50.0
    tops = (out, out[:, :, :1, :1], out[:, :, :1, :1])
    logits, boxes = decoded(tops)
    assert logits.shape == (1, 8, CLASSES)
    row, column, stride = 1, 2, 8
    x, y = (column + 0.5) * stride, (row + 0.5) * stride
    expected = [x - 1 * stride, y - 2 * stride, x + 3 * stride, y + 4 * stride]
    np.testing.assert_allclose(boxes[0, row * 3 + column], expected, atol=1e-4)


def test_two_bins_of_equal_share_meet_in_the_middle():
    out = torch.full((1, CLASSES + 4 * BINS, 1, 1), -50.0)
    out.view(1, -1)[:, CLASSES:].view(1, 4, BINS)[..., 3:5] = 0.0
    _, boxes = decoded((out, out, out))
    np.testing.assert_allclose(boxes[0, 0], np.array([-24, -24, 32, 32]), atol=1e-4)


def test_the_head_alone_has_all_bundled_tensors():
    ours = {k: tuple(v.shape) for k, v in DetectorHead().state_dict().items()}
    stored = read_state(WEIGHTS / "coco.safetensors")
    assert ours == {k: tuple(v.shape) for k, v in stored.items()}


def test_the_bundled_weights_are_at_most_16_mb_together():
    sizes = [(WEIGHTS / name).stat().st_size for name in ("nano.safetensors", "coco.safetensors")]
    assert sum(sizes) <= 16_000_000
