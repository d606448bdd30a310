"""All masks of photos with known masks: figures for settings, layouts, and pictures to look at.

Asks: which thresholds suit a model, what do crops and fast mode give, and which mask should have a
pixel that several cover? One row a setting; with `--against-first` also how many masks of the first
setting the others find (IoU of 0.9), and how many of theirs it has. With `--out` a contact sheet of
the first photos, a column for each setting.

    python benchmarks/everything_photos.py SET.tar... --with "" --with crop_n_layers=1 --out DIR
    python benchmarks/everything_photos.py SET.tar... --layouts
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

import anymask
from anymask.evaluate.automatic_metrics import Agreement, PhotoScore, agreement, score_photo
from anymask.evaluate.automatic_report import pooled
from anymask.evaluate.photos import chosen_ids
from anymask.formats.everything_pictures import contact_sheets, overlay_everything
from anymask.formats.records import Record
from anymask.formats.sa1b import open_sa1b
from anymask.mask_layers import ranks
from anymask.masks import Masks
from anymask.predict import panoptic as layout
from anymask.predict.everything import MaskGenerator

HEADS = ("photos", "masks", "AR", "R .5", "best", "P", "P .5", "cover", "dupl", "s a photo")
RULES: dict[str, Callable[[Masks], np.ndarray]] = {
    "area": lambda masks: -masks.areas.astype(float),
    "score": lambda masks: masks.scores.astype(float),
    "score / area ** 0.05": lambda masks: masks.scores / masks.areas.clip(1) ** 0.05,
    "score / area ** 0.1": ranks,
}


def parsed(text: str) -> dict[str, object]:
    """`a=1,b=x` as arguments: whole numbers, numbers, or words."""
    found: dict[str, object] = {}
    for pair in filter(None, text.split(",")):
        key, value = pair.split("=")
        for kind in (int, float, str):
            try:
                found[key.strip()] = kind(value)
                break
            except ValueError:
                continue
    return found


def photos(given: argparse.Namespace) -> Iterator[tuple[str, Record]]:
    """Photos of all sets with the names of their sets."""
    for path in given.sets:
        data = open_sa1b(path)
        for image_id in chosen_ids(data, given.split, given.limit):
            yield data.name, data.read(image_id)


def settings(given: argparse.Namespace, model: anymask.Model) -> None:
    """Print a row for each setting; draw a sheet if asked."""
    words = given.settings or [""]
    makers = [MaskGenerator(model, **parsed(text)) for text in words]
    scores: list[list[PhotoScore]] = [[] for _ in makers]
    agreed: list[list[Agreement]] = [[] for _ in makers]
    spent = [0.0] * len(makers)
    tiles = []
    for at, (name, record) in enumerate(photos(given)):
        pixels, first = record.pixels(), None
        if given.out and at < given.pictures:
            tiles.append((record.image_id, pixels))
        for i, maker in enumerate(makers):
            start = time.process_time()
            masks = maker.generate(pixels)
            spent[i] += time.process_time() - start
            first = masks if first is None else first
            scores[i].append(score_photo(masks, record.annotations, name=name))
            if given.against_first:
                agreed[i].append(agreement(masks, first))
            if given.out and at < given.pictures:
                tiles.append((f"{words[i]} ({len(masks)})", overlay_everything(pixels, masks)))
    more = ("found", "right") if given.against_first else ()
    print("| setting | " + " | ".join((*HEADS, *more)) + " |")
    print("|---|" + "---:|" * (len(HEADS) + len(more)))
    for i, text in enumerate(words):
        figures = pooled(scores[i])
        cells = [str(figures.photos), f"{figures.masks / max(1, figures.photos):.0f}"]
        cells += [f"{value:.3f}" for value in figures.values]
        cells.append(f"{spent[i] / max(1, figures.photos):.2f}")
        if given.against_first:
            total = sum(agreed[i][1:], agreed[i][0])
            cells += [f"{total.recall:.3f}", f"{total.precision:.3f}"]
        print(f"| {text or 'defaults'} | " + " | ".join(cells) + " |")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        columns = len(makers) + 1
        for number, sheet in enumerate(contact_sheets(tiles, columns=columns, rows=5), 1):
            target = given.out / f"everything-{number}.png"
            target.write_bytes(cv2.imencode(".png", sheet[:, :, ::-1])[1].tobytes())
            print(target)


def layouts(given: argparse.Namespace, model: anymask.Model) -> None:
    """Print a row for each rule of which mask lies on top, and share that must stay visible.

    "covered" is the mean of the best IoU with any segment over true masks, weighted by area, and
    the same for segments; the two and their harmonic mean are Arbelaez's covering (2011).
    """
    maker = MaskGenerator(model, **parsed((given.settings or [""])[0]))
    found = [(record, maker.generate(record.pixels())) for _, record in photos(given)]
    print("| rule, visible | segments | cover | truth covered | segments covered | both | AR | P |")
    print("|---|" + "---:|" * 7)
    ours = layout.top_first
    for name, rule in RULES.items():
        for visible in (0.0, 0.2, 0.4, 0.6):
            layout.top_first = lambda masks, rule=rule: np.argsort(-rule(masks), kind="stable")
            rows = [laid(record, masks, visible) for record, masks in found if len(masks)]
            layout.top_first = ours
            count, cover, truth, segments, ar, precision = np.mean(rows, axis=0)
            both = 2 * truth * segments / (truth + segments)
            cells = f"{cover:.3f} | {truth:.3f} | {segments:.3f} | {both:.3f}"
            print(f"| {name}, {visible} | {count:.0f} | {cells} | {ar:.3f} | {precision:.3f} |")


def laid(record: Record, masks: Masks, visible: float) -> tuple[float, ...]:
    """Figures of one photo laid out."""
    segments = layout.panoptic(masks, min_visible=visible).masks
    truths = Masks.from_rles([one.rle for one in record.annotations], record.size)
    ious = segments.iou(truths)
    score = score_photo(segments, record.annotations)
    return (
        len(segments),
        score.coverage,
        float((ious.max(0, initial=0) * truths.areas).sum() / max(1, truths.areas.sum())),
        float((ious.max(1, initial=0) * segments.areas).sum() / max(1, segments.areas.sum())),
        float(score.found().mean()),
        float(score.right.mean() / max(1, score.judged)),
    )


def main() -> None:
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", type=Path, help="folders or tars in SA-1B's layout")
    parser.add_argument(
        "--with", dest="settings", action="append", help="arguments of MaskGenerator, a=1,b=2"
    )
    parser.add_argument("--against-first", action="store_true")
    parser.add_argument("--layouts", action="store_true")
    parser.add_argument("--out", type=Path, help="folder for contact sheets")
    parser.add_argument("--pictures", type=int, default=10, help="photos on the sheets")
    parser.add_argument("--split", choices=("val", "all"), default="val")
    parser.add_argument("--limit", type=int, help="at most so many photos a set")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--checkpoint", type=Path)
    given = parser.parse_args()
    model = anymask.load(given.model, checkpoint=given.checkpoint)
    (layouts if given.layouts else settings)(given, model)


if __name__ == "__main__":
    main()
