"""Prompts on images far larger than a network's input: satellites, slides, scans.

    prompt -> windows around it, from a tile's size to the image's -> the best mask that its
    window does not cut off -> where that window is larger than a tile: the mask's border again,
    tile by tile in full detail, blended over the tiles' overlaps

Nothing is as large as the image but the image: a window is scaled to the network's input, and
masks become run lengths column by column.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from anymask.errors import PromptError, warn_once
from anymask.frame import Frame
from anymask.image import Picture, Source, load_image
from anymask.mask_rle import Rle
from anymask.mask_windows import ColumnRuns
from anymask.masks import Masks
from anymask.model import Model
from anymask.nn.resize import upscale
from anymask.predict.refine import Window, mask_box, move, resample
from anymask.predict.steps import decode, encode
from anymask.prompts import Prompts

_KEPT = 4  # encoded windows, for prompts near each other
_MARGIN = 0.3  # around a box, of its longer side
_NEARER = 0.02  # score that a larger window must win by: the nearer look has more detail
_COARSER = 4  # a window this many times the network's input is shrunk in two steps
_AGREE = 0.5  # IoU of a tile's mask with what the whole window showed: less is another object


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """An object in a window that holds it.

    Attributes
    ----------
    logits
        At the low resolution of the window's frame.
    """

    window: Window
    frame: Frame
    logits: Float[Tensor, "h w"]
    score: float


class TiledPredictor:
    """Masks for clicks and boxes on images of any size.

    Parameters
    ----------
    model
        From `anymask.load`.
    tile
        Side of a tile, px of the image; None takes twice the model's input.
    overlap
        Of neighbouring tiles, share of their side.

    Raises
    ------
    PromptError
        ``setting``: a tile of no size, or an overlap that is not from 0 to below 0.5.

    >>> TiledPredictor(load("nano")).predict("scene.tif", points=[[15000, 9000]])  # doctest: +SKIP
    """

    def __init__(self, model: Model, *, tile: int | None = None, overlap: float = 0.25) -> None:
        self.model = model
        self.tile = 2 * model.variant.spec.side if tile is None else int(tile)
        self.overlap = overlap
        if self.tile < 32 or not 0 <= overlap < 0.5:
            raise PromptError(
                "setting",
                "tiles have a side of at least 32 px and an overlap from 0 to below 0.5",
                given={"tile": tile, "overlap": overlap},
            )
        self._kept: OrderedDict[tuple[int, Window], tuple[Tensor, ...]] = OrderedDict()

    def predict(
        self,
        image: Source | Picture,
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        clip: bool = False,
    ) -> Masks:
        """The best mask of each prompt, in their order.

        Takes points, labels and boxes as `anymask.ImagePredictor.predict` does.

        Raises
        ------
        ImageError, PromptError
            The image cannot be read, or a prompt is wrong.
        """
        picture = image if isinstance(image, Picture) else load_image(image)
        pixels = picture.pixels
        size = (pixels.shape[0], pixels.shape[1])
        prompts = Prompts.parse(size=size, points=points, labels=labels, boxes=boxes, clip=clip)
        warn_once((*picture.notes, *prompts.notes))
        self._kept.clear()
        rles, scores = [], []
        for p in range(len(prompts)):
            one = prompts.take([p])
            seen = self.find(pixels, one)
            rles.append(self.draw(pixels, one, seen))
            scores.append(seen.score)
        self._kept.clear()
        return Masks(size=size, rles=tuple(rles), scores=np.array(scores, np.float32))

    def find(self, pixels: UInt8[np.ndarray, "H W 3"], prompt: Prompts) -> Seen:
        """The window that shows the object best, and the object in it.

        A box says how large the object is: its window grows only as long as it cuts the mask off.
        What a click means depends on how much is seen; all sizes up to the image's are looked at,
        and the highest score of those that hold their object wins.

        Parameters
        ----------
        prompt
            A single one.
        """
        size = (pixels.shape[0], pixels.shape[1])
        window = first_window(prompt, size, self.tile)
        seen = self._look(pixels, window, prompt)
        best = seen
        while window.size != size and (prompt.boxes is None or cut_off(best, size)):
            middle = (window.x0 + window.x1) / 2, (window.y0 + window.y1) / 2
            window = around(middle, 2 * max(window.size), size)
            seen = self._look(pixels, window, prompt)
            if not bool((seen.logits > 0).any()):
                break  # too small to be seen from further away
            if cut_off(best, size) or seen.score > best.score + _NEARER:
                best = seen
        return best

    def draw(self, pixels: UInt8[np.ndarray, "H W 3"], prompt: Prompts, seen: Seen) -> Rle:
        """The object's mask at the size of the image."""
        size = (pixels.shape[0], pixels.shape[1])
        runs = ColumnRuns(size)
        if max(seen.window.size) <= self.tile:
            full = _enlarged(seen.logits, seen.frame)
            runs.add(full > 0, (seen.window.x0, seen.window.y0))
            return runs.rle()
        box = mask_box(seen.logits, seen.frame)
        if box is None:
            return runs.rle()
        pad = 4 * max(seen.frame.cell)
        height, width = size
        reach = Window(
            x0=max(0, int(box[0] + seen.window.x0 - pad)),
            y0=max(0, int(box[1] + seen.window.y0 - pad)),
            x1=min(width, int(box[2] + seen.window.x0 + pad) + 1),
            y1=min(height, int(box[3] + seen.window.y0 + pad) + 1),
        )
        self._draw_tiles(pixels, prompt, seen, reach, runs)
        return runs.rle()

    def _draw_tiles(
        self,
        pixels: UInt8[np.ndarray, "H W 3"],
        prompt: Prompts,
        seen: Seen,
        reach: Window,
        runs: ColumnRuns,
    ) -> None:
        """Columns of tiles from left to right; a column is final where the next one begins."""
        step = max(1, round(self.tile * (1 - self.overlap)))
        lefts = starts(reach.x0, reach.x1, self.tile, step)
        tops = starts(reach.y0, reach.y1, self.tile, step)
        height = reach.y1 - reach.y0
        total = np.zeros((height, min(self.tile, reach.x1 - reach.x0)), np.float32)
        for i, left in enumerate(lefts):
            for top in tops:
                tile = Window(
                    x0=left,
                    y0=top,
                    x1=min(left + self.tile, reach.x1),
                    y1=min(top + self.tile, reach.y1),
                )
                rows = slice(tile.y0 - reach.y0, tile.y1 - reach.y0)
                found = self._tile(pixels, prompt, seen, tile)
                total[rows, : tile.size[1]] += found * _feather(tile, reach, self.tile - step)
            last = i + 1 == len(lefts)
            done = total.shape[1] if last else lefts[i + 1] - left
            runs.add(total[:, :done] > 0, (left, reach.y0))
            total = np.pad(total[:, done:], ((0, 0), (0, done)))

    def _tile(
        self,
        pixels: UInt8[np.ndarray, "H W 3"],
        prompt: Prompts,
        seen: Seen,
        tile: Window,
    ) -> Float32[np.ndarray, "h w"]:
        """Logits of a tile at its full size: in detail where the object's border is."""
        frame = Frame.fit(tile.size, self.model.variant.spec)
        shift = (tile.x0 - seen.window.x0, tile.y0 - seen.window.y0)
        coarse = resample(seen.logits[None], seen.frame, frame, shift)
        rows, columns = frame.covered
        inside = coarse[0, :rows, :columns] > 0
        if bool(inside.all()) or not bool(inside.any()):
            return _enlarged(coarse[0], frame)
        moved = move(prompt, tile)
        box = mask_box(coarse[0], frame)
        assert box is not None  # some of it is inside
        spec = self.model.variant.spec
        moved = replace(
            moved,
            boxes=np.array([box], np.float32),
            masks=coarse.cpu().numpy() if spec.mask_prompts else None,
        )
        logits, _ = decode(self.model, self._encoded(pixels, tile, frame), moved, frame)
        fine = logits[0, self.model.variant.outputs.clear]
        mine = fine[:rows, :columns] > 0
        both, either = int((mine & inside).sum()), int((mine | inside).sum())
        return _enlarged(fine if both >= _AGREE * either else coarse[0], frame)

    def _look(
        self,
        pixels: UInt8[np.ndarray, "H W 3"],
        window: Window,
        prompt: Prompts,
    ) -> Seen:
        """What the prompt means in a window."""
        frame = Frame.fit(window.size, self.model.variant.spec)
        features = self._encoded(pixels, window, frame)
        logits, scores = decode(self.model, features, move(prompt, window), frame)
        clear = prompt.boxes is not None or len(prompt.points[0]) > 1
        asked = self.model.variant.outputs.of(not clear)
        logits, scores = logits[0, asked], scores[0, asked]
        best = int(scores.argmax())
        return Seen(window=window, frame=frame, logits=logits[best], score=float(scores[best]))

    def _encoded(
        self, pixels: UInt8[np.ndarray, "H W 3"], window: Window, frame: Frame
    ) -> tuple[Tensor, ...]:
        key = (id(pixels), window)
        if key not in self._kept:
            part = pixels[window.y0 : window.y1, window.x0 : window.x1]
            if max(window.size) > _COARSER * max(frame.resized):
                # Pillow would copy the window twice; half of the way without a copy is enough
                half = tuple(2 * length for length in frame.resized[::-1])
                part = np.asarray(cv2.resize(part, half, interpolation=cv2.INTER_AREA), np.uint8)
            self._kept[key] = encode(self.model, np.ascontiguousarray(part), frame)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def first_window(prompt: Prompts, size: tuple[int, int], tile: int) -> Window:
    """A square around what was pointed at, of a tile's side or more."""
    places = [prompt.points[0]]
    side = float(tile)
    if prompt.boxes is not None:
        places.append(prompt.boxes[0].reshape(2, 2))
        x0, y0, x1, y1 = (float(v) for v in prompt.boxes[0])
        side = max(side, (1 + 2 * _MARGIN) * max(x1 - x0, y1 - y0))
    at = np.concatenate(places)
    low, high = at.min(0), at.max(0)
    side = max(side, (1 + 2 * _MARGIN) * float((high - low).max()))
    middle = (low + high) / 2
    return around((float(middle[0]), float(middle[1])), side, size)


def around(middle: tuple[float, float], side: float, size: tuple[int, int]) -> Window:
    """A square around a place (x, y), moved into the image, cut where the image is smaller."""
    lengths = [min(length, int(np.ceil(side))) for length in (size[1], size[0])]
    corner = [
        int(np.clip(round(at - length / 2), 0, limit - length))
        for at, length, limit in zip(middle, lengths, (size[1], size[0]), strict=True)
    ]
    return Window(x0=corner[0], y0=corner[1], x1=corner[0] + lengths[0], y1=corner[1] + lengths[1])


def cut_off(seen: Seen, size: tuple[int, int]) -> bool:
    """Whether the mask reaches a side of its window that is not the image's."""
    rows, columns = seen.frame.covered
    on = seen.logits[:rows, :columns] > 0
    window, (height, width) = seen.window, size
    sides = [
        (window.x0 > 0, on[:, 0]),
        (window.y0 > 0, on[0]),
        (window.x1 < width, on[:, -1]),
        (window.y1 < height, on[-1]),
    ]
    return any(inner and bool(line.any()) for inner, line in sides)


def starts(first: int, stop: int, tile: int, step: int) -> list[int]:
    """Where tiles begin so that they cover first to stop; the last one ends there.

    >>> starts(0, 25, 10, 8)
    [0, 8, 15]
    """
    last = max(first, stop - tile)
    return sorted({*range(first, last, step), last})


def _enlarged(logits: Float[Tensor, "h w"], frame: Frame) -> Float32[np.ndarray, "H W"]:
    full = upscale(logits[None], frame.padded, frame.resized, frame.image, frame.enlarge)
    return full[0].float().cpu().numpy()


def _feather(tile: Window, reach: Window, overlap: int) -> Float32[np.ndarray, "h w"]:
    """Weights that fall to nothing towards the sides where another tile goes on."""

    def line(length: int, begins: bool, ends: bool) -> np.ndarray:
        at = np.arange(length, dtype=np.float32) + 0.5
        weight = np.ones(length, np.float32)
        if overlap and not begins:
            weight = np.minimum(weight, at / overlap)
        if overlap and not ends:
            weight = np.minimum(weight, at[::-1] / overlap)
        return weight

    down = line(tile.size[0], tile.y0 == reach.y0, tile.y1 == reach.y1)
    across = line(tile.size[1], tile.x0 == reach.x0, tile.x1 == reach.x1)
    weights: np.ndarray = down[:, None] * across
    return weights
