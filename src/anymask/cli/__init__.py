"""The terminal: parses, calls, prints; no logic of its own.

A command is a row of `COMMANDS` and a module, which is loaded when the command is used: help and
completion start at once, without torch.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any

import typer

from anymask import __version__
from anymask.cli.common import (
    BROKEN_PIPE,
    INTERRUPTED,
    OK,
    TERMINATED,
    json_stdout,
    report,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command.

    Attributes
    ----------
    name
        What is typed; also the module below `anymask.cli`.
    summary
        The first line of its help.
    function
        Name in the module: a function, or a typer app with commands of its own.
    examples
        Command lines to learn from, without ``anymask`` and the name.
    json_file
        Its ``--json`` takes a file, where others take none and print to stdout.
    """

    name: str
    summary: str
    function: str
    examples: tuple[str, ...] = ()
    json_file: bool = False

    @property
    def epilog(self) -> str | None:
        """The end of its help; empty lines make paragraphs."""
        lines = [f"  anymask {self.name} {example}".rstrip() for example in self.examples]
        return "\n\n".join(["Examples:", *lines]) if lines else None

    def load(self) -> Any:
        """The function or app."""
        return getattr(import_module(f"anymask.cli.{self.name}"), self.function)


COMMANDS: tuple[Command, ...] = (
    Command(
        name="segment",
        summary="Point at something in a picture, get its exact mask.",
        function="segment",
        examples=(
            "photo.jpg --point 500,375 -o out",
            "photo.jpg --point 500,375 --negative 620,90 -o out",
            "photo.jpg --box 40,60,380,300 --box 400,80,700,310 -o out",
            "photo.jpg --point 500,375 --all-masks -o out",
            "photos/ --box 40,60,380,300 -o out --skip",
            "- --point 500,375 --json < photo.jpg",
        ),
    ),
    Command(
        name="everything",
        summary="Find all masks of pictures, or of whole folders.",
        function="everything",
        examples=(
            "photos/ -o out --overlay --sheet",
            "photos/ -o out --format coco",
            "photo.jpg -o out --format png --points-per-side 16",
            "photos/ -o out --layout amg --model-type vit_b --convert-to-rle",
            "clip.mp4 -o out --mode fast",
        ),
    ),
    Command(
        name="track",
        summary="Point at something in a video, get its mask on every frame.",
        function="track",
        examples=(
            "clip.mp4 --point 0:500,375 -o out",
            "clip.mp4 --box 0:40,60,380,300 --negative 12:90,80 -o out",
            "clip.mp4 --point 0:90,40 --object cat --point 0:300,60 --object dog -o out",
            "frames/ --mask 0:first.png -o out --stop 200",
            "clip.mp4 --point 120:500,375 --reverse -o out",
            "clip.mp4 --text person -o out",
        ),
    ),
    Command(
        name="convert",
        summary="Write the masks of a data set in another format.",
        function="convert",
        examples=(
            "annotations.json -o out --to yolo --copy-images",
            "photos.tar -o masks.json --to coco",
            "annotations.json -o photos.tar --to sa1b --copy-images",
            "labels/ -o out --to sa1b --from labelme --link-images --strict",
        ),
    ),
    Command(
        name="models",
        summary="List the models; download, check and find their weights.",
        function="models_app",
    ),
    Command(
        name="doctor",
        summary="Say what this machine has for anymask and what is missing.",
        function="doctor",
    ),
    Command(
        name="evaluate",
        summary="Measure a model: mean IoU of its masks from a box and from a simulated user's "
        "clicks.",
        function="evaluate",
        examples=(
            "photos.tar --json means.json",
            "photos.tar -m sam-vit-b --limit 20",
            "clips/*.tar --task video --json figures.json",
        ),
        json_file=True,
    ),
    Command(
        name="bench",
        summary="Time a model on this machine.",
        function="bench",
        examples=("", "-m sam-vit-b --runs 3", "--threads 1 --json"),
    ),
    Command(
        name="train",
        summary="Train a network on photos with masks, or go on with a run.",
        function="train",
        examples=(
            "configs/nano.toml --minutes 60",
            "configs/small-sam.toml --set 'data=[\"annotations.json\"]'",
            "configs/nano.toml --pack parts",
            "configs/nano.toml --bundle nano.safetensors",
        ),
    ),
    Command(
        name="finetune",
        summary="Teach a model a field of pictures from some with masks.",
        function="finetune",
        examples=(
            "scans/ -o scans.safetensors",
            "annotations.json -o cells.safetensors --minutes 5 --group '(patient\\d+)'",
            "scans/ -o scans.safetensors -m sam2.1-tiny --method frozen --also photos.tar",
        ),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and give its exit code; see `anymask.cli.common.exit_code`."""
    args = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    _prepare_streams()
    as_json = _wants_json(args)
    try:
        with _until_terminated(), json_stdout() if as_json else nullcontext():
            try:
                code = _run(args)
            except BaseException as error:  # the one place where all of them end
                code = report(error, as_json=as_json)
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        _close_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(args: list[str]) -> int:
    """One command line; errors come out as they are."""
    command = build(args)
    if _completing():
        command(prog_name="anymask")
    try:
        # not the parser's own main, which has other ideas of Ctrl-C and broken pipes
        with command.make_context("anymask", args, obj=tuple(args)) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return OK


def build(args: Sequence[str]) -> Any:
    """The command line's parser: the command that `args` names in full, of others the first line.

    Everything is loaded where a shell asks for completions.
    """
    app = typer.Typer(
        name="anymask",
        help="Point at something in a picture, get its exact mask.",
        epilog="Start here:\n\n  anymask segment photo.jpg --point 500,375 -o out",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def version(
        show: bool = typer.Option(
            False, "--version", help="Print the version and exit.", callback=_version, is_eager=True
        ),
    ) -> None:
        pass

    named = next((arg for arg in args if not arg.startswith("-")), None)
    for row in COMMANDS:
        if row.name != named and not _completing():
            app.command(row.name, help=row.summary)(_only_summary)
            continue
        loaded = row.load()
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=row.name, help=row.summary, epilog=row.epilog)
        else:
            app.command(row.name, help=_flowing(loaded.__doc__), epilog=row.epilog)(loaded)
    return typer.main.get_command(app)


def _completing() -> bool:
    """Whether a shell asks what could be typed next."""
    return "_ANYMASK_COMPLETE" in os.environ


def _flowing(text: str) -> str:
    """A docstring whose paragraphs are lines, so that they fill a terminal of any width."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _only_summary() -> None:
    """Stands for a command that this command line does not use."""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"anymask {__version__}")
        raise typer.Exit


def _wants_json(args: Sequence[str]) -> bool:
    """Whether stdout is for JSON."""
    named = next((arg for arg in args if not arg.startswith("-")), None)
    options = args[: args.index("--")] if "--" in args else args
    if any(row.name == named and row.json_file for row in COMMANDS):
        return "--json=-" in options or ("--json", "-") in pairwise(options)
    return "--json" in options


def _prepare_streams() -> None:
    """Never fail on a character that the console lacks; no escapes where they are not wanted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"  # NO_COLOR alone still lets rich print bold and cursor moves


class _until_terminated:  # noqa: N801 - reads as a phrase
    """SIGTERM ends the process as if by `sys.exit`, so that files are put in order."""

    def __enter__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGTERM, self._end)

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _end(*_: object) -> None:
        raise SystemExit(TERMINATED)


def _close_stdout() -> None:
    """Nobody reads it: let the interpreter's last flush go nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = None
