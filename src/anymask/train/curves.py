"""A run's figures as tables and a picture: steps.csv, judged.csv, curves.png."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from anymask.errors import MissingExtraError
from anymask.formats.atomic import naming, write_atomic

STEPS, JUDGED, CURVES = "steps.csv", "judged.csv", "curves.png"
_COLUMNS = ("step", "seconds", "prompts", "loss", "norm", "top", "best", "clear", "last", "rate")
_SMOOTH = 50  # steps that a curve is a mean of, at most


def facts_row(facts: Mapping[str, float]) -> dict[str, float]:
    """A row of steps.csv: every column each time, whatever the step held."""
    return {name: facts.get(name, math.nan) for name in _COLUMNS}


def add_row(path: Path, row: Mapping[str, float]) -> None:
    """Append to a CSV, with a header where it is new; a table of other columns keeps its own."""
    columns = _header(path) or list(row)
    new = not path.exists() or path.stat().st_size == 0
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), path.open("a", newline="", encoding="ascii") as file:
        writer = csv.DictWriter(file, columns, restval="nan", extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" for k, v in row.items()})


def cut_rows(path: Path, step: int) -> None:
    """Take away rows of later steps, and half ones: the run goes on from `step`."""
    columns = _header(path)
    if not columns:
        return
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    kept = [lines[0]]
    for line in lines[1:]:
        values = line.split(",")
        try:
            good = len(values) == len(columns) and float(values[columns.index("step")]) <= step
        except ValueError:
            good = False
        if good:
            kept.append(line)
    if len(kept) != len(lines):
        text = "\r\n".join(kept) + "\r\n"
        write_atomic(path, text.encode("ascii", "replace"), overwrite=True)


def _header(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(encoding="ascii", errors="replace") as file:
        columns = file.readline().strip().split(",")
    return columns if "step" in columns else []


def read_table(path: Path) -> dict[str, list[float]]:
    """Columns of a CSV; nothing where there is none."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="ascii") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0]) if rows else []
    return {name: [float(row[name] or "nan") for row in rows] for name in names}


def draw_curves(folder: Path) -> None:
    """Draw a run's tables into ``curves.png``.

    Raises
    ------
    MissingExtraError
        ``extra-missing``: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "extra-missing", "curves are drawn by matplotlib", hint="pip install 'anymask[train]'"
        ) from error
    steps, judged = read_table(folder / STEPS), read_table(folder / JUDGED)
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    if steps:
        at = np.array(steps["step"])
        above.plot(at, _smooth(steps["loss"]), color="#1b6ca8", linewidth=1.4)
        names = {"top": "first click, chosen", "clear": "box or clicks", "last": "last round"}
        for name, words in names.items():
            if name in steps:
                below.plot(at, _smooth(steps[name]), linewidth=1.2, label=f"training: {words}")
    marks = {"click1": "1 click", "click3": "3 clicks", "click5": "5 clicks", "box": "box"}
    for name, words in marks.items():
        if name in judged:
            below.plot(
                judged["step"], judged[name], marker="o", markersize=4, linestyle="--",
                label=f"validation: {words}",
            )  # fmt: skip
    above.set_ylabel("loss")
    below.set_ylabel("mean IoU")
    below.set_xlabel("step")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    if below.lines:
        figure.legend(fontsize=8, ncols=4, loc="outside lower center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomic(folder / CURVES, buffer.getvalue(), overwrite=True)


def _smooth(values: Sequence[float]) -> np.ndarray:
    """Means of so many steps up to each, without those that held no such figure."""
    array = np.array(values, float)
    known = np.isfinite(array)
    width = max(1, min(_SMOOTH, len(array) // 10))
    sums = np.cumsum(np.where(known, array, 0))
    counts = np.cumsum(known).astype(float)
    sums[width:] -= sums[:-width].copy()
    counts[width:] -= counts[:-width].copy()
    out: np.ndarray = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return out
