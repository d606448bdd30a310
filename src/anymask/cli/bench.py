"""`anymask bench`: how long a model takes on this machine."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anymask.cli.common import Progress, importing

if TYPE_CHECKING:
    import numpy as np

    from anymask.model import Model

_SIZE = (1000, 1500)  # H, W of the picture made for it, px


def bench(
    image: Annotated[
        Path | None,
        typer.Argument(help="A picture to time; one of 1.5 megapixels is made if left out."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="See: anymask models.")
    ] = "nano",
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to use instead of the model's own."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    runs: Annotated[int, typer.Option(min=1, help="How often each step is timed.")] = 10,
    warmup: Annotated[int, typer.Option(min=0, help="How often it is done before that.")] = 2,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch; its own choice if left out.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Time a model on this machine.

    Encoding happens once a picture. A point asks for three masks, a box for one, both at the
    picture's own size, which is in the middle of it; small objects are looked at twice by models
    that do so. Times are medians; beside them the fastest and the slowest run.
    """
    from anymask.image import load_image
    from anymask.variants import variant

    row = variant(model)
    pixels = sample_picture() if image is None else load_image(image).pixels
    with importing():
        from anymask.model import load
    began = time.perf_counter()
    loaded = load(row.name, checkpoint=checkpoint, device=device)
    load_s = time.perf_counter() - began
    facts = measure(loaded, pixels, runs=runs, warmup=warmup, threads=threads)
    facts = {"model": row.name, "load_s": round(load_s, 3)} | facts
    if json_:
        print(json.dumps(facts))
    else:
        _print_table(facts)


def measure(
    model: "Model",
    pixels: "np.ndarray",
    *,
    runs: int,
    warmup: int,
    threads: int | None = None,
) -> dict[str, Any]:
    """Times, ms, and what they were taken on, as JSON can hold it."""
    import torch

    from anymask import __version__
    from anymask.image import Picture
    from anymask.predict.image import ImagePredictor

    if threads is not None:
        torch.set_num_threads(threads)
    predictor = ImagePredictor(model)
    picture = Picture(pixels=pixels)
    height, width = pixels.shape[:2]
    embedding = predictor.encode(picture)
    point = [[width / 2, height / 2]]
    box = [width / 4, height / 4, 3 * width / 4, 3 * height / 4]
    steps: dict[str, Callable[[], object]] = {
        "encode": lambda: predictor.encode(picture),
        "point": lambda: predictor.predict(embedding, points=point),
        "box": lambda: predictor.predict(embedding, boxes=box, multimask=False),
    }

    def wait() -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)

    times: dict[str, dict[str, float]] = {}
    total, done = len(steps) * (runs + warmup), 0
    with Progress("runs") as bar:
        for name, step in steps.items():
            seconds = []
            for i in range(warmup + runs):
                wait()
                began = time.perf_counter()
                step()
                wait()
                if i >= warmup:
                    seconds.append(time.perf_counter() - began)
                bar.show(done := done + 1, total)
            times[name] = spread(seconds)
    return {
        "picture": [height, width],
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "runs": runs,
        "times_ms": times,
        "peak_mib": peak_mib(),
        "anymask": __version__,
        "torch": torch.__version__,
    }


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, fastest and slowest, ms.

    >>> spread([0.002, 0.001, 0.009])
    {'median': 2.0, 'min': 1.0, 'max': 9.0}
    """
    values = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
    return {name: round(1000 * value, 2) for name, value in values.items()}


def peak_mib() -> float | None:
    """The largest memory that the process has had, MiB; None where the system does not tell."""
    try:
        # Linux; its other figure counts the process that started this one, too
        status = Path("/proc/self/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) / 2**10, 1)
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def sample_picture() -> "np.ndarray":
    """A bright disc on a dark, softly textured ground; the same each time."""
    import cv2
    import numpy as np

    height, width = _SIZE
    noise = np.random.default_rng(0).integers(0, 60, (height, width, 3), dtype=np.uint8)
    pixels = cv2.GaussianBlur(noise, (0, 0), 3)
    cv2.circle(pixels, (width // 2, height // 2), height // 4, (220, 170, 60), -1, cv2.LINE_AA)
    return np.asarray(pixels)


def _print_table(facts: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    height, width = facts["picture"]
    table = Table(
        title=f"{facts['model']} on {facts['device']}, {facts['threads']} threads, "
        f"{width} x {height} px, {facts['runs']} runs"
    )
    table.add_column("step")
    for name in ("median", "fastest", "slowest"):
        table.add_column(f"{name}, ms", justify="right")
    for name, about in (("encode", "encode"), ("point", "point, 3 masks"), ("box", "box, 1 mask")):
        values = facts["times_ms"][name]
        table.add_row(about, *(f"{values[key]:.1f}" for key in ("median", "min", "max")))
    peak = facts["peak_mib"]
    table.caption = f"loaded in {facts['load_s']:.2f} s" + (
        f"; {peak:.0f} MiB at most" if peak is not None else ""
    )
    Console().print(table)
