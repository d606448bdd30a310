"""The JSON of results: COCO run lengths, polygons with holes, boxes, areas, scores."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anymask.errors import DataError, Note
from anymask.masks import Masks
from anymask.prompts import Prompts


def masks_to_records(masks: Masks, prompts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One plain dict a mask: segmentation, polygons, bbox (x, y, w, h), area, score, prompts.

    Polygons are ``[[outer ring, hole ...], ...]`` of ``[x, y]`` along pixel edges.
    """
    records = []
    areas, boxes = masks.areas, masks.boxes
    for i, rle in enumerate(masks.rles):
        x0, y0, x1, y1 = (float(v) for v in boxes[i])
        records.append(
            {
                "segmentation": {"size": list(rle["size"]), "counts": rle["counts"]},
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": int(areas[i]),
                "score": round(float(masks.scores[i]), 6),
                "polygons": masks.polygons(i),
                "prompts": dict(prompts[i]),
            }
        )
    return records


def records_to_masks(records: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Masks:
    """What `masks_to_records` wrote, read back.

    Raises
    ------
    DataError
        ``record-broken``: a record lacks what it must have; ``rle-size``.
    """
    try:
        rles = tuple(
            {"size": list(r["segmentation"]["size"]), "counts": str(r["segmentation"]["counts"])}
            for r in records
        )
        scores = np.array([float(r["score"]) for r in records], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("record-broken", f"a record lacks or spoils {error}") from error
    return Masks(size=size, rles=rles, scores=scores)


def prompts_to_dict(prompts: Prompts, index: int) -> dict[str, Any]:
    """One prompt as plain numbers."""
    found: dict[str, Any] = {}
    if len(prompts.points[index]):
        found["points"] = [[round(float(v), 3) for v in xy] for xy in prompts.points[index]]
        found["labels"] = [int(v) for v in prompts.labels[index]]
    if prompts.boxes is not None:
        found["box"] = [round(float(v), 3) for v in prompts.boxes[index]]
    if prompts.masks is not None:
        found["mask"] = True
    return found


def notes_to_list(notes: Sequence[Note]) -> list[dict[str, str]]:
    """Notes as plain dicts."""
    return [{"code": note.code, "text": note.text} for note in notes]


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON in ASCII: no console can spoil it."""
    return json.dumps(value, ensure_ascii=True, indent=indent, allow_nan=False)
