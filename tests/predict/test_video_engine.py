"""Objects are followed as the rules say: what is recalled, what an edit changes, what is kept."""

import pytest
from fake_video import FakeWork, click, number
from hypothesis import given, settings
from hypothesis import strategies as st

from anymask.predict.video_engine import Engine
from anymask.predict.video_recall import RecallRules
from anymask.predict.video_tracks import Following

COUNT = 24


class Run:
    """An engine with what it told last of each object and frame."""

    def __init__(self, **settings):
        how = settings.pop("how", Following())
        self.work, self.told = FakeWork(), {}
        self.engine = Engine(self.work, how, self.tell, self.knows, count=COUNT, **settings)

    def knows(self, object_id, frame):
        return (object_id, frame) in self.told

    def tell(self, object_id, frame, memory):
        if memory is None:
            self.told.pop((object_id, frame), None)
        else:
            self.told[object_id, frame] = memory.logits.flatten()[0].item()

    def prompt(self, object_id, frame, x=1.0):
        self.engine.prompt(object_id, frame, click(x))

    def go(self, first, last, reverse=False):
        for frame in range(first, last - 1, -1) if reverse else range(first, last + 1):
            self.engine.take_up()
            self.engine.pass_over(frame, reverse=reverse)

    def remove(self, object_id):
        self.engine.remove(object_id)
        self.told = {key: one for key, one in self.told.items() if key[0] != object_id}

    def of(self, object_id):
        return {frame: one for (known, frame), one in self.told.items() if known == object_id}


def test_an_object_is_followed_from_its_first_prompt_on():
    run = Run()
    run.prompt(1, 3)
    run.go(0, 8)
    assert sorted(run.of(1)) == list(range(3, 9))
    assert run.work.looked == [3, *range(4, 9)]  # prompted frames and passed ones, each once


def test_frames_that_no_edit_touched_are_not_followed_again():
    run = Run()
    run.prompt(1, 0)
    run.go(0, 10)
    before, looks = dict(run.told), len(run.work.looked)
    run.go(0, 10)
    assert run.told == before and len(run.work.looked) == looks


def test_a_correction_on_a_followed_frame_is_kept_and_changes_what_comes_after_it():
    run = Run()
    run.prompt(1, 0)
    run.go(0, 10)
    before = dict(run.told)
    run.prompt(1, 4, x=9.0)
    corrected = run.told[1, 4]
    run.go(0, 10)
    assert run.told[1, 4] == corrected != before[1, 4]
    assert all(run.told[1, f] == before[1, f] for f in range(4))
    assert all(run.told[1, f] != before[1, f] for f in range(5, 11))


@pytest.mark.parametrize(("corrections", "kept"), [("lost", False), ("tracked", True)])
def test_corrections_can_be_lost_or_stay_as_followed_frames_as_official_code_has_it(
    corrections, kept
):
    run = Run(how=Following(causal=False, corrections=corrections))
    run.prompt(1, 0)
    run.go(0, 6)
    before = run.told[1, 4]
    run.prompt(1, 4, x=9.0)
    corrected = run.told[1, 4]
    run.go(0, 6)
    assert run.told[1, 4] == (corrected if kept else before) and corrected != before


def test_a_correction_is_made_of_what_was_shown_and_what_is_recalled():
    run = Run()
    run.prompt(1, 0)
    run.go(0, 1)
    shown, first = run.told[1, 1], run.told[1, 0]
    run.prompt(1, 1, x=9.0)
    recalled = ([(0, first, 6)], [(0, first, 1 / 15)])
    assert run.told[1, 1] == number("prompted", 1, [[9.0, 0.0]], shown, recalled)


def test_v14_an_object_added_later_leaves_others_as_they_are_and_appears_from_there_on():
    run = Run()
    run.prompt(1, 0)
    run.go(0, 10)
    before = run.of(1)
    run.prompt(2, 5)
    run.go(0, 10)
    assert run.of(1) == before
    assert sorted(run.of(2)) == list(range(5, 11))
    assert all(objects == 1 for _, objects in run.work.followed)


def test_objects_are_followed_together_one_look_a_frame():
    run = Run(at_once=3)
    for one in range(7):
        run.prompt(one, 0, x=float(one))
    run.work.looked.clear()
    run.go(0, 2)
    assert run.work.looked == [1, 2]
    assert run.work.followed == [(1, 3), (1, 3), (1, 1), (2, 3), (2, 3), (2, 1)]
    assert len({run.told[one, 2] for one in range(7)}) == 7


def test_going_back_follows_to_the_first_frame_and_leaves_what_lies_ahead():
    run = Run()
    run.prompt(1, 5)
    run.go(5, 9)
    before = run.of(1)
    run.go(5, 0, reverse=True)
    assert sorted(run.of(1)) == list(range(10))
    assert all(run.told[1, f] == before[f] for f in before)


def test_taking_a_correction_back_gives_what_was_there_before_it():
    run = Run()
    run.prompt(1, 0)
    run.go(0, 8)
    before = dict(run.told)
    run.prompt(1, 4, x=9.0)
    run.go(0, 8)
    assert run.told[1, 6] != before[1, 6]
    run.engine.clear(1, 4)
    assert run.told[1, 4] == before[1, 4]
    run.go(0, 8)
    assert run.told == before


def test_an_object_whose_prompts_are_all_taken_back_is_nowhere():
    run = Run()
    run.prompt(1, 2)
    run.prompt(2, 0)
    run.go(0, 6)
    run.engine.clear(1, 2)
    run.go(0, 6)
    assert run.of(1) == {} and sorted(run.of(2)) == list(range(7))
    run.prompt(1, 3)
    run.go(0, 6)
    assert sorted(run.of(1)) == [3, 4, 5, 6]


def test_memory_stays_within_its_bound_and_what_was_let_go_of_is_found_again():
    small, large = Run(keep_bytes=0), Run(keep_bytes=None)
    for run in (small, large):
        run.prompt(1, 0)
        run.go(0, 22)
        run.prompt(1, 9, x=5.0)  # of frames before it nothing is left in the small one
        run.go(0, 22)
    assert small.told == large.told
    lane = small.engine.tracks[1].lane(False)
    whole = [f for f, memory in lane.memories.items() if memory.spatial.numel()]
    assert sorted(whole) == list(range(16, 23))
    assert min(lane.memories) == 22 - 15
    assert len(large.engine.tracks[1].lane(False).memories) == 21


def test_what_came_from_prompts_that_were_taken_back_is_attended_to_no_more():
    run, fresh = Run(), Run()
    run.prompt(1, 0)
    run.go(0, 9)
    run.engine.clear(1, 0)
    for one in (run, fresh):
        one.prompt(1, 5, x=3.0)
        one.go(0, 12)
    assert run.told == fresh.told and min(frame for _, frame in run.told) == 5


def test_a_prompt_given_anew_after_a_pass_is_answered_as_before_it():
    run, fresh = Run(), Run()
    run.prompt(1, 0)
    run.go(0, 9)
    fresh.prompt(1, 0)
    for one in (run, fresh):
        one.prompt(1, 0, x=3.0)
        one.go(0, 9)
    assert run.told == fresh.told


def test_a_pass_that_begins_behind_an_edit_makes_up_for_what_it_skips():
    run, fresh = Run(), Run()
    for one in (run, fresh):
        one.prompt(1, 0)
        one.go(0, 9)
        one.prompt(1, 2, x=3.0)
    run.go(8, 12)
    fresh.go(0, 12)
    assert all(run.told[1, f] == fresh.told[1, f] for f in range(8, 13))


def test_results_that_were_let_go_of_are_told_again_from_memory_or_followed_again():
    run = Run()
    run.prompt(1, 2)
    run.go(2, 9)
    run.go(2, 0, reverse=True)
    before, looks = dict(run.told), len(run.work.looked)
    run.told.clear()
    run.go(0, 9)
    assert run.told == before and len(run.work.looked) == looks
    run.told.clear()
    for lane in run.engine.tracks[1].lanes:
        lane.memories.clear()
    run.go(0, 9)
    assert run.told == before and len(run.work.looked) > looks


def test_the_last_frame_can_be_corrected_by_what_is_kept_for_the_next():
    small, large = Run(keep_bytes=0), Run(keep_bytes=None)
    for run in (small, large):
        run.prompt(1, 0)
        run.go(0, 20)
        run.work.looked.clear()
        run.prompt(1, 20, x=3.0)
        assert run.work.looked == [20]
    assert small.told == large.told


def test_a_prompt_on_a_frame_that_cannot_be_read_makes_no_object():
    run = Run()
    run.work.maps = lambda frame: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run.prompt(1, 0)
    assert not run.engine.tracks


def test_a_stream_keeps_the_last_prompted_frames_alone():
    run = Run(how=Following(rules=RecallRules(max_prompted=2)))
    for frame in range(0, 20, 4):
        run.prompt(1, frame, x=float(frame))
        run.engine.take_up()
        run.engine.forget_prompted(2)
    assert list(run.engine.tracks[1].prompted) == [12, 16]


def test_under_official_rules_each_pass_follows_again_and_prompts_to_come_are_attended_to():
    run = Run(how=Following(causal=False))
    run.prompt(1, 0)
    run.go(0, 3)
    before = run.of(1)
    run.prompt(1, 6, x=2.0)
    run.go(0, 3)
    assert all(run.told[1, f] != before[f] for f in (1, 2, 3))


PROMPT = st.tuples(
    st.just("prompt"), st.integers(1, 3), st.integers(0, COUNT - 1), st.integers(0, 3)
)
CLEAR = st.tuples(st.just("clear"), st.integers(1, 3), st.integers(0, COUNT - 1))
PASS = st.tuples(st.just("go"), st.integers(0, COUNT - 1), st.integers(0, COUNT - 1))
REMOVE = st.tuples(st.just("remove"), st.integers(1, 3))
OPS = st.lists(st.one_of(PROMPT, PASS, PROMPT, PASS, CLEAR, REMOVE), max_size=8)


def play(run, operations, only=None):
    """Do operations, of all objects or of one; removed objects stay removed."""
    gone = set()
    for name, *facts in operations:
        if name == "go":
            first, last = facts
            run.go(first, last, reverse=last < first)
            continue
        one = facts[0]
        if one in gone or (only is not None and one != only):
            continue
        if name == "prompt":
            run.prompt(one, facts[1], x=float(facts[2]))
        elif one in run.engine.tracks:
            if name == "clear":
                run.engine.clear(one, facts[1])
            else:
                run.remove(one)
                gone.add(one)


@settings(max_examples=30)
@given(OPS)
def test_v14_whatever_is_done_to_objects_changes_no_other(operations):
    together = Run()
    play(together, operations)
    for one in (1, 2, 3):
        alone = Run()
        play(alone, operations, only=one)
        assert together.of(one) == alone.of(one)


@settings(max_examples=30)
@given(OPS)
def test_v14_frames_before_an_edit_stay(operations):
    run = Run()
    play(run, operations)
    run.go(0, COUNT - 1)
    before = run.of(1)
    if 1 not in run.engine.tracks:
        return
    run.prompt(1, 12, x=77.0)
    run.go(0, COUNT - 1)
    assert {f: one for f, one in run.of(1).items() if f < 12} == {
        f: one for f, one in before.items() if f < 12
    }


@settings(max_examples=10)  # each goes over all frames many times
@given(OPS)
def test_bounded_memory_gives_what_unbounded_memory_gives(operations):
    results = []
    for bound in (None, 0, 30_000):
        run = Run(keep_bytes=bound)
        for operation in operations:
            play(run, [operation])
            if operation[0] != "go":
                run.go(0, COUNT - 1)  # so that nothing stale is attended to
                run.go(COUNT - 1, 0, reverse=True)
        results.append(run.told)
    assert results[0] == results[1] == results[2]
