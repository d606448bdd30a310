"""Many objects through a video: what does the eighth cost, when frames are encoded once?

A session is handed frame after frame (640 x 360, a window that moves over a photo) and follows one
object in one process, and several in another; they run turn about. Each has a full history first:
frames are followed until memories are as many as they get. Reported are medians of CPU seconds
(user and system) a frame, and their ratio. Models without bundled weights have random ones, which
cost the same.

    python benchmarks/track_objects.py [nano ...] [--objects 8] [--repeats 3] [--json FILE]
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from turns import Runs, answer, print_columns, take_turns, write_record

SIZE = (360, 640)
WARM_UP = 8  # frames


def frames() -> Iterator[Any]:
    """A window that moves over a photo and back."""
    import numpy as np
    from PIL import Image

    import anymask

    folder = Path(anymask.__file__).parent / "photos"
    wide = np.asarray(Image.open(folder / "coffee.png").convert("RGB").resize((900, 600)))
    t = 0
    while True:
        at = 40 - abs(t % 80 - 40)
        yield wide[3 * at : 3 * at + SIZE[0], 5 * at : 5 * at + SIZE[1]]
        t += 1


def model_of(name: str) -> Any:
    """A bundled model, or one with random weights."""
    import torch

    from anymask.model import BUILDERS, Model, load
    from anymask.variants import variant

    row = variant(name)
    if row.weights.url is None:
        return load(name, device="cpu")
    torch.manual_seed(0)
    return Model(BUILDERS[row.builder](**row.network), row)


def serve(name: str, objects: int, threads: int) -> None:
    """In a child: follow the first frames, say so, then a frame for every line that comes in."""
    import torch

    from anymask.predict.video import VideoPredictor

    torch.set_num_threads(threads)
    coming = frames()
    session = VideoPredictor(model_of(name)).start()
    session.step(next(coming))
    for one in range(objects):
        x, y = 60 + 130 * (one % 4), 60 + 120 * (one // 4)
        session.prompt(0, one, boxes=[x, y, x + 110, y + 110])
    for _ in range(WARM_UP):
        session.step(next(coming))
    answer(lambda: session.step(next(coming)))


def measure(name: str, objects: int, repeats: int, threads: int) -> Runs:
    """Reports of both sides, taken turn about; the first of each is a warm-up."""
    command = [__file__, name, "--threads", str(threads), "--serve"]
    sides = {"one": [*command, "1"], "several": [*command, str(objects)]}
    return take_turns(sides, repeats)


def summary(runs: Runs) -> dict[str, float]:
    """Medians, and their ratio."""
    cpu = {
        side: statistics.median(report["cpu_s"] for report in reports[1:])
        for side, reports in runs.items()
    }
    return {**{f"{side}_cpu_s": s for side, s in cpu.items()}, "ratio": cpu["several"] / cpu["one"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["nano"])
    parser.add_argument("--objects", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3, help="frames of each after a warm-up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.models[0], arguments.serve, arguments.threads)
        return
    runs = {
        name: measure(name, arguments.objects, arguments.repeats, arguments.threads)
        for name in arguments.models
    }
    found = {name: summary(one) for name, one in runs.items()}
    print_columns(found)
    if arguments.json:
        write_record(arguments, found, runs)


if __name__ == "__main__":
    main()
