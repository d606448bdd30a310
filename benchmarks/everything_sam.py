"""Everything mode of SAM ViT-B beside the steps of `transformers`: how much CPU time?

One photo of 1800 x 1200 px, 32 x 32 points, synthetic weights, the same embedding on both sides;
encoding is not counted. Ours is `MaskGenerator`. The other side is what the mask-generation
pipeline of `transformers` does with its `SamModel` and `SamImageProcessorPil`: 64 points at a time
through prompt encoder and decoder, masks enlarged to the photo, filtered by score and stability,
boxes, run lengths; then duplicates are dropped. That last step is ours on both sides, since theirs
needs torchvision. Their last of all, making bitmaps of the run lengths, is left out.

Random weights give scores and boxes of no meaning, so that thresholds are set by what they keep: a
tenth of all masks, and all; none are dropped as unstable or as duplicates, though all that is
computed. Each side runs in a process of its own, turn about, single-threaded (threads
that wait spin, and on a busy machine the CPU time of that hides the one of the work). Reported are
medians of CPU seconds (user and system), of which `decoder` is what the networks took, peaks of
memory above what the process held before, and whether both found the same masks.

    python benchmarks/everything_sam.py [--side 32] [--repeats 1] [--weights FOLDER] [--json FILE]

`--weights` has `synthetic.py` and `manifests/sam_vit_b.json` (by default ../shared/goldens/sam1).
"""

import argparse
import importlib.util
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import resident

SIDES = ("anymask", "transformers")
SIZE = (1800, 1200)  # width, height
SHARES = {"a tenth": 0.1, "all": 1.0}  # of masks that pass
NMS = 1.0  # IoU of boxes: all masks of random weights span the photo, 0.7 would leave one
BATCH = 64  # points at a time in the pipeline of transformers
OURS = Path(__file__).resolve().parents[1] / "src" / "anymask"


def synthetic(folder: Path) -> dict[str, Any]:
    """Weights of ViT-B under our names."""
    import torch

    from anymask.weights.convert import convert
    from anymask.weights.sam import LAYOUTS

    spec = importlib.util.spec_from_file_location("synthetic", folder / "synthetic.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    manifest = json.loads((folder / "manifests" / "sam_vit_b.json").read_text())
    state = module.synthetic_state_dict(manifest)
    return convert({name: torch.from_numpy(value) for name, value in state.items()}, LAYOUTS)


def photo() -> Any:
    """A bundled photo, enlarged."""
    from PIL import Image

    picture = Image.open(OURS / "photos" / "coffee.png").convert("RGB")
    return np.array(picture.resize(SIZE, Image.Resampling.BICUBIC))


def prepare(folder: Path, given: Path, side: int) -> dict[str, float]:
    """Write weights and embedding for both sides; score thresholds that let each share pass."""
    import torch

    from anymask.frame import Frame
    from anymask.model import Model
    from anymask.nn.sam import build_sam
    from anymask.predict.steps import encode
    from anymask.variants import variant

    torch.set_num_threads(1)
    row, state = variant("sam-vit-b"), synthetic(given)
    network = build_sam(**dict(row.network))
    network.load_state_dict(state)
    model = Model(network, row)
    frame = Frame.fit(SIZE[::-1], row.spec)
    features = encode(model, photo(), frame)
    kept = {name: t for name, t in state.items() if not name.startswith("encoder.")}
    torch.save({"state": kept, "embedding": features[0].clone()}, folder / "given.pt")
    xy = (torch.arange(side) + 0.5) / side
    grid = torch.stack(torch.meshgrid(xy, xy, indexing="xy"), -1).view(-1, 1, 2)
    scale = torch.tensor(frame.resized[::-1])
    points = torch.cat([grid * scale + 0.5, torch.zeros_like(grid)], dim=1)
    labels = torch.tensor([[1, -1]]).expand(len(points), -1)
    with torch.inference_mode():
        scores = [
            model.look(features, some, which)[1][:, 1:].flatten()
            for some, which in zip(points.split(BATCH), labels.split(BATCH), strict=True)
        ]
    ranked = torch.cat(scores).sort(descending=True).values
    thresholds = {}
    for name, share in SHARES.items():
        last = round(share * len(ranked))
        below = ranked[last] if last < len(ranked) else ranked[-1] - 1
        thresholds[name] = float((ranked[last - 1] + below) / 2)
    return thresholds


def ours(folder: Path, side: int) -> Callable[[float], dict[str, Any]]:
    """`MaskGenerator` on a model whose embedding is there already."""
    import torch

    from anymask.model import Model
    from anymask.nn.mask_decoder import MaskDecoder
    from anymask.nn.prompt_encoder import PromptEncoder
    from anymask.nn.sam import Sam
    from anymask.predict.everything import MaskGenerator
    from anymask.variants import variant

    given = torch.load(folder / "given.pt")
    network = Sam(torch.nn.Linear(1, 1), PromptEncoder(256, 1024, 64), MaskDecoder(256))
    network.load_state_dict(given["state"], strict=False)

    class Encoded(Model):
        decoder_s = 0.0

        def encode(self, pixels: Any) -> tuple[Any, ...]:
            return (given["embedding"],)

        def look(self, *asked: Any) -> Any:
            return self.clocked(super().look, *asked)

        def draw(self, *asked: Any) -> Any:
            return self.clocked(super().draw, *asked)

        def clocked(self, call: Callable[..., Any], *asked: Any) -> Any:
            start = time.process_time()
            found = call(*asked)
            self.decoder_s += time.process_time() - start
            return found

    model, pixels = Encoded(network, variant("sam-vit-b")), photo()

    def run(threshold: float) -> dict[str, Any]:
        model.decoder_s = 0.0
        generator = MaskGenerator(
            model,
            points_per_side=side,
            pred_iou_thresh=threshold,
            stability_score_thresh=0.0,
            stability_score_offset=1.0,
            box_nms_thresh=NMS,
        )
        masks = generator.generate(pixels)
        areas = masks.areas.tolist()
        return {"decoder_s": model.decoder_s, "masks": len(masks), "area": sum(areas)}

    return run


def peer(folder: Path, side: int) -> Callable[[float], dict[str, Any]]:
    """The steps of the pipeline, without torchvision."""
    import torch
    from transformers import SamConfig, SamModel
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    from anymask.mask_geometry import nms
    from anymask.weights.sam import HUGGING_FACE

    given = torch.load(folder / "given.pt")
    settings = SamConfig()
    settings.vision_config.num_hidden_layers = 0
    model = SamModel(settings).eval()
    state = peer_names(HUGGING_FACE, given["state"])
    missing = model.load_state_dict(state, strict=False).missing_keys
    assert all(name.startswith("vision_encoder") for name in missing), missing
    processor, picture = SamImageProcessorPil(), photo()
    sizes, reshaped = [list(SIZE[::-1])], [[683, 1024]]

    def run(threshold: float) -> dict[str, Any]:
        boxes, grid, _, labels = processor.generate_crop_boxes(picture, 1024, points_per_crop=side)
        grid, decoder_s = grid.float(), 0.0
        found: list[tuple[Any, ...]] = []
        for i in range(0, grid.shape[1], BATCH):
            start = time.process_time()
            out = model(
                input_points=grid[:, i : i + BATCH],
                input_labels=labels[:, i : i + BATCH],
                image_embeddings=given["embedding"],
            )
            decoder_s += time.process_time() - start
            masks = processor.post_process_masks(
                out.pred_masks, sizes, reshaped_input_sizes=reshaped, binarize=False
            )
            found.append(
                processor.filter_masks(
                    masks[0], out.iou_scores[0], sizes[0], boxes[0], threshold, 0.0
                )
            )
            del masks, out
        rles = [rle for rles, _, _ in found for rle in rles]
        scores, corners = (torch.cat([part[i] for part in found]).numpy() for i in (1, 2))
        kept = nms(corners, scores, NMS)
        area = sum(sum(rles[i]["counts"][1::2]) for i in kept)
        return {"decoder_s": decoder_s, "masks": len(kept), "area": area}

    return run


def peer_names(layout: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Our names turned into theirs; theirs has one tensor twice."""
    from anymask.weights.convert import Layout

    back = {mine: theirs for theirs, mine in layout.table.items() if mine is not None}
    inverse = Layout(name="inverse", table=back)
    renamed = {str(inverse.rename(name)): tensor for name, tensor in state.items()}
    matrix = "shared_image_embedding.positional_embedding"
    renamed[f"prompt_encoder.{matrix}" if matrix in renamed else matrix] = state[
        "prompt_encoder.position.matrix"
    ]
    return renamed


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def serve(kind: str, folder: Path, side: int) -> None:
    """In a child: load, then run and report for every threshold that comes in."""
    import torch

    torch.set_num_threads(1)
    build = {"anymask": ours, "transformers": peer}[kind]
    with torch.inference_mode():
        build(folder, 4)(0.0)  # a warm-up
        run = build(folder, side)
        print("ready", flush=True)
        for line in sys.stdin:
            Path("/proc/self/clear_refs").write_text("5")  # starts the peak afresh
            held, before, start = resident("VmRSS"), cpu_s(), time.perf_counter()
            report = run(float(line))
            report |= {"cpu_s": cpu_s() - before, "wall_s": time.perf_counter() - start}
            print(json.dumps(report | {"peak_mb": (resident("VmHWM") - held) / 1e6}), flush=True)


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Reports by share and side, the sides turn about."""
    runs: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {kind: [] for kind in SIDES} for name in SHARES
    }
    with tempfile.TemporaryDirectory() as name:
        thresholds = prepare(Path(name), arguments.weights, arguments.side)
        children = {}
        for kind in SIDES:
            command = [sys.executable, __file__, "--serve", kind, "--folder", name]
            command += ["--side", str(arguments.side)]
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert child.stdin is not None and child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise SystemExit(f"{kind} did not start")
            children[kind] = child.stdin, child.stdout
        for _ in range(arguments.repeats):
            for share, threshold in thresholds.items():
                for kind, (asked, told) in children.items():
                    asked.write(f"{threshold}\n")
                    asked.flush()
                    runs[share][kind].append(json.loads(told.readline()))
        for asked, _ in children.values():
            asked.close()
    return runs


def table(runs: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """Medians, a line a side and share, and ratios."""
    lines = [f"{'passing':10}{'side':14}{'CPU s':>9}{'decoder':>9}{'masks':>7}{'peak MB':>9}"]
    for share, sides in runs.items():
        medians = {
            kind: {key: statistics.median(r[key] for r in reports) for key in reports[0]}
            for kind, reports in sides.items()
        }
        for kind, m in medians.items():
            numbers = f"{m['cpu_s']:9.2f}{m['decoder_s']:9.2f}{m['masks']:7.0f}{m['peak_mb']:9.0f}"
            lines.append(f"{share:10}{kind:14}{numbers}")
        mine, theirs = medians["anymask"], medians["transformers"]
        ratios = [mine[key] / theirs[key] for key in ("cpu_s", "decoder_s")]
        lines.append(f"{share:10}{'ratio':14}{ratios[0]:9.3f}{ratios[1]:9.3f}")
        lines.append(
            f"{'':10}area of all masks, ours / theirs: {mine['area'] / theirs['area']:.6f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=32, help="points a side of the grid")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each side and share")
    parser.add_argument("--weights", type=Path, default=Path("../shared/goldens/sam1"))
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.folder, arguments.side)
        return
    runs = measure(arguments)
    print(table(runs))
    if arguments.json:
        import torch
        import transformers

        record = {
            "command": " ".join(["python", *sys.argv]),
            "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "runs": runs,
        }
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
