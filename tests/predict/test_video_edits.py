"""Edits go to a file and come back as they were; what is no such file is told."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymask.errors import DataError, OutputError
from anymask.mask_rle import encode_rle
from anymask.predict.video_edits import Removed, SavedEdits, parse_edit

NUMBER = st.integers(0, 10**6)
PX = st.floats(0, 5000, width=32)
XY = st.tuples(PX, PX)
POINTS = st.lists(st.tuples(XY, st.integers(0, 1)), max_size=4)


MASKS = [
    (2, 3, encode_rle(np.array(bits, bool).reshape(2, 3))["counts"])
    for bits in ([0] * 6, [1] * 6, [0, 1, 1, 0, 0, 1])
]


@st.composite
def prompted(draw):
    points = draw(POINTS)
    mask = draw(st.none() | st.sampled_from(MASKS)) if not points else None
    return {
        "edit": "prompted",
        "frame": draw(NUMBER),
        "object_id": draw(NUMBER),
        "points": [xy for xy, _ in points],
        "labels": [label for _, label in points],
        "box": None if mask else draw(st.none() | st.tuples(PX, PX, PX, PX)),
        "mask": mask,
    }


def row(edit, **facts):
    return st.fixed_dictionaries({"edit": st.just(edit), **facts})


ROWS = st.lists(
    st.one_of(
        prompted(),
        row("cleared", frame=NUMBER, object_id=NUMBER),
        row("removed", object_id=NUMBER),
        row("passed", first=NUMBER, last=NUMBER, reverse=st.booleans()),
    ),
    max_size=6,
)


def saved(edits=(), count=None) -> SavedEdits:
    return SavedEdits(
        variant="moving", fingerprint="ab" * 32, size=(40, 60), count=count, edits=tuple(edits)
    )


@given(ROWS, st.none() | NUMBER)
def test_edits_come_back_as_they_were(tmp_path_factory, rows, count):
    edits = [parse_edit(row) for row in rows]  # here: type checks draw random numbers
    path = tmp_path_factory.mktemp("edits") / "session.json"
    whole = saved(edits, count)
    whole.write(path)
    assert SavedEdits.read(path) == whole
    assert len(path.read_text().splitlines()) == max(len(edits), 1) + 2  # an edit a line


def test_a_file_that_is_there_is_replaced_only_when_told(tmp_path):
    path = tmp_path / "session.json"
    saved().write(path)
    with pytest.raises(OutputError, match="file-exists"):
        saved().write(path)
    saved([Removed(object_id=3)]).write(path, overwrite=True)
    assert SavedEdits.read(path).edits == (Removed(object_id=3),)
    assert [file.name for file in tmp_path.iterdir()] == ["session.json"]


def broken(change) -> bytes:
    table = {
        "anymask": "video-edits",
        "format": 1,
        "variant": "moving",
        "fingerprint": "ab",
        "size": [40, 60],
        "count": None,
        "edits": [{"edit": "prompted", "frame": 0, "object_id": 1, "points": [[1, 2]],
                   "labels": [1], "box": None, "mask": None}],
    }  # fmt: skip
    change(table)
    return json.dumps(table).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        broken(lambda t: t.update(format=2)),
        broken(lambda t: t.update(size=[40])),
        broken(lambda t: t.update(count=-1)),
        broken(lambda t: t.pop("edits")),
        broken(lambda t: t["edits"][0].update(edit="painted")),
        broken(lambda t: t["edits"][0].update(frame=1.5)),
        broken(lambda t: t["edits"][0].update(object_id=True)),
        broken(lambda t: t["edits"][0].update(points=[[1]])),
        broken(lambda t: t["edits"][0].update(box=[1, 2, 3])),
        broken(lambda t: t["edits"][0].update(mask=[2, 3, "999"])),
        broken(lambda t: t["edits"][0].update(colour="red")),
        broken(lambda t: t["edits"].append({"edit": "passed", "first": 0, "last": 1})),
    ],
)
def test_what_is_no_file_of_edits_is_told(tmp_path, data):
    path = tmp_path / "session.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match="edits-broken"):
        SavedEdits.read(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="edits-missing"):
        SavedEdits.read(tmp_path / "none.json")
