"""The journal of a folder run: which results are in place, and which were about to be.

Before files get their names, a line says which and with what content; another line says when all
are in place. So after a kill it is known of every file whether this run wrote it: what was only
announced is taken back if its content is the announced one, and nothing else is ever touched.

    {"name": "a.jpg", "input": "<SHA-256>", "plan": "...", "files": [["a.jpg.json", "<SHA-256>"]],
     "facts": {...}}
    {"done": "a.jpg"}
    {"final": "coco.json", "sha256": "..."}
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import IO, Any

from anymask.errors import RunError
from anymask.formats.atomic import naming, write_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The results of one input.

    Attributes
    ----------
    name
        The input's.
    input
        SHA-256 of its content.
    plan
        The plan that they were made by; see `Plan.digest`.
    files
        Path below the run's folder, with ``/``, and SHA-256 of each.
    facts
        What is worth knowing of them without reading them; JSON.
    done
        All are in place.
    """

    name: str
    input: str | None
    plan: str
    files: tuple[tuple[str, str], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    done: bool = True

    @property
    def lines(self) -> bytes:
        """As the journal has a finished one."""
        return self.announcement + _line({"done": self.name})

    @property
    def announcement(self) -> bytes:
        """The line before the files are in place."""
        files = [list(pair) for pair in self.files]
        of = {"name": self.name, "input": self.input, "plan": self.plan}
        return _line({**of, "files": files, "facts": self.facts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """A file made of all results.

    Attributes
    ----------
    path
        Below the run's folder.
    sha256
        Of its content.
    """

    path: str
    sha256: str

    @property
    def lines(self) -> bytes:
        """As the journal has it."""
        return _line({"final": self.path, "sha256": self.sha256})


class Journal:
    """Lines that are added one by one, each kept on disk before the next step.

    Parameters
    ----------
    path
        Its file; made when needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None

    def read(self) -> Iterator[Entry | Final]:
        """All that is in it, in its order; what a kill cut off at the end is left out.

        Raises
        ------
        RunError
            ``run-broken``: a whole line is none of ours.
        """
        if not self.path.exists():
            return
        waiting: Entry | None = None
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                table = self._parse(line, number)
                if waiting is not None:
                    done = table.get("done") == waiting.name
                    yield waiting if done else _open(waiting)
                    waiting = None
                if "final" in table:
                    yield Final(path=table["final"], sha256=table["sha256"])
                elif "name" in table:
                    waiting = _entry(table)
        if waiting is not None:
            yield _open(waiting)

    def announce(self, entry: Entry) -> None:
        """Say which files will be put in place."""
        self._append(entry.announcement)

    def done(self, entry: Entry) -> None:
        """Say that they are."""
        self._append(_line({"done": entry.name}))

    def final(self, final: Final) -> None:
        """Say which file of all results will be put in place."""
        self._append(final.lines)

    @property
    def begun(self) -> bool:
        """Whether anything is in it."""
        return next(self.read(), None) is not None

    @property
    def torn(self) -> bool:
        """Whether its last line was cut off."""
        if not self.path.exists() or not self.path.stat().st_size:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def rewrite(self, records: Iterable[Entry | Final]) -> None:
        """Put these in place of all lines; `records` may come from `read`."""
        self.close()

        def write(file: IO[bytes]) -> None:
            for record in records:
                file.write(record.lines)

        write_atomic(self.path, write, overwrite=True)

    def arrange(self, place: Callable[[str], int | None], count: int) -> None:
        """Bring the finished entries into their inputs' order, then the last of each final.

        Parameters
        ----------
        place
            From a name to its place among the inputs.
        count
            Number of inputs.
        """
        self.close()
        starts = [-1] * count
        finals: dict[str, Final] = {}
        for record, offset in self._with_offsets():
            at = place(record.name) if isinstance(record, Entry) else None
            if isinstance(record, Final):
                finals[record.path] = record
            elif at is not None:
                starts[at] = offset
        with self.path.open("rb") as source:

            def write(file: IO[bytes]) -> None:
                for offset in starts:
                    if offset >= 0:
                        source.seek(offset)
                        file.write(source.readline() + source.readline())
                for path in sorted(finals):
                    file.write(finals[path].lines)

            write_atomic(self.path, write, overwrite=True)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _with_offsets(self) -> Iterator[tuple[Entry | Final, int]]:
        """Finished entries and finals, and where their lines begin."""
        with self.path.open("rb") as file:
            offset, last = 0, 0
            name: str | None = None
            for number, line in enumerate(file, 1):
                table = self._parse(line, number)
                if "name" in table:
                    name, last = table["name"], offset
                elif "final" in table:
                    yield Final(path=table["final"], sha256=table["sha256"]), offset
                elif table["done"] == name:
                    yield Entry(name=table["done"], input=None, plan="", files=()), last
                offset += len(line)

    def _append(self, line: bytes) -> None:
        with naming(self.path):
            if self._file is None:
                self._file = self.path.open("ab", buffering=0)  # a failed write leaves no rest
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            table = json.loads(line)
        except ValueError:
            table = None
        if not isinstance(table, dict) or not {"name", "done", "final"} & table.keys():
            raise RunError(
                "run-broken",
                f"line {number} is no line of a journal",
                where=str(self.path),
                hint="choose another folder",
            )
        return table


def _entry(table: Mapping[str, Any]) -> Entry:
    return Entry(
        name=table["name"],
        input=table["input"],
        plan=table["plan"],
        files=tuple((path, sha256) for path, sha256 in table["files"]),
        facts=table["facts"],
    )


def _open(entry: Entry) -> Entry:
    return replace(entry, done=False)


def _line(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table) + "\n").encode("ascii")
