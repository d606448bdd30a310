"""Views to one step's tensors: images, true masks at stride 4, first prompts.

A step decodes either whole views or one window of each: prompts cost time by the area they are
decoded on, so that windows show several times as many masks in the same time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from anymask.train.clicks import MOST_POINTS, ClickMix, first_prompt
from anymask.train.samples import Photo, View, draw_view

STRIDE = 4  # px a cell of the logits
_ALIGN = 32  # px; windows start at multiples, so that they can be cut from all maps
_TRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKind:
    """One way to fill a step.

    Attributes
    ----------
    views
        Images in the step.
    prompts
        Prompts an image.
    side
        Side of the image, px.
    window
        Side of the part that is decoded, px; equal to `side` for all of it.
    """

    views: int
    prompts: int
    side: int
    window: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """A step's input.

    Attributes
    ----------
    images
        RGB.
    truth
        Share of object in each cell of the window, 0..1.
    points, labels
        First prompts in window px, padded with label -1.
    corners
        (x, y) of each view's window, px.
    """

    kind: StepKind
    images: UInt8[Tensor, "B S S 3"]
    truth: Float[Tensor, "B P h w"]
    points: Float[Tensor, "B P N 2"]
    labels: Int64[Tensor, "B P N"]
    corners: tuple[tuple[int, int], ...]


class PhotoDrawer:
    """Draws photos by weight."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self.photos = tuple(photos)
        weights = np.array([p.weight for p in photos])
        self._upto = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> Photo:
        """One photo."""
        at = int(np.searchsorted(self._upto, rng.random()))
        return self.photos[min(at, len(self.photos) - 1)]


def draw_batch(
    drawer: PhotoDrawer, kind: StepKind, mix: ClickMix, rng: np.random.Generator
) -> Batch:
    """A step's input, a function of the generator's state alone."""
    images: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    points: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    corners: list[tuple[int, int]] = []
    while len(images) < kind.views:
        view = draw_view(drawer.draw(rng), kind.side, kind.prompts, rng)
        if view is None:
            continue
        corner, masks = _choose_window(view, kind, rng)
        if not len(masks):
            continue
        x0, y0 = corner
        window = slice(y0, y0 + kind.window), slice(x0, x0 + kind.window)
        xy = np.zeros((kind.prompts, MOST_POINTS, 2), np.float32)
        kinds = np.full((kind.prompts, MOST_POINTS), -1, np.int64)
        truth = []
        for p in range(kind.prompts):
            mask = view.masks[masks[p % len(masks)]]
            inside = np.zeros_like(mask)
            inside[window] = mask[window]
            at, label = first_prompt(mask, inside, mix, rng)
            xy[p, : len(at)], kinds[p, : len(at)] = at - np.array([x0, y0], np.float32), label
            truth.append(_shares(mask[window]))
        images.append(view.pixels)
        truths.append(np.stack(truth))
        points.append(xy)
        labels.append(kinds)
        corners.append(corner)
    return Batch(
        kind=kind,
        images=torch.from_numpy(np.stack(images)),
        truth=torch.from_numpy(np.stack(truths)),
        points=torch.from_numpy(np.stack(points)),
        labels=torch.from_numpy(np.stack(labels)),
        corners=tuple(corners),
    )


def _shares(mask: np.ndarray) -> np.ndarray:
    """Share of object in each cell, float32 in 0..1."""
    h, w = mask.shape
    size = (w // STRIDE, h // STRIDE)
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _choose_window(
    view: View, kind: StepKind, rng: np.random.Generator
) -> tuple[tuple[int, int], list[int]]:
    """Corner (x, y) of the part to decode, and the masks that live mostly inside it."""
    if kind.window == kind.side:
        return (0, 0), list(range(len(view.masks)))
    last = (kind.side - kind.window) // _ALIGN
    sizes = view.masks.sum((1, 2))
    for _ in range(_TRIES):
        mask = view.masks[rng.integers(len(view.masks))]
        cells = np.flatnonzero(mask)
        y, x = divmod(int(cells[rng.integers(len(cells))]), kind.side)
        x0, y0 = (
            _ALIGN
            * int(np.clip(round((v - rng.uniform(0.1, 0.9) * kind.window) / _ALIGN), 0, last))
            for v in (x, y)
        )
        seen = view.masks[:, y0 : y0 + kind.window, x0 : x0 + kind.window].sum((1, 2))
        good = (seen >= 9 * STRIDE**2) & (seen >= 0.4 * sizes) & (seen <= 0.85 * kind.window**2)
        if good.any():
            return (x0, y0), [int(i) for i in np.flatnonzero(good)]
    return (0, 0), []
