"""A folder that a run over many inputs fills: resumable after a kill at any moment, to the bit.

    OUT/                 results, and files made of all of them
    OUT/.anymask/run.json        what is asked of which inputs      (run_manifest)
    OUT/.anymask/journal.jsonl   which results are in place         (run_journal)
    OUT/.anymask/lock            who is at work                     (run_lock)
    OUT/.anymask/new/            files that have no name yet

The results of an input are written into ``new`` first, announced in the journal, then given their
names, none of which may be taken. What the journal announces is ours, everything else is not: it
is neither replaced nor removed.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from anymask.errors import OutputError, RunError
from anymask.formats.atomic import Writer, ensure_folder, naming, place, sweep, write_atomic
from anymask.formats.names import check_clashes, inside, safe_relative
from anymask.formats.run_files import Staged, changed, content_hash, empty, take_back, taken
from anymask.formats.run_inputs import Again, Item, Source
from anymask.formats.run_journal import Entry, Final, Journal
from anymask.formats.run_lock import RunLock
from anymask.formats.run_manifest import (
    Inputs,
    Plan,
    changes,
    read_inputs,
    read_plan,
    write_manifest,
)

STATE = ".anymask"
FAILURES = "failures.jsonl"
_LEAST_MB = 16  # a budget is not halved below


class RunFolder:
    """What is asked, what is done, and putting results in place. Use as a context.

    Parameters
    ----------
    root
        The folder.
    plan
        What is asked.
    source
        Of which inputs.
    planned
        From an input's name to the paths of its results, as far as they are known beforehand, and
        of folders that will hold nothing else; the first tells inputs apart.
    finals
        Paths of files that will be made of all results.
    accept
        Go on although settings or inputs are not what they were.
    looked
        Told how many inputs have been looked at.
    """

    def __init__(
        self,
        root: Path,
        *,
        plan: Plan,
        source: Source,
        planned: Callable[[str], Sequence[str]],
        finals: Sequence[str] = (),
        accept: bool = False,
        looked: Callable[[int], object] = lambda count: None,
    ) -> None:
        self.root, self.state = root, root / STATE
        self.plan, self.source = plan, source
        self._planned, self._finals = planned, (*finals, FAILURES)
        self._accept, self._looked = accept, looked
        self._made = False
        self.lock = RunLock(self.state / "lock")
        self.journal = Journal(self.state / "journal.jsonl")
        self.manifest, self.newer = self.state / "run.json", self.state / "run.new.json"
        self.new = self.state / "new"
        self.inputs = Inputs.of(())
        self.kept: dict[str, int] = {}  # sums of the facts of what is done
        self._done = bytearray()
        self._known: dict[str, set[str]] = {}  # finals, and every content that they were given
        self._last = -1  # place of the input that was done last
        self._ordered = True

    def __enter__(self) -> "RunFolder":
        self._check_names()
        self._made = not self.root.exists()
        ensure_folder(self.root)
        with naming(self.state):
            self.state.mkdir(exist_ok=True)
        self.lock.take()
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of inputs."""
        return len(self._done)

    def items(self) -> Iterator[Item]:
        """All inputs in their order, from the manifest: what comes later is not of this run."""
        for index, (name, sha256) in enumerate(read_inputs(self.manifest)):
            yield Item(
                index=index,
                name=name,
                path=self.source.locate(name),
                sha256=sha256,
                done=bool(self._done[index]),
            )

    def keep(
        self, item: Item, files: Sequence[Staged], facts: Mapping[str, Any] | None = None
    ) -> None:
        """Put the results of an input in place.

        Raises
        ------
        OutputError
            ``file-exists``: somebody else has put a file there; else as `write_atomic`. None of
            the results is in place then.
        """
        entry = Entry(
            name=item.name,
            input=item.sha256,
            plan=self.plan.digest,
            files=tuple((file.path, file.sha256) for file in files),
            facts=facts or {},
        )
        self.lock.check()
        self.journal.announce(entry)
        begun: list[tuple[str, str]] = []

        def targets() -> Iterator[tuple[Path, Path]]:
            for file in files:
                begun.append((file.path, file.sha256))
                yield file.at, self._target(file.path)

        try:
            place(targets())
        except BaseException as error:
            take_back(self.root, begun[:-1])  # the last one is whatever is in the way
            if isinstance(error, OutputError) and error.code == "file-exists":
                raise taken(Path(error.where or self.root)) from error
            raise
        self.journal.done(entry)
        self._mark(item.index, entry)

    def final(self, path: str, data: bytes | Writer | Path) -> Path:
        """Put a file made of all results in place; an earlier one of this run is replaced.

        Parameters
        ----------
        path
            Below the run's folder.
        data
            Its content; or where it lies, in the folder for files without a name.

        Raises
        ------
        OutputError
            ``file-exists``, ``result-changed``: what is there is not what this run wrote.
        """
        target = self._target(path)
        at = data if isinstance(data, Path) else self.new / "final"
        if not isinstance(data, Path):
            write_atomic(at, data, overwrite=True)
        sha256 = str(content_hash(at))
        known = self._known.setdefault(path, set())
        there = os.path.lexists(target)
        if there and content_hash(target) not in known:
            raise changed(target) if known else taken(target)
        self.journal.final(Final(path=path, sha256=sha256))
        known.add(sha256)
        if there:
            with naming(target):
                os.replace(at, target)  # noqa: PTH105 - tests count the calls of os
        else:
            place([(at, target)])
        return target

    def fail(self, item: Item, code: str, message: str) -> None:
        """Add an input that failed to the list of those, where there are several inputs."""
        if len(self) > 1:
            line = json.dumps({"path": item.name, "code": code, "message": message}) + "\n"
            path = self.root / FAILURES
            with naming(path), path.open("ab") as file:
                file.write(line.encode("ascii"))

    def halve_memory(self) -> int | None:
        """Allow half from now on, and write so in the manifest; None where that is too little."""
        half = self.plan.memory_mb // 2
        if half < _LEAST_MB:
            return None
        self.plan = replace(self.plan, memory_mb=half)
        write_manifest(self.manifest, self.plan, read_inputs(self.manifest))
        return half

    def settle(self) -> None:
        """Bring the journal into the inputs' order, so that equal runs leave equal folders."""
        if not self._ordered or self._known:
            self.journal.arrange(self.inputs.find, len(self))
            self.journal.close()
        self._ordered = True

    def close(self) -> None:
        """Let go; a folder in which nothing was done is left as it was found."""
        try:
            self.journal.close()
            with contextlib.suppress(OSError, OutputError):
                if self.new.is_dir():
                    empty(self.new)
                self.newer.unlink(missing_ok=True)
            failed = self.manifest.exists() and (self.root / FAILURES).exists()
            if not any(self._done) and not failed and not self.journal.begun:
                self._discard()
        finally:
            self.lock.release()

    def _open(self) -> None:
        with naming(self.new):
            self.new.mkdir(exist_ok=True)
            sweep(self.state)
            empty(self.new)
        old = read_plan(self.manifest)
        written = Inputs.of(
            (record.name, None) for record in self.journal.read() if isinstance(record, Entry)
        )
        begun = self.journal.begun
        if begun and old is None:
            raise RunError("run-broken", "the manifest is gone", where=str(self.manifest))
        if old is not None and self.plan.machine == old.machine:
            self.plan = replace(self.plan, memory_mb=old.memory_mb)  # batches stay as they were
        self._check_finals(old is not None)
        newer = self.newer
        write_manifest(newer, self.plan, self._look(written))
        self.inputs = Inputs.of(read_inputs(newer))
        differs = old is not None and begun and self._compare(newer, old)
        with naming(self.manifest):
            os.replace(newer, self.manifest)  # noqa: PTH105 - tests count the calls of os
        self._reconcile(differs)

    def _check_names(self) -> None:
        """Refuse names that cannot be written, before anything is."""
        check_clashes(Again(lambda: (self._planned(name)[0] for name in self.source.names())))
        for name in self.source.names():
            for path in self._planned(name):
                safe_relative(path)

    def _check_finals(self, resumed: bool) -> None:
        """Refuse to start where a file of all results would meet one that is not ours."""
        for record in self.journal.read():
            if isinstance(record, Final):
                self._known.setdefault(record.path, set()).add(record.sha256)
        for path in self._finals:
            ours = path in self._known or (resumed and path == FAILURES)
            if not ours and os.path.lexists(self.root / path):
                raise taken(self.root / path)

    def _look(self, written: Inputs) -> Iterator[tuple[str, str | None]]:
        """Name and content of each input, whose results will not meet files that are not ours."""
        folder: Path | None = None
        for count, name in enumerate(self.source.names(), 1):
            for path in self._planned(name) if written.find(name) is None else ():
                target = self.root / path
                if target.parent != folder:  # a million inputs lie in few folders
                    folder = target.parent
                    inside(self.root, PurePosixPath(path))
                if os.path.lexists(target):
                    raise taken(target)
            yield name, content_hash(Path(self.source.locate(name)))
            self._looked(count)

    def _compare(self, newer: Path, old: Plan) -> bool:
        """Whether anything is not as it was; refused unless accepted."""
        before = Inputs.of(read_inputs(self.manifest))
        found = changes(self.manifest, newer, self.plan, old, (before, self.inputs))
        if found and not self._accept:
            raise RunError(
                "run-changed",
                f"this folder holds a run of other inputs or settings ({'; '.join(found)})",
                where=str(self.root),
                hint="pass --accept-changes to make anew what depends on that, or choose another "
                "folder",
            )
        for record in self.journal.read() if found else ():
            if isinstance(record, Entry) and record.done and self._place(record) is None:
                for path, sha256 in record.files:  # which will be removed
                    if content_hash(self.root / path) not in (sha256, None):
                        raise changed(self.root / path)
        return bool(found)

    def _reconcile(self, differs: bool) -> None:
        """Take back what is not whole or no longer asked for; mark what is done."""
        self._done = bytearray(len(self.inputs.names))
        dirty = self.journal.torn
        for record in self.journal.read():
            if isinstance(record, Entry):
                place = self._place(record)
                if place is None or not record.done or not self._is_whole(record):
                    take_back(self.root, record.files)
                    dirty = True
                else:
                    self._mark(place, record)
        if differs:
            some = [(path, sha256) for path, known in self._known.items() for sha256 in known]
            take_back(self.root, some)
            self._known = {}
        if dirty or differs:
            self.journal.rewrite(r for r in self.journal.read() if self._is_kept(r))
        with naming(self.root / FAILURES):
            (self.root / FAILURES).unlink(missing_ok=True)  # the same ones will be tried again

    def _place(self, entry: Entry) -> int | None:
        """Of the input, if the results are what the plan makes of its content."""
        fits = entry.plan == self.plan.digest
        return self.inputs.holds(entry.name, entry.input) if fits else None

    def _is_whole(self, entry: Entry) -> bool:
        return all(os.path.lexists(self.root / path) for path, _ in entry.files)

    def _is_kept(self, record: Entry | Final) -> bool:
        if isinstance(record, Final):
            return record.path in self._known
        place = self._place(record) if record.done else None
        return place is not None and bool(self._done[place])

    def _mark(self, index: int, entry: Entry) -> None:
        """Count an input as done."""
        self._done[index] = True
        self._ordered &= index > self._last
        self._last = index
        for key, value in entry.facts.items():
            self.kept[key] = self.kept.get(key, 0) + value

    def _target(self, path: str) -> Path:
        return inside(self.root, safe_relative(path))

    def _discard(self) -> None:
        """Remove our own files of a run that has no results."""
        with contextlib.suppress(OSError):
            for path in (self.manifest, self.journal.path, self.lock.path):
                path.unlink(missing_ok=True)
            self.new.rmdir()
            self.state.rmdir()
            if self._made:
                self.root.rmdir()
