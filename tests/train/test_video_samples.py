"""Samples of clips and made-up motion: sizes, masks that fit pixels, what is left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_clips import SIZE, small_video_config, write_clip
from small_runs import write_photos

from anymask.errors import DataError
from anymask.evaluate.video import read_clip
from anymask.train.batches import PhotoDrawer
from anymask.train.samples import find_photos
from anymask.train.video_samples import SMALLEST, ClipDrawer, draw_sample, find_clips
from anymask.train.video_step import roughened, shares
from anymask.train.video_synthetic import draw_scene


@pytest.fixture
def clips(tmp_path: Path) -> ClipDrawer:
    write_clip(tmp_path / "a.tar", grey=30)
    return ClipDrawer([read_clip(clip) for clip in find_clips(tmp_path, ())])


@pytest.fixture
def photos(tmp_path: Path) -> PhotoDrawer:
    write_photos(tmp_path / "set")
    return PhotoDrawer(find_photos([tmp_path / "set"]))


@pytest.mark.parametrize("seed", range(8))
def test_a_sample_of_a_clip_has_its_size_and_masks_that_lie_on_their_objects(clips, seed):
    sample = draw_sample(clips, (64, 96), 4, 2, np.random.default_rng(seed))
    assert sample.frames.shape == (4, 64, 96, 3)
    assert sample.masks.shape[0] == 4 and sample.masks.shape[2:] == (64, 96)
    assert 1 <= sample.masks.shape[1] <= 2
    for t in range(4):
        for mask in sample.masks[t]:
            if mask.sum() > 200:  # blocks are of one colour: hardly any spread where the mask is
                inside = sample.frames[t][mask].astype(float)
                assert np.median(np.abs(inside - np.median(inside, axis=0))) < 6


def test_every_object_of_a_sample_is_seen_on_its_first_frame(clips):
    for seed in range(20):
        sample = draw_sample(clips, (64, 96), 3, 2, np.random.default_rng(seed))
        assert (sample.masks[0].sum((1, 2)) >= SMALLEST).all()


def test_a_sample_is_a_function_of_the_generator(clips, photos):
    for draw, source in ((draw_sample, clips), (draw_scene, photos)):
        one, other = (draw(source, (64, 96), 3, 2, np.random.default_rng(5)) for _ in range(2))
        assert np.array_equal(one.frames, other.frames) and np.array_equal(one.masks, other.masks)


def test_a_clip_shorter_than_the_sample_repeats_its_last_frame(tmp_path):
    write_clip(tmp_path / "short.tar", frames=2)
    drawer = ClipDrawer([read_clip(clip) for clip in find_clips(tmp_path, ())])
    assert len(draw_sample(drawer, (64, 96), 5, 2, np.random.default_rng(0)).frames) == 5


def test_clips_without_a_large_enough_object_are_said(tmp_path):
    write_clip(tmp_path / "empty.tar", frames=3)
    clip = read_clip(find_clips(tmp_path, ())[0])
    specks = replace(clip, labels=[np.zeros_like(labels) for labels in clip.labels])
    with pytest.raises(DataError, match="no-object"):
        ClipDrawer([specks])
    for labels in specks.labels:
        labels[:4, :4] = 1
    with pytest.raises(DataError, match="no-object"):
        draw_sample(ClipDrawer([specks]), (64, 96), 3, 2, np.random.default_rng(0))


def test_clips_that_are_held_out_are_left_out_and_a_misspelt_one_is_told(tmp_path):
    small_video_config(tmp_path)
    folder = tmp_path / "clips"
    assert [c.name for c in find_clips(folder, ["held"])] == ["taught"]
    assert [c.name for c in find_clips(folder, ["held"], held=True)] == ["held"]
    with pytest.raises(DataError, match="clip-missing"):
        find_clips(folder, ["hold"])
    with pytest.raises(DataError, match="no-clips"):
        find_clips(folder, ["held", "taught"])


@pytest.mark.parametrize("seed", range(8))
def test_a_made_up_scene_moves_and_its_objects_hide_each_other(photos, seed):
    sample = draw_scene(photos, (96, 128), 4, 3, np.random.default_rng(seed))
    assert sample is not None
    assert sample.frames.shape == (4, 96, 128, 3) and sample.masks.shape[2:] == (96, 128)
    assert (sample.masks[0].sum((1, 2)) >= SMALLEST).all()
    assert not np.array_equal(sample.frames[0], sample.frames[-1])
    assert not np.array_equal(sample.masks[0], sample.masks[-1])


def test_in_some_scenes_an_object_is_hidden_or_leaves(photos):
    gone = 0
    for seed in range(24):
        sample = draw_scene(photos, (96, 128), 5, 3, np.random.default_rng(seed))
        if sample is not None:
            area = sample.masks.sum((2, 3))
            gone += int((area.min(0) < 0.3 * area[0]).any())
    assert 2 <= gone < 24


def test_shares_are_means_of_cells_and_a_rough_mask_stays_near(clips):
    rng = np.random.default_rng(0)
    mask = np.zeros(SIZE, bool)
    mask[20:60, 30:90] = True
    found = shares(mask[None, None])
    assert found.shape == (1, 1, 24, 32) and float(found.sum()) * 16 == mask.sum()
    for _ in range(20):
        rough = roughened(mask, rng)
        assert rough.any() and (rough & mask).sum() / (rough | mask).sum() > 0.5
