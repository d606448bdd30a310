"""Encode an image once, then ask for the masks of any prompts on it.

Letters: P prompts, M masks a prompt, H W image, h w low-resolution logits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from anymask.errors import Note, OutputError, PromptError, warn_once
from anymask.frame import Frame
from anymask.image import Picture, Source, load_image
from anymask.mask_prompts import MaskKind
from anymask.model import Model
from anymask.predict.cache import EmbeddingCache
from anymask.predict.embedding import ImageEmbedding as ImageEmbedding
from anymask.predict.refine import look_closer, zoom_of
from anymask.predict.steps import decode_answer, encode, fill_masks
from anymask.prompts import Prompts, check_fits
from anymask.variants import Zoom

_BYTES_A_CELL = 500  # of the decoder, a prompt and a low-resolution cell; SAM 320, nano 420


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Masks of one prompt, or with a leading axis P of several.

    Attributes
    ----------
    masks
        At the image's size: where logits are above 0.
    scores
        Predicted IoU, as the model gives it: official weights exceed 1 now and then.
    logits
        At low resolution; ``masks=`` of a next round takes those of one mask a prompt.
    notes
        How the image and the prompts were understood.
    """

    masks: Bool[np.ndarray, "*P M H W"]
    scores: Float32[np.ndarray, "*P M"]
    logits: Float32[np.ndarray, "*P M h w"]
    notes: tuple[Note, ...] = ()

    @property
    def best(self) -> int | Int64[np.ndarray, " P"]:
        """Index of the mask with the highest score, the first of equal ones.

        An int for one prompt, an array (P,) for several.
        """
        index = self.scores.argmax(-1)
        return int(index) if self.scores.ndim == 1 else np.asarray(index, np.int64)

    @property
    def best_mask(self) -> Bool[np.ndarray, "*P H W"]:
        """The mask with the highest score."""
        return _pick(self.masks, self.scores)

    @property
    def best_logits(self) -> Float32[np.ndarray, "*P h w"]:
        """The logits of `best_mask`, ready to be given back as ``masks=``."""
        return _pick(self.logits, self.scores)


class ImagePredictor:
    """Masks for clicks, boxes and masks.

    A predictor holds no state of an image: one may serve any number of threads.

    Parameters
    ----------
    model
        From `anymask.load`.
    cache
        Where features are kept between runs, or None.
    zoom
        Take a second, closer look at small objects where the model's row provides for it: at the
        mask with the highest score of each prompt.
    max_bytes
        Bound of what a batch of prompts may take beside the result.

    >>> predictor = ImagePredictor(load("nano"))  # doctest: +SKIP
    >>> embedding = predictor.encode("photo.jpg")  # doctest: +SKIP
    >>> predictor.predict(embedding, points=[[500, 375]]).masks.shape  # doctest: +SKIP
    (3, 1200, 1800)
    """

    def __init__(
        self,
        model: Model,
        *,
        cache: EmbeddingCache | None = None,
        zoom: bool = True,
        max_bytes: int = 2**29,
    ) -> None:
        self.model = model
        self.cache = cache
        self.zoom = zoom
        self.max_bytes = max_bytes

    @property
    def takes_masks(self) -> bool:
        """Whether masks can be prompts of this model."""
        return self.model.variant.spec.mask_prompts

    def encode(self, image: Source | Picture) -> ImageEmbedding:
        """Read an image and encode it; slow, once an image.

        Parameters
        ----------
        image
            Whatever `anymask.read_image` takes, or what `anymask.image.load_image` gave.

        Raises
        ------
        ImageError
            It cannot be read.
        """
        picture = image if isinstance(image, Picture) else load_image(image)
        warn_once(picture.notes)
        # the caller may write to an array of his later
        given = isinstance(image, np.ndarray | Picture) or hasattr(image, "detach")
        pixels = np.array(picture.pixels) if given else picture.pixels
        frame = Frame.fit((pixels.shape[0], pixels.shape[1]), self.model.variant.spec)
        features, notes = self._features(pixels, frame)
        return ImageEmbedding(
            features=features,
            frame=frame,
            pixels=pixels,
            variant=self.model.variant.name,
            fingerprint=self.model.fingerprint,
            notes=(*picture.notes, *notes),
        )

    def predict(
        self,
        embedding: ImageEmbedding,
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        multimask: bool = True,
        clip: bool = False,
        kind: MaskKind | None = None,
        refine: str | None = None,
    ) -> Prediction:
        """Masks of one prompt or of several.

        Parameters
        ----------
        embedding
            From `encode`.
        points, labels
            (N, 2) px and (N,) 1 on, 0 off the object; or (P, N, 2) or a ragged list, and alike.
        boxes
            (4,) x0, y0, x1, y1 px, or (P, 4).
        masks
            (1, h, w), or (P, h, w): logits of the round before, or masks of the image's size.
        multimask
            True gives the masks (three, for most models) of what an ambiguous prompt may mean,
            False the one for a prompt that is clear.
        clip
            Move points outside onto the border.
        kind
            What a mask's numbers are: ``"binary"``, ``"probability"``, ``"logits"``; None tells.
        refine
            ``"crop"`` encodes a crop around each object and decodes the mask of the highest score
            again, for finer borders at the price of an encoding a prompt. Points without a box gain
            by it only in images of at least twice the model's input, and are left alone in others.

        Raises
        ------
        PromptError
            A prompt or a setting is wrong, or the embedding is another model's.
        """
        prompts = self.prompts(
            embedding, points=points, labels=labels, boxes=boxes, masks=masks, clip=clip, kind=kind
        )
        warn_once(prompts.notes)
        return self.predict_prompts(embedding, prompts, multimask=multimask, refine=refine)

    def predict_iter(
        self,
        embedding: ImageEmbedding,
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        multimask: bool = True,
        clip: bool = False,
        kind: MaskKind | None = None,
        refine: str | None = None,
    ) -> Iterator[Prediction]:
        """`predict` for very many prompts, some of them at a time and in their order.

        Memory stays that of one batch. Takes what `predict` takes; each part has a leading P.
        """
        prompts = self.prompts(
            embedding, points=points, labels=labels, boxes=boxes, masks=masks, clip=clip, kind=kind
        )
        warn_once(prompts.notes)
        # now, so that a wrong setting is not first told with the first part
        zoom = zoom_of(self.model, embedding.frame, prompts, self.zoom, refine)
        return self._parts(embedding, prompts, multimask, zoom)

    def prompts(self, embedding: ImageEmbedding, **given: Any) -> Prompts:
        """Prompts on an image of this model, checked; takes what `Prompts.parse` takes.

        Raises
        ------
        PromptError
            A prompt is wrong, or nothing for this model; or the embedding is another model's.
        """
        model = self.model
        if (embedding.fingerprint, embedding.variant) != (model.fingerprint, model.variant.name):
            raise PromptError(
                "other-model",
                f"the embedding was made by {embedding.variant} ({embedding.fingerprint[:8]}), "
                f"this is {model.variant.name} ({model.fingerprint[:8]})",
                hint="encode the image with this model",
            )
        prompts = Prompts.parse(size=embedding.size, frame=embedding.frame, **given)
        check_fits(prompts, model.variant.spec)
        return prompts

    def predict_prompts(
        self,
        embedding: ImageEmbedding,
        prompts: Prompts,
        *,
        multimask: bool = True,
        refine: str | None = None,
    ) -> Prediction:
        """`predict` for prompts that were checked before."""
        count, outputs = len(prompts), self._outputs(multimask)
        zoom = zoom_of(self.model, embedding.frame, prompts, self.zoom, refine)
        parts = self._parts(embedding, prompts, multimask, zoom)
        if count <= self._at_once(embedding, outputs) and count:
            whole = next(parts)
            masks, scores, logits = whole.masks, whole.scores, whole.logits
        else:
            masks = np.empty((count, outputs, *embedding.size), bool)
            scores = np.empty((count, outputs), np.float32)
            logits = np.empty((count, outputs, *embedding.frame.logits), np.float32)
            first = 0
            for part in parts:
                rows = slice(first, first := first + len(part.scores))
                masks[rows], scores[rows], logits[rows] = part.masks, part.scores, part.logits
        if prompts.single:
            masks, scores, logits = masks[0], scores[0], logits[0]
        notes = (*embedding.notes, *prompts.notes)
        return Prediction(masks=masks, scores=scores, logits=logits, notes=notes)

    def _outputs(self, multimask: bool) -> int:
        """How many masks answer a prompt."""
        asked = self.model.variant.outputs.of(multimask)
        return int(asked.stop - asked.start)

    def _at_once(self, embedding: ImageEmbedding, outputs: int) -> int:
        """How many prompts are answered at once."""
        (height, width), (h, w) = embedding.size, embedding.frame.logits
        return max(1, self.max_bytes // (h * w * _BYTES_A_CELL + height * width * outputs))

    def _parts(
        self, embedding: ImageEmbedding, prompts: Prompts, multimask: bool, zoom: Zoom | None
    ) -> Iterator[Prediction]:
        at_once = self._at_once(embedding, self._outputs(multimask))
        device = self.model.device
        features = tuple(t.to(device) for t in embedding.features)
        for first in range(0, len(prompts), at_once):
            some = prompts.take(range(first, min(len(prompts), first + at_once)))
            yield self._answer(embedding, features, some, multimask, zoom)

    @torch.inference_mode()
    def _answer(
        self,
        embedding: ImageEmbedding,
        features: tuple[Tensor, ...],
        prompts: Prompts,
        multimask: bool,
        zoom: Zoom | None,
    ) -> Prediction:
        count, frame, device = self._outputs(multimask), embedding.frame, self.model.device
        logits = torch.empty((len(prompts), count, *frame.logits), device=device)
        scores = torch.empty((len(prompts), count), device=device)
        for group in prompts.groups():
            logits[group], scores[group] = decode_answer(
                self.model, features, prompts.take(group), frame, multimask
            )
        masks = np.empty((len(prompts), count, *frame.image), bool)
        fill_masks(masks.reshape(-1, *frame.image), logits.flatten(0, 1), frame)
        if zoom is not None:
            for p, best in enumerate(scores.argmax(1).tolist()):
                one = prompts.take([p])
                look = look_closer(self.model, embedding, one, logits[p, best], zoom, multimask)
                if look is not None:
                    at, seen = look.window, len(look.masks)
                    into = slice(None) if seen == count else slice(best, best + 1)
                    masks[p, into] = False
                    masks[p, into, at.y0 : at.y1, at.x0 : at.x1] = look.masks
                    logits[p, into], scores[p, into] = look.logits, look.scores
        return Prediction(
            masks=masks,
            scores=scores.cpu().numpy(),
            logits=logits.cpu().numpy(),
            notes=prompts.notes,
        )

    def _features(
        self, pixels: np.ndarray, frame: Frame
    ) -> tuple[tuple[Tensor, ...], tuple[Note, ...]]:
        if self.cache is None:
            return encode(self.model, pixels, frame), ()
        key = self.cache.key(pixels, frame, self.model)
        kept = self.cache.get(key)
        if kept is not None:
            return tuple(t.to(self.model.device) for t in kept), ()
        features = encode(self.model, pixels, frame)
        try:
            self.cache.put(key, features)
        except OutputError as error:  # a full disk costs time later, not the work done now
            note = Note("embedding-not-kept", f"the cache could not be written: {error}")
            warn_once((note,))
            return features, (note,)
        return features, ()


def _pick(values: np.ndarray, scores: Float32[np.ndarray, "*P M"]) -> np.ndarray:
    """Of each prompt the value (h, w) of its highest score."""
    axis = scores.ndim - 1
    index = scores.argmax(axis)[..., None, None, None]
    return np.take_along_axis(values, index, axis).squeeze(axis)
