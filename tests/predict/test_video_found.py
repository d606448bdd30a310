"""Objects that a look finds are tracked: which are new, how many, and what becomes of lost ones."""

from typing import Any

import numpy as np
import pytest

from anymask.errors import PromptError
from anymask.frame_masks import FrameMasks
from anymask.generated import GeneratedMasks
from anymask.mask_rle import encode_rle
from anymask.predict.video_everything import EverythingLooker
from anymask.predict.video_found import FoundSettings, FoundTracker, Sighting
from anymask.predict.video_text import TextLooker
from anymask.text_masks import TextMasks
from rectangles import rectangle

SIZE = (20, 40)
FRAME = np.zeros((*SIZE, 3), np.uint8)


def box(x0: int, x1: int, y0: int = 0, y1: int = 20) -> np.ndarray:
    return rectangle(SIZE, x0, y0, x1, y1)


def on_frame(masks: dict[int, np.ndarray], frame: int = 0) -> FrameMasks:
    return FrameMasks(
        size=SIZE,
        rles=tuple(encode_rle(mask) for mask in masks.values()),
        scores=np.ones(len(masks), np.float32),
        frame=frame,
        object_ids=tuple(masks),
        presence=np.array([float(mask.any()) for mask in masks.values()], np.float32),
    )


class Session:
    """Keeps each mask where it was prompted; from the frames in `gone` on an object is away."""

    def __init__(self, gone: dict[int, int] | None = None) -> None:
        self.masks: dict[int, np.ndarray] = {}
        self.gone = gone or {}
        self.frame = -1
        self.removed: list[int] = []

    def now(self) -> FrameMasks:
        away = {one for one, since in self.gone.items() if self.frame >= since}
        shown = {one: mask & (one not in away) for one, mask in self.masks.items()}
        return on_frame(shown, self.frame)

    def step(self, frame: int, pixels: Any) -> FrameMasks:
        self.frame += 1
        assert frame == self.frame
        return self.now()

    def prompt(self, frame: int, object_id: int, *, masks: Any) -> FrameMasks:
        assert frame == self.frame
        self.masks[object_id] = np.asarray(masks)
        return self.now()

    def remove(self, object_id: int) -> None:
        self.removed.append(object_id)
        del self.masks[object_id]


class Script:
    """Sees what is written down for each look."""

    def __init__(self, *looks: list[Sighting]) -> None:
        self.looks = list(looks)
        self.told: list[tuple[tuple[int, ...], tuple[str, ...]]] = []

    def look(self, pixels: Any, tracked: FrameMasks, names: Any) -> list[Sighting]:
        self.told.append((tracked.object_ids, tuple(names)))
        return self.looks.pop(0) if self.looks else []


def follow(script: Script, count: int, session: Session | None = None, **settings: int) -> list:
    tracker = FoundTracker(session or Session(), script, FoundSettings(**settings))
    return list(tracker.follow([FRAME] * count))


def test_what_a_look_sees_is_tracked_from_its_frame_on():
    script = Script([Sighting(mask=box(0, 9), name="cat")], [Sighting(mask=box(20, 30))])
    frames = follow(script, 6, every=3)
    assert [each.object_ids for each in frames] == [(1,)] * 3 + [(1, 2)] * 3
    assert [each.started for each in frames] == [(1,), (), (), (2,), (), ()]
    assert frames[-1].names == ("cat", "")
    assert script.told == [((), ()), ((1,), ("cat",))]
    assert np.array_equal(frames[4].of(2), box(20, 30))


def test_t06_a_look_that_finds_nothing_lets_the_video_go_on():
    frames = follow(Script([], [Sighting(mask=box(0, 5))]), 4, every=2)
    assert [len(each) for each in frames] == [0, 0, 1, 1]
    assert all(each.size == SIZE for each in frames)


def test_v13_an_object_out_of_sight_is_lost_and_keeps_its_number():
    script = Script([Sighting(mask=box(0, 5)), Sighting(mask=box(9, 15))])
    frames = follow(script, 4, Session(gone={1: 2}), every=100)
    assert [each.lost for each in frames] == [(), (), (1,), (1,)]
    assert frames[3].object_ids == (1, 2) and not frames[3].of(1).any()


def test_a_seen_object_can_be_given_a_better_mask():
    better = [Sighting(mask=box(0, 12), object_id=1)]
    frames = follow(Script([Sighting(mask=box(0, 5))], better), 3, every=2)
    assert frames[2].started == () and np.array_equal(frames[2].of(1), box(0, 12))


def test_there_are_at_most_so_many_objects_and_that_is_said():
    seen = [Sighting(mask=box(5 * i, 5 * i + 5)) for i in range(4)]
    (frame,) = follow(Script(seen), 1, most=3)
    assert frame.object_ids == (1, 2, 3)
    assert [note.code for note in frame.notes] == ["objects-many"]
    assert "1 more" in frame.notes[0].text


def test_who_is_lost_longest_makes_room_when_room_is_needed():
    first = [Sighting(mask=box(5 * i, 5 * i + 5)) for i in range(3)]
    script = Script(first, [], [Sighting(mask=box(30, 35))])
    session = Session(gone={1: 2, 2: 1})
    frames = follow(script, 5, session, every=2, most=3)
    assert session.removed == [2]
    assert frames[-1].object_ids == (1, 3, 4)  # numbers are not used again


def test_who_was_seen_since_the_last_look_stays():
    first = [Sighting(mask=box(5 * i, 5 * i + 5)) for i in range(3)]
    session = Session(gone={1: 3})
    frames = follow(Script(first, [], [Sighting(mask=box(30, 35))]), 5, session, every=2, most=3)
    assert session.removed == [] and frames[-1].object_ids == (1, 2, 3)
    assert frames[-1].notes


def test_what_was_saved_goes_on_with_the_same_names_and_numbers():
    session = Session(gone={1: 1})
    looks = [[Sighting(mask=box(0, 5), name="cat"), Sighting(mask=box(9, 15), name="dog")], []]
    settings = FoundSettings(every=2, most=2)
    one = FoundTracker(session, Script(*looks), settings)
    list(one.follow([FRAME] * 3))
    other = FoundTracker(session, Script([Sighting(mask=box(30, 35), name="cow")]), settings)
    other.adopt(one.state())
    *_, last = other.follow([FRAME] * 2)
    assert last.names == ("dog", "cow") and last.object_ids == (2, 3)


@pytest.mark.parametrize("setting", ["every", "most"])
def test_settings_are_at_least_one(setting):
    with pytest.raises(PromptError) as caught:
        FoundSettings(**{setting: 0})
    assert caught.value.where == setting


class Generates:
    """The same masks for every frame."""

    def __init__(self, *masks: np.ndarray) -> None:
        self.masks = masks

    def generate(self, image: Any) -> GeneratedMasks:
        count = len(self.masks)
        return GeneratedMasks(
            size=SIZE,
            rles=tuple(encode_rle(mask) for mask in self.masks),
            scores=np.ones(count, np.float32),
            stability=np.ones(count, np.float32),
            points=np.zeros((count, 2)),
            crop_boxes=np.zeros((count, 4), np.int64),
            notes=(),
        )


def test_everything_starts_all_parts_of_the_first_frame_the_largest_first():
    looker = EverythingLooker(generator=Generates(box(0, 8), box(10, 30)))
    seen = looker.look(FRAME, on_frame({}))
    assert [int(each.mask.sum()) for each in seen] == [400, 160]


@pytest.mark.parametrize(
    ("found", "new"),
    [
        (box(0, 10), None),  # the very one that is tracked
        (box(0, 14), None),  # grown
        (box(5, 12), None),  # 5 of 7 columns are tracked
        (box(5, 20), box(10, 20)),  # 10 of 15 columns are free: those are new
        (box(20, 30), box(20, 30)),
        (box(20, 21, 0, 1), None),  # too small
    ],
)
def test_everything_starts_what_is_mostly_free(found, new):
    looker = EverythingLooker(generator=Generates(found))
    seen = looker.look(FRAME, on_frame({1: box(0, 10)}))
    assert (len(seen) == 0) if new is None else np.array_equal(seen[0].mask, new)


def test_everything_masks_do_not_overlap_when_they_start():
    looker = EverythingLooker(generator=Generates(box(0, 30), box(5, 10), box(20, 40)))
    seen = looker.look(FRAME, on_frame({}))
    assert np.sum([each.mask for each in seen], axis=0).max() == 1


class Words:
    """Finds masks by phrase."""

    def __init__(self, **found: list[np.ndarray]) -> None:
        self.found = found

    def predict(self, image: Any, text: Any) -> TextMasks:
        rows = [(i, mask) for i, p in enumerate(text) for mask in self.found.get(p, [])]
        count = len(rows)
        return TextMasks(
            size=SIZE,
            rles=tuple(encode_rle(mask) for _, mask in rows),
            scores=np.ones(count, np.float32),
            phrases=tuple(text),
            phrase=np.array([i for i, _ in rows], np.int64),
            names=tuple(text[i] for i, _ in rows),
            found=np.zeros((count, 4), np.float32),
            detector_scores=np.ones(count, np.float32),
            mask_scores=np.ones(count, np.float32),
            best=np.ones(len(text), np.float32),
        )


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([box(0, 10)], []),  # tracked already
        ([box(0, 18)], []),  # IoU 10/18
        ([box(0, 25)], [(1, box(0, 25))]),  # tracked in part: IoU 0.4
        ([box(8, 20)], [(None, box(8, 20))]),  # another one beside it
        ([box(2, 6)], []),  # a part of it
        ([box(20, 30), box(21, 30)], [(None, box(20, 30))]),  # one object found twice
        ([], []),
    ],
)
def test_words_start_what_is_new_and_mend_what_is_tracked_in_part(found, says):
    looker = TextLooker(words=Words(cat=found), phrases=("cat",))
    seen = looker.look(FRAME, on_frame({1: box(0, 10)}), ["cat"])
    assert [each.object_id for each in seen] == [one for one, _ in says]
    assert all(np.array_equal(each.mask, mask) for each, (_, mask) in zip(seen, says, strict=True))


def test_a_crowd_in_one_mask_mends_nobody():
    looker = TextLooker(words=Words(cat=[box(0, 40)]), phrases=("cat",))
    assert looker.look(FRAME, on_frame({1: box(0, 9), 2: box(20, 30)}), ["cat", "cat"]) == []


def test_t05_phrases_are_compared_with_their_own_objects_alone():
    looker = TextLooker(
        words=Words(cat=[box(0, 10)], animal=[box(0, 10)]), phrases=("cat", "animal")
    )
    seen = looker.look(FRAME, on_frame({1: box(0, 10)}), ["cat"])
    assert [(each.name, each.object_id) for each in seen] == [("animal", None)]


def test_a_lost_object_does_not_stand_in_the_way():
    looker = TextLooker(words=Words(cat=[box(0, 10)]), phrases=("cat",))
    seen = looker.look(FRAME, on_frame({1: box(0, 0)}), ["cat"])
    assert [each.object_id for each in seen] == [None]
