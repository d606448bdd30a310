"""One run of `anymask everything`: its folder, its worker, and what is told at the end."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymask import __version__
from anymask.cli.common import (
    BUG,
    SOME_FAILED,
    Progress,
    Stop,
    describe,
    exit_code,
    line_of,
    say,
)
from anymask.errors import ImageError, Note, OutputError, shown_text

if TYPE_CHECKING:
    from anymask.cli.everything_job import EverythingJob
    from anymask.cli.inputs import Inputs
    from anymask.formats.run_folder import RunFolder
    from anymask.formats.run_items import Tally, Worker
    from anymask.formats.run_manifest import Plan

DEFAULT = "nano"


def make_worker(job: "EverythingJob", folder: "RunFolder") -> "Worker":
    """Who does the work: a process of its own."""
    from anymask.formats.run_worker import Child

    return Child(job, folder.new, folder.lock.descriptor)


@dataclass(kw_only=True)
class Run:
    """One run: what is asked, and how it ends."""

    job: "EverythingJob"
    output: Path
    memory_mb: int
    max_failures: int | None
    accept: bool
    as_json: bool

    def all(self, given: Sequence[str], stack: ExitStack) -> int:
        """All pictures; the exit code."""
        from anymask.cli.everything_report import Report
        from anymask.cli.inputs import Inputs
        from anymask.formats.everything import finals, finish, layout_of, planned
        from anymask.formats.run_folder import RunFolder
        from anymask.formats.run_items import run_items

        began = time.monotonic()
        layout = layout_of(self.job.layout)
        extras = {"overlay": self.job.overlay, "sheet": self.job.sheet}
        inputs = Inputs(given, apart=self.output)
        if layout.pictures or any(extras.values()):
            self._keep_apart(given)
        many = not inputs.single
        bar = stack.enter_context(Progress("pictures", bar=not self.as_json)) if many else None
        folder = stack.enter_context(
            RunFolder(
                self.output,
                plan=self._plan(),
                source=_Source(inputs, stack),
                planned=planned(layout, **extras),
                finals=finals(layout, sheet=self.job.sheet),
                accept=self.accept,
                looked=lambda count: bar.show(count, None, "looked at") if bar else None,
            )
        )
        stop = stack.enter_context(Stop("picture")) if many else None
        masks = folder.kept.get("masks", 0)
        report = Report(self.output, len(folder), masks, bar, quiet=self.as_json)
        worker = make_worker(self.job, folder)
        stack.callback(worker.close)
        tally = run_items(
            folder,
            worker,
            report,
            stopped=lambda: stop is not None and stop.asked,
            max_failures=self.max_failures,
        )
        stopped = stop.asked if stop is not None else 0
        made: list[Path] = []
        if not stopped and tally.gave_up is None and tally.done + tally.kept:
            made = finish(folder, layout, sheet=self.job.sheet)
            folder.settle()
        code = stopped or _code(tally)
        self._tell(folder, tally, made, code, time.monotonic() - began)
        return code

    def _plan(self) -> "Plan":
        """What the results depend on, and the machine."""
        from anymask.formats.run_manifest import Plan

        job = self.job
        settings = {
            "model": job.model,
            "weights": weights_of(job.model, job.checkpoint),
            "format": job.layout,
            **job.options,
            "roi": None if job.roi is None else list(job.roi),
            **({} if job.tile is None else {"tile": job.tile}),
            **({"text": list(job.text), "detector": job.detector} if job.text else {}),
            "overlay": job.overlay,
            "sheet": job.sheet,
        }
        return Plan(
            kind="everything",
            version=__version__,
            settings=settings,
            machine={"device": job.device, "memory_mb": self.memory_mb},
            memory_mb=self.memory_mb,
        )

    def _keep_apart(self, given: Sequence[str]) -> None:
        """Refuse to write pictures among the pictures that are read."""
        for argument in given:
            if Path(argument).is_dir() and Path(argument).resolve() == self.output.resolve():
                raise OutputError(
                    "output-is-input",
                    "pictures would be written among those that are read",
                    where=str(self.output),
                    hint="choose another folder with -o",
                )

    def _tell(
        self, folder: "RunFolder", tally: "Tally", made: list[Path], code: int, seconds: float
    ) -> None:
        """How it went, for people or as JSON."""
        from anymask.formats.run_folder import FAILURES

        total, ready = len(folder), tally.done + tally.kept
        failures = folder.root / FAILURES
        error = tally.gave_up or (tally.first if not ready else None)
        if self.as_json:
            table: dict[str, Any] = {
                "output": str(folder.root),
                "pictures": total,
                "done": tally.done,
                "done_before": tally.kept,
                "failed": tally.failed,
                "masks": tally.facts.get("masks", 0),
                "files": [str(path) for path in made],
                "failures": str(failures) if failures.exists() else None,
                "memory_mb": folder.plan.memory_mb,
                "seconds": round(seconds, 3),
            }
            if error is not None:
                table["error"] = {**describe(error), "exit": code}
            print(json.dumps(table), flush=True)
            return
        for path in made:
            print(shown_text(str(path)), flush=True)
        if total == 1:
            if tally.first is not None:
                say(line_of(tally.first))
            return
        if tally.gave_up is not None:
            say(line_of(tally.gave_up))
        elif ready + tally.failed < total:
            say(
                f"stopped: {ready} of {total} pictures are done; the same command goes on from here"
            )
        if tally.failed:
            listed = f", see {shown_text(str(failures))}" if failures.exists() else ""
            say(f"{tally.failed} of {total} pictures failed{listed}")
        masks = tally.facts.get("masks", 0)
        say(f"{ready} of {total} pictures are done: {masks} masks")


class _Source:
    """What a command line names, as a run's inputs."""

    def __init__(self, inputs: "Inputs", stack: ExitStack) -> None:
        self._inputs, self._stack = inputs, stack
        self._told = False
        self._stdin: str | None = None

    def names(self) -> Iterator[str]:
        """Their relative paths; a run's own files are none."""
        from anymask.cli.inputs import STDIN
        from anymask.formats.run_folder import STATE

        remark, self._told = None if self._told else _remark, True
        for item in self._inputs.walk(remark):
            if item.path == STDIN and self._stdin is None:
                self._stdin = _stdin_file(self._stack)
            if STATE not in item.name.split("/"):
                yield item.name

    def locate(self, name: str) -> str:
        """Where one lies."""
        from anymask.cli.inputs import STDIN_NAME

        if name == STDIN_NAME and self._stdin is not None:
            return self._stdin
        return os.path.join(self._inputs.root, name)  # noqa: PTH118 - of any name


def _stdin_file(stack: ExitStack) -> str:
    """Standard input as a file, which goes with the run."""
    if sys.stdin is None or sys.stdin.isatty():
        raise ImageError(
            "stdin-empty", "no picture comes in on stdin", hint="pipe one: < photo.jpg"
        )
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="anymask-"))
    path = Path(folder) / "stdin"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return str(path)


def _remark(path: Path, note: Note) -> None:
    """Something in a folder that was passed over."""
    say(f"note: {note.code}: {shown_text(str(path))}: {note.text}")


def _code(tally: "Tally") -> int:
    """What the process exits with."""
    from anymask.formats.run_items import BUG as OURS

    if tally.first is None:
        return 0
    if tally.done or tally.kept or tally.gave_up is not None:
        return SOME_FAILED
    return BUG if tally.first.code == OURS else exit_code(tally.first)


def weights_of(model: str | None, checkpoint: Path | None) -> str | None:
    """What the weights are known by: their hash, or the name of the file that is to be had."""
    from anymask.formats.run_files import content_hash
    from anymask.variants import variant

    if checkpoint is not None:
        inside = checkpoint / "model.safetensors"
        return content_hash(inside if checkpoint.is_dir() else checkpoint)
    asset = variant(model or DEFAULT).weights
    return asset.sha256 or asset.md5 or asset.file
