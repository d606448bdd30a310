"""Names of YOLO's classes: ``data.yaml`` or ``classes.txt``.

Of YAML only what such files have is read: ``names`` as a list or as a mapping from numbers, on one
line or on several, plain or quoted.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from anymask.errors import DataError

_LARGEST = 2**22  # bytes
_MOST = 100_000  # classes
_NAMES = re.compile(  # to the next line that begins with something else
    r"^names[ \t]*:(.*(?:\n(?:[ \t]+.*|[ \t]*[-#\]}].*|(?=\n)))*)", re.MULTILINE
)


def names_text(names: Sequence[str]) -> str:
    """The content of ``data.yaml``; JSON's quoted texts are YAML's too."""
    lines = ["path: .", "train: images", "val: images", "names:" + ("" if names else " {}")]
    lines += [f"  {i}: {json.dumps(name)}" for i, name in enumerate(names)]
    return "\n".join(lines) + "\n"


def read_names(path: Path) -> dict[int, str] | None:
    """Number -> name, from a YAML, or from what lies in a folder; None where nothing does.

    Raises
    ------
    DataError
        ``classes-broken``.
    """
    folder = path.parent if path.is_file() else path
    candidates = [path] if path.is_file() else [folder / "data.yaml", folder / "dataset.yaml"]
    for file in candidates:
        if file.is_file():
            return _yaml_names(_text(file), str(file))
    file = folder / "classes.txt"
    if file.is_file():
        return dict(enumerate(_text(file).rstrip("\n").split("\n")))
    return None


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if len(content) > _LARGEST:
            raise ValueError(f"{len(content)} bytes")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, ValueError) as error:
        raise DataError("classes-broken", f"cannot be read ({error})", where=str(path)) from error


def _yaml_names(text: str, where: str) -> dict[int, str]:
    found = _NAMES.search(text)
    if found is None:
        raise DataError("classes-broken", "there are no names", where=where)
    lines = [line.strip() for line in found[1].strip().split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    begin = lines[0][0] if lines else ""
    if begin in ("[", "{"):
        entries = _flow("\n".join(lines)[1:], where)
    else:
        entries = [line[1:].strip() if begin == "-" else line for line in lines]
    if begin in ("[", "-"):
        return {i: _scalar(entry, where)[0] for i, entry in enumerate(entries)}
    return _mapping(entries, where)


def _mapping(entries: Sequence[str], where: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for entry in entries:
        match = re.match(r"['\"]?(\d{1,6})['\"]?\s*:\s*", entry)
        if match is None or int(match[1]) in names or len(names) > _MOST:
            raise DataError("classes-broken", "a line is: number: name", given=entry, where=where)
        names[int(match[1])] = _scalar(entry[match.end() :], where)[0]
    return names


def _flow(body: str, where: str) -> list[str]:
    """Entries of a list or mapping in brackets, each as it is written."""
    entries: list[str] = []
    rest = body
    while True:
        rest = re.sub(r"^(\s|#[^\n]*\n)*", "", rest)
        if rest[:1] in ("]", "}", ""):
            if not rest:
                raise DataError("classes-broken", "a bracket is not closed", where=where)
            return entries
        key = re.match(r"['\"]?\d+['\"]?\s*:\s*", rest)
        start = key.end() if key else 0
        _, length = _scalar(rest[start:], where, flow=True)
        entries.append(rest[: start + length].strip())
        rest = re.sub(r"^\s*,?", "", rest[start + length :])


def _scalar(text: str, where: str, flow: bool = False) -> tuple[str, int]:
    """A text and how many characters it took."""
    if text.startswith('"'):
        match = re.match(r'"(?:[^"\\]|\\.)*"', text, re.S)
        if match is not None:
            try:
                return str(json.loads(match[0], strict=False)), match.end()
            except ValueError:
                match = None
        raise DataError("classes-broken", "a quoted name is broken", given=text, where=where)
    if text.startswith("'"):
        match = re.match(r"'(?:[^']|'')*'", text, re.S)
        if match is None:
            raise DataError("classes-broken", "a quoted name is broken", given=text, where=where)
        return match[0][1:-1].replace("''", "'"), match.end()
    match = re.match(r"[^,\]}\n]*" if flow else r"[^\n]*", text)
    plain = match[0] if match else ""
    return re.sub(r"(^|\s)#.*", "", plain).strip(), len(plain)
