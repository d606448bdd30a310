"""Views to one step's tensors: images, true masks at stride 4, first prompts.

A step decodes either whole views or one window of each: prompts cost time by the area they are
decoded on, so that windows show several times as many masks in the same time.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from anymask.errors import AnymaskError, DataError
from anymask.train.augment import Augment
from anymask.train.clicks import MOST_POINTS, ClickMix, first_prompt, prompt_on_nothing
from anymask.train.paste import paste_objects
from anymask.train.samples import Fit, Photo, View, draw_view
from anymask.variant_specs import keep_aspect

_log = logging.getLogger(__name__)

STRIDE = 4  # px a cell of the logits
_ALIGN = 32  # px; windows start at multiples, so that they can be cut from all maps
_TRIES = 20
_MOST_EMPTY = 1000  # views running without a mask: something is wrong with the photos


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
        Side of the part that is decoded, px; 0 for all of it.
    """

    views: int
    prompts: int
    side: int
    window: int = 0

    @property
    def decoded(self) -> int:
        """Side of what is decoded, px."""
        return self.window or self.side


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
    sizes
        (H, W) of each view without its padding, px.
    items
        The photos, for messages.
    """

    kind: StepKind
    images: UInt8[Tensor, "B S S 3"]
    truth: Float[Tensor, "B P h w"]
    points: Float[Tensor, "B P N 2"]
    labels: Int64[Tensor, "B P N"]
    corners: tuple[tuple[int, int], ...]
    sizes: tuple[tuple[int, int], ...]
    items: tuple[str, ...]


class PhotoDrawer:
    """Draws photos by weight, and views of them; safe for several threads.

    Parameters
    ----------
    photos
        What there is.
    fit, augment
        How views are made; see `draw_view`.
    """

    def __init__(
        self, photos: Sequence[Photo], *, fit: Fit = keep_aspect, augment: Augment | None = None
    ) -> None:
        self.photos = tuple(photos)
        self.fit, self.augment = fit, augment or Augment()
        self._told: set[str] = set()  # photos that cannot be read
        weights = np.array([p.weight for p in photos])
        self._upto = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> Photo:
        """One photo."""
        at = int(np.searchsorted(self._upto, rng.random()))
        return self.photos[min(at, len(self.photos) - 1)]

    def view(self, kind: StepKind, rng: np.random.Generator) -> tuple[Photo, View]:
        """A photo and a view of it that has masks, with objects of others pasted by chance.

        Raises
        ------
        DataError
            ``no-views``: photo after photo gives none.
        """
        view = None
        for _ in range(_MOST_EMPTY):
            photo = self.draw(rng)
            view = self._one(photo, kind, rng)
            if view is not None:
                break
        else:
            raise DataError(
                "no-views",
                f"{_MOST_EMPTY} photos running gave no view with a mask",
                where=str(photo),
                hint="are masks large enough, and pictures whole?",
            )
        if self.augment.paste and rng.random() < self.augment.paste:
            other = self._one(self.draw(rng), kind, rng)
            if other is not None:
                view = paste_objects(view, other, kind.prompts, self.augment, rng)
        return photo, view

    def _one(self, photo: Photo, kind: StepKind, rng: np.random.Generator) -> View | None:
        try:
            return draw_view(
                photo, kind.side, kind.prompts, rng, fit=self.fit, augment=self.augment
            )
        except AnymaskError as error:  # hours into a run one broken picture ends nothing
            if str(photo) not in self._told:
                self._told.add(str(photo))
                _log.warning("%s is passed over: %s", photo, error)
            return None


def draw_batch(
    drawer: PhotoDrawer, kind: StepKind, mix: ClickMix, rng: np.random.Generator
) -> Batch:
    """A step's input, a function of the generator's state alone."""
    images: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    points: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    corners: list[tuple[int, int]] = []
    sizes: list[tuple[int, int]] = []
    items: list[str] = []
    while len(images) < kind.views:
        photo, view = drawer.view(kind, rng)
        corner, masks = _choose_window(view, kind, rng)
        if not len(masks):
            continue
        x0, y0 = corner
        window = slice(y0, y0 + kind.decoded), slice(x0, x0 + kind.decoded)
        xy = np.zeros((kind.prompts, MOST_POINTS, 2), np.float32)
        kinds = np.full((kind.prompts, MOST_POINTS), -1, np.int64)
        truth = []
        for p in range(kind.prompts):
            mask = view.masks[masks[p % len(masks)]]
            inside = np.zeros_like(mask)
            inside[window] = mask[window]
            if mask.any():
                at, label = first_prompt(mask, inside, mix, rng)
            else:
                reach = min(x0 + kind.decoded, view.size[1]), min(y0 + kind.decoded, view.size[0])
                at, label = prompt_on_nothing((x0, y0, *reach), mix, rng)
            xy[p, : len(at)], kinds[p, : len(at)] = at - np.array([x0, y0], np.float32), label
            truth.append(_shares(mask[window]))
        images.append(view.pixels)
        truths.append(np.stack(truth))
        points.append(xy)
        labels.append(kinds)
        corners.append(corner)
        sizes.append(view.size)
        items.append(str(photo))
    return Batch(
        kind=kind,
        images=torch.from_numpy(np.stack(images)),
        truth=torch.from_numpy(np.stack(truths)),
        points=torch.from_numpy(np.stack(points)),
        labels=torch.from_numpy(np.stack(labels)),
        corners=tuple(corners),
        sizes=tuple(sizes),
        items=tuple(items),
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
    if kind.decoded == kind.side:
        return (0, 0), list(range(len(view.masks)))
    last = (kind.side - kind.window) // _ALIGN
    if not view.masks.any():  # a negative sample
        most = [min(last, (extent - 1) // _ALIGN) + 1 for extent in (view.size[1], view.size[0])]
        x0, y0 = (int(v) for v in _ALIGN * rng.integers(0, most))
        return (x0, y0), list(range(len(view.masks)))
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
