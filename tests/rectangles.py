"""Masks that are rectangles x0, y0, x1, y1."""

import numpy as np

from anymask.masks import Masks


def rectangle(size, x0, y0, x1, y1):
    bits = np.zeros(size, bool)
    bits[y0:y1, x0:x1] = True
    return bits


def rectangles(size, *boxes):
    bits = np.zeros((len(boxes), *size), bool)
    for mask, (x0, y0, x1, y1) in zip(bits, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return Masks.from_bits(bits)
