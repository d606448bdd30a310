"""SAM2VideoPredictor with its official arguments, results and errors, on a tiny network."""

import numpy as np
import pytest
import torch
from PIL import Image

from anymask.compat.sam2 import (
    SAM2VideoPredictor,
    build_sam2_video_predictor,
    build_sam2_video_predictor_hf,
)
from anymask.compat.sam2.filling import fill_holes
from anymask.compat.sam2.video_options import VideoOptions
from moving import SIZE, clip, moody

FRAMES = clip(8)
POINT = {"points": [[10.0, 14.0]], "labels": [1]}
BOX = {"box": [38.0, 20.0, 54.0, 36.0]}
SHAPE = np.pad(np.ones((12, 12), bool), ((8, 20), (4, 44)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    for index, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(folder / f"{index:05d}.png")
    return folder


@pytest.fixture
def opened(folder):
    return lambda corrections="lost", **options: _opened(folder, corrections, options)


def _opened(folder, corrections, options):
    predictor = SAM2VideoPredictor(moody(), VideoOptions(**options), corrections)
    return predictor, predictor.init_state(str(folder))


def passed(predictor, state, **args):
    return {
        frame: (ids, logits) for frame, ids, logits in predictor.propagate_in_video(state, **args)
    }


def test_a_state_tells_what_scripts_read_of_it(opened):
    predictor, state = opened()
    assert state["num_frames"] == 8
    assert (state["video_height"], state["video_width"]) == SIZE
    assert state["obj_ids"] == [] and len(dict(state)) == 5
    predictor.add_new_points_or_box(state, 0, "dog", **POINT)
    assert state["obj_ids"] == ["dog"]


def test_prompts_give_logits_of_all_objects_at_the_videos_size(opened):
    predictor, state = opened()
    frame, ids, logits = predictor.add_new_points_or_box(
        inference_state=state, frame_idx=0, obj_id=1, **POINT
    )
    assert (frame, ids, logits.shape, logits.dtype) == (0, [1], (1, 1, *SIZE), torch.float32)
    frame, ids, logits = predictor.add_new_mask(state, 2, 5, SHAPE)
    assert (frame, ids, logits.shape) == (2, [1, 5], (2, 1, *SIZE))
    assert (logits[0] == -1024).all(), "nothing is known of object 1 on frame 2"
    assert ((logits[1, 0] > 0).numpy() == SHAPE).mean() > 0.97
    again = predictor.add_new_points(state, 2, 5, torch.tensor([[10.0, 14.0]]), torch.tensor([1]))
    assert again[:2] == (2, [1, 5])


def test_propagation_counts_frames_after_the_first_and_goes_back_to_frame_0(opened):
    predictor, state = opened()
    predictor.add_new_points_or_box(state, 3, 1, **POINT)
    assert list(passed(predictor, state)) == [3, 4, 5, 6, 7]
    assert list(passed(predictor, state, max_frame_num_to_track=2)) == [3, 4, 5]
    assert list(passed(predictor, state, reverse=True)) == [3, 2, 1, 0]
    back = passed(predictor, state, start_frame_idx=2, max_frame_num_to_track=1, reverse=True)
    assert list(back) == [2, 1]
    assert list(passed(predictor, state, start_frame_idx=0, reverse=True)) == []


@pytest.mark.parametrize(
    ("corrections", "options", "kept"),
    [
        ("lost", {}, False),
        ("lost", {"add_all_frames_to_correct_as_cond": True}, True),
        ("tracked", {}, True),
    ],
)
def test_a_correction_of_a_followed_frame_is_lost_or_kept_as_officially(
    opened, corrections, options, kept
):
    predictor, state = opened(corrections, **options)
    predictor.add_new_points_or_box(state, 0, 1, **BOX)
    before = passed(predictor, state)[4][1]
    _, _, corrected = predictor.add_new_points_or_box(state, 4, 1, [[9.0, 9.0]], [0])
    after = passed(predictor, state)[4][1]
    assert torch.equal(after, corrected if kept else before)
    assert not torch.equal(corrected, before)


def test_every_pass_follows_again_and_sees_prompts_to_come(opened):
    predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **BOX)
    before = passed(predictor, state, max_frame_num_to_track=2)
    predictor.add_new_mask(state, 5, 1, SHAPE)
    after = passed(predictor, state, max_frame_num_to_track=2)
    assert torch.equal(before[0][1], after[0][1])
    assert not torch.equal(before[1][1], after[1][1])


def test_an_object_may_be_added_after_tracking_and_starts_before_its_only_prompt(opened):
    predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **BOX)
    alone = passed(predictor, state)
    predictor.add_new_points_or_box(state, 4, 2, **POINT)
    both = passed(predictor, state)
    assert all(ids == [1, 2] for ids, _ in both.values())
    assert all((both[f][1][0] - alone[f][1][0]).abs().max() < 1e-4 for f in alone)


def test_clearing_a_prompted_frame_leaves_it_as_if_followed(opened):
    predictor, state = opened()
    _, _, first = predictor.add_new_points_or_box(state, 0, 1, **BOX)
    predictor.add_new_points_or_box(state, 3, 1, **POINT)
    passed(predictor, state)
    frame, ids, logits = predictor.clear_all_prompts_in_frame(state, 0, 1)
    assert (frame, ids) == (0, [1]) and torch.equal(logits, first)
    assert predictor.clear_all_prompts_in_frame(state, 3, 1, need_output=False) is None
    with pytest.raises(RuntimeError, match="not pointed at"):
        next(predictor.propagate_in_video(state))


def test_removing_objects_gives_the_ids_left_and_the_frames_concerned(opened):
    predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **POINT)
    predictor.add_new_points_or_box(state, 2, 1, **POINT)
    _, _, both = predictor.add_new_points_or_box(state, 0, 2, **BOX)
    ids, frames = predictor.remove_object(state, 1)
    assert ids == [2] and [f for f, _ in frames] == [0, 2]
    assert torch.equal(frames[0][1], both[1:])
    assert predictor.remove_object(state, 99) == ([2], [])
    with pytest.raises(RuntimeError, match="no object"):
        predictor.remove_object(state, 99, strict=True)
    assert predictor.remove_object(state, 2) == ([], [])
    with pytest.raises(RuntimeError, match="no objects"):
        next(predictor.propagate_in_video(state))
    predictor.add_new_points_or_box(state, 1, 2, **POINT)
    predictor.reset_state(state)
    assert state["obj_ids"] == []


def test_old_points_stay_when_told_and_coordinates_may_be_shares(opened):
    predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **POINT)
    _, _, added = predictor.add_new_points_or_box(
        state, 0, 1, [[30.0, 30.0]], [0], clear_old_points=False
    )
    predictor.reset_state(state)
    predictor.add_new_points_or_box(state, 0, 1, **POINT)
    _, _, given = predictor.add_new_points_or_box(
        state, 0, 1, [[10 / 60, 14 / 40], [30 / 60, 30 / 40]], [1, 0], normalize_coords=False
    )
    assert (added - given).abs().max() < 1e-4


@pytest.mark.parametrize(
    "args",
    [
        {"points": [[1.0, 1.0]]},
        {"labels": [1]},
        {},
        {"box": [1.0, 1.0, 9.0, 9.0], "clear_old_points": False},
    ],
)
def test_prompts_that_lack_something_are_official_errors(opened, args):
    predictor, state = opened()
    with pytest.raises(ValueError):
        predictor.add_new_points_or_box(state, 0, 1, **args)


def test_a_mask_has_two_dimensions_and_a_frame_that_is_there(opened):
    predictor, state = opened()
    with pytest.raises(IndexError):
        predictor.add_new_mask(state, 8, 1, SHAPE)
    with pytest.raises(AssertionError):
        predictor.add_new_mask(state, 0, 1, SHAPE[None])


def test_where_objects_may_not_overlap_the_loser_has_low_logits(opened):
    predictor, state = opened(non_overlap_masks=True)
    predictor.add_new_mask(state, 0, 1, SHAPE)
    _, _, logits = predictor.add_new_mask(state, 0, 2, SHAPE)
    assert (logits[1] <= -10).all(), "in a tie the first object wins"
    for _, found in passed(predictor, state).values():
        assert ((found > 0).sum(0) <= 1).all()


def test_memories_around_a_prompt_can_be_dropped(opened):
    predictor, state = opened(clear_non_cond_mem_around_input=True)
    predictor.add_new_points_or_box(state, 0, 1, **BOX)
    passed(predictor, state)
    predictor.add_new_points_or_box(state, 7, 1, **POINT)
    predictor.propagate_in_video_preflight(state)
    (track,) = state.engine.tracks.values()
    assert not track.lane(False).memories
    assert list(passed(predictor, state)) == list(range(8))


def test_small_holes_get_a_logit_just_above_zero():
    logits = torch.full((8, 8), 5.0)
    logits[2, 2], logits[5:8, 5:8] = -3.0, -2.0
    filled = fill_holes(logits, 8)
    assert filled[2, 2] == pytest.approx(0.1) and (filled[5:8, 5:8] == -2).all()
    assert (fill_holes(logits, 9) > 0).all()
    assert logits[2, 2] == -3


def test_overrides_are_read_by_their_official_names():
    read = VideoOptions().overridden(
        ["++model.image_size=512", "+model.non_overlap_masks=true", "model.fill_hole_area=0"]
    )
    assert (read.image_size, read.non_overlap_masks, read.fill_hole_area) == (512, True, 0)
    for wrong in ("model.colour=red", "image_size=512", "model.non_overlap_masks=maybe"):
        with pytest.raises(ValueError):
            VideoOptions().overridden([wrong])


def test_builders_know_official_names_and_defaults():
    with pytest.raises(FileNotFoundError, match="no configuration"):
        build_sam2_video_predictor("configs/none.yaml", device="cpu")
    with pytest.raises(ValueError, match="not understood"):
        build_sam2_video_predictor(
            "configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu", hydra_overrides_extra=["colour=red"]
        )
    with pytest.raises(KeyError):
        build_sam2_video_predictor_hf("facebook/none")


@pytest.mark.slow
def test_a_built_predictor_has_post_processing_unless_told():
    config = "configs/sam2.1/sam2.1_hiera_t.yaml"
    overrides = ["++model.image_size=256"]
    built = build_sam2_video_predictor(config, device="cpu", hydra_overrides_extra=overrides)
    assert built.options.fill_hole_area == 8
    assert built.options.binarize_mask_from_pts_for_mem_enc and built.image_size == 256
    plain = build_sam2_video_predictor(config, device="cpu", apply_postprocessing=False)
    assert plain.options == VideoOptions() and not plain.model.variant.outputs.stable
    edge = build_sam2_video_predictor("configs/edgetam.yaml", device="cpu", vos_optimized=True)
    assert edge.corrections == "tracked"


def test_what_is_no_video_is_an_official_error(tmp_path):
    predictor = SAM2VideoPredictor(moody())
    with pytest.raises(RuntimeError):
        predictor.init_state(tmp_path)
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(NotImplementedError):
        predictor.init_state(tmp_path / "notes.txt")
