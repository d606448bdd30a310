"""A photo with one object, and a model whose masks of it grow with each click."""

import json

import numpy as np
from PIL import Image

from answers import without_logits
from anymask.evaluate.detail import Detail
from anymask.formats.sa1b import open_sa1b
from anymask.mask_rle import encode_rle
from rectangles import rectangle

SIZE = (60, 80)


def bits(x0, y0, x1, y1):
    return rectangle(SIZE, x0, y0, x1, y1)


OBJECT = bits(20, 20, 40, 40)  # its innermost point is (29, 29)


def detail(**changes):
    rle = encode_rle(OBJECT)
    values = {
        "pixels": 400, "after": (0.5, 0.9), "clicks": (), "predicted_box": 0.8,
        "predicted": (0.6, 0.8), "f_box": 0.7, "f": (0.4, 0.6), "near": 0.5, "fault": "too small",
        "box_mask": rle, "click_mask": rle,
    }  # fmt: skip
    return Detail(**values | changes)


class Grows:
    """Each click adds two of the object's 20 columns; counts what it is asked."""

    takes_masks = False

    def __init__(self):
        self.asked = []

    def encode(self, image):
        return image.shape[:2]

    def predict(self, size, *, points=None, boxes=None, multimask=True, **others):
        clicks = 10 if points is None else points.shape[1]
        self.asked.append(clicks)
        mask = bits(20, 20, 20 + min(20, 2 * clicks), 40)
        masks = np.tile(
            mask, (len(points if boxes is None else boxes), 3 if multimask else 1, 1, 1)
        )
        return without_logits(masks, np.full(masks.shape[:2], 0.5, np.float32))


def one_photo(folder):
    """A set of one photo."""
    folder.mkdir()
    Image.new("RGB", SIZE[::-1]).save(folder / "a.png")
    rows = [{"segmentation": encode_rle(OBJECT)}]
    table = {"image": {"height": SIZE[0], "width": SIZE[1]}, "annotations": rows}
    (folder / "a.json").write_text(json.dumps(table))
    return open_sa1b(folder)
