"""A run over many inputs: one by one, failures of some do not stop the others.

An input that needs too much memory is tried again with half of it, one that ends its worker's
process is tried again alone; then it counts as failed. A full disk, a lost device or weights that
are not there end the run: what is done stays whole, and the same run goes on from there.
"""

import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from anymask.errors import (
    AnymaskError,
    DataError,
    ImageError,
    MissingExtraError,
    Note,
    OutputError,
    PromptError,
    RunError,
    VideoError,
)
from anymask.formats.run_files import Staged, stage
from anymask.formats.run_folder import RunFolder
from anymask.formats.run_inputs import Item

OUT_OF_MEMORY, DIED, BUG = "out-of-memory", "worker-died", "bug"
UNPREPARED = "worker-failed"

_OF_ONE_INPUT = (ImageError, PromptError, DataError, VideoError, MissingExtraError)
_CODES_OF_ONE_INPUT = {OUT_OF_MEMORY, DIED, BUG}
_MEMORY_CODES = {"device-memory"}
_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "Insufficient memory")
_KILLED = 9  # the signal by which systems free memory
_STILLBORN = 3  # inputs: if the worker dies at each of the first ones, it is not their fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What a job makes of an input.

    Attributes
    ----------
    files
        Path below the run's folder, with ``/``, and content of each, the one to show first. They
        are made and written one by one.
    facts
        Counts that are summed up over all inputs.
    notes
        How the input was understood.
    """

    files: Iterable[tuple[str, bytes]]
    facts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@runtime_checkable
class Job(Protocol):
    """What is done with every input, in three steps; made of plain values, to be sent around."""

    def read(self, item: Item) -> Any:
        """The input; errors are its own."""

    def prepare(self, memory_mb: int) -> None:
        """Load what all inputs need, once; errors end the run."""

    def make(self, item: Item, read: Any, memory_mb: int) -> Product:
        """The files; errors are the input's, or end the run by their kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was made of an input; its files have no names yet."""

    files: tuple[Staged, ...]
    facts: Mapping[str, int]
    notes: tuple[Note, ...]


class WorkerDiedError(Exception):
    """The process that worked on an input has ended.

    Attributes
    ----------
    code
        Its exit code; negative for a signal.
    """

    def __init__(self, code: int | None) -> None:
        self.code = code
        super().__init__(code)

    def __str__(self) -> str:
        if self.code is not None and self.code < 0:
            return f"signal {-self.code} ended the process that worked on it"
        return f"the process that worked on it ended with exit code {self.code}"


@runtime_checkable
class Worker(Protocol):
    """Who does a job."""

    def work(self, item: Item, memory_mb: int) -> Done:
        """Do it for one input."""

    def close(self) -> None:
        """End."""


@runtime_checkable
class Watcher(Protocol):
    """Who is told how a run goes."""

    def kept(self, item: Item) -> None:
        """An input was done before."""

    def done(self, item: Item, done: Done) -> None:
        """An input's results are in place."""

    def failed(self, item: Item, error: AnymaskError) -> None:
        """An input has failed for good."""

    def remark(self, text: str) -> None:
        """Something happened that needs no answer."""


class Here:
    """Does a job in this process.

    Parameters
    ----------
    job
        The job.
    new
        Folder for files without a name.
    """

    def __init__(self, job: Job, new: Path) -> None:
        self.job, self.new = job, new

    def work(self, item: Item, memory_mb: int) -> Done:
        """Do it for one input."""
        return perform(self.job, item, memory_mb, self.new)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many inputs were done, done before, and failed.

    Attributes
    ----------
    first
        The first error of an input.
    gave_up
        Why the run ended before the last input, if too many had failed.
    facts
        Sums over all that is done.
    """

    done: int = 0
    kept: int = 0
    failed: int = 0
    first: AnymaskError | None = None
    gave_up: RunError | None = None
    facts: dict[str, int] = field(default_factory=dict)


def run_items(
    folder: RunFolder,
    worker: Worker,
    watcher: Watcher,
    *,
    stopped: Callable[[], object] = lambda: False,
    max_failures: int | None = None,
) -> Tally:
    """Work on every input that is not done.

    Parameters
    ----------
    folder
        Open.
    worker
        Who does it; not closed here.
    watcher
        Who is told.
    stopped
        Asked between two inputs; true ends the run in order.
    max_failures
        So many inputs may fail; with one more the run gives up.

    Raises
    ------
    RunError
        ``disk-full`` and other codes of `write_atomic`; what is done stays.
    AnymaskError
        What stops every input alike, as the worker raised it.
    """
    tally = Tally(facts=dict(folder.kept))
    for item in folder.items():
        if item.done:
            tally.kept += 1
            watcher.kept(item)
            continue
        if stopped():
            break
        try:
            done = _attempt(folder, worker, watcher, item)
            folder.keep(item, done.files, done.facts)
        except OutputError as error:
            raise _halted(folder, tally, error) from error
        except AnymaskError as error:
            if not isinstance(error, _OF_ONE_INPUT) and error.code not in _CODES_OF_ONE_INPUT:
                raise
            tally.failed += 1
            tally.first = tally.first or error
            try:
                folder.fail(item, error.code, str(error))
            except OutputError as full:
                raise _halted(folder, tally, full) from full
            watcher.failed(item, error)
            if error.code == DIED and tally.failed == _STILLBORN and not tally.done:
                raise RunError(
                    UNPREPARED,
                    f"no worker lives: {error.problem}",
                    where=item.name,
                    hint="does anymask doctor find anything? Is there memory for the model?",
                ) from error
            if max_failures is not None and tally.failed > max_failures:
                tally.gave_up = RunError(
                    "too-many-failures",
                    f"{tally.failed} inputs have failed, and {max_failures} may",
                    where=str(folder.root),
                    hint="see failures.jsonl there; the same command goes on from here",
                )
                break
        else:
            tally.done += 1
            for key, value in done.facts.items():
                tally.facts[key] = tally.facts.get(key, 0) + value
            watcher.done(item, done)
    return tally


def perform(job: Job, item: Item, memory_mb: int, new: Path) -> Done:
    """Do a job and write its files, without names yet.

    Raises
    ------
    RunError
        ``out-of-memory``; ``bug``: whatever else went wrong with the input; ``worker-failed``:
        before it was begun.
    AnymaskError, ImportError
        As they came.
    """
    code = BUG
    try:
        read = job.read(item)
        code = UNPREPARED
        job.prepare(memory_mb)
        code = BUG
        product = job.make(item, read, memory_mb)
        files = stage(new, product.files)
        return Done(files=files, facts=dict(product.facts), notes=product.notes)
    except (AnymaskError, ImportError) as error:
        if _is_memory(error):
            raise _out_of_memory(error, item) from error
        raise
    except Exception as error:  # whatever it is, other inputs can be done
        if _is_memory(error):
            raise _out_of_memory(error, item) from error
        if os.environ.get("ANYMASK_TRACEBACK"):
            traceback.print_exception(error)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise RunError(
            code,
            f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})",
            where=item.name,
            hint="please report it with what ANYMASK_TRACEBACK=1 and the same command print",
        ) from error


def _attempt(folder: RunFolder, worker: Worker, watcher: Watcher, item: Item) -> Done:
    """Work on an input; once more if memory did not suffice or the worker died."""
    died = halved = False
    while True:
        try:
            return worker.work(item, folder.plan.memory_mb)
        except WorkerDiedError as error:
            if died:
                problem = f"{error}, twice"
                hint = "look at the file with other programs: is it sound?"
                raise RunError(DIED, problem, where=item.name, hint=hint) from error
            died = True
            watcher.remark(f"{item.name}: {error}; once more, in a new one")
            if error.code == -_KILLED and not halved:  # as systems do that run out of memory
                halved = _halve(folder, watcher, item) is not None
        except RunError as error:
            if error.code != OUT_OF_MEMORY or halved or _halve(folder, watcher, item) is None:
                raise
            halved = True


def _halve(folder: RunFolder, watcher: Watcher, item: Item) -> int | None:
    """Allow half the memory, and say so."""
    half = folder.halve_memory()
    if half is not None:
        watcher.remark(f"{item.name}: memory did not suffice; from here on it gets {half} MB")
    return half


def _is_memory(error: BaseException) -> bool:
    """Whether something did not fit into memory; torch has a class of its own, OpenCV words."""
    if isinstance(error, AnymaskError):
        return error.code in _MEMORY_CODES
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(words in str(error) for words in _MEMORY_WORDS)


def _out_of_memory(error: BaseException, item: Item) -> RunError:
    text = str(error).partition("\n")[0] or type(error).__name__
    return RunError(
        OUT_OF_MEMORY,
        f"there is not enough memory: {text}",
        where=item.name,
        hint="try a smaller model or picture",
    )


def _halted(folder: RunFolder, tally: Tally, error: OutputError) -> RunError:
    """A disk's error as the run's."""
    count = tally.done + tally.kept
    return RunError(
        error.code,
        f"{error.problem}; {count} of {len(folder)} inputs are done and whole",
        where=error.where,
        hint=f"{error.hint}; then the same command goes on from here",
    )
