"""Edges of a photo from masks: where many masks end, there is an edge.

The way of SAM's zero-shot test (Kirillov et al. 2023, arXiv:2304.02643, sec. 7.2 and app. D.2): a
grid of 16 x 16 points, three masks each; masks of near duplicates dropped; of each mask's
probabilities, at the photo's size, the slope by Sobel's operator, kept on the outline of the mask
alone; over all masks the highest; scaled to 0..1; thinned.

Our own choices, where the paper is silent: duplicates are dropped by the IoU of masks, the higher
score first; the outline is the pixels on both sides of the mask's border; the slope is counted as
the change of probability per px, so that it is at most 1.
"""

import math

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from anymask.frame import Frame
from anymask.mask_geometry import mask_iou
from anymask.model import Model
from anymask.nn.resize import upscale
from anymask.predict.image import ImagePredictor

POINTS_PER_SIDE = 16
DUPLICATE = 0.7  # IoU from which on the mask of the lower score is dropped
_BYTES = 2**27  # of probabilities at the photo's size that are held at once
_SMOOTH, _AROUND = 1.0, 2.0  # px (sigma): before slopes are taken, and of the slopes
_SLACK = 1.01  # a pixel this share below its neighbour still counts as the crest


class EdgeFinder:
    """Edges of photos by a promptable model.

    Parameters
    ----------
    model
        From `anymask.load`.
    points_per_side
        The grid is ``points_per_side`` squared.
    duplicate
        IoU of masks from which on the one of the lower score is dropped; above 1 none is.

    >>> EdgeFinder(load("nano")).edges(image).max()  # doctest: +SKIP
    1.0
    """

    def __init__(
        self,
        model: Model,
        *,
        points_per_side: int = POINTS_PER_SIDE,
        duplicate: float = DUPLICATE,
    ) -> None:
        self.predictor = ImagePredictor(model, zoom=False)
        self.points_per_side = points_per_side
        self.duplicate = duplicate

    def edges(self, image: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "H W"]:
        """How strong an edge each pixel is, 0..1; 0 everywhere where there is none.

        The strongest pixel of a photo is 1. Edges are one px wide or nearly so.
        """
        embedding = self.predictor.encode(image)
        height, width = embedding.size
        at = (np.arange(self.points_per_side) + 0.5) / self.points_per_side
        x, y = np.meshgrid(at * width - 0.5, at * height - 0.5)
        points = np.stack([x.ravel(), y.ravel()], 1)[:, None].astype(np.float32).clip(0)
        logits, scores = [], []
        for part in self.predictor.predict_iter(
            embedding, points=points, labels=np.ones(points.shape[:2], np.int64)
        ):
            logits.append(part.logits.reshape(-1, *part.logits.shape[-2:]))
            scores.append(part.scores.ravel())
        known, kept = np.concatenate(logits), np.concatenate(scores)
        chosen = distinct(known > 0, kept, self.duplicate)
        return thin_crests(_strongest(known[chosen], embedding.frame))


def distinct(
    masks: Bool[np.ndarray, "N h w"], scores: Float32[np.ndarray, " N"], duplicate: float
) -> np.ndarray:
    """Indices of masks without near duplicates, by falling score; empty masks are left out."""
    order = np.argsort(-scores, kind="stable")
    order = order[masks[order].any((1, 2))]
    kept: list[int] = []
    for one in order.tolist():
        if not kept or mask_iou(masks[one][None], masks[kept])[0].max() < duplicate:
            kept.append(one)
    return np.array(kept, np.int64)


def _strongest(logits: Float32[np.ndarray, "N h w"], frame: Frame) -> Float32[np.ndarray, "H W"]:
    """The steepest slope of any mask at each pixel, the steepest of all being 1."""
    best = np.zeros(frame.image, np.float32)
    at_once = max(1, _BYTES // (4 * math.prod(frame.image)))
    for first in range(0, len(logits), at_once):
        some = torch.from_numpy(logits[first : first + at_once])
        full = upscale(some, frame.padded, frame.resized, frame.image, frame.enlarge)
        for one in full.sigmoid().numpy():
            np.maximum(best, slope(one), out=best)
    highest = float(best.max())
    return best / np.float32(highest) if highest > 0 else best


def slope(probability: Float32[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Change of a mask's probability per px, on the outline of the mask; 0 elsewhere.

    >>> half = np.repeat(np.float32([[0, 0, 1, 1]]), 3, 0)
    >>> slope(half)[1].tolist()
    [0.0, 0.5, 0.5, 0.0]
    """
    inside = (probability > 0.5).astype(np.uint8)
    around = np.ones((3, 3), np.uint8)
    outline = cv2.dilate(inside, around) != cv2.erode(inside, around)
    dx, dy = (
        cv2.Sobel(probability, cv2.CV_32F, *step, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
        for step in ((1, 0), (0, 1))
    )
    return np.where(outline, cv2.magnitude(dx, dy), np.float32(0))


def thin_crests(strength: Float32[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Keep pixels that no neighbour across the edge tops; the strength of others becomes 0.

    Across is the direction in which the strength around a pixel changes most (the first eigenvector
    of the structure tensor); the two neighbours lie one px away there, between pixels bilinear.

    >>> ramp = np.repeat(np.float32([[0, 0.2, 0.9, 0.3, 0]]), 5, 0)
    >>> (thin_crests(ramp)[2] > 0).tolist()
    [False, False, True, False, False]
    """
    edge = cv2.BORDER_REPLICATE
    smooth = cv2.GaussianBlur(strength, (0, 0), _SMOOTH, borderType=edge)
    gx, gy = (
        cv2.Sobel(smooth, cv2.CV_32F, *step, scale=1 / 8, borderType=edge)
        for step in ((1, 0), (0, 1))
    )
    xx, yy, xy = (
        cv2.GaussianBlur(product, (0, 0), _AROUND, borderType=edge)
        for product in (gx * gx, gy * gy, gx * gy)
    )
    angle = np.arctan2(2 * xy, xx - yy) / 2
    y, x = np.mgrid[: strength.shape[0], : strength.shape[1]].astype(np.float32)
    dx, dy = np.cos(angle), np.sin(angle)
    crest = strength > 0
    for sign in (-1, 1):
        beside = cv2.remap(
            strength, x + sign * dx, y + sign * dy, cv2.INTER_LINEAR, borderMode=edge
        )
        crest &= strength * np.float32(_SLACK) >= beside
    return np.where(crest, strength, np.float32(0))
