"""A session saved in the middle goes on as if nothing had happened, to the bit."""

import numpy as np
import pytest

from anymask.errors import DataError
from anymask.frames import open_frames
from anymask.predict.video import VideoPredictor
from anymask.predict.video_follow import FoundFollower, PointedAt, PointedFollower
from anymask.predict.video_found import FoundSettings, Sighting
from anymask.predict.video_snapshot import load_session, save_session
from rectangles import rectangle
from tiny_video import SIZE, clip, tiny_video_model

FRAMES = 21  # longer than pointers reach


def mask() -> np.ndarray:
    return rectangle(SIZE, 4, 12, 24, 32)


def start(frames: int = FRAMES):
    return VideoPredictor(tiny_video_model()).start(clip(frames))


def objects() -> list[PointedAt]:
    first = ((0, {"masks": mask()}), (3, {"points": [[30, 20]], "labels": [1]}))
    second = ((2, {"boxes": [[5, 5, 40, 40]]}),)
    return [
        PointedAt(object_id=1, name="a", prompts=first),
        PointedAt(object_id=7, name="b", prompts=second),
    ]


def told(results) -> list:
    return [
        (each.frame, each.object_ids, each.names, each.rles, each.scores.tolist())
        for each in results
    ]


@pytest.mark.parametrize(("stop", "reverse"), [(1, False), (19, False), (5, True)])
def test_d_going_on_gives_what_going_through_gives(stop, reverse):
    if reverse:
        asked = [PointedAt(object_id=1, name="a", prompts=((20, {"masks": mask()}),))]
    else:
        asked = objects()
    with start() as session:
        whole = told(PointedFollower(session, asked, reverse=reverse).results())
    assert len(whole) == FRAMES
    with start() as session:
        follower = PointedFollower(session, asked, reverse=reverse)
        results = follower.results()
        before = told(next(results) for _ in range(stop))
        data = follower.save()
    with start() as session:
        other = PointedFollower(session, asked, reverse=reverse)
        other.restore(data)
        assert session.object_ids == tuple(one.object_id for one in asked)
        assert before + told(other.results()) == whole


def test_a_session_saved_at_its_end_has_nothing_left():
    with start(4) as session:
        follower = PointedFollower(session, objects()[1:])
        list(follower.results())
        data = follower.save()
    with start(4) as session:
        other = PointedFollower(session, objects()[1:])
        other.restore(data)
        assert list(other.results()) == []


def test_edits_before_a_snapshot_are_known_after_it():
    with start(6) as session:
        session.prompt(0, 4, masks=mask())
        session.prompt(0, 5, points=[[9, 9]], labels=[1])
        list(session.propagate(stop=3))
        session.remove(5)
        data = save_session(session, {"mine": [1, 2]})
        edits = session.edits
    with start(6) as session:
        assert load_session(session, data) == {"mine": [1, 2]}
        assert session.edits == edits and session.object_ids == (4,)
        with pytest.raises(ValueError, match="object-removed"):
            session.prompt(0, 5, points=[[9, 9]], labels=[1])


class Looks:
    """Sees the square on the first look, and something else on the third."""

    def look(self, pixels, tracked, names):
        other = np.zeros(SIZE, bool)
        other[34:46, 40:60] = True
        if not len(tracked):
            return [Sighting(mask=mask(), name="square")]
        return [Sighting(mask=other)] if tracked.frame == 6 else []


@pytest.mark.parametrize("stop", [1, 6, 7])
def test_d_what_is_found_goes_on_too_and_keeps_its_numbers(stop):
    settings = FoundSettings(every=3)

    def follower():
        frames = open_frames(clip(12))
        session = VideoPredictor(tiny_video_model()).start(frames)
        return FoundFollower(session, frames, Looks(), settings)

    whole = told(follower().results())
    assert [len(ids) for _, ids, *_ in whole] == [1] * 6 + [2] * 6
    one = follower()
    results = one.results()
    before = told(next(results) for _ in range(stop))
    other = follower()
    other.restore(one.save())
    assert before + told(other.results()) == whole


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[:100], "snapshot-broken"),
        (lambda data: b"", "snapshot-broken"),
        (lambda data: data.replace(b"tiny-sam2", b"tiny-sam9"), "snapshot-other"),
    ],
)
def test_what_is_no_snapshot_of_this_session_is_refused(change, code):
    with start(3) as session:
        session.prompt(0, 1, masks=mask())
        list(session.propagate())
        data = save_session(session, {})
    with start(3) as session, pytest.raises(DataError) as caught:
        load_session(session, change(data))
    assert caught.value.code == code
