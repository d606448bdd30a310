"""The books of a run: its manifest and its journal."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymask.errors import RunError
from anymask.formats.run_journal import Entry, Final, Journal
from anymask.formats.run_manifest import Inputs, Plan, read_inputs, read_plan, write_manifest

NAMES = st.text(min_size=1, max_size=8)
PLAN = Plan(
    kind="copy",
    version="1",
    settings={"side": 32, "name": "é", "none": None},
    machine={"device": "cpu"},
    memory_mb=64,
)


def entry(name: str, **changes: object) -> Entry:
    given = {"input": "1" * 64, "plan": "p", "files": ((f"{name}.json", "2" * 64),)}
    return Entry(name=name, **given | changes)  # type: ignore[arg-type]


# the manifest


@given(lines=st.lists(st.tuples(NAMES, st.none() | st.just("0" * 64)), max_size=5))
def test_a_manifest_reads_back_and_is_json(tmp_path_factory, lines) -> None:
    path = tmp_path_factory.mktemp("run") / "run.json"
    write_manifest(path, PLAN, lines)
    assert read_plan(path) == PLAN
    assert list(read_inputs(path)) == lines
    table = json.loads(path.read_text("ascii"))
    assert [line["name"] for line in table["inputs"]] == [name for name, _ in lines]


@pytest.mark.parametrize("text", ["", "{}", "[]\n", '{"kind": "copy"', "\xff"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError) as caught:
        read_plan(tmp_path / "run.json")
    assert caught.value.code == "run-broken"
    assert read_plan(tmp_path / "missing.json") is None


def test_a_manifest_whose_inputs_are_broken_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path / "run.json", PLAN, [("a", None)])
    text = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(text.replace('"name"', '"nam"'))
    with pytest.raises(RunError):
        list(read_inputs(tmp_path / "run.json"))


@given(names=st.lists(NAMES, unique=True, max_size=20), other=NAMES)
def test_inputs_are_found_by_name_and_content(names: list[str], other: str) -> None:
    inputs = Inputs.of((name, f"of {name}") for name in names)
    for place, name in enumerate(names):
        assert inputs.find(name) == inputs.holds(name, f"of {name}") == place
        assert inputs.holds(name, "else") is None
    assert (inputs.find(other) is None) == (other not in names)


@given(
    before=st.dictionaries(NAMES, st.sampled_from(["1", "2"]), max_size=8),
    now=st.dictionaries(NAMES, st.sampled_from(["1", "2"]), max_size=8),
)
def test_what_is_new_and_what_differs_is_found(before: dict[str, str], now: dict[str, str]) -> None:
    old, new = Inputs.of(before.items()), Inputs.of(now.items())
    assert np.array_equal(new.lacking(old), [name not in before for name in now])
    differs = [name in before and before[name] != text for name, text in now.items()]
    assert np.array_equal(new.differing(old), differs)


def test_the_machine_is_no_part_of_what_results_depend_on() -> None:
    same = Plan(kind="copy", version="1", settings=PLAN.settings, machine={}, memory_mb=1)
    other = Plan(kind="copy", version="2", settings=PLAN.settings, machine={}, memory_mb=1)
    assert PLAN.digest == same.digest != other.digest
    assert other.differences(PLAN) == ["anymask: '1', now '2'"]
    assert same.moved(PLAN) == ["device: 'cpu', now default"]


# the journal


@given(names=st.lists(NAMES, max_size=4))
def test_a_journal_reads_back(tmp_path_factory, names: list[str]) -> None:
    journal = Journal(tmp_path_factory.mktemp("run") / "journal")
    for name in names:
        journal.announce(entry(name, facts={"masks": 3}))
        journal.done(entry(name))
    journal.final(Final(path="all.json", sha256="3"))
    journal.close()
    *entries, final = journal.read()
    assert entries == [entry(name, facts={"masks": 3}) for name in names]
    assert final == Final(path="all.json", sha256="3")


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_f1_what_a_kill_cut_off_was_not_done(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path / "journal")
    for name in "ab":
        journal.announce(entry(name))
        journal.done(entry(name))
    journal.close()
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-cut])
    first, *rest = journal.read()
    assert first == entry("a")
    assert all(not each.done for each in rest if isinstance(each, Entry))
    assert journal.torn == (not whole[:-cut].endswith(b"\n"))


def test_f1_what_was_announced_and_not_done_is_told_apart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert not journal.begun
    journal.announce(entry("a"))
    journal.announce(entry("b"))
    journal.done(entry("b"))
    journal.close()
    assert [(each.name, each.done) for each in journal.read() if isinstance(each, Entry)] == [
        ("a", False),
        ("b", True),
    ]


@pytest.mark.parametrize("line", [b"nothing\n", b"[]\n", b"{}\n", b'{"a": 1}\n'])
def test_a_whole_line_that_is_none_of_ours_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "journal").write_bytes(line)
    with pytest.raises(RunError) as caught:
        list(Journal(tmp_path / "journal").read())
    assert "line 1" in str(caught.value)


def test_f1_arranged_it_is_in_the_order_of_the_inputs_and_keeps_the_last_finals(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "journal")
    for name in "cab":
        journal.announce(entry(name))
        journal.done(entry(name))
    for sha256 in "12":
        journal.final(Final(path="all.json", sha256=sha256))
    journal.arrange("abcd".find, 4)
    assert [getattr(each, "name", "final") for each in journal.read()] == ["a", "b", "c", "final"]
    assert list(journal.read())[-1] == Final(path="all.json", sha256="2")
