"""Names of outputs from names of inputs: no two alike, none outside the folder, none forbidden."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from anymask.errors import OutputError, PromptError

_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_LONGEST = 180  # bytes of a name, so that suffixes fit into the 255 of common file systems


def safe_name(name: str) -> str:
    """A file name that every common system takes, much like the one given.

    >>> safe_name("..")
    '_.._'
    >>> safe_name("CON.jpg")
    '_CON.jpg'
    """
    if "\x00" in name:
        raise OutputError("name-unsafe", "a name has a NUL character", given=name)
    clean = re.sub(r'[/\\:*?"<>|\x01-\x1f\x7f]', "_", name)
    if clean.strip(". ") == "":
        clean = f"_{clean}_"
    if _RESERVED.fullmatch(clean):
        clean = f"_{clean}"
    while len(clean.encode("utf-8", "surrogateescape")) > _LONGEST:
        clean = clean[:-1]
    return clean


def output_stems(sources: Sequence[str], root: Path | None = None) -> list[PurePosixPath]:
    """A relative path without suffix for each input: its place below `root`, its full name.

    Full names are kept (a.jpg and a.png differ); inputs of the same name from different folders
    get as much of their path as tells them apart.

    Raises
    ------
    OutputError
        ``name-clash``: two inputs would write the same files; both are named.
    """
    parts = [_parts(source, root) for source in sources]
    depth = 1
    longest = max((len(p) for p in parts), default=1)
    while depth < longest and len({_key(p[-depth:]) for p in parts}) < len(parts):
        depth += 1
    stems = [PurePosixPath(*(safe_name(name) for name in p[-depth:])) for p in parts]
    seen: dict[str, str] = {}
    for stem, source in zip(stems, sources, strict=True):
        key = _key(stem.parts)
        if key in seen:
            raise OutputError(
                "name-clash",
                f"two inputs would write the same files: {seen[key]!r} and {source!r}",
                hint="run them into different folders",
            )
        seen[key] = source
    return stems


def inside(folder: Path, stem: PurePosixPath, suffix: str) -> Path:
    """The file of an output, checked to lie within the folder.

    Raises
    ------
    OutputError
        ``name-unsafe``: it would lie outside.
    """
    path = folder / f"{stem}{suffix}"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise OutputError("name-unsafe", "a name leads out of the folder", given=str(stem))
    return path


def _parts(source: str, root: Path | None) -> list[str]:
    if source == "-":
        return ["stdin"]
    path = Path(source)
    if root is not None:
        path = path.resolve().relative_to(root.resolve())
    parts = [part for part in path.parts if part not in ("/", path.anchor, ".")]
    if not parts:
        raise PromptError("name-empty", "an input has no name", given=source)
    return parts


def _key(parts: Sequence[str]) -> str:
    """Equal for names that some file systems take for the same."""
    return "/".join(safe_name(part) for part in parts).casefold()
