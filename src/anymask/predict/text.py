"""Words to masks: a detector turns phrases into boxes, a model turns boxes into masks.

    image, phrases -> detector (the whole image, tiles) -> boxes -> suppression
                   -> one batched decode -> masks;  score = detector score x mask score

Phrases stay apart: each gets the masks that it would get alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from anymask.errors import Note, PromptError, warn_once
from anymask.image import Picture, Source, load_image
from anymask.masks import Masks
from anymask.model import Model
from anymask.predict.image import ImageEmbedding, ImagePredictor
from anymask.predict.refine import Window
from anymask.predict.text_detector import Detector
from anymask.predict.text_load import load_detector
from anymask.predict.text_phrases import parse_phrases
from anymask.predict.tiles import starts
from anymask.text_boxes import TextBoxes, suppress, sure_or_best
from anymask.text_masks import TextMasks

_OVERLAP = 0.25  # of neighbouring tiles, share of their side
_EDGE = 2.0  # px from a tile's inner side within which a box is taken to be cut off
_SMALLEST = 64  # side of a tile, px


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings:
    """What counts as found.

    Attributes
    ----------
    least
        Detector score from which on a box is taken; None takes the detector's row's, and for a
        phrase that nothing reaches it the best box from the row's `alone` on.
    class_overlap
        IoU above which the lower of two boxes of one phrase and one kind is dropped; None takes
        the row's.
    cross_overlap
        The same for boxes of one phrase whatever their kinds: a "vehicle" that was found as a car
        and as a truck is one object.
    phrase_overlap
        The same for boxes of all phrases, or None, so that an object may answer several phrases.
    most
        Boxes of a phrase, the best ones.
    """

    least: float | None = None
    class_overlap: float | None = None
    cross_overlap: float = 0.8
    phrase_overlap: float | None = None
    most: int = 100

    def __post_init__(self) -> None:
        for name in ("least", "class_overlap", "cross_overlap", "phrase_overlap"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise PromptError("setting", "it goes from 0 to 1", given=value, where=name)
        if self.most < 1:
            raise PromptError("setting", "it is at least 1", given=self.most, where="most")


class TextPredictor:
    """Masks for words.

    It holds no state of an image: one may serve any number of threads.

    Parameters
    ----------
    model
        From `anymask.load`, or an `ImagePredictor` that holds one.
    detector
        From `load_detector`, or its name.
    settings
        What counts as found.

    Raises
    ------
    PromptError
        ``unknown-detector``.

    >>> found = TextPredictor(load("nano")).predict("street.jpg", "dog . red car")  # doctest: +SKIP
    >>> found.labels, found.scores  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Model | ImagePredictor,
        detector: Detector | str = "coco",
        *,
        settings: TextSettings | None = None,
    ) -> None:
        self.predictor = ImagePredictor(model) if isinstance(model, Model) else model
        self.detector = load_detector(detector) if isinstance(detector, str) else detector
        self.settings = settings or TextSettings()

    def predict(
        self,
        image: Source | Picture,
        text: Any,
        *,
        tiles: int | None = None,
    ) -> TextMasks:
        """The masks of all things that the words name, by phrase and falling score.

        Parameters
        ----------
        image
            Whatever `anymask.read_image` takes.
        text
            ``"dog . red car"`` or ``["dog", "red car"]``.
        tiles
            Side of tiles, px, in which the detector looks again for what is too small in the whole
            image; None looks at the whole alone.

        Raises
        ------
        PromptError
            The text is empty, too long or holds control characters; all before the image is read.
        ImageError
            It cannot be read.
        """
        phrases, said = self.check(text, tiles)
        picture = image if isinstance(image, Picture) else load_image(image)
        warn_once((*picture.notes, *said))
        boxes = self.boxes(picture.pixels, phrases, tiles=tiles)
        height, width = picture.pixels.shape[:2]
        if len(boxes):
            embedding = self.predictor.encode(picture)
            masks, notes = self._masks(embedding, boxes), embedding.notes
        else:
            masks, notes = Masks.from_bits(np.zeros((0, height, width), bool)), picture.notes
        notes = (*notes, *said, *self._doubts(phrases, boxes, said))
        return _result(phrases, boxes, masks, notes)

    def check(
        self, text: Any, tiles: int | None = None
    ) -> tuple[tuple[str, ...], tuple[Note, ...]]:
        """Phrases, and what is to be said about them; refuses what cannot be asked.

        Raises
        ------
        PromptError
            As `predict`.
        """
        if tiles is not None and tiles < _SMALLEST:
            problem = f"tiles have a side of at least {_SMALLEST} px"
            raise PromptError("setting", problem, given=tiles, where="tiles")
        phrases = parse_phrases(text)
        return phrases, self.detector.check(phrases)

    def boxes(
        self,
        pixels: UInt8[np.ndarray, "H W 3"],
        phrases: Sequence[str],
        *,
        tiles: int | None = None,
    ) -> TextBoxes:
        """The boxes alone, by phrase and falling score; phrases as `check` gives them."""
        own, row = self.settings, self.detector.row
        least = row.least if own.least is None else own.least
        alone = row.alone if own.least is None and row.alone is not None else least
        parts = [self.detector.detect(pixels, phrases, min(least, alone))]
        for window in tile_windows((pixels.shape[0], pixels.shape[1]), tiles):
            part = np.ascontiguousarray(pixels[window.y0 : window.y1, window.x0 : window.x1])
            found = self.detector.detect(part, phrases, min(least, alone))
            parts.append(_placed(found, window, (pixels.shape[0], pixels.shape[1])))
        found = sure_or_best(TextBoxes.join(parts), least)
        overlap = row.overlap if own.class_overlap is None else own.class_overlap
        many = 1 + int(found.kinds.max(initial=0))
        found = suppress(found, overlap, found.phrases * many + found.kinds)
        found = suppress(found, own.cross_overlap, found.phrases)
        if own.phrase_overlap is not None:
            found = suppress(found, own.phrase_overlap, np.zeros_like(found.phrases))
        order = [
            np.flatnonzero(found.phrases == phrase)[: own.most] for phrase in range(len(phrases))
        ]
        return found.keep(np.concatenate(order))

    def _masks(self, embedding: ImageEmbedding, boxes: TextBoxes) -> Masks:
        """The mask of each box, a batch at a time."""
        rles: list[Any] = []
        scores: list[float] = []
        parts: Iterator[Any] = self.predictor.predict_iter(
            embedding, boxes=boxes.boxes, multimask=False
        )
        for part in parts:
            some = Masks.from_bits(part.masks[:, 0], part.scores[:, 0])
            rles += some.rles
            scores += some.scores.tolist()
        return Masks(size=embedding.size, rles=tuple(rles), scores=np.array(scores, np.float32))

    def _doubts(
        self, phrases: Sequence[str], boxes: TextBoxes, said: Sequence[Note]
    ) -> tuple[Note, ...]:
        """What was found hardly or not; words that the detector does not know were told before."""
        least = self.detector.row.least if self.settings.least is None else self.settings.least
        weak = [
            f'"{phrases[phrase]}" (score {score:.2f})'
            for phrase, score in zip(boxes.phrases.tolist(), boxes.scores.tolist(), strict=True)
            if score < least
        ]
        notes = []
        if weak:
            text = f"below the usual {least:g}, taken for want of better: {', '.join(weak)}"
            notes.append(Note("weak-find", text))
        found = set(boxes.phrases.tolist())
        missing = [
            f'"{phrase}" (best score {boxes.best[i]:.2f})'
            for i, phrase in enumerate(phrases)
            if i not in found and boxes.best[i] > 0
        ]
        if missing:
            text = f"nothing of a score of {least:g} or more was found for {', '.join(missing)}"
            notes.append(Note("nothing-found", text))
        elif not len(boxes) and not said:
            notes.append(Note("nothing-found", "nothing was found"))
        return tuple(notes)


def tile_windows(size: tuple[int, int], tile: int | None) -> list[Window]:
    """Tiles that cover an image (H, W) and overlap; none where it is no larger than one.

    >>> [(w.x0, w.y0, w.x1, w.y1) for w in tile_windows((100, 150), 100)]
    [(0, 0, 100, 100), (50, 0, 150, 100)]
    """
    height, width = size
    if tile is None or max(size) <= tile:
        return []
    step = max(1, round(tile * (1 - _OVERLAP)))
    return [
        Window(x0=x, y0=y, x1=min(width, x + tile), y1=min(height, y + tile))
        for y in starts(0, height, tile, step)
        for x in starts(0, width, tile, step)
    ]


def _placed(found: TextBoxes, window: Window, size: tuple[int, int]) -> TextBoxes:
    """Boxes of a tile in the image, without those that an inner side of the tile cuts off."""
    height, width = window.size
    x0, y0, x1, y1 = found.boxes.T
    cut = (
        ((x0 < _EDGE) & (window.x0 > 0))
        | ((y0 < _EDGE) & (window.y0 > 0))
        | ((x1 > width - _EDGE) & (window.x1 < size[1]))
        | ((y1 > height - _EDGE) & (window.y1 < size[0]))
    )
    shift = np.array([window.x0, window.y0] * 2, np.float32)
    return replace(found, boxes=found.boxes + shift).keep(np.flatnonzero(~cut))


def _result(
    phrases: tuple[str, ...], boxes: TextBoxes, masks: Masks, notes: Sequence[Note]
) -> TextMasks:
    known: Float32[np.ndarray, " N"] = masks.scores.clip(0, 1)
    scores = boxes.scores * known
    whole = TextMasks(
        size=masks.size,
        rles=masks.rles,
        scores=scores,
        phrases=phrases,
        phrase=boxes.phrases,
        names=boxes.names,
        found=boxes.boxes,
        detector_scores=boxes.scores,
        mask_scores=known,
        best=boxes.best,
        notes=tuple(dict.fromkeys(notes)),
    )
    return whole.keep(np.lexsort((-scores, boxes.phrases)))
