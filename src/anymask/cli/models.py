"""`anymask models`: which models there are, and whether their weights are here and right."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anymask.detectors import DETECTORS, DetectorRow
from anymask.errors import CheckpointError
from anymask.variants import VARIANTS, Variant, variant

if TYPE_CHECKING:
    from rich.console import Console

_LINE_EVERY_S = 10.0  # where there is no terminal to redraw

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model, as `anymask models` lists it")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout")]

models_app = typer.Typer(invoke_without_command=True, no_args_is_help=False)


@models_app.callback()
def models(context: typer.Context, as_json: Json = False) -> None:
    """List models and detectors; or download, verify or find the weights of a model."""
    if context.invoked_subcommand is not None:
        return
    rows = [facts(row) for row in VARIANTS]
    if as_json:
        detectors = [detector_facts(row) for row in DETECTORS]
        _print_json({"models": rows, "detectors": detectors})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for title in ("model", "parameters", "size", "licence", "weights", "good for"):
        right = title in ("parameters", "size")
        table.add_column(title, justify="right" if right else "left", no_wrap=title != "good for")
    for row, known in zip(VARIANTS, rows, strict=True):
        size = known["bytes"]
        table.add_row(
            row.name,
            f"{row.parameters / 1e6:.1f} M",
            in_bytes(size) if isinstance(size, int) else "unknown",
            row.licence,
            str(known["weights"]),
            row.summary,
        )
    Console().print(table)
    words = Table(title="detectors, for --text", title_justify="left")
    for title in ("detector", "licence", "weights", "words"):
        words.add_column(title, no_wrap=title == "detector")
    for detector in DETECTORS:
        where = detector.repository or "bundled"
        words.add_row(detector.name, detector.licence, where, detector.summary)
    Console().print(words)


def detector_facts(row: DetectorRow) -> dict[str, object]:
    """What a program wants to know of a detector; `repository` is on the Hugging Face hub."""
    return {
        "name": row.name,
        "open": row.open,
        "licence": row.licence,
        "summary": row.summary,
        "bundled": row.weights is not None,
        "repository": row.repository,
    }


@models_app.command()
def download(name: Name, as_json: Json = False) -> None:
    """Fetch the weights of a model into the cache; an interrupted download goes on."""
    from rich.console import Console

    from anymask.weights.download import fetch

    row = variant(name)
    console = Console(stderr=True)
    if row.weights.url is None:
        path, what = _path_of(row), "comes with anymask"
    elif (there := _find(row)) is not None:
        path, what = there, "is here already"
    else:
        with DownloadBar(console, row.name) as bar:
            path = fetch(row.weights, progress=bar.show)
        what = "is here now"
    if as_json:
        _print_json({"name": name, "file": str(path), "bytes": path.stat().st_size})
        return
    console.print(f"{name} {what}:", highlight=False)
    typer.echo(str(path))


@models_app.command()
def verify(name: Name, as_json: Json = False) -> None:
    """Read the weights of a model from end to end and compare them with the table."""
    row = variant(name)
    path = _path_of(row)
    found = check(row, path)
    if as_json:
        _print_json({"name": name, "file": str(path), "ok": True, "found": found})
        return
    typer.echo(f"{name} is intact ({found}): {path}")


@models_app.command()
def path(name: Name, as_json: Json = False) -> None:
    """Print where the weights of a model lie; an error if they are not here."""
    found = _path_of(variant(name))
    if as_json:
        _print_json({"name": name, "file": str(found)})
        return
    typer.echo(str(found))


def facts(row: Variant) -> dict[str, object]:
    """What a program wants to know of a row."""
    there = _find(row)
    kind = "bundled" if row.weights.url is None else "downloaded"
    size = row.weights.bytes
    if size is None and there is not None:
        size = there.stat().st_size
    return {
        "name": row.name,
        "parameters": row.parameters,
        "bytes": size,
        "licence": row.licence,
        "summary": row.summary,
        "weights": kind if there is not None else "not here",
        "file": None if there is None else str(there),
        "url": row.weights.url,
    }


def check(row: Variant, path: Path) -> str:
    """How a weight file was found to be right, in words.

    Raises
    ------
    CheckpointError
        It is not.
    """
    from anymask.weights.cache import check_hash, digest

    asset = row.weights
    if asset.sha256 or asset.md5 or asset.git_blob:
        check_hash(asset, path)
        kind, value = digest(asset)
        return f"{kind} {value[:12]}..."
    # a file without a hash in the table: that it can be read, and fits, is what can be said
    from anymask.model import load_variant

    tensors = load_variant(row, checkpoint=path, device="cpu").network.state_dict()
    strange = next((name for name, t in tensors.items() if not t.isfinite().all()), None)
    if strange is not None:
        raise CheckpointError(
            "weights-not-finite", "a tensor is not finite", given=strange, where=str(path)
        )
    return f"{len(tensors)} tensors of the right shapes, all finite"


def in_bytes(size: int) -> str:
    """A size for people.

    >>> in_bytes(375_042_383)
    '375 MB'
    """
    for unit, value in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= value:
            number = size / value
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
    return f"{size} B"


class DownloadBar:
    """Bytes so far, on stderr: a bar on a terminal, elsewhere a line every ten seconds.

    Nothing is shown before the first piece comes: ``load(name, progress=bar.show)`` is silent
    where the weights are here.
    """

    def __init__(self, console: "Console", name: str) -> None:
        from rich import progress

        self._console = console
        self._name = name
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=None)
        self._last = time.monotonic()

    def __enter__(self) -> "DownloadBar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def show(self, done: int, total: int | None) -> None:
        """Tell how far it is."""
        self._bar.start()  # does nothing from the second time on
        self._bar.update(self._task, completed=done, total=total)
        now = time.monotonic()
        if self._bar.disable and now - self._last >= _LINE_EVERY_S:
            self._last = now
            of = "" if total is None else f" of {in_bytes(total)}"
            self._console.print(f"{self._name}: {in_bytes(done)}{of}", highlight=False)


def _find(row: Variant) -> Path | None:
    from anymask.weights.cache import located

    return located(row.weights)


def _path_of(row: Variant) -> Path:
    """Where a model's weights lie, or an error that tells how to get them."""
    from anymask.weights.cache import bundled, cache_path

    there = _find(row)
    if there is not None:
        return there
    ours = row.weights.url is None
    raise CheckpointError(
        "weights-missing",
        f"the weights of {row.name} are not here",
        where=str(bundled(row.weights) if ours else cache_path(row.weights)),
        hint="install anymask again" if ours else f"run: anymask models download {row.name}",
    )


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))
