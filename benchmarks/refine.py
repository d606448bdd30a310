"""Do a crop around every object or a guided filter make borders better? Masks, borders, time.

Asks, for small, medium and large objects (square root of the box's share of the photo: below 0.2,
below 0.5, above): what does a second look in a crop give beside the model's own, and what a guided
filter of the logits with the photo as its guide? Prompts are the true box and one click on the
innermost point (of three masks the one of the highest score). `IoU` is the mean; `F` is boundary F
as DAVIS has it, `F1` the same with a tolerance of 1 px; `ms` the CPU time a mask beyond the first
answer. Each row says how much it differs from the first.

    python benchmarks/refine.py SET.tar... --limit 6 --masks 3 [--size 192]
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest

import cv2
import numpy as np
import torch

import anymask
from anymask.evaluate.boundary import boundary_score
from anymask.evaluate.interactive import Target, masks_of_record
from anymask.evaluate.photos import chosen_ids
from anymask.formats.sa1b import open_sa1b
from anymask.frame import Frame
from anymask.nn.resize import upscale
from anymask.predict.refine import Window, look_closer
from anymask.prompts import Prompts
from anymask.variants import Zoom

KINDS = ("small", "medium", "large")
FIGURES = ("IoU", "F", "F1", "ms")
ANY = math.inf  # below: objects of every size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """One mask as logits in the frame of a part of the photo, and what that part is."""

    logits: torch.Tensor  # (1, h, w)
    frame: Frame
    window: Window

    def full(self) -> np.ndarray:
        """Logits at the part's size."""
        frame = self.frame
        image = upscale(self.logits, frame.padded, frame.resized, frame.image, frame.enlarge)
        return image[0].numpy()

    def on(self, size: tuple[int, int], bits: np.ndarray) -> np.ndarray:
        """Bits of the part in the whole photo."""
        mask = np.zeros(size, bool)
        at = self.window
        mask[at.y0 : at.y1, at.x0 : at.x1] = bits
        return mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A prompt and the model's first answer to it, before any second look."""

    predictor: anymask.ImagePredictor
    embedding: anymask.ImageEmbedding
    prompt: Prompts
    first: torch.Tensor  # (h, w)

    def look(self, zoom: Zoom) -> Answer:
        """The second look, or the first answer where there is none."""
        seen = look_closer(self.predictor.model, self.embedding, self.prompt, self.first, zoom)
        if seen is not None:
            return Answer(logits=seen.found, frame=seen.frame, window=seen.window)
        (height, width), frame = self.embedding.size, self.embedding.frame
        whole = Window(x0=0, y0=0, x1=width, y1=height)
        return Answer(logits=self.first[None], frame=frame, window=whole)


def guided(logits: np.ndarray, guide: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Guided filter (He et al. 2010) of (H, W) with a guide (H, W) or (H, W, 3) in 0..1.

    In each square of 2 radius + 1 px the output is linear in the guide, fitted to the logits by
    ridge regression (eps); each pixel takes the mean of the squares that it lies in.
    """

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (2 * radius + 1,) * 2, borderType=cv2.BORDER_REFLECT_101)

    colors = guide[..., None] if guide.ndim == 2 else guide
    count = colors.shape[2]
    means = np.stack([mean(colors[..., c]) for c in range(count)], -1)
    level = mean(logits)
    spread = np.empty((*logits.shape, count, count), np.float32)
    shared = np.empty((*logits.shape, count), np.float32)
    for c in range(count):
        shared[..., c] = mean(colors[..., c] * logits) - means[..., c] * level
        for d in range(c, count):
            both = mean(colors[..., c] * colors[..., d]) - means[..., c] * means[..., d]
            spread[..., c, d] = spread[..., d, c] = both
    spread += np.eye(count, dtype=np.float32) * eps
    slope = np.linalg.solve(spread, shared[..., None])[..., 0]
    base = level - (slope * means).sum(-1)
    slopes = np.stack([mean(slope[..., c]) for c in range(count)], -1)
    return (slopes * colors).sum(-1) + mean(base)


def edges(case: Case, zoom: Zoom, clip: float, radius: int, eps: float, grey: bool) -> np.ndarray:
    """The mask at the photo's size: filtered where the border is nearer than the radius.

    Radius 0 takes that of a cell of the logits.
    """
    answer = case.look(zoom)
    at = answer.window
    full = answer.full()
    radius = radius or max(1, round(answer.frame.cell[0]))
    bits = full > 0
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    near = cv2.morphologyEx(bits.astype(np.uint8), cv2.MORPH_GRADIENT, disk)
    ys, xs = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if len(ys):  # where the band is, and what the filter sees around it
        halo = 2 * radius
        part = np.s_[
            max(0, ys[0] - halo) : ys[-1] + halo + 1, max(0, xs[0] - halo) : xs[-1] + halo + 1
        ]
        pixels = case.embedding.pixels[at.y0 : at.y1, at.x0 : at.x1][part]
        guide = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if grey else pixels
        moved = guided(np.tanh(full[part] / clip), guide.astype(np.float32) / 255, radius, eps)
        bits[part] = np.where(near[part] > 0, moved > 0, bits[part])
    return answer.on(case.embedding.size, bits)


def plain(case: Case, zoom: Zoom) -> np.ndarray:
    """The mask of the second look where there is one, else of the first."""
    answer = case.look(zoom)
    return answer.on(case.embedding.size, answer.full() > 0)


Way = Callable[[Case], np.ndarray]


def ways(own: Zoom, side: int, chosen: list[str]) -> dict[str, Way]:
    """What is compared; the model's own way first. ``side``: the model's input, px."""
    found: dict[str, Way] = {"own zoom": lambda case: plain(case, own)}
    if "crop" in chosen:
        for margin, share in ((2.0, 2 / 3), (2.0, 1), (1.5, 2 / 3), (1.5, 1), (1.25, 1)):
            zoom = Zoom(below=ANY, margin=margin, side=round(side * share))
            found[f"crop {margin} at {zoom.side}"] = lambda case, zoom=zoom: plain(case, zoom)
    if "below" in chosen:
        for below, margin in ((0.35, 1.5), (0.5, 1.5), (0.5, 1.25), (0.7, 1.5)):
            zoom = Zoom(below=below, margin=margin, side=side)
            found[f"crop {margin} below {below}"] = lambda case, zoom=zoom: plain(case, zoom)
    if "edges" in chosen:
        for radius, eps, clip, grey in (
            (4, 1e-3, 2.0, True),
            (4, 1e-3, 2.0, False),
            (2, 1e-3, 2.0, False),
            (8, 1e-3, 2.0, False),
            (4, 1e-4, 2.0, False),
            (4, 1e-2, 2.0, False),
            (4, 1e-4, 0.5, False),
            (8, 1e-4, 0.5, False),
        ):
            name = f"edges r{radius} eps{eps:g} clip{clip:g}{' grey' * grey}"
            found[name] = lambda case, r=radius, e=eps, c=clip, g=grey: edges(case, own, c, r, e, g)
    if "both" in chosen:
        near = Zoom(below=ANY, margin=1.25, side=side)
        found["edges of a cell"] = lambda case: edges(case, own, 0.5, 0, 1e-4, False)
        found["crop 1.25"] = lambda case: plain(case, near)
        found["crop 1.25, edges of a cell"] = lambda case: edges(case, near, 0.5, 0, 1e-4, False)
    return found


def cases(
    predictor: anymask.ImagePredictor, paths: list[str], limit: int, masks: int, prompts: list[str]
) -> Iterator[tuple[str, Target, Case]]:
    """Prompts on photos that were kept out of training: the first of each set, the second, ..."""
    sets = [open_sa1b(path) for path in paths]
    ids = [chosen_ids(data, "val", limit) for data in sets]
    turns = (zip(sets, turn, strict=True) for turn in zip_longest(*ids))
    for data, image_id in chain.from_iterable(turns):
        if image_id is None:
            continue
        record = data.read(image_id)
        annotations = masks_of_record(record)[:masks]
        if not annotations:
            continue
        embedding = predictor.encode(record.pixels())
        for target in map(Target.of, annotations):
            for kind, given, many in (
                ("box", {"boxes": target.box}, False),
                ("click", {"points": [target.first_click()]}, True),
            ):
                if kind not in prompts:
                    continue
                found = predictor.predict(embedding, multimask=many, **given)
                first = torch.from_numpy(np.ascontiguousarray(found.best_logits))
                prompt = predictor.prompts(embedding, **given)
                case = Case(predictor=predictor, embedding=embedding, prompt=prompt, first=first)
                yield kind, target, case


def size_of(target: Target) -> str:
    """Which kind of size an object has."""
    x0, y0, x1, y1 = target.box
    share = math.sqrt((x1 - x0) * (y1 - y0) / target.truth.size)
    return KINDS[(share >= 0.2) + (share >= 0.5)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--size", type=int, help="the model's input, px")
    parser.add_argument("--limit", type=int, default=6, help="photos of each set")
    parser.add_argument("--masks", type=int, default=3, help="masks of each photo")
    parser.add_argument("--ways", nargs="+", default=["crop", "below", "edges", "both"])
    parser.add_argument("--prompts", nargs="+", default=["box", "click"])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model = anymask.load(chosen.model, size=chosen.size)
    predictor = anymask.ImagePredictor(model, zoom=False)
    side = model.variant.spec.side
    own = Zoom(below=0.2, margin=2.0, side=round(side * 2 / 3))  # nano's row, at any input size
    compared = ways(own, side, chosen.ways)
    rows: dict[tuple[str, str, str], list[tuple[float, ...]]] = defaultdict(list)
    try:
        some = cases(predictor, chosen.sets, chosen.limit, chosen.masks, chosen.prompts)
        for prompt, target, case in some:
            for name, way in compared.items():
                start = time.process_time()
                mask = way(case)
                spent = 1000 * (time.process_time() - start)
                truth, ignore = target.truth, target.ignore
                scores = (boundary_score(truth, mask, ignore, tolerance=t).f for t in (0.008, 1))
                rows[prompt, size_of(target), name].append((target.iou(mask), *scores, spent))
    finally:  # Ctrl-C shows what was measured so far
        show(rows, list(compared))


def show(rows: dict[tuple[str, str, str], list[tuple[float, ...]]], names: list[str]) -> None:
    """A table for each prompt: the first way as it is, the others as differences from it."""
    for prompt in ("box", "click"):
        found = {size: len(rows[prompt, size, names[0]]) for size in KINDS}
        kinds = [size for size in KINDS if found[size]]
        if not kinds:
            continue
        heads = [f"{size} ({found[size]}) {figure}" for size in kinds for figure in FIGURES]
        print(f"\n| {prompt} | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
        for name in names:
            cells = []
            for size in kinds:
                mean = np.mean(rows[prompt, size, name], 0)
                first = np.mean(rows[prompt, size, names[0]], 0)
                shown = mean[:3] if name == names[0] else mean[:3] - first[:3]
                form = "{:.3f}" if name == names[0] else "{:+.3f}"
                cells += [form.format(value) for value in shown] + [f"{mean[3]:.0f}"]
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
