"""What `anymask evaluate` measures: a task is a row of a table, made of a model and opened sets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from anymask.cli.common import Progress, say
from anymask.cli.evaluate_video import open_clips, video

if TYPE_CHECKING:
    from rich.table import Table

    from anymask.formats.sa1b import Sa1bSet
    from anymask.model import Model


class Reports(Protocol):
    """What every task gives."""

    def to_dict(self) -> dict[str, object]: ...

    def table(self) -> "Table": ...

    def markdown(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says; a task takes what concerns it.

    Attributes
    ----------
    split, limit
        Which photos, and how many a set at most.
    clicks
        Numbers of clicks to report.
    baselines
        GrabCut too.
    noc
        Clicks until a mask is good enough.
    crop_n_layers
        Layers of crops of automatic masks.
    detections
        A file of boxes to take instead of those of the truth.
    """

    split: str
    limit: int | None
    clicks: tuple[int, ...]
    baselines: bool
    noc: bool
    crop_n_layers: int
    detections: Path | None


def interactive(model: "Model", sets: "list[Sa1bSet]", asked: Asked) -> Reports:
    """Masks from prompts."""
    import torch

    from anymask.evaluate.interactive import evaluate_interactive
    from anymask.predict.image import ImagePredictor

    if asked.baselines:  # GrabCut has a core of its own; two crews on one core wait for each other
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))
    with Progress("photos") as bar:
        return evaluate_interactive(
            ImagePredictor(model),
            sets,
            split=asked.split,
            clicks=asked.clicks,
            limit=asked.limit,
            baselines=asked.baselines,
            details=True,
            noc=asked.noc,
            progress=bar.show,
        )


def automatic(model: "Model", sets: "list[Sa1bSet]", asked: Asked) -> Reports:
    """Masks without prompts."""
    from anymask.evaluate.automatic import evaluate_automatic
    from anymask.predict.everything import MaskGenerator

    generator = MaskGenerator(model, crop_n_layers=asked.crop_n_layers)
    with Progress("photos") as bar:
        return evaluate_automatic(
            generator, sets, split=asked.split, limit=asked.limit, progress=bar.show
        )


def edges(model: "Model", sets: "list[Sa1bSet]", asked: Asked) -> Reports:
    """Edges without prompts."""
    from anymask.evaluate.edges import evaluate_edges
    from anymask.predict.edges import EdgeFinder

    with Progress("photos") as bar:
        return evaluate_edges(
            EdgeFinder(model), sets, split=asked.split, limit=asked.limit, progress=bar.show
        )


def boxes(model: "Model", sets: "list[Sa1bSet]", asked: Asked) -> Reports:
    """Masks of the boxes of the truth, or of a detector."""
    from anymask.evaluate.boxes import evaluate_boxes
    from anymask.formats.detections import read_detections
    from anymask.predict.image import ImagePredictor

    found = None if asked.detections is None else read_detections(asked.detections)
    with Progress("photos") as bar:
        return evaluate_boxes(
            ImagePredictor(model),
            sets,
            split=asked.split,
            limit=asked.limit,
            detections=found,
            progress=bar.show,
        )


TASKS: Mapping[str, "Callable[[Model, list[Any], Asked], Reports]"] = MappingProxyType(
    {
        "interactive": interactive,
        "automatic": automatic,
        "edges": edges,
        "boxes": boxes,
        "video": video,
    }
)


def open_sets(task: str, paths: Sequence[Path]) -> list[Any]:
    """What a task is measured on; errors are those of the reader."""
    if task == "video":
        return open_clips(paths)
    from anymask.formats.sa1b import open_sa1b

    return [open_sa1b(path) for path in paths]


def check_report(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that a report cannot go to, before the work."""
    from anymask.evaluate.report_folder import check_report_folder

    check_report_folder(folder, overwrite=overwrite)


def write_page(
    folder: Path,
    report: Reports,
    model: "Model",
    sets: "list[Sa1bSet]",
    title: str,
    about: str,
    overwrite: bool,
) -> None:
    """Write a report's folder; one line where plots are left out."""
    from anymask.evaluate.edge_sheets import edge_sheets
    from anymask.evaluate.edges import EdgeReport
    from anymask.evaluate.plots import can_draw
    from anymask.evaluate.report import Report
    from anymask.evaluate.report_folder import Told, write_report
    from anymask.evaluate.sheets import Sheet, sheets_of
    from anymask.predict.edges import EdgeFinder

    assert isinstance(report, Told)  # no page is asked for of a task without plots
    sheets: Iterable[Sheet] = ()
    if isinstance(report, Report):
        sheets = sheets_of(report, sets)
    elif isinstance(report, EdgeReport):
        sheets = edge_sheets(report, sets, EdgeFinder(model))
    write_report(folder, report, title=title, about=about, sheets=sheets, overwrite=overwrite)
    if not can_draw():
        say("plots are left out: they need matplotlib (pip install 'anymask[train]')")
