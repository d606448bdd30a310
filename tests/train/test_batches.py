"""From photos on disk to a step, and from a step to the next: on photos made here."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import go, write_photos

from anymask.errors import DataError
from anymask.nn.nano import build_nano
from anymask.train.batches import PhotoDrawer, StepKind, draw_batch
from anymask.train.clicks import ClickMix
from anymask.train.config import Optim, TrainConfig
from anymask.train.decoding import cut_nano
from anymask.train.running import averaged_network, begin, rate, snapshot
from anymask.train.samples import draw_view, find_photos
from anymask.train.state import save_state

WHOLE = StepKind(views=1, prompts=2, side=64, window=64)
PART = StepKind(views=2, prompts=2, side=96, window=64)


@pytest.fixture(scope="module")
def drawer(tmp_path_factory) -> PhotoDrawer:
    folder = tmp_path_factory.mktemp("photos") / "set"
    write_photos(folder)
    return PhotoDrawer(find_photos([folder]))


def test_a_view_shows_its_masks_where_the_pixels_are(drawer):
    rng = np.random.default_rng(0)
    for _ in range(20):
        view = draw_view(drawer.draw(rng), 96, 4, rng)
        if view is None:
            continue
        assert view.pixels.shape == (96, 96, 3) and view.masks.shape[1:] == (96, 96)
        grey = view.pixels.mean(2)
        content = (view.pixels != 127).any(2)
        for mask in view.masks:
            assert content[mask].mean() > 0.99
            assert grey[mask].mean() > grey[content & ~view.masks.any(0)].mean()


def test_the_same_generator_gives_the_same_step(drawer):
    a, b = (draw_batch(drawer, PART, ClickMix(), np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(a.images, b.images) and torch.equal(a.points, b.points)
    assert torch.equal(a.truth, b.truth) and a.corners == b.corners


def test_clicks_of_a_windowed_step_lie_on_the_object_in_the_window(drawer):
    rng = np.random.default_rng(1)
    for _ in range(10):
        batch = draw_batch(drawer, PART, ClickMix(box=0), rng)
        for b in range(2):
            for p in range(2):
                x, y = batch.points[b, p, 0]
                assert 0 <= x <= 64 and 0 <= y <= 64
                assert batch.truth[b, p, int(y) // 4, int(x) // 4] > 0


def test_windows_cut_from_all_maps_are_the_same_place(drawer):
    network = build_nano().eval()
    batch = draw_batch(drawer, PART, ClickMix(), np.random.default_rng(2))
    with torch.no_grad():
        whole = network.encode(torch.randn(2, 3, 96, 96))
    parts = cut_nano(whole, batch.corners, batch.kind.window)
    for stride, full, part in zip((16, 8, 4, 16, 8, 4), whole, parts, strict=True):
        x, y = (v // stride for v in batch.corners[1])
        assert torch.equal(part[1, :, 0, 0], full[1, :, y, x])
        assert part.shape[-1] == 64 // stride


LATE_TRUNK = {"*": 1, "encoder.detector.*": 0, "encoder.lite.*": 0} | {
    f"encoder.lite.blocks.{block}.*": 0.1 for block in (14, 15)
}


def config(**changes: object) -> TrainConfig:
    return TrainConfig(
        **{
            "data": (),
            "out": "",
            "steps": 4,
            "kinds": (WHOLE, PART),
            "shares": (0.5, 0.5),
            "rounds": (0.5, 0.5),
            "optim": Optim(warmup=2, learn=LATE_TRUNK),
            "save_every": 100,
            **changes,
        }
    )


@pytest.mark.parametrize("stops", [(1, 4)], ids=["stopped after 1 of 4"])
def test_f01_a_run_gone_on_with_is_the_unbroken_run(drawer, tmp_path, stops):
    torch.manual_seed(0)
    weights = build_nano().state_dict()

    def learn(folder: Path, until: int) -> None:
        network = build_nano().train()
        network.load_state_dict(weights)
        run = begin(config(), network, folder)
        for _ in go(run, drawer, folder):
            if run.step == until:
                break
        save_state(snapshot(run), folder)

    learn(tmp_path / "whole", 4)
    for until in stops:
        learn(tmp_path / "broken", until)
    whole, broken = (
        averaged_network(begin(config(), build_nano(), tmp_path / n)).state_dict()
        for n in ("whole", "broken")
    )
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_frozen_parts_stay_and_the_rest_learns(drawer, tmp_path):
    torch.manual_seed(0)
    network = build_nano().train()
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    run = begin(config(steps=2), network, tmp_path / "run")
    list(go(run, drawer, tmp_path / "run"))
    moved = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert not any(n.startswith("encoder.detector") for n in moved)
    assert not any(n.startswith("encoder.lite.blocks.3.") for n in moved)
    assert any(n.startswith("encoder.lite.blocks.15.") for n in moved)
    assert "decoder.mix16.weight" in moved


def test_the_rate_rises_holds_and_falls_to_nothing():
    optim = Optim(lr=1.0, warmup=10, hold=0.5)
    rates = [rate(s, 100, optim) for s in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[49] == 1.0
    assert rates[75] == pytest.approx(0.5) and rates[100] == 0


def test_no_photos_is_said(tmp_path):
    write_photos(tmp_path / "set", 0)
    with pytest.raises(DataError, match=r"no-photos|set"):
        find_photos([tmp_path / "set"])
