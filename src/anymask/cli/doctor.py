"""`anymask doctor`: what this machine has for anymask and what it lacks, in words."""

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anymask.variants import VARIANTS

_LIBRARIES = ("numpy", "PIL", "cv2", "pycocotools", "safetensors", "jaxtyping")
_OLDEST_TORCH = (2, 10)  # older ones have holes in the reader of weight files
_LITTLE_MEMORY = 2_000_000_000  # bytes
_LITTLE_DISK = 500_000_000  # bytes
_BROKEN_EXIT = 4
_EXTRAS = {"heic": "photos in HEIC and AVIF"}


class State(StrEnum):
    """How something was found."""

    ok = "ok"
    note = "note"  # works, or is not needed
    broken = "broken"  # anymask cannot do its work


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name
        What it is.
    state
        How it was found.
    text
        What was found.
    fix
        What to do, or None.
    """

    name: str
    state: State
    text: str
    fix: str | None = None


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout")
    ] = False,
) -> None:
    """Say what this machine has for anymask and what is missing.

    Exit code 4 if something is broken that anymask needs.
    """
    findings = list(examine())
    broken = [f.name for f in findings if f.state is State.broken]
    if as_json:
        import json

        facts = {"ok": not broken, "findings": [asdict(f) for f in findings]}
        typer.echo(json.dumps(facts, indent=2))
    else:
        _show(findings, broken)
    if broken:
        raise typer.Exit(_BROKEN_EXIT)


def examine() -> Iterator[Finding]:
    """Look at everything; nothing is written, no socket is opened."""
    yield _python()
    yield _libraries()
    torch = _torch()
    yield torch
    yield _processor(usable=torch.state is not State.broken)
    yield _memory()
    yield _cache()
    if torch.state is not State.broken:
        yield _devices()
    yield from _extras()
    yield from _weights(usable=torch.state is not State.broken)


def _show(findings: list[Finding], broken: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {State.ok: "green", State.note: "yellow", State.broken: "bold red"}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        text = finding.text + (f"\n-> {finding.fix}" if finding.fix else "")
        state = Text(finding.state.value, style=styles[finding.state])
        table.add_row(state, Text(finding.name), Text(text))
    console = Console(highlight=False)
    console.print(table)
    end = f"broken: {', '.join(broken)}" if broken else "anymask can do its work on this machine"
    console.print(Text(f"\n{end}", style=styles[State.broken if broken else State.ok]))


def _python() -> Finding:
    import anymask

    text = (
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}; "
        f"anymask {anymask.__version__} in {Path(anymask.__file__).parent}"
    )
    return Finding(name="python", state=State.ok, text=text)


def _libraries() -> Finding:
    from importlib import import_module

    missing = []
    for name in _LIBRARIES:
        try:
            import_module(name)
        except (ImportError, OSError) as error:  # OSError: a library of the system is not there
            missing.append(f"{name} ({str(error).splitlines()[0][:100]})")
    if missing:
        return Finding(
            name="libraries",
            state=State.broken,
            text=f"cannot be imported: {', '.join(missing)}",
            fix="install anymask again: pip install --force-reinstall anymask",
        )
    return Finding(name="libraries", state=State.ok, text=f"{', '.join(_LIBRARIES)} are here")


def _torch() -> Finding:
    wanted = ".".join(map(str, _OLDEST_TORCH))
    fix = f'pip install "torch>={wanted}"'
    try:
        import torch
    except (ImportError, OSError) as error:
        text = f"PyTorch cannot be imported ({str(error).splitlines()[0][:160]})"
        return Finding(name="torch", state=State.broken, text=text, fix=fix)
    text = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"
    numbers = tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2])
    if numbers < _OLDEST_TORCH:
        text += f"; it is older than {wanted}, whose reader of weight files is safe"
        return Finding(name="torch", state=State.broken, text=text, fix=fix)
    return Finding(name="torch", state=State.ok, text=text)


def _processor(*, usable: bool) -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{cores} {'core' if cores == 1 else 'cores'}"
    if not usable:
        return Finding(name="processor", state=State.ok, text=text)
    import torch

    level = torch.backends.cpu.get_cpu_capability()
    text += f", vector instructions: {level}"
    on_x86 = platform.machine().lower() in ("x86_64", "amd64")
    if on_x86 and not level.startswith("AVX"):
        text += "; without AVX2 everything is several times slower"
        return Finding(name="processor", state=State.note, text=text)
    return Finding(name="processor", state=State.ok, text=text)


def _memory() -> Finding:
    total = total_memory()
    if total is None:
        return Finding(
            name="memory", state=State.note, text="how much there is cannot be told here"
        )
    text = f"{total / 1e9:.1f} GB"
    if total < _LITTLE_MEMORY:
        return Finding(name="memory", state=State.note, text=f"{text}; enough for nano alone")
    return Finding(name="memory", state=State.ok, text=text)


def total_memory() -> int | None:
    """Bytes of memory that this process may use, or None where that cannot be told."""
    limits = []
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    group = Path("/sys/fs/cgroup/memory.max")
    if group.is_file() and (said := group.read_text(encoding="ascii").strip()).isdecimal():
        limits.append(int(said))
    return min(limits, default=None)


def _cache() -> Finding:
    from anymask.cli.models import in_bytes
    from anymask.weights.cache import SETTING, cache_folder

    folder = cache_folder()
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    text = f"weights are kept in {folder}; {in_bytes(free)} are free there"
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return Finding(
            name="cache",
            state=State.note,
            text=f"{text}; nothing can be written there, so nothing can be downloaded",
            fix=f"set {SETTING} to a folder of yours",
        )
    left = [p for p in folder.glob("*") if p.suffix in (".part", ".bad")]
    if left:
        size = in_bytes(sum(p.stat().st_size for p in left))
        text += f"; {size} are of unfinished or wrong downloads: "
        text += ", ".join(sorted(p.name for p in left))
    state = State.note if left or free < _LITTLE_DISK else State.ok
    return Finding(name="cache", state=state, text=text)


def _devices() -> Finding:
    import torch

    from anymask.model import devices

    found = devices()
    names = [f"{d} ({torch.cuda.get_device_name(d)})" if d.startswith("cuda") else d for d in found]
    text = f"{', '.join(names)}; anymask takes {found[1] if len(found) > 1 else 'cpu'}"
    if len(found) == 1:
        text += ", for there is no GPU that PyTorch can use; nano does not need one"
    return Finding(name="devices", state=State.ok, text=text)


def _extras() -> Iterator[Finding]:
    """What can be installed on top, as the package itself states it."""
    from importlib import metadata

    try:
        about = metadata.metadata("anymask")
    except metadata.PackageNotFoundError:
        text = "anymask runs from its source folder: what can be added is in pyproject.toml"
        yield Finding(name="extras", state=State.note, text=text)
        return
    needs = metadata.requires("anymask") or []
    for extra in about.get_all("Provides-Extra") or []:
        if extra == "dev":
            continue
        parts = [n for n in needs if re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", n)]
        names = [re.split(r"[^\w.-]", part, maxsplit=1)[0] for part in parts]
        missing = [name for name in names if not _installed(name)]
        what = _EXTRAS.get(extra, ", ".join(names))
        if missing:
            yield Finding(
                name=f"extra {extra}",
                state=State.note,
                text=f"{what}: not installed",
                fix=f'pip install "anymask[{extra}]"',
            )
        else:
            yield Finding(name=f"extra {extra}", state=State.ok, text=f"{what}: installed")


def _installed(name: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _weights(*, usable: bool) -> Iterator[Finding]:
    """The weights that come with the package must be right; of others, which are here."""
    from anymask.cli.models import check
    from anymask.errors import AnymaskError
    from anymask.weights.cache import bundled, located

    for row in VARIANTS:
        if row.weights.url is not None:
            continue
        name = f"weights of {row.name}"
        again = "install anymask again: pip install --force-reinstall anymask"
        path = located(row.weights)
        if path is None:
            text = f"not in the package: {bundled(row.weights)}"
            yield Finding(name=name, state=State.broken, text=text, fix=again)
            continue
        if not usable and row.weights.sha256 is None:
            yield Finding(name=name, state=State.note, text="cannot be checked without PyTorch")
            continue
        try:
            text = f"bundled and intact ({check(row, path)})"
            yield Finding(name=name, state=State.ok, text=text)
        except AnymaskError as error:
            yield Finding(name=name, state=State.broken, text=str(error), fix=again)
    others = [row for row in VARIANTS if row.weights.url is not None]
    here = [row.name for row in others if located(row.weights) is not None]
    away = [row.name for row in others if row.name not in here]
    text = f"downloaded: {', '.join(here) or 'none'}"
    if away:
        text += f"; can be fetched by `anymask models download NAME`: {', '.join(away)}"
    yield Finding(name="other weights", state=State.ok, text=text)
