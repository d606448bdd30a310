"""Which frames are attended to: the rules against recorded runs of SAM 2, and by hand."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymask.predict.video_recall import RecallRules, memories, nearest, passed, pointers

RUNS = json.loads((Path(__file__).parents[1] / "goldens/sam2/video_recall.json").read_text())
ATTENDING = [run for run in RUNS if any(call["steps"] for call in run["calls"])]


@dataclass
class Book:
    """What the official code notes of one object: where it was pointed at, where followed."""

    prompted: list = field(default_factory=list)
    tracked: set = field(default_factory=set)
    waiting: list = field(default_factory=list)  # (frame, is to be a prompted frame)
    directions: dict = field(default_factory=dict)


def rules_of(run) -> RecallRules:
    named = dict(text.split("=") for text in run["overrides"])
    most = named.get("max_cond_frames_in_attn")
    return RecallRules(
        stride=int(named.get("memory_temporal_stride_for_eval", 1)),
        max_prompted=None if most is None else int(most),
    )


def expected_of(run):
    """Each recorded step with the book of its object just before it."""
    books: dict[int, Book] = {}
    always = "add_all_frames_to_correct_as_cond=true" in run["overrides"]
    for call in run["calls"]:
        steps, args = iter(call["steps"]), call["args"]
        if call["call"].startswith("add_"):
            book = books.setdefault(args["obj_id"], Book())
            known = args["frame_idx"] in book.directions
            if known:
                yield next(steps), book
            if not call["fails"]:
                book.waiting.append((args["frame_idx"], always or not known))
        elif call["call"] == "propagate_in_video":
            yield from propagated(run, args, books, steps)
        assert call["fails"] or next(steps, None) is None
        if call["call"] != "propagate_in_video" and not call["call"].startswith("add_"):
            return  # removals have tests of their own


def propagated(run, args, books, steps):
    for book in books.values():
        for frame, prompted in book.waiting:
            if not prompted:
                book.tracked.add(frame)
            elif frame not in book.prompted:
                book.prompted.append(frame)
                book.tracked.discard(frame)
        book.waiting.clear()
    reverse = args.get("reverse", False)
    first = args.get("start_frame_idx", min(f for b in books.values() for f in b.prompted))
    far = args.get("max_frame_num_to_track", run["count"])
    last = max(first - far, 0) if reverse else min(first + far, run["count"] - 1)
    for frame in range(first, last - 1, -1) if reverse else range(first, last + 1):
        for book in books.values():
            if frame not in book.prompted:
                found = next(steps, None)
                if found is None:
                    return  # the run failed here
                yield found, book
                book.tracked.add(frame)
            book.directions[frame] = reverse


@pytest.mark.parametrize("run", ATTENDING, ids=lambda run: run["name"])
def test_frames_attended_to_are_those_of_the_recorded_run(run):
    rules, steps = rules_of(run), 0
    for step, book in expected_of(run):
        around = (step["frame"], book.prompted, book.tracked, rules)
        seen = memories(*around, reverse=step["reverse"])
        assert [[s.frame, s.row] for s in seen] == step["memories"]
        told = pointers(*around, reverse=step["reverse"], count=run["count"])
        assert [p.frame for p in told] == step["pointers"]
        steps += 1
    assert steps


def test_under_a_limit_the_nearest_on_both_sides_come_first():
    prompted = [0, 3, 6, 9]
    assert nearest(5, prompted, None) == (0, 3, 6, 9)
    assert nearest(5, prompted, 4) == (0, 3, 6, 9)
    assert nearest(5, prompted, 2) == (3, 6)
    assert nearest(5, prompted, 3) == (3, 6, 9)
    assert nearest(6, prompted, 2) == (3, 6)
    assert nearest(12, prompted, 2) == (9, 6)
    assert nearest(0, prompted, 2) == (0, 3)
    assert nearest(5, prompted, 1) == (3,)
    assert nearest(0, prompted, 1) == (0,)


def test_a_prompted_frame_beyond_the_limit_is_recalled_as_a_tracked_one():
    rules = RecallRules(max_prompted=2)
    seen = memories(5, [0, 2, 3, 9], {1, 4}, rules)
    assert [(s.frame, s.row) for s in seen] == [(3, 6), (9, 6), (0, 4), (1, 3), (2, 2), (4, 0)]
    told = pointers(5, [0, 2, 3, 9], {1, 4}, rules, count=20)
    assert [(p.frame, p.gap) for p in told] == [(3, 2), (4, 1), (2, 3), (1, 4), (0, 5)]


def test_pointers_of_frames_to_come_are_told_only_where_asked_with_a_negative_gap():
    rules = RecallRules(past_pointers=False)
    told = pointers(5, [0, 9], {4}, rules, count=20)
    assert [(p.frame, p.gap) for p in told] == [(0, 5), (9, -4), (4, 1)]
    back = pointers(5, [0, 9], {6}, rules, reverse=True, count=20)
    assert [(p.frame, p.gap) for p in back] == [(0, -5), (9, 4), (6, 1)]


def test_v10_a_single_frame_and_a_short_video_reach_no_further_than_they_have_frames():
    assert RecallRules().reach(1) == 0
    assert RecallRules().reach(2) == 1
    assert RecallRules().reach(10) == 9
    assert RecallRules().reach(100) == RecallRules().reach(None) == 15
    assert RecallRules().share(0, 1) == 0.0
    assert RecallRules().share(3, 10) == 1 / 3
    assert pointers(0, [], set(), RecallRules(), count=1) == ()
    assert pointers(5, [], {3, 4}, RecallRules(pointers=1), count=9) == ()
    assert memories(0, [], set(), RecallRules()) == ()


@given(st.integers(0, 60), st.integers(1, 5), st.integers(2, 9), st.booleans())
def test_going_back_is_going_forward_seen_in_a_mirror(frame, stride, count, reverse):
    rules = RecallRules(memories=count, stride=stride)
    far = 60 * stride  # a multiple of the stride, so that multiples stay multiples
    ahead = passed(frame, rules, reverse)
    mirrored = [(far - at, row) for at, row in passed(far - frame, rules, not reverse)]
    assert ahead == mirrored
    assert max(abs(at - frame) for at, _ in ahead) <= rules.window
