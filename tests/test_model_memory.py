"""The memory of a model that has it in a file of its own: read for videos, and for them alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from anymask import model_memory
from anymask.errors import CheckpointError
from anymask.model import Model, load
from anymask.model_memory import with_memory
from anymask.predict.video import VideoPredictor
from anymask.variants import Asset
from anymask.weights.cache import bundled, check_hash


@pytest.fixture(scope="module")
def nano() -> Model:
    return load("nano", device="cpu")


def test_images_need_no_memory_and_videos_share_the_weights_of_images(nano):
    able = with_memory(nano)
    assert not hasattr(nano.network, "memory")
    assert able.network.encoder is nano.network.encoder
    assert able.network.decoder is nano.network.decoder
    assert with_memory(able) is able
    assert able.fingerprint != nano.fingerprint  # saved edits are bound to the memory too
    assert not any(p.requires_grad or p.dtype != torch.float32 for p in able.network.parameters())


def test_the_bundled_memory_is_the_one_in_the_row_and_small(nano):
    asset = nano.variant.memory
    check_hash(asset, bundled(asset))
    assert bundled(asset).stat().st_size == asset.bytes < 400_000


def test_the_files_of_nano_stay_within_16_mb_together(nano):
    folder = bundled(nano.variant.weights).parent
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 16_000_000


def test_a_memory_that_is_missing_or_another_s_is_told(nano, tmp_path: Path, monkeypatch):
    row = replace(nano.variant, memory=Asset(file="gone.safetensors"))
    with pytest.raises(CheckpointError, match="weights-missing"):
        with_memory(Model(nano.network, row))
    strange = tmp_path / "other.safetensors"
    save_file({"keys.weight": torch.zeros(2, 2)}, strange)
    monkeypatch.setattr(model_memory, "located", lambda asset: strange)
    with pytest.raises(CheckpointError, match="weights-other"):
        with_memory(Model(nano.network, row))


def test_nano_follows_a_block_that_moves(nano):
    rng = np.random.default_rng(0)
    ground = blurred(rng.integers(0, 120, (96, 160, 3), np.uint8))
    frames, masks = [], []
    for t in range(5):
        pixels, mask = ground.copy(), np.zeros((96, 160), bool)
        mask[30:66, 20 + 8 * t : 60 + 8 * t] = True
        pixels[mask] = (220, 60, 40)
        frames.append(pixels)
        masks.append(mask)
    with VideoPredictor(nano).start(frames) as session:
        session.prompt(0, 7, masks=masks[0])
        found = dict(session.propagate())
    for t, mask in enumerate(masks):
        seen = found[t].of(7)
        assert (seen & mask).sum() / (seen | mask).sum() > 0.7, t


def blurred(pixels: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(pixels, (0, 0), 3)
