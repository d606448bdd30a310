"""What a 0/1 mask as a prompt should become: logits of which size, with its box and point or not.

Asks: how near is the answer to a mask that was given as the prompt? True masks of photos are given,
as they are and roughened (moved edges, see `rough`), as logits of several sizes, alone and with the
mask's box and innermost point. The table shows the mean IoU of the single-mask output with the true
mask; `given` is the IoU of the prompt itself.

    python benchmarks/mask_prompts.py SET.tar... --model nano --limit 5
"""

import argparse
import json
from dataclasses import replace

import cv2
import numpy as np

import anymask
from anymask.evaluate.interactive import masks_of_record
from anymask.formats.sa1b import open_sa1b, split_of
from anymask.mask_geometry import mask_iou
from anymask.mask_prompts import SURE
from anymask.prompts import Prompts

SIZES = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 20.0)  # logits
PARTS = ("logits", "logits + box", "logits + point", "all")


def rough(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask as a quick hand draws it: edges up to a tenth of its size off, here and there."""
    size = np.sqrt(mask.sum())
    noise = rng.normal(size=mask.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), max(1.0, size / 8))
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    drawn = inside - outside + noise / noise.std() * size / 20 > 0
    return drawn if drawn.any() else mask


def variants(prompts: Prompts) -> dict[tuple[str, float], Prompts]:
    """The prompt of a 0/1 mask with more or less beside its logits, by part and size."""
    nothing = (np.zeros((0, 2), np.float32),) * len(prompts)
    none = (np.zeros(0, np.int64),) * len(prompts)
    shapes = {
        "logits": replace(prompts, boxes=None, points=nothing, labels=none),
        "logits + box": replace(prompts, points=nothing, labels=none),
        "logits + point": replace(prompts, boxes=None),
        "all": prompts,
    }
    found = {("box + point", 0.0): replace(prompts, masks=None)}
    assert prompts.masks is not None
    for part, shape in shapes.items():
        for size in SIZES:
            found[part, size] = replace(shape, masks=prompts.masks * np.float32(size / SURE))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--checkpoint")
    parser.add_argument("--limit", type=int, default=5, help="photos of each set")
    parser.add_argument("--json", help="write the figures here as well")
    chosen = parser.parse_args()
    predictor = anymask.ImagePredictor(anymask.load(chosen.model, checkpoint=chosen.checkpoint))
    rng = np.random.default_rng(0)
    ious: dict[tuple[str, str, float], list[float]] = {}
    for path in chosen.sets:
        data = open_sa1b(path)
        for image_id in [i for i in data.ids if split_of(i) == "val"][: chosen.limit]:
            record = data.read(image_id)
            truths = np.stack([a.mask() for a in masks_of_record(record)] or [np.zeros((1, 1))])
            if not truths.any():
                continue
            embedding = predictor.encode(record.pixels())
            for kind, masks in (
                ("true", truths),
                ("rough", np.stack([rough(mask, rng) for mask in truths])),
            ):
                own = np.diag(mask_iou(masks, truths)).tolist()
                ious.setdefault((kind, "given", 0.0), []).extend(own)
                for (part, size), prompts in variants(
                    predictor.prompts(embedding, masks=masks[:, None], kind="binary")
                ).items():
                    found = predictor.predict_prompts(embedding, prompts, multimask=False)
                    good = np.diag(mask_iou(found.masks[:, 0], truths)).tolist()
                    ious.setdefault((kind, part, size), []).extend(good)
    print(f"{chosen.model}, {len(ious['true', 'given', 0.0])} masks, mean IoU with the true mask")
    print(f"{'':22s}{'size of logits':>15s}  true   rough")
    for part, size in dict.fromkeys((part, size) for _, part, size in ious):
        means = [float(np.mean(ious[kind, part, size])) for kind in ("true", "rough")]
        print(f"{part:22s}{size or '':>15}  {means[0]:.3f}  {means[1]:.3f}")
    if chosen.json:
        rows = [
            {"given": kind, "part": part, "size": size, "masks": len(v), "iou": float(np.mean(v))}
            for (kind, part, size), v in ious.items()
        ]
        with open(chosen.json, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(rows, file)


if __name__ == "__main__":
    main()
