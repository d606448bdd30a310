"""SAM 2.1's encoders beside those of `transformers`: how much CPU time and memory?

Both sides hold random weights of the same size and encode a random 1024 x 1024 image, each in a
process of its own, turn about, beside one that measures what a float32 matrix product reaches at
the moment. Reported are medians after a warm-up: CPU seconds (user and system), wall seconds, and
the peak of resident memory above what the process held with its model loaded; then ratios.

    python benchmarks/encode_sam2.py [tiny base-plus ...] [--repeats 3] [--threads 1] [--json FILE]

One thread is the default: several wait for each other by spinning, and on a busy machine the CPU
time of that hides the one of the work.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encode_vit import PRODUCT_GFLOP, product
from turns import Runs, answer, print_columns, take_turns, write_record

SIZES = ("tiny", "small", "base-plus", "large")


def ours(size: str) -> Callable[[], object]:
    """Our encoder with random weights, and an image for it."""
    import torch

    from anymask.model import BUILDERS
    from anymask.variants import variant

    torch.manual_seed(0)
    row = variant(f"sam2.1-{size}")
    network = BUILDERS[row.builder](**row.network).eval()
    image = torch.randn(1, 3, 1024, 1024)
    return lambda: network.encode(image)  # type: ignore[operator]


def vision_of(name: str) -> Any:
    """The image encoder of `transformers` in the size of a row of ours."""
    from transformers import Sam2HieraDetConfig, Sam2VisionConfig

    from anymask.variants import variant

    row = variant(name).network
    dim, heads, background = row["dim"], row["heads"], row["background"]
    assert isinstance(dim, int) and isinstance(heads, int)
    dims = [dim * 2**i for i in range(4)]
    trunk = Sam2HieraDetConfig(
        hidden_size=dim,
        num_attention_heads=heads,
        blocks_per_stage=list(row["depths"]),  # type: ignore[call-overload]
        embed_dim_per_stage=dims,
        num_attention_heads_per_stage=[heads * 2**i for i in range(4)],
        window_size_per_stage=list(row["windows"]),  # type: ignore[call-overload]
        global_attention_blocks=list(row["global_blocks"]),  # type: ignore[call-overload]
        window_positional_embedding_background_size=[background, background],
    )
    return Sam2VisionConfig(backbone_config=trunk, backbone_channel_list=dims[::-1])


def peer(size: str) -> Callable[[], object]:
    """The encoder of `transformers`, as it comes."""
    import torch
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(0)
    network = Sam2Model(Sam2Config(vision_config=vision_of(f"sam2.1-{size}"))).eval()
    image = torch.randn(1, 3, 1024, 1024)
    return lambda: network.get_image_embeddings(image)


def serve(side: str, size: str, threads: int) -> None:
    """In a child: load, say so, then run and report once for every line that comes in."""
    import torch

    torch.set_num_threads(threads)
    sides = {"anymask": lambda: ours(size), "transformers": lambda: peer(size), "product": product}
    run = sides[side]()
    with torch.inference_mode():
        answer(run)


def measure(size: str, repeats: int, threads: int) -> Runs:
    """Reports of each side, taken turn about; the first of each is a warm-up."""
    more = ["--threads", str(threads)]
    sides = ("anymask", "transformers", "product")
    return take_turns({side: [__file__, size, "--serve", side, *more] for side in sides}, repeats)


def summary(runs: Runs) -> dict[str, float]:
    """Medians and ratios. Peaks are of the first run: memory kept for later runs hides there."""

    def median(side: str, key: str) -> float:
        return statistics.median(report[key] for report in runs[side][1:])

    mine, theirs = median("anymask", "cpu_s"), median("transformers", "cpu_s")
    return {
        "anymask_cpu_s": mine,
        "transformers_cpu_s": theirs,
        "cpu_ratio": mine / theirs,
        "anymask_wall_s": median("anymask", "wall_s"),
        "transformers_wall_s": median("transformers", "wall_s"),
        "anymask_peak_mb": runs["anymask"][0]["peak_bytes"] / 1e6,
        "transformers_peak_mb": runs["transformers"][0]["peak_bytes"] / 1e6,
        "product_gflop_per_cpu_s": PRODUCT_GFLOP / median("product", "cpu_s"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", default=["tiny", "base-plus"], choices=SIZES)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side after a warm-up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.sizes[0], arguments.threads)
        return
    runs = {s: measure(s, arguments.repeats, arguments.threads) for s in arguments.sizes}
    found = {f"sam2.1-{s}": summary(one) for s, one in runs.items()}
    print_columns(found)
    if arguments.json:
        write_record(arguments, found, runs)


if __name__ == "__main__":
    main()
