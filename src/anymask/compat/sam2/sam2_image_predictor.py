"""SAM2ImagePredictor: set one image or several, then ask for masks; a holder of state.

Letters: P prompts, N points, M masks a prompt, H W image, h w low-resolution logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Num
from PIL import Image
from torch import Tensor

from anymask.compat.pointing import pointed
from anymask.compat.sam2.filling import fill_small
from anymask.compat.sam2.modeling import SAM2Base
from anymask.frame import Frame
from anymask.nn.resize import upscale
from anymask.predict.steps import encode

_NO_IMAGE = "no image is set: call set_image(...) first"
_LIMIT = 32.0  # of the low-resolution logits that are handed out

Answer = tuple[
    Float32[np.ndarray, "*P M H W"], Float32[np.ndarray, "*P M"], Float32[np.ndarray, "*P M h w"]
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Encoded:
    """An image's maps, and its way into the network."""

    features: tuple[Tensor, ...]
    frame: Frame


class SAM2ImagePredictor:
    """Encodes images once and answers prompts on them.

    Parameters
    ----------
    sam_model
        From `build_sam2`.
    mask_threshold
        Logits above it are the object.
    max_hole_area, max_sprinkle_area
        Holes are filled, and sprinkles removed, up to this area, low-resolution cells.
    """

    def __init__(
        self,
        sam_model: SAM2Base,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        **kwargs: object,
    ) -> None:
        self.model = sam_model
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area
        self._images: list[_Encoded] = []
        self._is_batch = False

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> "SAM2ImagePredictor":
        """A predictor of a model on Hugging Face; see `build_sam2_hf`."""
        from anymask.compat.sam2.build_sam import build_sam2_hf

        return cls(build_sam2_hf(model_id, **kwargs), **kwargs)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def set_image(self, image: object) -> None:
        """Encode one image: (H, W, 3) bytes in RGB, or a Pillow image.

        Raises
        ------
        NotImplementedError
            It is neither.
        """
        self.reset_predictor()
        self._images = [self._encoded(image)]

    def set_image_batch(self, image_list: object) -> None:
        """Encode a list of arrays (H, W, 3), bytes in RGB, of any sizes.

        Raises
        ------
        AssertionError
            This is no list of arrays.
        """
        self.reset_predictor()
        if not isinstance(image_list, list):
            raise AssertionError(f"a list of images is wanted, not a {type(image_list).__name__}")
        for image in image_list:
            if not isinstance(image, np.ndarray):
                raise AssertionError(f"images are arrays, not {type(image).__name__}")
        self._images = [self._encoded(image) for image in image_list]
        self._is_batch = True

    def predict(
        self,
        point_coords: Num[np.ndarray, "..."] | None = None,
        point_labels: Num[np.ndarray, "..."] | None = None,
        box: Num[np.ndarray, "..."] | None = None,
        mask_input: Float[np.ndarray, "..."] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Answer:
        """Masks of one prompt or of several, in px of the image.

        Parameters
        ----------
        point_coords, point_labels
            (N, 2) and (N,), or with a leading axis P; 1 on the object, 0 off it.
        box
            (4,) or (P, 4), x0, y0, x1, y1.
        mask_input
            (1, h, w) or (P, 1, h, w): low-resolution logits of an earlier answer.
        multimask_output
            Three masks, or one.
        return_logits
            Logits at the image's size instead of zeros and ones.
        normalize_coords
            False where coordinates are in 0..1 already.

        Returns
        -------
        tuple
            Masks (M, H, W) as float32; predicted IoU (M,); low-resolution logits (M, h, w), cut to
            -32..32. Several prompts have a leading axis P.

        Raises
        ------
        RuntimeError
            No image is set; or points and boxes are not of as many prompts.
        AssertionError
            There are points without labels.
        """
        return self._answer(
            self._last(),
            (point_coords, point_labels, box, mask_input),
            multimask=multimask_output,
            return_logits=return_logits,
            normalize=normalize_coords,
        )

    def predict_batch(
        self,
        point_coords_batch: Sequence[Num[np.ndarray, "..."] | None] | None = None,
        point_labels_batch: Sequence[Num[np.ndarray, "..."] | None] | None = None,
        box_batch: Sequence[Num[np.ndarray, "..."] | None] | None = None,
        mask_input_batch: Sequence[Float[np.ndarray, "..."] | None] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """`predict` for each image of a batch: lists of prompts, one an image; lists of answers.

        Raises
        ------
        AssertionError
            Images were not set by `set_image_batch`.
        RuntimeError
            No image is set.
        """
        if not self._is_batch:
            raise AssertionError("images of a batch are set by set_image_batch(...)")
        self._last()
        given = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        answers = [
            self._answer(
                one,
                tuple(None if rows is None else rows[i] for rows in given),
                multimask=multimask_output,
                return_logits=return_logits,
                normalize=normalize_coords,
            )
            for i, one in enumerate(self._images)
        ]
        masks, scores, low = ([answer[k] for answer in answers] for k in range(3))
        return masks, scores, low

    def get_image_embedding(self) -> Float[Tensor, "B C h w"]:
        """Embeddings of the images that are set.

        Raises
        ------
        RuntimeError
            There are none.
        """
        self._last()
        return torch.cat([one.features[0] for one in self._images])

    def reset_predictor(self) -> None:
        """Forget the images."""
        self._images, self._is_batch = [], False

    def _last(self) -> _Encoded:
        if not self._images:
            raise RuntimeError(_NO_IMAGE)
        return self._images[-1]

    def _encoded(self, image: object) -> _Encoded:
        if isinstance(image, Image.Image):
            image = np.asarray(image.convert("RGB"))
        elif not isinstance(image, np.ndarray):
            kind = type(image).__name__
            raise NotImplementedError(f"an image is an array or a Pillow image, not {kind}")
        if image.ndim != 3 or image.shape[2] != 3:
            raise AssertionError(f"an image is (H, W, 3), not {image.shape}")
        model = self.model.model
        frame = Frame.fit((image.shape[0], image.shape[1]), model.variant.spec)
        features = encode(model, image, frame)
        # copies of what was made in inference mode may go into a loss
        return _Encoded(features=tuple(t.clone() for t in features), frame=frame)

    @torch.no_grad()
    def _answer(
        self,
        image: _Encoded,
        given: tuple[Any, ...],
        *,
        multimask: bool,
        return_logits: bool,
        normalize: bool,
    ) -> Answer:
        points, labels, boxes, masks = (
            None if part is None else torch.as_tensor(part, dtype=torch.float32) for part in given
        )
        if points is not None and points.ndim == 2:
            points = points[None]
        if labels is not None and labels.ndim == 1:
            labels = labels[None]
        if masks is not None:
            masks = masks[None] if masks.ndim == 3 else masks
        model, frame = self.model.model, image.frame
        spec = model.variant.spec
        asked = frame if normalize else Frame.fit((1, 1), spec)  # of an image of one px a side
        count = 1 if masks is None else len(masks)
        xy, kinds = pointed(asked, spec, points, labels, boxes, count)
        logits, scores = model.decode(image.features, xy, kinds, masks)
        logits, scores = model.variant.outputs.answer(logits, scores, multimask)
        mended = fill_small(logits, self.mask_threshold, self.max_hole_area, self.max_sprinkle_area)
        full = upscale(
            mended.flatten(0, 1), frame.padded, frame.resized, frame.image, frame.enlarge
        ).view(*logits.shape[:2], *frame.image)
        if not return_logits:
            full = (full > self.mask_threshold).float()
        found = (full, scores, logits.clamp(-_LIMIT, _LIMIT))
        whole, known, low = (tensor.squeeze(0).cpu().numpy() for tensor in found)
        return whole, known, low
