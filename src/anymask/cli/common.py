"""What commands share: exit codes, error lines, JSON on stdout, progress, stopping on a signal."""

import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import typer

from anymask.errors import (
    AnymaskError,
    DataError,
    ImageError,
    PromptError,
    VideoError,
    shown_text,
)

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

OK, SOME_FAILED, USAGE, INPUT, ENVIRONMENT, BUG = range(6)
INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143

_OF_INPUT = (ImageError, PromptError, DataError, VideoError)
_OF_USAGE = {"unknown-model"}  # codes of errors that name an option's value
_LINE_EVERY_S = 10.0  # where there is no terminal to redraw


class ReportedError(Exception):
    """An error that the user has been told of.

    Attributes
    ----------
    code
        What the process exits with.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(code)


def exit_code(error: BaseException) -> int:
    """What the process exits with.

    0 all done, 1 some items failed, 2 wrong usage, 3 wrong input, 4 something is missing or
    broken around us, 5 a bug of ours; 130 Ctrl-C, 141 nobody reads our output, 143 terminated.
    """
    if isinstance(error, AnymaskError):
        if error.code in _OF_USAGE:
            return USAGE
        return INPUT if isinstance(error, _OF_INPUT) else ENVIRONMENT
    if isinstance(error, ReportedError):
        return error.code
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        return BROKEN_PIPE  # as rich ends it
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else OK if error.code is None else BUG
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    if _is_usage(error):
        return USAGE
    if isinstance(error, OSError) or _is_memory(error) or _missing(error):
        return ENVIRONMENT
    return BUG


def describe(error: BaseException) -> dict[str, Any]:
    """An error for programs: code, message, and what else is known of it."""
    about: dict[str, Any] = {"code": _slug(error), "message": line_of(error)}
    if isinstance(error, AnymaskError):
        about |= {
            key: shown_text(str(value))
            for key in ("where", "given", "hint")
            if (value := getattr(error, key)) is not None
        }
    return about | {"exit": exit_code(error)}


def line_of(error: BaseException) -> str:
    """An error for people, in one line."""
    if isinstance(error, AnymaskError):
        return str(error)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted"
    if _is_usage(error):
        message = " ".join(str(error.format_message()).split())  # type: ignore[attr-defined]
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "anymask"
        return shown_text(f"usage: {message.rstrip('.')}; see {command} --help")
    text = shown_text(str(error) or type(error).__name__)
    if _is_memory(error):
        return f"out-of-memory: there is not enough memory: {text}; try a smaller picture or model"
    if _missing(error):
        return f"missing-module: {text}; pip install {_missing(error)}"
    if isinstance(error, OSError):
        return f"system: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    at = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""  # noqa: PTH119
    return (
        f"bug: {type(error).__name__}: {text}{at}; please report it with what "
        "ANYMASK_TRACEBACK=1 and the same command print"
    )


def report(error: BaseException, *, as_json: bool) -> int:
    """Tell the user of an error, one line on stderr or JSON on stdout; the exit code."""
    if os.environ.get("ANYMASK_TRACEBACK"):
        traceback.print_exception(error)
    code = exit_code(error)
    if isinstance(error, ReportedError | SystemExit | BrokenPipeError):
        return code
    if type(error).__name__ == "NoArgsIsHelpError":  # rich has printed it, or it is the message
        print(error, end="", file=sys.stderr)
        return code
    if as_json:
        print(json.dumps({"error": describe(error)}))
    else:
        say(line_of(error))
    return code


def say(line: str) -> None:
    """A line for people, on stderr."""
    print(line, file=sys.stderr, flush=True)


def _is_usage(error: BaseException) -> bool:
    """Whether typer refuses the command line; its own class for that has moved between versions."""
    return hasattr(error, "format_message") and getattr(error, "exit_code", None) in (1, 2)


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _missing(error: BaseException) -> str | None:
    """Which package would have to be installed; None if it is none of others that is missing."""
    name = str(getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ImportError) or name == "anymask":
        return None
    return {"cv2": "opencv-python-headless", "PIL": "pillow", "": "anymask"}.get(name, name)


def _slug(error: BaseException) -> str:
    if isinstance(error, AnymaskError):
        return error.code
    return line_of(error).partition(":")[0]


class JsonList:
    """A JSON object with one list, written to stdout as its elements come.

    It is closed whatever happens, with the error beside the list if there is one; the error then
    goes on as `ReportedError`.
    """

    def __init__(self, name: str) -> None:
        self.error: Mapping[str, Any] | None = None  # told beside the list
        self._name = name
        self._count = 0
        self._out: TextIO = sys.stdout

    def __enter__(self) -> "JsonList":
        return self

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write one more element."""
        start = f'{{"{self._name}": [' if self._count == 0 else ","
        self._out.write(f"{start}\n{json.dumps(entry, ensure_ascii=True, allow_nan=False)}")
        self._out.flush()
        self._count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, BrokenPipeError):
            return
        failed = error is not None and not isinstance(error, typer.Exit | ReportedError)
        if error is not None and failed:
            if self._count == 0:
                return  # the error is all there is to tell
            self.error = describe(error)
        rest = "]" if self._count else f'{{"{self._name}": []'
        if self.error is not None:
            rest += f', "error": {json.dumps(self.error)}'
        self._out.write(rest + "}\n")
        self._out.flush()
        if error is not None and failed:
            raise ReportedError(exit_code(error)) from error


class Stop:
    """Ctrl-C and SIGTERM while item after item is worked on: the first asks, the second stops.

    Use as a context; `asked` is 0, or the exit code once a signal came.
    """

    def __init__(self, what: str) -> None:
        self.asked = 0
        self._what = what
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self.__exit__()
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(TERMINATED)
        self.asked = INTERRUPTED if number == signal.SIGINT else TERMINATED
        text = f"\nstopping after this {self._what}; once more to stop now\n"
        os.write(2, text.encode("ascii"))  # a print might be interrupted by its own like


class Progress:
    """How many items are done, on stderr: a bar on a terminal, else a line every ten seconds.

    Parameters
    ----------
    what
        The items, in the plural.
    bar
        Draw a bar where there is a terminal.
    clock
        Seconds; only tests give another.
    """

    def __init__(
        self, what: str, *, bar: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what, self._clock, self._wanted = what, clock, bar
        self._last = clock()
        self._bar: RichProgress | None = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        if self._wanted and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
            )
            self._task = self._bar.add_task(self._what, total=None)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int | None, detail: str = "") -> None:
        """Tell how far it is, and something more."""
        end = f", {detail}" if detail else ""
        if self._bar is not None:
            about = self._what + end
            self._bar.update(self._task, completed=done, total=total, description=about)
        elif self._clock() - self._last >= _LINE_EVERY_S:
            self._last = self._clock()
            of = f" of {total}" if total is not None else ""
            say(f"{done}{of} {self._what}{end}")


@contextmanager
def importing() -> Iterator[None]:
    """Import torch without garbage collections: half a second less, most of it at exit.

    The modules' millions of objects live as long as the process, so looking through them for
    garbage finds none.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def json_stdout() -> Iterator[None]:
    """Keep stdout for JSON: what C libraries print there goes to stderr."""
    try:
        real = sys.stdout.fileno()
    except (OSError, AttributeError, ValueError):  # not a file of the system
        yield
        return
    sys.stdout.flush()
    kept, python = os.dup(real), sys.stdout
    with os.fdopen(kept, "w", encoding="ascii", errors="backslashreplace") as own:
        os.dup2(2, real)
        sys.stdout = own
        try:
            yield
            own.flush()
        finally:
            sys.stdout = python
            os.dup2(own.fileno(), real)
