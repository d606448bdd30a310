"""SAM's ViT-B encoder beside the one of `transformers`: how much CPU time and memory?

Both sides hold random weights and encode a random 1024 x 1024 image, each in a process of its own,
turn about, beside a process that measures what a float32 matrix product reaches at the moment.
Reported are medians: CPU seconds (user and system), wall seconds, and the peak of resident memory
above what the process held with its model loaded; then the ratio of the sides, and the share of the
matrix product's rate that our encoder reaches over all its arithmetic.

One thread is the default: several wait for each other by spinning, and on a busy machine the CPU
time of that hides the one of the work.

    python benchmarks/encode_vit.py [--repeats 3] [--threads 1] [--json FILE]
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

SIDES = ("anymask", "transformers", "product")
VIT_B = {"dim": 768, "depth": 12, "heads": 12, "global_blocks": (2, 5, 8, 11)}
PRODUCT = (4096, 768, 3072)  # rows, inner, columns: the encoder's largest layer
PRODUCTS = 40  # a measurement of the rate takes so many
PRODUCT_GFLOP = 2 * PRODUCT[0] * PRODUCT[1] * PRODUCT[2] * PRODUCTS / 1e9  # of one run of `product`


def arithmetic(
    *, dim: int, depth: int, heads: int, global_blocks: tuple[int, ...], cells: int = 64
) -> float:
    """Floating-point operations of one encode, without padding and without norms."""
    tokens = cells * cells
    linear = depth * 2 * tokens * dim * dim * (3 + 1 + 4 + 4)
    everywhere = len(global_blocks) * 4 * tokens * tokens * dim
    in_windows = (depth - len(global_blocks)) * 4 * tokens * 14 * 14 * dim
    ends = 2 * tokens * (dim * 3 * 16 * 16 + dim * 256 + 256 * 256 * 9)
    return float(linear + everywhere + in_windows + ends)


def ours() -> Callable[[], object]:
    """Our encoder with random weights, and an image for it."""
    import torch

    from anymask.nn.sam import build_sam

    torch.manual_seed(0)
    network = build_sam(**VIT_B).eval()  # type: ignore[arg-type]
    image = torch.randn(1, 3, 1024, 1024)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                parameter.normal_(std=0.1)
    return lambda: network.encode(image)


def peer() -> Callable[[], object]:
    """The encoder of `transformers`, as it comes."""
    import torch
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    network = SamModel(SamConfig()).eval()
    image = torch.randn(1, 3, 1024, 1024)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                parameter.normal_(std=0.1)
    return lambda: network.get_image_embeddings(image)


def product() -> Callable[[], object]:
    """Matrix products of one of the encoder's shapes, into memory that is there already."""
    import torch

    rows, inner, columns = PRODUCT
    a, b = torch.randn(rows, inner), torch.randn(columns, inner)
    out = torch.empty(rows, columns)

    def run() -> None:
        for _ in range(PRODUCTS):
            torch.mm(a, b.t(), out=out)

    return run


def serve(side: str, threads: int) -> None:
    """In a child: load, say so, then run and report once for every line that comes in."""
    import torch

    torch.set_num_threads(threads)
    run = {"anymask": ours, "transformers": peer, "product": product}[side]()
    with torch.inference_mode():
        print("ready", flush=True)
        for _ in sys.stdin:
            Path("/proc/self/clear_refs").write_text("5")  # starts the peak afresh
            held, before, start = resident("VmRSS"), usage(), time.perf_counter()
            run()
            wall, after = time.perf_counter() - start, usage()
            report = {
                "wall_s": wall,
                "user_s": after.ru_utime - before.ru_utime,
                "system_s": after.ru_stime - before.ru_stime,
                "page_faults": after.ru_minflt - before.ru_minflt,
                "peak_bytes": resident("VmHWM") - held,
            }
            print(json.dumps(report), flush=True)


def usage() -> resource.struct_rusage:
    """What this process used so far."""
    return resource.getrusage(resource.RUSAGE_SELF)


def measure(repeats: int, threads: int) -> Runs:
    """Reports of each side, taken turn about; the first of each, a warm-up, comes first."""
    more = ["--threads", str(threads)]
    return take_turns({side: [__file__, "--serve", side, *more] for side in SIDES}, repeats)


def summary(runs: Runs) -> dict[str, float]:
    """Medians and ratios. Peaks are of the first run: memory kept for later runs hides there."""
    cpu = {s: statistics.median(r["user_s"] + r["system_s"] for r in runs[s][1:]) for s in SIDES}
    wall = {s: statistics.median(r["wall_s"] for r in runs[s][1:]) for s in SIDES}
    peak = {s: runs[s][0]["peak_bytes"] / 1e6 for s in SIDES}
    rate = PRODUCT_GFLOP / cpu["product"]
    reached = arithmetic(**VIT_B) / cpu["anymask"] / 1e9  # type: ignore[arg-type]
    return {
        "anymask_cpu_s": cpu["anymask"],
        "transformers_cpu_s": cpu["transformers"],
        "cpu_ratio": cpu["anymask"] / cpu["transformers"],
        "anymask_wall_s": wall["anymask"],
        "transformers_wall_s": wall["transformers"],
        "anymask_peak_mb": peak["anymask"],
        "transformers_peak_mb": peak["transformers"],
        "peak_ratio": peak["anymask"] / peak["transformers"],
        "product_gflop_per_cpu_s": rate,
        "anymask_gflop_per_cpu_s": reached,
        "share_of_product_rate": reached / rate,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side after a warm-up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.threads)
        return
    runs = measure(arguments.repeats, arguments.threads)
    found = summary(runs)
    for key, value in found.items():
        print(f"{key:26} {value:9.3f}")
    if arguments.json:
        write_record(arguments, found, runs)


if __name__ == "__main__":
    main()
