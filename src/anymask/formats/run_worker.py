"""A job in a process of its own: what ends that process does not end the run.

Broken pictures can crash the libraries that decode them, and a system that runs out of memory
kills whoever takes most. The child makes the files, the parent keeps the books. A child never
outlives its parent, and holds the run's lock as long as it lives: nobody takes the folder over
while it may still write.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from anymask.errors import AnymaskError
from anymask.formats.run_inputs import Item
from anymask.formats.run_items import Done, Job, WorkerDiedError, perform

_END_S = 5.0  # a child that is told to end gets so long
_ORPHANED = 70  # exit code of a child whose parent is gone


class Child:
    """Does a job in a child process, which is started when it is needed, and again when it died.

    Parameters
    ----------
    job
        Sent to the child, so it is made of plain values; whatever is large is loaded there.
    new
        Folder for files without a name.
    lock
        Descriptor of the run's lock.
    """

    def __init__(self, job: Job, new: Path, lock: int | None = None) -> None:
        self.job, self.new, self.lock = job, new, lock
        self._process: BaseProcess | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._life: Connection[Any, Any] | None = None

    def work(self, item: Item, memory_mb: int) -> Done:
        """Do it for one input.

        Raises
        ------
        WorkerDiedError
            The child has ended meanwhile.
        AnymaskError, ImportError
            As `perform`.
        """
        if self._process is None or self._pipe is None:
            self._start()
        process, pipe = self._process, self._pipe
        if process is None or pipe is None:
            raise ValueError("the worker is not running")
        try:
            pipe.send((item, memory_mb))
            while not wait([pipe, process.sentinel]):
                pass
            answer = pipe.recv()  # fails at the end of the pipe if the child has died
        except (EOFError, OSError) as error:
            process.join(_END_S)
            code = process.exitcode
            self.close()
            raise WorkerDiedError(code) from error
        if isinstance(answer, BaseException):
            raise answer
        if not isinstance(answer, Done):
            raise TypeError(f"the worker answered {type(answer).__name__}")
        return answer

    def close(self) -> None:
        """End the child, at once even if it is at work."""
        process = self._process
        for pipe in (self._pipe, self._life):
            if pipe is not None:
                pipe.close()
        if process is not None:
            process.join(_END_S)
            if process.exitcode is None:
                process.kill()
                process.join()
            process.close()
        self._process = self._pipe = self._life = None

    def _start(self) -> None:
        # a fork would copy threads' locks in whatever state they are
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        life, self._life = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_serve,
            args=(self.job, self.new, theirs, life, _Inherited(self.lock)),
            name="anymask-worker",
            daemon=True,
        )
        self._process.start()
        theirs.close()  # so that the end of the child is the end of the pipe
        life.close()


class _Inherited:
    """A descriptor that a child has open too, from its first moment on."""

    def __init__(self, descriptor: int | None) -> None:
        self.descriptor = descriptor

    def __getstate__(self) -> object:
        if self.descriptor is None or sys.platform == "win32":
            return None
        from multiprocessing.reduction import DupFd

        return DupFd(self.descriptor)

    def __setstate__(self, duplicate: Any) -> None:
        self.descriptor = None if duplicate is None else duplicate.detach()


def _serve(
    job: Job,
    new: Path,
    pipe: "Connection[Any, Any]",
    life: "Connection[Any, Any]",
    lock: _Inherited,
) -> None:
    """The child: work until there is no more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a terminal tells all its processes: ours to decide
    os.dup2(2, 1)  # standard output is the parent's
    sys.stdout = sys.stderr
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()
    while True:
        try:
            item, memory_mb = pipe.recv()
        except (EOFError, OSError):
            return
        answer: Done | BaseException
        try:
            answer = perform(job, item, memory_mb, new)
        except (AnymaskError, ImportError) as error:
            answer = error
        with contextlib.suppress(BrokenPipeError):
            pipe.send(answer)


def _end_with(life: "Connection[Any, Any]") -> None:
    """End at once when the parent is gone, whatever is being worked on."""
    with contextlib.suppress(EOFError, OSError):
        life.recv()
    os._exit(_ORPHANED)
