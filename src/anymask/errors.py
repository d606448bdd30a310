"""What anymask raises and what it remarks: errors, notes and the one warning class.

    AnymaskError
    ├── ImageError · PromptError · DataError     (also ValueError)
    ├── VideoError · CheckpointError · OutputError · RunError
    ├── ExportError · DeviceError · ServerError
    └── MissingExtraError                        (also ImportError)

Each error has a stable ``code`` for programs and one line for people:
``code: what is wrong: what was given; what to do``.
"""

import re
import unicodedata
import warnings
from dataclasses import dataclass

_LONGEST_GIVEN = 200  # characters of a value that a message repeats
_SECRET = re.compile(
    r"(?i)(\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^@\s/]+(?=@)"  # a password in an address
    r"|((?:[?&]key|token|api[_-]?key|secret|password|authorization|signature)=)[^&\s'\"]+"
)


def shown(value: object) -> str:
    """``repr`` of a value made safe for one line: escaped, short, without secrets.

    >>> shown("a\\nb")
    "'a\\\\nb'"
    """
    text = value if isinstance(value, _Verbatim) else repr(value)
    text = _SECRET.sub(lambda m: f"{m[1] or m[2]}***", text)
    text = "".join(
        c
        if unicodedata.category(c)[0] != "C"
        else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )
    return text if len(text) <= _LONGEST_GIVEN else text[: _LONGEST_GIVEN - 1] + "…"


class _Verbatim(str):
    """A text that messages show as it is, without quotes."""


class AnymaskError(Exception):
    """Base of all errors that anymask raises on purpose.

    Parameters
    ----------
    code
        Stable slug, such as ``"point-outside"``.
    problem
        What is wrong, without a full stop.
    given
        The value at fault; shown by ``repr``, shortened to 200 characters.
    where
        Path, frame or element, such as ``"points[1][3]"``.
    hint
        What to do.
    """

    def __init__(
        self,
        code: str,
        problem: str,
        *,
        given: object = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.code = code
        self.problem = problem
        self.given = given
        self.where = where
        self.hint = hint
        super().__init__(code, problem)

    def __str__(self) -> str:
        line = f"{self.code}: "
        if self.where is not None:
            line += f"{shown(_Verbatim(self.where))}: "
        line += shown_text(self.problem)
        if self.given is not None:
            line += f": {shown(self.given)}"
        if self.hint is not None:
            line += f"; {shown_text(self.hint)}"
        return line

    def __reduce__(self) -> tuple[object, ...]:
        return (
            _rebuild,
            (type(self), self.code, self.problem, _portable(self.given), self.where, self.hint),
            {"__cause__": self.__cause__} if _picklable(self.__cause__) else None,
        )

    def __setstate__(self, state: dict[str, BaseException | None] | None) -> None:
        self.__cause__ = (state or {}).get("__cause__")


def shown_text(text: str) -> str:
    """A sentence of ours with control characters escaped and secrets removed, at any length."""
    text = _SECRET.sub(lambda m: f"{m[1] or m[2]}***", text)
    return "".join(
        c
        if unicodedata.category(c)[0] != "C"
        else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )


def _rebuild(
    kind: type[AnymaskError],
    code: str,
    problem: str,
    given: object,
    where: str | None,
    hint: str | None,
) -> AnymaskError:
    return kind(code, problem, given=given, where=where, hint=hint)


def _picklable(value: object) -> bool:
    import pickle

    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def _portable(value: object) -> object:
    """The value itself where it can travel to another process, else its text."""
    return value if _picklable(value) else _Verbatim(shown(value))


class ImageError(AnymaskError, ValueError):
    """An image that cannot be read or used."""


class PromptError(AnymaskError, ValueError):
    """Points, boxes, masks or words that make no sense for their image."""


class DataError(AnymaskError, ValueError):
    """Annotations or data sets that are wrong."""


class VideoError(AnymaskError):
    """A video that cannot be read or followed."""


class CheckpointError(AnymaskError):
    """A weight file that is unsafe, broken, of another model, or not to be had."""


class OutputError(AnymaskError):
    """A result that cannot be written."""


class RunError(AnymaskError):
    """A long or distributed run that cannot start or go on."""


class ExportError(AnymaskError):
    """A model that cannot be exported."""


class DeviceError(AnymaskError):
    """A device or dtype that this machine cannot offer."""


class ServerError(AnymaskError):
    """A fault of the HTTP server."""


class MissingExtraError(AnymaskError, ImportError):
    """An optional dependency that is not installed."""


class AnymaskWarning(UserWarning):
    """Something was converted or ignored; the result carries the same as a `Note`."""


@dataclass(frozen=True, slots=True)
class Note:
    """One remark about how an input was understood.

    Attributes
    ----------
    code
        Stable slug, such as ``"image-16bit"``.
    text
        One sentence for people.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {shown_text(self.text)}"


_warned: set[str] = set()


def warn_once(notes: tuple[Note, ...]) -> None:
    """Warn of each kind of note the first time it comes up in this process."""
    for note in notes:
        if note.code not in _warned:
            _warned.add(note.code)
            warnings.warn(str(note), AnymaskWarning, stacklevel=3)
