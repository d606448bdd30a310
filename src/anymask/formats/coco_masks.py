"""Masks as COCO's data sets have them: polygons or run lengths."""

import numpy as np
from pycocotools import mask as coco

from anymask.errors import DataError
from anymask.formats.checks import numbers, plain
from anymask.formats.outlines import BEYOND, filled
from anymask.formats.records import Remarks
from anymask.mask_outlines import polygons
from anymask.mask_rle import Rle, decode_rle, encode_rle

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
        clipped |= bool(beyond > BEYOND)
        if beyond > _FAR * max(size):
            drawn.append(_coco(encode_rle(filled(xy, size, Remarks(remarks.where), at))))
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


def _coco(rle: Rle) -> dict[str, object]:
    return {"size": rle["size"], "counts": rle["counts"].encode("ascii")}
