"""Masks as JSON: COCO's run lengths, with outlines, boxes, areas and scores beside them.

    {"images": [{"file", "width", "height", "masks": [...], "notes": [...]}]}

and each mask

    {"segmentation": {"size": [H, W], "counts": "..."},  COCO's compressed run lengths
     "bbox": [x, y, width, height],                      px, as COCO has it; zeros if empty
     "area": pixels,
     "score": predicted IoU,
     "polygons": [[outer ring, hole, ...], ...],         rings of [x, y] along pixel edges
     "prompts": {"points", "labels", "box", "mask",      what was pointed at, as far as given;
                 "text", "name", "detector_score"}}      for words: box and score of the detector

Numbers are plain, text is ASCII. Data sets of COCO's layout are read by `coco_set` and written by
`coco_writer`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anymask.errors import DataError, shown
from anymask.formats.result import Asked, Result
from anymask.masks import Masks

Entry = dict[str, Any]


def masks_to_entries(masks: Masks, asked: Sequence[Asked] = ()) -> list[Entry]:
    """Masks as dicts that JSON can hold; what was asked goes with the mask of its place."""
    entries = []
    areas, boxes = masks.areas.tolist(), masks.boxes.tolist()
    for i, rle in enumerate(masks.rles):
        x0, y0, x1, y1 = boxes[i]
        entry = {
            "segmentation": {"size": [int(v) for v in rle["size"]], "counts": rle["counts"]},
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": areas[i],
            "score": _shortest(masks.scores[i]),
            "polygons": masks.polygons(i),
        }
        if asked:
            entry["prompts"] = _asked_to_entry(asked[i])
        entries.append(entry)
    return entries


def masks_from_entries(entries: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Masks:
    """The masks of `masks_to_entries`; a missing score is 1.

    Raises
    ------
    DataError
        ``json-shape``: an entry lacks its run lengths; ``rle-broken``, ``rle-size``.
    """
    rles, scores = [], []
    for i, entry in enumerate(entries):
        try:
            segmentation = entry["segmentation"]
            counts, (height, width) = segmentation["counts"], segmentation["size"]
            scores.append(float(entry.get("score", 1.0)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "json-shape", "a mask has no segmentation of size and counts", where=f"masks[{i}]"
            ) from error
        rles.append({"size": [height, width], "counts": counts})
    return Masks(size=size, rles=tuple(rles), scores=np.array(scores, np.float32))


def result_to_entry(result: Result) -> Entry:
    """One picture's part of the JSON."""
    height, width = result.masks.size
    return {
        "file": result.file,
        "width": width,
        "height": height,
        "masks": masks_to_entries(result.masks, result.asked),
        "notes": [{"code": note.code, "text": note.text} for note in result.notes],
    }


def parse_images(table: object) -> list[Entry]:
    """The pictures of a JSON as `segment` writes it.

    Raises
    ------
    DataError
        ``json-shape``: it is of another kind.
    """
    images = table.get("images") if isinstance(table, dict) else None
    wanted = ("file", "width", "height", "masks")
    if not isinstance(images, list) or not all(
        isinstance(image, dict) and all(key in image for key in wanted) for image in images
    ):
        raise DataError(
            "json-shape", "the JSON holds no images with masks", given=shown(table), hint="see docs"
        )
    return images


def to_text(table: Mapping[str, Any]) -> str:
    """JSON in one line of ASCII; numbers that are not finite are a bug, not a value."""
    return json.dumps(table, ensure_ascii=True, allow_nan=False)


def json_file(result: Result, index: int | None = None) -> bytes:
    """The JSON of one picture as a file."""
    return (to_text({"images": [result_to_entry(result)]}) + "\n").encode("ascii")


def _asked_to_entry(asked: Asked) -> Entry:
    entry: Entry = {}
    if asked.points:
        entry["points"] = [[float(x), float(y)] for x, y in asked.points]
        entry["labels"] = [int(label) for label in asked.labels]
    if asked.box is not None:
        entry["box"] = [float(v) for v in asked.box]
    if asked.mask is not None:
        entry["mask"] = asked.mask
    if asked.text is not None:
        entry["text"] = asked.text
    if asked.name is not None:
        entry["name"] = asked.name
    if asked.detector_score is not None:
        entry["detector_score"] = _shortest(np.float32(asked.detector_score))
    return entry


def _shortest(value: np.float32) -> float:
    """The shortest decimal number that is this float32."""
    return float(str(np.float32(value)))
