"""Videos from prompts to masks: what is given back, kept, refused; on a tiny network."""

import gc
import weakref

import numpy as np
import pytest

from anymask.errors import CheckpointError, DataError, PromptError, VideoError
from anymask.frame_masks import FrameMasks
from anymask.frames import open_frames
from anymask.predict import video_step
from anymask.predict.video import VideoPredictor
from anymask.predict.video_edits import Cleared, Passed, Prompted, Removed
from moving import SIZE, clip, moody, moving
from tiny import tiny_sam

CLIP = list(clip(16))  # longer than pointers reach
POINT, BOX = [[10, 14]], [38, 20, 54, 36]
SHAPE = np.pad(np.ones((12, 12), bool), ((8, 20), (4, 44)))


def predictor(**settings) -> VideoPredictor:
    return VideoPredictor(moody(), **settings)


@pytest.fixture
def session():
    with predictor().start(CLIP) as opened:
        yield opened


def same(a: FrameMasks, b: FrameMasks) -> bool:
    """Bit for bit."""
    return (
        (a.frame, a.object_ids, a.rles) == (b.frame, b.object_ids, b.rles)
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.presence, b.presence)
    )


def alike(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(same(a[frame], b[frame]) for frame in a)


def test_a_point_is_answered_at_once_and_followed_to_the_end(session):
    first = session.prompt(0, 1, points=POINT)
    assert (first.frame, first.object_ids, first.size) == (0, (1,), SIZE)
    found = dict(session.propagate())
    assert list(found) == list(range(16))
    assert same(found[0], first)
    assert {len(np.unique(masks.presence > 0.5)) for masks in found.values()} == {1}
    assert session.edits == (
        Prompted(frame=0, object_id=1, points=((10.0, 14.0),), labels=(1,)),
        Passed(first=0, last=15),
    )


def test_v13_an_object_that_is_out_has_an_empty_mask_and_comes_back_under_its_id(session):
    session.prompt(0, 4, points=POINT)
    masks = [m for _, m in session.propagate()]
    there = np.array([m.presence[0] > 0.5 for m in masks])
    assert there.any() and (~there).any()
    areas = np.array([m.areas[0] for m in masks])
    assert (areas[~there] == 0).all() and (areas[there] > 0).any()
    assert all(m.object_ids == (4,) and 0 <= m.scores[0] <= 1 for m in masks)
    left = np.flatnonzero(np.diff(there.astype(int)) == -1)
    assert there[left[0] + 1 :].any(), "it never comes back in this clip"


def test_an_empty_mask_says_that_the_object_is_not_on_this_frame(session):
    found = session.prompt(2, 1, masks=np.zeros(SIZE, bool))
    assert found.areas.tolist() == [0] and found.presence[0] < 0.001
    full = session.prompt(2, 1, masks=SHAPE)
    assert full.presence[0] > 0.999 and full.areas[0] > 0


def test_a_correction_is_kept_when_the_frame_is_passed_again(session):
    session.prompt(0, 1, boxes=BOX)
    before = dict(session.propagate())
    corrected = session.prompt(7, 1, points=[[20, 20], [5, 5]], labels=[1, 0])
    after = dict(session.propagate())
    assert same(after[7], corrected) and not same(after[7], before[7])
    assert all(same(after[f], before[f]) for f in range(7))
    assert not all(same(after[f], before[f]) for f in range(8, 16))


def test_v14_objects_added_corrected_and_removed_while_tracking_leave_others_as_they_are():
    with predictor().start(CLIP) as quiet:
        quiet.prompt(0, 1, points=POINT)
        alone = dict(quiet.propagate())
    with predictor().start(CLIP) as busy:
        busy.prompt(0, 1, points=POINT)
        found = {}
        for frame, masks in busy.propagate():
            found[frame] = masks
            if frame == 3:
                busy.prompt(3, 2, boxes=BOX)
                busy.prompt(9, 3, masks=SHAPE)
            if frame == 6:
                busy.prompt(5, 2, points=[[3, 3]], labels=[0])
            if frame == 12:
                busy.remove(2)
    assert [m.object_ids for m in found.values()] == [(1,)] * 4 + [(1, 2, 3)] * 9 + [(1, 3)] * 3
    for frame, masks in found.items():
        assert same(masks.keep([0]), alone[frame])
    assert all(found[f].presence[2] == 0 for f in range(4, 9)), "3 was not pointed at before 9"


def test_v14_ids_are_not_used_again(session):
    session.prompt(0, 3, points=POINT)
    assert session.prompt(0, None, boxes=BOX).object_ids == (3, 4)
    session.remove(4)
    with pytest.raises(PromptError, match="object-removed"):
        session.prompt(0, 4, points=POINT)
    assert session.prompt(0, points=POINT).object_ids == (3, 5)
    session.remove(5)
    assert session.prompt(1, points=POINT).object_ids == (3, 6)
    assert session.edits[2] == Removed(object_id=4)


def test_a_stream_gives_the_bits_of_a_pass_over_the_file():
    with predictor().start(CLIP) as offline:
        offline.prompt(0, 1, points=POINT)
        offline.prompt(0, 2, boxes=BOX)
        expected = dict(offline.propagate())
    with predictor().start() as stream:
        found = {0: stream.step(CLIP[0])}
        assert len(found[0]) == 0
        stream.prompt(0, 1, points=POINT)
        found[0] = stream.prompt(0, 2, boxes=BOX)
        for frame in CLIP[1:]:
            masks = stream.step(frame)
            found[masks.frame] = masks
        assert stream.edits[-1] == Passed(first=1, last=15)
    assert alike(found, expected)


def test_a_short_stream_of_known_length_gives_the_bits_of_the_file_too():
    with predictor().start(CLIP[:6]) as offline:
        offline.prompt(0, 1, points=POINT)
        expected = dict(offline.propagate())
    with predictor().start(count=6) as stream:
        stream.step(CLIP[0])
        found = {0: stream.prompt(0, 1, points=POINT)}
        found.update((m.frame, m) for m in (stream.step(frame) for frame in CLIP[1:6]))
    assert alike(found, expected)


def test_a_stream_can_be_corrected_on_its_newest_frame_alone():
    with predictor().start() as stream:
        with pytest.raises(VideoError, match="no-frame"):
            stream.prompt(0, 1, points=POINT)
        for frame in CLIP[:9]:
            stream.step(frame)
        assert stream.prompt(8, 1, points=POINT).frame == 8
        stream.step(CLIP[9])
        assert stream.prompt(9, 1, points=[[30, 30]], labels=[0]).frame == 9
        with pytest.raises(VideoError, match="frame-gone"):
            stream.prompt(2, 1, points=POINT)
        with pytest.raises(VideoError, match="frame-missing"):
            stream.prompt(10, 1, points=POINT)
        for frame in [*CLIP[10:], *CLIP[:10]]:
            stream.step(frame)
        assert stream.prompt(25, 1, points=[[30, 30]], labels=[0]).frame == 25
        assert stream.clear(25, 1).presence[0] > 0
        with pytest.raises(VideoError, match="frame-gone"):
            stream.clear(8, 1)
        assert stream.step(CLIP[0]).frame == 26


@pytest.mark.parametrize("together", [1, 2, 16])
def test_objects_together_are_as_one_by_one(together):
    prompts = [{"points": POINT}, {"boxes": BOX}, {"masks": SHAPE}]
    logits = {}

    def follow(some):
        session = VideoPredictor(moving(2), at_once=together).start(CLIP[:6])
        for one in some:
            session.prompt(one, one, **prompts[one])
        for _ in session.propagate(start=0):
            pass
        tracks = session.core.engine.tracks
        return {one: {f: tracks[one].memory(f) for f in range(one, 6)} for one in some}

    logits = follow([0, 1, 2])
    for one in (0, 1, 2):
        for frame, memory in follow([one])[one].items():
            assert (memory.logits - logits[one][frame].logits).abs().max() < 1e-4
            assert (memory.pointer - logits[one][frame].pointer).abs().max() < 1e-4


def test_going_back_in_time_ends_at_the_first_frame(session):
    session.prompt(5, 1, points=POINT)
    found = list(session.propagate(reverse=True))
    assert [frame for frame, _ in found] == [5, 4, 3, 2, 1, 0]
    ahead = list(session.propagate(start=5, stop=9))
    assert [frame for frame, _ in ahead] == [5, 6, 7, 8]
    assert same(session.masks(2), dict(found)[2])
    assert session.edits[1:] == (
        Passed(first=5, last=0, reverse=True),
        Passed(first=5, last=8),
    )


def test_taking_the_only_prompt_back_leaves_an_object_that_is_nowhere(session):
    session.prompt(0, 1, masks=SHAPE)
    assert session.clear(0, 1).areas.tolist() == [0]
    assert session.object_ids == (1,)
    assert session.edits[-1] == Cleared(frame=0, object_id=1)
    with pytest.raises(PromptError, match="no-prompt"):
        session.propagate()


def test_points_can_be_added_to_those_given_before(session):
    session.prompt(0, 1, points=POINT)
    session.prompt(0, 1, points=[[3, 3]], labels=[0], add=True)
    assert session.edits[1] == Prompted(
        frame=0, object_id=1, points=((10.0, 14.0), (3.0, 3.0)), labels=(1, 0)
    )
    session.prompt(0, 1, boxes=BOX, add=True)
    assert session.edits[2].box == tuple(map(float, BOX)) and len(session.edits[2].points) == 2


def test_v10_a_video_of_one_frame_is_answered_and_one_of_none_is_refused():
    with predictor().start(CLIP[:1]) as session:
        first = session.prompt(0, 1, points=POINT)
        ((frame, masks),) = session.propagate()
        assert frame == 0 and same(masks, first)
        assert [f for f, _ in session.propagate(reverse=True)] == [0]
    with pytest.raises(VideoError, match="video-empty"):
        predictor().start([])


def test_v12_a_frame_of_another_size_is_an_error_unless_it_may_be_boxed():
    frames = [*CLIP[:3], np.zeros((30, 60, 3), np.uint8)]
    with predictor().start(frames) as session:
        session.prompt(0, 1, points=POINT)
        found = session.propagate()
        assert [next(found)[0] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(VideoError, match="video-size"):
            next(found)
        assert same(session.masks(1), session.masks(1))
    with predictor().start(frames, letterbox=True) as session:
        session.prompt(0, 1, points=POINT)
        assert [masks.size for _, masks in session.propagate()] == [SIZE] * 4


def test_v12_a_stream_refuses_a_frame_of_another_size_and_goes_on_without_it():
    with predictor().start() as stream:
        stream.step(CLIP[0])
        with pytest.raises(VideoError, match="video-size"):
            stream.step(np.zeros((30, 60, 3), np.uint8))
        assert stream.step(CLIP[1]).frame == 1


def test_frames_that_come_once_are_followed_as_they_come():
    with predictor().start(CLIP) as session:
        session.prompt(0, 1, points=POINT)
        expected = dict(session.propagate())
    with predictor().start(iter(CLIP)) as session:
        session.prompt(0, 1, points=POINT)
        found = dict(session.propagate())
    assert alike(found, expected)


def test_what_was_followed_is_given_again_without_another_look(session, monkeypatch):
    session.prompt(0, 1, points=POINT)
    before = dict(session.propagate())
    monkeypatch.setattr(video_step, "maps", None)
    assert alike(dict(session.propagate()), before)


@pytest.mark.parametrize("keep", [0, 2**14])
def test_results_do_not_depend_on_how_much_is_kept(keep):
    found = []
    for keep_bytes in (keep, 2**30):
        with predictor(keep_bytes=keep_bytes).start(CLIP) as session:
            session.prompt(0, 1, points=POINT)
            list(session.propagate())
            session.prompt(10, 1, points=[[44, 28]])
            found.append(dict(session.propagate()))
    assert alike(*found)


def test_a_saved_session_done_again_gives_the_same_masks(tmp_path):
    model = predictor()
    with model.start(CLIP) as session:
        session.prompt(0, 1, points=POINT)
        session.prompt(2, 2, masks=SHAPE)
        list(session.propagate(stop=8))
        session.prompt(5, 1, boxes=BOX)
        session.prompt(4, 3, points=POINT)
        list(session.propagate())
        session.remove(3)
        list(session.propagate(start=6, reverse=True))
        session.save(tmp_path / "edits.json")
        expected, edits = {f: session.masks(f) for f in range(16)}, session.edits
    told = []
    with model.resume(CLIP, tmp_path / "edits.json", progress=lambda *n: told.append(n)) as again:
        assert again.edits == edits
        assert alike({f: again.masks(f) for f in range(16)}, expected)
    assert told == [(i + 1, len(edits)) for i in range(len(edits))]
    with pytest.raises(DataError, match="edits-other-video"):
        model.resume(list(clip(16, (44, 60))), tmp_path / "edits.json")
    with pytest.raises(DataError, match="edits-other-model"):
        VideoPredictor(moving(3)).resume(CLIP, tmp_path / "edits.json")


def test_one_predictor_serves_several_sessions_at_a_time():
    model = predictor()
    with model.start(CLIP) as a, model.start(CLIP[::-1]) as b:
        a.prompt(0, 1, points=POINT)
        b.prompt(0, 1, points=POINT)
        mixed = [(x[1], y[1]) for x, y in zip(a.propagate(), b.propagate(), strict=True)]
    with model.start(CLIP) as a:
        a.prompt(0, 1, points=POINT)
        assert all(same(x, pair[0]) for (_, x), pair in zip(a.propagate(), mixed, strict=True))


def test_open_frames_may_be_given_and_a_session_closes_them():
    frames = open_frames(CLIP)
    with predictor().start(frames) as session:
        session.prompt(0, 1, points=POINT)
    with pytest.raises(VideoError, match="frames-closed"):
        frames.read(0)
    with pytest.raises(VideoError, match="session-closed"):
        session.prompt(0, 1, points=POINT)


def test_v11_closing_lets_go_of_all_that_was_kept():
    session = predictor().start(CLIP)
    session.prompt(0, 1, points=POINT)
    list(session.propagate())
    engine = session.core.engine
    kept = [weakref.ref(m.spatial) for m in engine.tracks[1].lane(False).memories.values()]
    maps = weakref.ref(engine.work.maps(0)[0])
    assert len(kept) == 15 and maps() is not None
    session.close()
    gc.collect()
    assert all(one() is None for one in kept) and maps() is None
    assert len(session.edits) == 2, "what was done stays"


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        (lambda s: s.prompt(16, 1, points=POINT), VideoError, "frame-missing"),
        (lambda s: s.prompt(-1, 1, points=POINT), VideoError, "frame-missing"),
        (lambda s: s.prompt(True, 1, points=POINT), VideoError, "frame-missing"),
        (lambda s: s.prompt(0, -1, points=POINT), PromptError, "object-id"),
        (lambda s: s.prompt(0, True, points=POINT), PromptError, "object-id"),
        (lambda s: s.prompt(0, 1), PromptError, "no-prompt"),
        (lambda s: s.prompt(0, 1, points=[[99, 5]]), PromptError, "point-outside"),
        (lambda s: s.prompt(0, 1, points=[POINT, POINT]), PromptError, "one-object"),
        (lambda s: s.prompt(0, 1, boxes=[9, 9, 3, 3]), PromptError, "box-order"),
        (lambda s: s.prompt(0, 1, masks=SHAPE, boxes=BOX), PromptError, "mask-with-others"),
        (lambda s: s.prompt(0, 1, masks=SHAPE.T), PromptError, "mask-size"),
        (lambda s: s.prompt(0, 1, masks=SHAPE[None, None]), PromptError, "mask-shape"),
        (lambda s: s.prompt(0, 1, masks=SHAPE / np.float32(0)), PromptError, "not-finite"),
        (lambda s: s.prompt(0, 1, masks="all"), PromptError, "mask-values"),
        (lambda s: s.remove(7), PromptError, "object-unknown"),
        (lambda s: s.clear(0, 7), PromptError, "object-unknown"),
        (lambda s: s.propagate(), PromptError, "no-prompt"),
        (lambda s: s.step(CLIP[0]), VideoError, "not-a-stream"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_makes_no_sense_is_refused_and_changes_nothing(session, call, error, code):
    with pytest.raises(error, match=code):
        call(session)
    assert session.edits == () and session.object_ids == ()


def test_a_model_of_images_alone_is_refused():
    with pytest.raises(CheckpointError, match="no-video"):
        VideoPredictor(tiny_sam())
    with pytest.raises(VideoError, match="setting"):
        predictor(max_prompted=0)
