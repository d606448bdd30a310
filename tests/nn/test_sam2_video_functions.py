"""Parts of SAM 2's and EdgeTAM's memory give the recorded numbers of the official functions."""

import numpy as np
import pytest
import torch
from test_sam2_parity import FOLDER, arrays
from test_sam2_video_parity import clip, model
from torch import nn

from anymask.frame import Frame
from anymask.nn.memory_attention import Projections, Tokens
from anymask.nn.rotary import Turns, apart
from anymask.nn.sines import sines_of_distance, sines_of_grid
from anymask.predict.steps import SCALES
from anymask.predict.video_step import maps
from conftest import SHARED

LIKE = torch.zeros(())
GRIDS = {  # name: channels, rows, columns, stride of tokens
    "rope_d256_4x4": (256, 4, 4, 1),
    "rope_d256_5x3": (256, 3, 5, 1),
    "rope_d256_16x16": (256, 16, 16, 4),
    "rope_d64_8x8": (64, 8, 8, 1),
    "rope_d256_32.0x32.0": (256, 32, 32, 16),
    "rope_d256_64x64": (256, 64, 64, 64),
}
SINES = {  # name: channels, rows, columns, stride in space
    "sine2d_256_4x4": (256, 4, 4, 1),
    "sine2d_256_5x7": (256, 5, 7, 1),
    "sine2d_64_6x6": (64, 6, 6, 1),
    "sine2d_64_64x64": (64, 64, 64, 8),
    "sine2d_256_64x64": (256, 64, 64, 8),
}
DISTANCES = {  # name: channels, distances
    "sine1d_p15_d256": (256, [0, 1 / 15, -0.2, 7 / 15, 1.0]),
    "sine1d_p9_d64": (64, [0, 1 / 9, 2 / 9, 1.0]),
    "sine1d_ints_d8": (8, [0.0, 1.0, 2.0, -5.0]),
}
FUNCTIONS = ["functions/functions.npz"] if SHARED else []  # no test runs without them
EDGETAM = ["functions/edgetam.npz"] if SHARED else []


def together(x: torch.Tensor) -> torch.Tensor:
    """Channels of pairs side by side again: what `apart` took apart."""
    return torch.unflatten(x, -1, (2, 2, -1)).transpose(-1, -2).flatten(-3)


def near(found: torch.Tensor, wanted: np.ndarray, most: float) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found.numpy() - wanted).max() <= most


@pytest.mark.parametrize("file", FUNCTIONS)
def test_angles_of_grids(file):
    known = arrays(file)
    for name, (dim, height, width, stride) in GRIDS.items():
        turns = Turns.of_grid(height, width, dim, LIKE)
        for kind in ("cos", "sin"):
            x = getattr(turns.x, kind).expand(height, -1, -1)
            y = getattr(turns.y, kind)[:, None].expand(-1, width, -1)
            both = torch.cat([x, y], dim=2).flatten(0, 1)[::stride]
            near(both, known[f"{name}_{kind}"], 5e-6)


@pytest.mark.parametrize("file", FUNCTIONS)
def test_turned_queries_and_keys(file):
    known = arrays(file)
    turns = Turns.of_grid(4, 4, 256, LIKE)
    for case, side in (("same", "q"), ("same", "k"), ("repeat3", "q"), ("repeat3", "k")):
        given = torch.from_numpy(known[f"rope_apply_{case}_{side}"][0, 0])
        found = turns.turned(apart(torch.unflatten(given, 0, (-1, 4, 4))))
        near(together(found).flatten(0, 2), known[f"rope_apply_{case}_{side}_out"][0, 0], 1e-5)


@pytest.mark.parametrize("file", FUNCTIONS)
def test_codes_of_grids_and_distances(file):
    known = arrays(file)
    for name, (dim, height, width, stride) in SINES.items():
        found = sines_of_grid(height, width, dim, LIKE).permute(2, 0, 1)
        near(found[:, ::stride, ::stride], known[name][0], 1e-5)
    for name, (dim, distances) in DISTANCES.items():
        near(sines_of_distance(torch.tensor(distances), dim), known[name], 1e-6)


@pytest.mark.parametrize("file", EDGETAM)
def test_keys_of_edgetam_turn_in_their_grid_and_stay_before_it(file):
    known = arrays(file)
    draw = np.random.Generator(np.random.Philox(key=7))
    layer = Projections(256, 256)
    nn.init.eye_(layer.k_proj.weight)
    nn.init.zeros_(layer.k_proj.bias)
    for name, frames in (("one_frame_1d_and_2d", 1), ("three_frames", 3)):
        given = draw.standard_normal((1, 1, 512 * frames, 256), dtype=np.float32)
        near(torch.from_numpy(given[..., ::16, ::4]), known[f"rope_v2_{name}_in_s16"], 0)
        x = torch.from_numpy(given[0])
        turns = Turns.of_grid(16, 16, 256, LIKE)
        with torch.inference_mode():
            found = together(layer.keys(Tokens(x, x, turns, frames, 256, None)))
        near(found[None, :, ::16, ::4], known[f"rope_v2_{name}_out_s16"], 1e-5)
    given = draw.standard_normal((1, 1, 256, 256), dtype=np.float32)
    x = apart(torch.unflatten(torch.from_numpy(given[0, 0]), 0, (16, 16)))
    found = together(Turns.of_grid(16, 16, 256, LIKE).turned(x)).flatten(0, 1)
    near(found[None, None, ::16, ::4], known["rope_v2_queries_out_s16"], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("file", EDGETAM)
@torch.inference_mode()
def test_the_perceiver(file, tmp_path):
    known = arrays(file)
    perceiver = model("edgetam", 1024, tmp_path).network.memory.perceiver
    found = perceiver(torch.from_numpy(known["perceiver_in"]))
    near(found[:, ::4], known["perceiver_out"], 1e-4)
    near(perceiver.positions()[None, ::4], known["perceiver_pos"], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("file", FUNCTIONS)
@torch.inference_mode()
def test_the_encoder_of_memories(file, tmp_path):
    known = {name: torch.from_numpy(value) for name, value in arrays(file).items()}
    encoder = model("sam2.1_hiera_tiny", 512, tmp_path).network.memory.encoder
    given, frame = known["mask_downsampler_in"], known["memory_encoder_pix_feat"]
    plain, soft = (encoder(frame, masks) for masks in (given, given.sigmoid()))
    near(plain, known["memory_encoder_out"].numpy(), 1e-4)
    near(soft, known["memory_encoder_out_with_sigmoid"].numpy(), 1e-4)
    near(encoder.mixers[0](frame), known["cxblock_out"].numpy(), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("file", FUNCTIONS)
@torch.inference_mode()
def test_frames_are_resized_as_bytes_and_normalised(file, tmp_path):
    known = arrays(file)
    network = model("sam2.1_hiera_tiny", 512, tmp_path)
    frames = clip()
    frame = Frame.fit(frames.shape[1:3], network.variant.spec)
    scale = SCALES[network.variant.video.resize]
    found = network.prepare(torch.stack([scale(one, frame.resized) for one in frames]))
    near(found[:, :, ::32, ::32], known["video_loader_clip_512_s32"], 2e-6)
    assert maps(network, frames[0], frame)[0].shape == (1, 256, 32, 32)


def test_the_recordings_are_where_they_are_looked_for():
    assert all((FOLDER / name).is_file() for name in FUNCTIONS + EDGETAM)
