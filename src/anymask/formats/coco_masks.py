"""Masks as annotations of COCO's data sets have them: polygons, and what was known beside."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco

from anymask.errors import DataError
from anymask.formats.checks import number, numbers, plain
from anymask.formats.records import Annotation, Box, Remarks
from anymask.mask_fill import fill_rings
from anymask.mask_outlines import polygons
from anymask.mask_rle import Rle, decode_rle, encode_rle

_BEYOND = 1.0  # px that polygons may stick out without a word: others round so
_FAR = 4  # times the picture's side: COCO's code takes memory for every px of an edge


def polygons_to_rle(
    value: list[object], size: tuple[int, int], remarks: Remarks, at: str
) -> Rle | None:
    """A mask of polygons [x, y, x, y, ...], drawn as COCO's tools draw them; None for no polygon.

    Those of less than three corners are left out, and what is outside of the picture is cut off.

    Raises
    ------
    DataError
        ``record-broken``: something is no list of finite numbers.
    """
    height, width = size
    drawn: list[dict[str, object]] = []
    clipped = False
    for polygon in value:
        flat = numbers(polygon)
        if flat is None:
            raise DataError(
                "record-broken",
                "a polygon must be [x, y, x, y, ...]",
                given=polygon,
                where=f"{remarks.where}: {at}: segmentation",
            )
        if len(flat) < 6 or len(flat) % 2:
            text = f"a polygon of {len(flat)} numbers is none: left out"
            remarks.lost("polygon-degenerate", text, at=at)
            continue
        xy = np.array(flat, np.float64).reshape(-1, 2)
        beyond = np.maximum(-xy, xy - (width, height)).max()
        clipped |= bool(beyond > _BEYOND)
        if beyond > _FAR * max(size):
            drawn.append(_coco(encode_rle(_filled(xy, size, f"{remarks.where}: {at}"))))
        else:
            drawn += coco.frPyObjects([xy.ravel().tolist()], height, width)
    if clipped:
        remarks.lost("polygon-clipped", "an outline goes beyond the picture: cut off", at=at)
    if not drawn:
        if not value:
            remarks.lost("mask-empty", "the mask has no polygon: left out", at=at)
        return None
    merged = coco.merge(drawn)
    return {"size": [height, width], "counts": merged["counts"].decode("ascii")}


def segmentation_of(rle: Rle, as_polygons: bool) -> object:
    """Run lengths, or polygons where they are wanted and the mask has no hole."""
    if as_polygons:
        parts = polygons(decode_rle(rle))
        if parts and all(len(rings) == 1 for rings in parts):
            return [[plain(v) for corner in rings[0] for v in corner] for rings in parts]
    return rle


def facts_of(row: Mapping[str, object]) -> dict[str, Any]:
    """What a model's mask says of itself, as keywords of `Annotation`; a bare score is an IoU."""
    points, crop = row.get("point_coords"), numbers(row.get("crop_box"), 4)
    pairs = [numbers(each, 2) for each in points] if isinstance(points, list) else []
    iou = number(row.get("predicted_iou"))
    box: Box | None = None if crop is None else (crop[0], crop[1], crop[2], crop[3])
    return {
        "predicted_iou": number(row.get("score")) if iou is None else iou,
        "stability_score": number(row.get("stability_score")),
        "points": tuple((pair[0], pair[1]) for pair in pairs if pair is not None),
        "crop_box": box,
    }


def facts_to_row(annotation: Annotation) -> dict[str, object]:
    """The same as JSON has it; what is not known is left out."""
    crop = annotation.crop_box
    row: dict[str, object] = {
        "predicted_iou": annotation.predicted_iou,
        "point_coords": [[plain(v) for v in point] for point in annotation.points] or None,
        "crop_box": None if crop is None else [plain(v) for v in crop],
        "stability_score": annotation.stability_score,
    }
    return {key: value for key, value in row.items() if value is not None}


def _coco(rle: Rle) -> dict[str, object]:
    return {"size": rle["size"], "counts": rle["counts"].encode("ascii")}


def _filled(xy: np.ndarray, size: tuple[int, int], where: str) -> np.ndarray:
    try:
        return fill_rings([xy], size)
    except ValueError as error:
        raise DataError("record-broken", f"no outline ({error})", where=where) from error
