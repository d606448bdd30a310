"""Words on photos with known objects: how good are the detector's boxes, and the masks from them?

Asks for each of COCO's classes by its name on photos where all of them are annotated. Prints box AP
and mask AP as COCO's own code counts them, and at what score how many of the boxes are right. With
`--out` it draws the photos with what was found for the words that are in them.

    python benchmarks/text_coco.py coco-instances.tar [--sides 320,416,512] [--masks] [--out DIR]
"""

import argparse
import contextlib
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from anymask import TextPredictor, load, load_detector
from anymask.evaluate.photos import chosen_ids
from anymask.formats.png import encode_png, overlay
from anymask.formats.records import Record
from anymask.formats.result import Asked
from anymask.formats.sa1b import open_sa1b
from anymask.predict.text import TextSettings
from anymask.text_boxes import TextBoxes

LEAST = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
LOW = TextSettings(least=0.05, cross_overlap=1.0)  # as detectors are judged


def truth(records: list[Record], names: tuple[str, ...]) -> COCO:
    """What people drew, as COCO's code wants it."""
    images, objects = [], []
    for n, record in enumerate(records):
        height, width = record.pixels().shape[:2]
        images.append({"id": n, "height": height, "width": width})
        objects += [
            {
                "id": len(objects) + i + 1,
                "image_id": n,
                "category_id": names.index(one.category or ""),
                "bbox": list(one.bbox),
                "area": one.area,
                "segmentation": one.rle,
                "iscrowd": int(one.iscrowd),
            }
            for i, one in enumerate(record.annotations)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        kinds = [{"id": i, "name": name} for i, name in enumerate(names)]
        known.dataset = {"images": images, "annotations": objects, "categories": kinds}
        known.createIndex()
    return known


def figures(known: COCO, found: list[dict[str, Any]], kind: str) -> Any:
    """COCO's twelve figures."""
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(known, known.loadRes(found), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats


def best_first(boxes: TextBoxes, most: int = 100) -> TextBoxes:
    """The best boxes of all phrases together: COCO's code takes 100 an image."""
    return boxes.keep(np.argsort(-boxes.scores, kind="stable")[:most])


def entries(n: int, boxes: TextBoxes) -> Iterator[dict[str, Any]]:
    """Boxes as COCO's code wants them; the phrases are the classes in their order."""
    for box, score, phrase in zip(boxes.boxes, boxes.scores, boxes.phrases, strict=True):
        x0, y0, x1, y1 = box.tolist()
        yield {
            "image_id": n,
            "category_id": int(phrase),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": float(score),
        }


def rights(known: COCO, found: list[dict[str, Any]], least: float) -> tuple[float, float]:
    """Precision and recall at IoU 0.5 of the boxes from a score on."""
    some = [one for one in found if one["score"] >= least]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(known, known.loadRes(some), "bbox")
        judge.params.iouThrs = np.array([0.5])
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
    right = wrong = there = 0
    for one in filter(None, judge.evalImgs):
        hit, out = one["dtMatches"][0] > 0, one["dtIgnore"][0]
        right += int((hit & ~out).sum())
        wrong += int((~hit & ~out).sum())
        there += int((np.asarray(one["gtIgnore"]) == 0).sum())
    return right / max(1, right + wrong), right / max(1, there)


def measure_boxes(given: argparse.Namespace, records: list[Record], known: COCO) -> None:
    """A row for each size of input."""
    print("side | AP | AP50 | AP small, middle, large | AR100 | ms a photo")
    for side in given.sides:
        detector = load_detector("coco", device="cpu")
        detector.side = side or detector.side
        finder = TextPredictor(given.model, detector, settings=LOW)
        found, spent = [], 0.0
        for n, record in enumerate(records):
            pixels, start = record.pixels(), time.process_time()
            boxes = finder.boxes(pixels, detector.words.classes, tiles=given.tiles)
            spent += time.process_time() - start
            found += entries(n, best_first(boxes))
        s = figures(known, found, "bbox")
        print(
            f"{detector.side} | {s[0]:.3f} | {s[1]:.3f} | {s[3]:.3f} {s[4]:.3f} {s[5]:.3f} | "
            f"{s[8]:.3f} | {1000 * spent / len(records):.0f}",
            flush=True,
        )
        for least in LEAST:
            precision, recall = rights(known, found, least)
            both = 2 * precision * recall / max(1e-9, precision + recall)
            print(f"    from {least}: precision {precision:.3f}, recall {recall:.3f}, F {both:.3f}")


def measure_masks(given: argparse.Namespace, records: list[Record], known: COCO) -> None:
    """Mask AP of the detector with the model, from the score that detectors are judged at."""
    finder = TextPredictor(given.model, "coco", settings=LOW)
    found: list[dict[str, Any]] = []
    words = finder.detector.words.classes
    for n, record in enumerate(records):
        pixels = record.pixels()
        boxes = best_first(finder.boxes(pixels, words, tiles=given.tiles), given.most)
        if not len(boxes):
            continue
        masks = finder._masks(finder.predictor.encode(pixels), boxes)
        for one, rle, known_iou in zip(entries(n, boxes), masks.rles, masks.scores, strict=True):
            bare = {k: v for k, v in one.items() if k != "bbox"}
            for way, score in (
                ("product", one["score"] * min(1, known_iou)),
                ("box", one["score"]),
            ):
                found.append({**bare, "segmentation": rle, "score": float(score), "way": way})
    for way in ("product", "box"):
        some = [{k: v for k, v in one.items() if k != "way"} for one in found if one["way"] == way]
        s = figures(known, some, "segm")
        print(
            f"masks by {way} score: AP {s[0]:.3f}, AP50 {s[1]:.3f}, small, middle, large "
            f"{s[3]:.3f} {s[4]:.3f} {s[5]:.3f}"
        )


def draw(given: argparse.Namespace, records: list[Record]) -> None:
    """Photos with what is found for the words in them."""
    given.out.mkdir(parents=True, exist_ok=True)
    finder = TextPredictor(given.model, "coco")
    for record in records[: given.pictures]:
        pixels = record.pixels()
        words = sorted({one.category or "" for one in record.annotations})
        found = finder.predict(pixels, words)
        asked = [Asked(box=tuple(box.tolist())) for box in found.found]
        path = given.out / f"{record.image_id}.png"
        path.write_bytes(encode_png(overlay(pixels, list(found), asked)))
        print(record.image_id, words, list(zip(found.labels, found.scores.round(2), strict=True)))


def main() -> None:
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("set", type=Path)
    ask.add_argument("--split", default="val")
    ask.add_argument("--limit", type=int)
    ask.add_argument("--sides", type=lambda text: [int(v) for v in text.split(",")], default=[0])
    ask.add_argument("--tiles", type=int)
    ask.add_argument("--masks", action="store_true")
    ask.add_argument("--most", type=int, default=100, help="masks a photo")
    ask.add_argument("--out", type=Path)
    ask.add_argument("--pictures", type=int, default=10)
    given = ask.parse_args()
    torch.set_num_threads(1)
    given.model = load("nano", device="cpu")
    data = open_sa1b(given.set)
    records = [data.read(i) for i in chosen_ids(data, given.split, given.limit)]
    if given.out:
        draw(given, records)
        return
    detector = load_detector("coco", device="cpu")
    known = truth(records, detector.words.classes)
    print(f"{len(records)} photos, {len(known.anns)} objects")
    measure_masks(given, records, known) if given.masks else measure_boxes(given, records, known)


if __name__ == "__main__":
    main()
