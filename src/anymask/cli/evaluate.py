"""`anymask evaluate`: how good are the masks of clicks and boxes where the true masks are known?"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anymask.cli.evaluate_tasks import TASKS, Asked, check_report, open_sets, write_page

_MOST_CLICKS = 100


class Split(StrEnum):
    """Which photos take part."""

    val = "val"
    all = "all"


class Task(StrEnum):
    """What is measured."""

    interactive = "interactive"
    automatic = "automatic"
    edges = "edges"
    boxes = "boxes"
    video = "video"


def evaluate(
    sets: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER_OR_TAR...",
            help="Folders or uncompressed tars of <id>.jpg and <id>.json in SA-1B's layout; for "
            "--task video of JPEGImages/ and Annotations/ in DAVIS's",
        ),
    ],
    task: Annotated[
        Task,
        typer.Option(
            help="Masks from clicks and boxes; all masks of a photo at once; its edges; masks of "
            "boxes as COCO judges them; objects followed through videos"
        ),
    ] = Task.interactive,
    model: Annotated[str, typer.Option("--model", "-m", help="See `anymask models`")] = "nano",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights to use instead of the model's own")
    ] = None,
    split: Annotated[
        Split, typer.Option(help="val: the tenth of the photos that no training uses")
    ] = Split.val,
    clicks: Annotated[str, typer.Option(help="Numbers of clicks to report")] = "1,3,5",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many photos a set")] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the means here; - is stdout"),
    ] = None,
    crop_n_layers: Annotated[
        int, typer.Option(min=0, help="Automatic: layers of crops, which show small things")
    ] = 0,
    detections: Annotated[
        Path | None,
        typer.Option(help="Boxes: a detector's, as COCO's results, instead of those of the truth"),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="GrabCut too, the slowest part")
    ] = True,
    noc: Annotated[
        bool, typer.Option("--noc", help="Click on, up to 20 times, until IoU is .85 and .90")
    ] = False,
    report_folder: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FOLDER",
            help="Write a page with figures, plots, and the best and worst cases here",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the JSON or the report if it exists")
    ] = False,
) -> None:
    """Measure a model: mean IoU of its masks from a box and from a simulated user's clicks.

    With --task automatic: recall and precision of all masks that it finds by itself; with --task
    edges: how well the borders of its masks are the edges that people drew; with --task boxes:
    COCO's average precision of masks from boxes; with --task video: J, F and J&F as DAVIS has them,
    of objects whose first masks are given. Prints a line for each set, for object sizes, and for
    the means. The same command gives the same figures.
    """
    counts = _counts(clicks)
    to_stdout = str(json_file) == "-"
    if json_file is not None and not to_stdout:
        _check_target(json_file, overwrite)
    if report_folder is not None:
        if task is Task.video:
            raise typer.BadParameter("is for photos, not for --task video", param_hint="--report")
        check_report(report_folder, overwrite)

    import json

    from rich.console import Console

    from anymask.formats.atomic import write_atomic

    opened = open_sets(task.value, sets)  # fails before the model is loaded

    from anymask.model import load

    loaded = load(model, checkpoint=checkpoint)
    asked = Asked(
        split=split.value,
        limit=limit,
        clicks=counts,
        baselines=baselines,
        noc=noc,
        crop_n_layers=crop_n_layers,
        detections=detections,
    )
    report = TASKS[task.value](loaded, opened, asked)
    text = json.dumps(report.to_dict(), indent=2) + "\n"
    Console(stderr=to_stdout).print(report.table())
    if to_stdout:
        typer.echo(text, nl=False)
    elif json_file is not None:
        write_atomic(json_file, text.encode("ascii"), overwrite=overwrite)
    if report_folder is not None:
        told = f"`anymask evaluate --task {task.value} -m {model} --split {split.value}`"
        write_page(report_folder, report, loaded, opened, f"{model}: {task.value}", told, overwrite)


def _counts(text: str) -> tuple[int, ...]:
    """The numbers of clicks in a text such as ``1,3,5``."""
    parts = [part.strip() for part in text.split(",")]
    counts = tuple(int(part) for part in parts if part.isascii() and part.isdigit())
    if len(counts) < len(parts) or not all(1 <= count <= _MOST_CLICKS for count in counts):
        raise typer.BadParameter(
            f"{text!r} is no list of numbers from 1 to {_MOST_CLICKS} such as 1,3,5",
            param_hint="--clicks",
        )
    return counts


def _check_target(path: Path, overwrite: bool) -> None:
    """Refuse a place that cannot be written before the long work, not after it."""
    from anymask.errors import OutputError
    from anymask.formats.atomic import ensure_folder, exists

    if path.is_dir():
        raise OutputError(
            "is-a-folder",
            "a folder of this name is in the way",
            given=str(path),
            hint="choose another name",
        )
    if path.exists() and not overwrite:
        raise exists(path)
    ensure_folder(path.parent)
