"""Encode an image once, then ask for the masks of any prompts on it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32

from anymask.errors import Note, PromptError
from anymask.image import Picture, Source, load_image
from anymask.mask_prompts import MaskKind
from anymask.model import Model
from anymask.predict.cache import EmbeddingCache
from anymask.predict.embedding import ImageEmbedding
from anymask.predict.refine import look_closer
from anymask.predict.steps import decode, encode_pixels, to_image
from anymask.prompts import Prompts

_BYTES_AT_ONCE = 400_000_000  # of decoder intermediates in one batch of prompts
_BYTES_A_CELL = 1500  # of them for each low-resolution cell of one prompt, measured for SAM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Masks of one prompt, or with a leading axis P of several.

    Attributes
    ----------
    masks
        (M, H, W) at the image's size: logits above 0.
    scores
        (M,) predicted IoU. Not clipped: official weights exceed 1 now and then.
    logits
        (M, h, w) at low resolution, to be given back as ``masks=`` of the next round.
    notes
        What was understood how.
    """

    masks: Bool[np.ndarray, "*P M H W"]
    scores: Float32[np.ndarray, "*P M"]
    logits: Float32[np.ndarray, "*P M h w"]
    notes: tuple[Note, ...] = field(default=())

    @property
    def best(self) -> Any:
        """Index of the mask with the highest score, an int, or an array (P,) for P prompts.

        Of equal scores the first counts. Scores are what the model believes of its masks; for a
        prompt with one output it is always 0.
        """
        best = self.scores.argmax(-1)
        return int(best) if best.ndim == 0 else best

    def __len__(self) -> int:
        return len(self.masks)


class ImagePredictor:
    """Masks for clicks, boxes and masks.

    Parameters
    ----------
    model
        From `anymask.load`.
    cache
        Where embeddings are kept, or None.
    zoom
        Take a second, closer look at small objects where the model's row provides for it.

    Notes
    -----
    A predictor holds no state of an image: one may serve any number of threads.

    >>> predictor = ImagePredictor(load("nano"))  # doctest: +SKIP
    >>> embedding = predictor.encode("photo.jpg")  # doctest: +SKIP
    >>> predictor.predict(embedding, points=[[500, 375]]).masks.shape  # doctest: +SKIP
    (3, 1200, 1800)
    """

    def __init__(
        self, model: Model, *, cache: EmbeddingCache | None = None, zoom: bool = True
    ) -> None:
        self.model = model
        self.cache = cache
        self.zoom = zoom

    def encode(self, image: Source) -> ImageEmbedding:
        """Read an image (see `anymask.image.load_image`) and encode it; slow, once an image."""
        picture = image if isinstance(image, Picture) else load_image(image)
        if self.cache is None:
            return encode_pixels(self.model, picture)
        key = self.cache.key(picture.pixels, self.model.fingerprint)
        found = self.cache.get(key)
        if found is None:
            found = encode_pixels(self.model, picture)
            self.cache.put(key, found)
        return found

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
            True gives three masks for what an ambiguous prompt may mean, False the one for a
            prompt that is clear.
        clip
            Move points outside onto the border.
        kind
            What a mask's numbers are: ``"binary"``, ``"probability"``, ``"logits"``; None tells.

        Raises
        ------
        PromptError
            A prompt is wrong, or the embedding is another model's.
        """
        prompts = self._prompts(embedding, points, labels, boxes, masks, clip, kind)
        return self._join(prompts, list(self._batches(embedding, prompts, multimask)), embedding)

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
    ) -> Iterator[tuple[list[int], Prediction]]:
        """`predict` for very many prompts: (their indices, their prediction), batch by batch.

        Memory stays that of one batch. Takes what `predict` takes.
        """
        prompts = self._prompts(embedding, points, labels, boxes, masks, clip, kind)
        yield from self._batches(embedding, prompts, multimask)

    def _prompts(
        self,
        embedding: ImageEmbedding,
        points: Any,
        labels: Any,
        boxes: Any,
        masks: Any,
        clip: bool,
        kind: MaskKind | None,
    ) -> Prompts:
        if embedding.fingerprint != self.model.fingerprint:
            raise PromptError(
                "other-model",
                f"the embedding was made by {embedding.variant} with other weights, "
                f"this is {self.model.variant.name}",
                hint="encode the image with this model",
            )
        return Prompts.parse(
            size=embedding.size,
            frame=embedding.frame,
            points=points,
            labels=labels,
            boxes=boxes,
            masks=masks,
            clip=clip,
            kind=kind,
        )

    @torch.inference_mode()
    def _batches(
        self, embedding: ImageEmbedding, prompts: Prompts, multimask: bool
    ) -> Iterator[tuple[list[int], Prediction]]:
        """Decode groups of prompts that fit together, a bounded number at a time."""
        cells = embedding.frame.logits[0] * embedding.frame.logits[1]
        image = embedding.size[0] * embedding.size[1]
        most = max(1, _BYTES_AT_ONCE // (cells * _BYTES_A_CELL + 20 * image))
        for group in prompts.groups():
            for first in range(0, len(group), most):
                index = group[first : first + most]
                part = prompts.take(index)
                logits, scores = decode(self.model, embedding.features, part, embedding.frame)
                outputs = slice(1, None) if multimask else slice(0, 1)
                logits, scores = logits[:, outputs], scores[:, outputs]
                masks = to_image(logits, embedding.frame)
                zoom = self.model.variant.zoom
                if self.zoom and zoom is not None:
                    logits, masks = look_closer(
                        self.model, embedding, part, logits, scores, masks, zoom
                    )
                yield (
                    index,
                    Prediction(
                        masks=masks.cpu().numpy(),
                        scores=scores.cpu().numpy(),
                        logits=logits.cpu().numpy(),
                        notes=prompts.notes,
                    ),
                )

    def _join(
        self,
        prompts: Prompts,
        batches: list[tuple[list[int], Prediction]],
        embedding: ImageEmbedding,
    ) -> Prediction:
        """Batches in the order of the prompts; without the leading axis for a single one."""
        notes = (*embedding.notes, *prompts.notes)
        if not batches:
            height, width = embedding.size
            outputs = 3
            return Prediction(
                masks=np.zeros((0, outputs, height, width), bool),
                scores=np.zeros((0, outputs), np.float32),
                logits=np.zeros((0, outputs, *embedding.frame.logits), np.float32),
                notes=notes,
            )
        if len(batches) == 1:
            masks, scores, logits = (
                getattr(batches[0][1], name) for name in ("masks", "scores", "logits")
            )
        else:
            order = np.argsort(np.concatenate([index for index, _ in batches]), kind="stable")
            masks, scores, logits = (
                np.concatenate([getattr(part, name) for _, part in batches])[order]
                for name in ("masks", "scores", "logits")
            )
        if prompts.single:
            masks, scores, logits = masks[0], scores[0], logits[0]
        return Prediction(masks=masks, scores=scores, logits=logits, notes=notes)
