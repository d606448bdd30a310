"""What the options of `anymask.load` cost and give: CPU time of an encode, agreement of masks.

Each option is loaded in a process of its own; it encodes photos once to warm up and then again, and
answers a grid of clicks on each. Reported are the median CPU time (user and system) of an encode,
the first encode's time where compiling adds to it, and the IoU of each mask with the one of
float32: mean and lowest tenth. nano has its own weights; other models have synthetic ones, for
which masks mean nothing but numbers take the same way.

    python benchmarks/load_options.py [--models nano sam-vit-b] [--only NAME ...] [--json FILE]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OPTIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "channels_last": {"channels_last": True},
    "autocast bfloat16": {"autocast": "bfloat16"},
    "autocast float16": {"autocast": "float16"},
    "dtype bfloat16": {"dtype": "bfloat16"},
    "quantise int8": {"quantise": "int8"},
    "compile": {"compile": True},
    "compile, autocast bfloat16": {"compile": True, "autocast": "bfloat16"},
    "int8, autocast bfloat16": {"quantise": "int8", "autocast": "bfloat16"},
}
GRID = 5  # clicks a side


def cpu_s() -> float:
    """CPU time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def synthetic(name: str, folder: Path) -> Path | None:
    """A file of synthetic weights in a model's official layout; None for bundled weights."""
    import torch

    from anymask.variants import variant

    if variant(name).weights.url is None:
        return None
    sys.path.insert(0, str(ROOT / "tests"))
    from goldens.record import HERE, rule

    (manifest,) = HERE.parent.glob(f"**/{name.replace('-', '_')}.json")
    state = rule().synthetic_state_dict(json.loads(manifest.read_text()))
    path = folder / f"{name}.pth"
    torch.save({key: torch.from_numpy(value) for key, value in state.items()}, path)
    return path


def photos(count: int) -> list[Path]:
    """Photos that come with the package."""
    return sorted((ROOT / "src/anymask/photos").glob("*.[jp][pn]g"))[:count]


def serve(name: str, option: str, checkpoint: str, count: int, repeats: int, out: Path) -> None:
    """In a child: encode, answer, and write down times, masks and notes."""
    import torch

    from anymask import ImagePredictor, load

    torch.set_num_threads(1)
    more = {"checkpoint": checkpoint} if checkpoint else {}
    model = load(name, device="cpu", **more, **OPTIONS[option])  # type: ignore[arg-type]
    predictor = ImagePredictor(model, zoom=False)
    times, masks, first = [], [], None
    for photo in photos(count):
        start = cpu_s()
        embedding = predictor.encode(photo)  # the first of each size warms up, or compiles
        first = cpu_s() - start if first is None else first
        for _ in range(repeats):
            start = cpu_s()
            embedding = predictor.encode(photo)
            times.append(cpu_s() - start)
        height, width = embedding.size
        steps = (np.arange(GRID) + 0.5) / GRID
        points = [[[x * width, y * height]] for y in steps for x in steps]
        masks.append(predictor.predict(embedding, points=points, multimask=False).masks[:, 0])
    facts = {"encode_cpu_s": statistics.median(times), "first_cpu_s": first, "times": times}
    packed = {f"masks{i}": np.packbits(m, axis=None) for i, m in enumerate(masks)}
    np.savez(out, facts=json.dumps(facts), shapes=json.dumps([m.shape for m in masks]), **packed)


def read(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What a child wrote."""
    with np.load(path) as file:
        shapes = json.loads(str(file["shapes"]))
        masks = [
            np.unpackbits(file[f"masks{i}"])[: int(np.prod(shape))].reshape(shape).astype(bool)
            for i, shape in enumerate(shapes)
        ]
        return json.loads(str(file["facts"])), masks


def agreement(ours: list[np.ndarray], plain: list[np.ndarray]) -> np.ndarray:
    """IoU of each mask with that of float32; two empty ones agree."""
    found = []
    for some, wanted in zip(ours, plain, strict=True):
        either = (some | wanted).sum((1, 2))
        shared = (some & wanted).sum((1, 2))
        found.append(np.where(either, shared / np.maximum(either, 1), 1.0))
    return np.concatenate(found)


def measure(name: str, arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A row for each option of one model."""
    checkpoint = synthetic(name, folder)
    rows: list[dict[str, Any]] = []
    plain: list[np.ndarray] = []
    for option in OPTIONS:
        if arguments.only and option not in ("float32", *arguments.only):
            continue
        out = folder / f"{name}-{option}.npz"
        command = [sys.executable, __file__, "--serve", name, option, str(checkpoint or ""), out]
        command += ["--photos", str(arguments.photos), "--repeats", str(arguments.repeats)]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            rows.append({"model": name, "option": option, "failed": done.stderr.splitlines()[-1]})
            continue
        facts, masks = read(out)
        plain = plain or masks
        iou = agreement(masks, plain)
        rows.append(
            {
                "model": name,
                "option": option,
                **facts,
                "iou_mean": float(iou.mean()),
                "iou_low": float(np.quantile(iou, 0.1)),
            }
        )
        print(line(rows[-1], rows[0]), flush=True)
    return rows


def line(row: dict[str, Any], plain: dict[str, Any]) -> str:
    """A row for people."""
    share = row["encode_cpu_s"] / plain["encode_cpu_s"]
    return (
        f"{row['model']:16} {row['option']:28} {row['encode_cpu_s']:8.3f} CPU s"
        f" {share:6.2f} x {row['first_cpu_s']:8.2f} first"
        f"   IoU {row['iou_mean']:.4f} mean {row['iou_low']:.4f} lowest tenth"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["nano", "sam-vit-b"])
    parser.add_argument("--only", nargs="+", choices=list(OPTIONS), default=[])
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        name, option, checkpoint, out = arguments.serve
        serve(name, option, checkpoint, arguments.photos, arguments.repeats, Path(out))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for m in arguments.models for row in measure(m, arguments, Path(folder))]
    for row in rows:
        if "failed" in row:
            print(f"{row['model']}: {row['option']} failed: {row['failed']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
