"""Following an object onto a frame of a video, ours beside `transformers`: how much CPU time?

Both sides hold random weights of one size and an object with a full history: seven memories and
sixteen pointers of random numbers. A run takes a random 1024 x 1024 frame through the encoder, the
attention to memories, the mask decoder and the encoder of memories. Each side is a process of its
own; they run turn about, beside one that measures what a float32 matrix product reaches at the
moment. Reported are medians after a warm-up: CPU seconds (user and system), wall seconds, ratios.

    python benchmarks/track_sam2.py [tiny ...] [--objects 1] [--repeats 3] [--json FILE]

With `--objects N` that is larger than 1, ours follows N objects instead, and ours with one of them
takes the place of the peer.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

from encode_sam2 import vision_of
from encode_vit import PRODUCT_GFLOP, product
from turns import Runs, answer, print_columns, take_turns, write_record

SIZES = ("tiny", "small", "base-plus", "large", "edgetam")
MEMORIES, POINTERS, SIDE = 7, 16, 1024


def row_of(size: str) -> str:
    """The name of a size's row."""
    return size if size == "edgetam" else f"sam2.1-{size}"


def ours(size: str, objects: int) -> Callable[[], object]:
    """Our step, with objects that were followed for a while."""
    import torch

    from anymask.model import BUILDERS, Model
    from anymask.predict.video_step import FrameMemory, Recall, maps_of, memorise, track
    from anymask.variants import variant

    torch.manual_seed(0)
    row = variant(row_of(size))
    model = Model(BUILDERS[row.builder](**row.network), row)
    image = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    tokens = 512 if size == "edgetam" else (SIDE // 16) ** 2

    def kept(frame: int) -> FrameMemory:
        return FrameMemory(
            frame=frame,
            spatial=torch.randn(tokens, 64).bfloat16(),
            pointer=torch.randn(256),
            present=1.0,
            logits=torch.randn(SIDE // 4, SIDE // 4),
            score=1.0,
            prompted=frame == 0,
        )

    def history() -> Recall:
        past = [kept(frame) for frame in range(POINTERS)]
        order = [0, *range(POINTERS - MEMORIES + 1, POINTERS)]
        spatial = [(past[f], MEMORIES - 1 if f == 0 else POINTERS - 1 - f) for f in order]
        pointers = [(one, (POINTERS - one.frame) / (POINTERS - 1)) for one in past]
        return Recall(spatial=tuple(spatial), pointers=tuple(pointers))

    recalls = [history() for _ in range(objects)]

    def run() -> object:
        maps = maps_of(model, image)
        answers = track(model, maps, recalls)
        return memorise(model, maps, answers, POINTERS, prompted=False)

    return run


def peer(size: str, objects: int) -> Callable[[], object]:
    """The step of `transformers`, as it comes."""
    import torch
    from transformers import Sam2VideoConfig, Sam2VideoInferenceSession, Sam2VideoModel

    torch.manual_seed(0)
    model = Sam2VideoModel(
        Sam2VideoConfig(
            vision_config=vision_of(row_of(size)),
            enable_temporal_pos_encoding_for_object_pointers=True,
            enable_occlusion_spatial_embedding=True,
        )
    ).eval()
    image = torch.randn(1, 3, SIDE, SIDE)
    session = Sam2VideoInferenceSession(video_height=SIDE, video_width=SIDE, dtype=torch.float32)
    places = torch.randn((SIDE // 16) ** 2, 1, 64)
    for one in range(objects):
        session.obj_id_to_idx(one)
        for frame in range(POINTERS):
            kept = {
                "maskmem_features": torch.randn((SIDE // 16) ** 2, 1, 64).bfloat16(),
                "maskmem_pos_enc": places,
                "object_pointer": torch.randn(1, 256),
            }
            session.store_output(one, frame, output_value=kept, is_conditioning_frame=frame == 0)

    def run() -> object:
        session.cache.clear_all()
        return model(inference_session=session, frame=image, frame_idx=POINTERS)

    return run


def serve(side: str, size: str, objects: int, threads: int) -> None:
    """In a child: load, say so, then run and report once for every line that comes in."""
    import torch

    torch.set_num_threads(threads)
    sides = {
        "anymask": lambda: ours(size, objects),
        "one": lambda: ours(size, 1),
        "transformers": lambda: peer(size, objects),
        "product": product,
    }
    run = sides[side]()
    with torch.inference_mode():
        answer(run)


def measure(size: str, objects: int, repeats: int, threads: int) -> Runs:
    """Reports of each side, taken turn about; the first of each is a warm-up."""
    more = ["--objects", str(objects), "--threads", str(threads)]
    other = "transformers" if objects == 1 else "one"
    sides = ("anymask", other, "product")
    return take_turns({side: [__file__, size, "--serve", side, *more] for side in sides}, repeats)


def summary(runs: Runs) -> dict[str, float]:
    """Medians and ratios."""

    def median(side: str, key: str) -> float:
        return statistics.median(report[key] for report in runs[side][1:])

    found = {}
    for side in runs:
        if side != "product":
            found |= {f"{side}_{key}": median(side, key) for key in ("cpu_s", "wall_s")}
    other = next(side for side in runs if side not in ("anymask", "product"))
    found["cpu_ratio"] = found["anymask_cpu_s"] / found[f"{other}_cpu_s"]
    found["product_gflop_per_cpu_s"] = PRODUCT_GFLOP / median("product", "cpu_s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", default=["tiny"], choices=SIZES)
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side after a warm-up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.sizes[0], arguments.objects, arguments.threads)
        return
    runs = {
        s: measure(s, arguments.objects, arguments.repeats, arguments.threads)
        for s in arguments.sizes
    }
    found = {row_of(s): summary(one) for s, one in runs.items()}
    print_columns(found)
    if arguments.json:
        write_record(arguments, found, runs)


if __name__ == "__main__":
    main()
