"""Runs of frame numbers behave as a set of them does."""

from hypothesis import given
from hypothesis import strategies as st

from anymask.predict.video_spans import Spans

FRAME = st.integers(0, 12)
OPS = st.lists(st.tuples(st.sampled_from(["add", "drop", "drop_from", "drop_to"]), FRAME))


@given(OPS)
def test_runs_of_frames_hold_what_a_set_holds(operations):
    spans, plain = Spans(), set()
    for name, frame in operations:
        getattr(spans, name)(frame)
        if name == "add":
            plain.add(frame)
        elif name == "drop":
            plain.discard(frame)
        else:
            plain = {f for f in plain if (f < frame if name == "drop_from" else f > frame)}
        assert list(spans) == sorted(plain)
        assert all((f in spans) == (f in plain) for f in range(-1, 14))
        assert bool(spans) == bool(plain)


def test_a_video_that_was_passed_once_is_one_run():
    spans = Spans()
    for frame in range(100_000):
        spans.add(frame)
    assert spans._firsts == [0] and spans._lasts == [99_999]
