"""Each model of the table: CPU time, wall time and memory of an encode, and time of a prompt.

Random weights and a random image of the model's input size; the arithmetic does not depend on
either. Each model, and each peer that is named for one, runs in a process of its own, turn about.
Reported are medians: CPU seconds (user and system) and wall seconds of an encode, the peak of
resident memory above what the process held with its model loaded, and milliseconds of one click on
a cached embedding, as `ImagePredictor` asks it (`decode`, CPU and wall), without enlarging the
mask.

    python benchmarks/encode_family.py [MODEL ...] [--repeats 3] [--threads 2] [--json FILE]

Several threads wait for each other by spinning: on a busy machine take ``--threads 1``.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from turns import Runs, resident, take_turns, write_record

MODELS = (
    "mobile-sam",
    "sam-vit-b",
    "sam-hq-vit-b",
    "sam-hq-light",
    "efficient-sam-ti",
    "efficient-sam-s",
)
PROMPTS = 10  # one after the other; their median counts

Encode = Callable[[], object]
Click = Callable[[object], object]


def ours(name: str) -> tuple[Encode, Click]:
    """An encode and a click of a model of ours, with random weights."""
    import torch

    from anymask.model import BUILDERS, Model
    from anymask.variants import variant

    torch.manual_seed(0)
    row = variant(name)
    network = BUILDERS[row.builder](**row.network)
    with torch.no_grad():
        for parameter in network.parameters():  # zeros of fresh tables would be too easy
            parameter.add_(torch.randn_like(parameter) * 0.02)
    model = Model(network, row)
    side = row.spec.side
    pixels = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8)
    points = row.spec.padding(1, False) + 1
    xy = torch.full((1, points, 2), side / 3)
    labels = torch.tensor([[1] + [-1] * (points - 1)])

    def click(features: object) -> object:
        return model.decode(features, xy, labels)  # type: ignore[arg-type]

    return lambda: model.encode(pixels), click


PEERS: dict[str, Callable[[], tuple[Encode, Click]]] = {}  # by the name of our model


def cpu() -> float:
    """CPU seconds of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def serve(side: str, threads: int) -> None:
    """In a child: load, say so, then run and report once for every line that comes in."""
    import torch

    torch.set_num_threads(threads)
    kind, name = side.split(":")
    encode, click = ours(name) if kind == "ours" else PEERS[name]()
    with torch.inference_mode():
        print("ready", flush=True)
        for _ in sys.stdin:
            Path("/proc/self/clear_refs").write_text("5")  # starts the peak afresh
            held, before, start = resident("VmRSS"), cpu(), time.perf_counter()
            features = encode()
            report = {
                "encode_wall_s": time.perf_counter() - start,
                "encode_cpu_s": cpu() - before,
                "peak_mb": (resident("VmHWM") - held) / 1e6,
            }
            clicks = []
            for _ in range(PROMPTS):
                before, start = cpu(), time.perf_counter()
                click(features)
                clicks.append((cpu() - before, time.perf_counter() - start))
            report["click_cpu_ms"] = statistics.median(c for c, _ in clicks) * 1e3
            report["click_wall_ms"] = statistics.median(w for _, w in clicks) * 1e3
            print(json.dumps(report), flush=True)


def measure(sides: list[str], repeats: int, threads: int) -> Runs:
    """Reports of each side, taken turn about; the first of each, a warm-up, comes first."""
    more = ["--threads", str(threads)]
    return take_turns({side: [__file__, "--serve", side, *more] for side in sides}, repeats)


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of all runs but the warm-up; the peak is the warm-up's, for memory kept hides later ones."""
    found = {key: statistics.median(run[key] for run in runs[1:]) for key in runs[0]}
    return found | {"peak_mb": runs[0]["peak_mb"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, help="names of rows")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each after a warm-up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.threads)
        return
    sides = [f"ours:{name}" for name in arguments.models]
    sides += [f"peer:{name}" for name in arguments.models if name in PEERS]
    runs = measure(sides, arguments.repeats, arguments.threads)
    found = {side: medians(reports) for side, reports in runs.items()}
    keys = ("encode_cpu_s", "encode_wall_s", "peak_mb", "click_cpu_ms", "click_wall_ms")
    print(f"{'':26}", *(f"{key:>14}" for key in keys))
    for side in sorted(found, key=lambda side: side.split(":")[1]):
        print(f"{side:26}", *(f"{found[side][key]:14.2f}" for key in keys))
    if arguments.json:
        write_record(arguments, found, runs)


if __name__ == "__main__":
    main()
