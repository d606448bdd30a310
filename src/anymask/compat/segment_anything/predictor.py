"""SamPredictor: set an image, then ask for masks; a holder of state around a model.

Letters: P prompts, N points, M masks a prompt, H W image, h w low-resolution logits.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Num, Real, UInt8
from torch import Tensor

from anymask.compat.segment_anything.modeling.sam import Sam
from anymask.compat.segment_anything.utils.transforms import ResizeLongestSide

_NO_IMAGE = "no image is set: call set_image(...) first"


class SamPredictor:
    """Encodes an image once and answers prompts on it.

    Attributes
    ----------
    transform
        Scales images and coordinates to the network's size.
    features
        The embedding (1, C, h, w), or None; may be set by hand, with the three that follow.
    original_size, input_size
        (H, W) of the image and of the scaled image, or None.
    is_image_set
        Whether there is an image.
    """

    def __init__(self, sam_model: Sam) -> None:
        self.model = sam_model
        self.transform = ResizeLongestSide(sam_model.model.variant.spec.side)
        self._features: tuple[Tensor, ...] = ()
        self.original_size: tuple[int, int] | None = None
        self.input_size: tuple[int, int] | None = None
        self.is_image_set = False

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def features(self) -> Float[Tensor, "1 C h w"] | None:
        """The embedding of the image."""
        return self._features[0] if self._features else None

    @features.setter
    def features(self, embedding: Float[Tensor, "1 C h w"] | None) -> None:
        self._features = () if embedding is None else (embedding,)

    def set_image(self, image: UInt8[np.ndarray, "..."], image_format: str = "RGB") -> None:
        """Encode an image.

        Parameters
        ----------
        image
            (H, W, 3), bytes.
        image_format
            Order of its channels, ``"RGB"`` or ``"BGR"``.

        Raises
        ------
        AssertionError
            The format is neither of them, or the image has not three channels.
        """
        if image_format not in ("RGB", "BGR"):
            raise AssertionError(f"image_format is 'RGB' or 'BGR', not {image_format!r}")
        if image.ndim != 3 or image.shape[2] != 3:
            raise AssertionError(f"an image is (H, W, 3), not {image.shape}")
        if image_format != self.model.image_format:
            image = image[..., ::-1]
        scaled = self.transform.apply_image(image)
        rows = torch.as_tensor(scaled, device=self.device).permute(2, 0, 1).contiguous()[None]
        self.set_torch_image(rows, image.shape[:2])

    @torch.no_grad()
    def set_torch_image(
        self, transformed_image: Real[Tensor, "1 3 H W"], original_image_size: tuple[int, ...]
    ) -> None:
        """Encode an image that is scaled already.

        Parameters
        ----------
        transformed_image
            0..255; the longest side has the network's length.
        original_image_size
            (H, W) before scaling.

        Raises
        ------
        AssertionError
            The shape is another one.
        """
        shape, side = tuple(transformed_image.shape), self.transform.target_length
        if len(shape) != 4 or shape[1] != 3 or max(shape[2:]) != side:
            raise AssertionError(f"an image is (B, 3, H, W) with a longest side of {side}: {shape}")
        self.reset_image()
        self.original_size = (int(original_image_size[0]), int(original_image_size[1]))
        self.input_size = (shape[2], shape[3])
        self._features = self.model.model.encode(transformed_image.permute(0, 2, 3, 1))
        self.is_image_set = True

    def predict(
        self,
        point_coords: Num[np.ndarray, "N 2"] | None = None,
        point_labels: Num[np.ndarray, " N"] | None = None,
        box: Num[np.ndarray, "..."] | None = None,
        mask_input: Float[np.ndarray, "1 h w"] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Any, Float32[np.ndarray, " M"], Float32[np.ndarray, "M h w"]]:
        """Masks of one prompt in px of the image.

        Parameters
        ----------
        point_coords, point_labels
            (x, y) of points; 1 on the object, 0 off it.
        box
            x0, y0, x1, y1.
        mask_input
            Low-resolution logits of an earlier answer.
        multimask_output
            Three masks, or one.
        return_logits
            Logits at the image's size instead of masks.

        Returns
        -------
        tuple
            Masks (M, H, W), bool or float32; predicted IoU (M,); low-resolution logits (M, h, w).

        Raises
        ------
        RuntimeError
            No image is set; or there are several boxes.
        AssertionError
            There are points without labels.
        """
        size, device = self._size(), self.device
        points = labels = boxes = masks = None
        if point_coords is not None:
            scaled = self.transform.apply_coords(point_coords, size)
            points = torch.as_tensor(scaled, dtype=torch.float32, device=device)[None]
        if point_labels is not None:
            labels = torch.as_tensor(point_labels, dtype=torch.int, device=device)[None]
        if box is not None:
            scaled = self.transform.apply_boxes(box, size)
            boxes = torch.as_tensor(scaled, dtype=torch.float32, device=device)
            if len(boxes) != 1:
                raise RuntimeError(f"predict takes one box, not {len(boxes)}; see predict_torch")
        if mask_input is not None:
            masks = torch.as_tensor(mask_input, dtype=torch.float32, device=device)[None]
        found = self.predict_torch(
            points, labels, boxes, masks, multimask_output, return_logits=return_logits
        )
        whole, scores, low = (tensor[0].detach().cpu().numpy() for tensor in found)
        return whole, scores, low

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Real[Tensor, "P N 2"] | None,
        point_labels: Real[Tensor, "P N"] | None,
        boxes: Real[Tensor, "..."] | None = None,
        mask_input: Float[Tensor, "P 1 h w"] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[
        Bool[Tensor, "P M H W"] | Float[Tensor, "P M H W"],
        Float[Tensor, "P M"],
        Float[Tensor, "P M h w"],
    ]:
        """Masks of many prompts, scaled by `transform`.

        Returns
        -------
        tuple
            Masks (P, M, H, W), bool or logits; predicted IoU (P, M); low-resolution logits
            (P, M, h, w).

        Raises
        ------
        RuntimeError
            No image is set; or points and boxes are not of as many prompts.
        AssertionError
            There are points without labels.
        """
        original = self._size()
        if self.input_size is None:
            raise RuntimeError(_NO_IMAGE)
        logits, scores = self.model.answer(
            self._features,
            self.input_size,
            points=point_coords,
            labels=point_labels,
            boxes=boxes,
            masks=mask_input,
            multimask=multimask_output,
        )
        full = self.model.postprocess_masks(logits, self.input_size, original)
        return full if return_logits else full > self.model.mask_threshold, scores, logits

    def get_image_embedding(self) -> Float[Tensor, "1 C h w"]:
        """The embedding of the image.

        Raises
        ------
        RuntimeError
            No image is set.
        """
        embedding = self.features
        if not self.is_image_set or embedding is None:
            raise RuntimeError(_NO_IMAGE)
        return embedding

    def reset_image(self) -> None:
        """Forget the image."""
        self.is_image_set = False
        self._features = ()
        self.original_size = self.input_size = None

    def _size(self) -> tuple[int, int]:
        """(H, W) of the image that is set."""
        if not self.is_image_set or self.original_size is None:
            raise RuntimeError(_NO_IMAGE)
        return self.original_size
