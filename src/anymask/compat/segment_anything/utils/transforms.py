"""An image and its coordinates, scaled so that the longest side has a given length."""

import numpy as np
import torch
from jaxtyping import Float, Num, Shaped
from torch import Tensor
from torch.nn import functional as F

from anymask.image import resize
from anymask.variants import keep_aspect


class ResizeLongestSide:
    """Scales images, points and boxes alike; the aspect is kept but for the rounding of sides.

    Parameters
    ----------
    target_length
        Of the longest side after scaling, px.
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: Shaped[np.ndarray, "H W *C"]) -> Shaped[np.ndarray, "h w *C"]:
        """An image of bytes, bilinear with antialias, rounded to bytes again."""
        return resize(image, self._size(image.shape[:2]))

    def apply_coords(
        self, coords: Num[np.ndarray, "*N 2"], original_size: tuple[int, ...]
    ) -> Float[np.ndarray, "*N 2"]:
        """Points (x, y) of an image of ``original_size`` (H, W), as float64."""
        scale = np.array(self._scale(original_size))
        return np.asarray(np.asarray(coords, np.float64) * scale)

    def apply_boxes(
        self, boxes: Num[np.ndarray, "*N 4"], original_size: tuple[int, ...]
    ) -> Float[np.ndarray, "M 4"]:
        """Boxes x0, y0, x1, y1, always with one leading axis."""
        corners = np.asarray(boxes).reshape(-1, 2, 2)
        return self.apply_coords(corners, original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """A batch of tensors; close to `apply_image`, but neither rounded nor equal to it."""
        return F.interpolate(
            image,
            self._size(image.shape[2:]),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )

    def apply_coords_torch(
        self, coords: Num[Tensor, "*N 2"], original_size: tuple[int, ...]
    ) -> Float[Tensor, "*N 2"]:
        """Points as a float32 tensor."""
        x, y = self._scale(original_size)
        given = coords.to(torch.float32)
        return torch.stack([given[..., 0] * x, given[..., 1] * y], dim=-1)

    def apply_boxes_torch(
        self, boxes: Num[Tensor, "*N 4"], original_size: tuple[int, ...]
    ) -> Float[Tensor, "M 4"]:
        """Boxes as a float32 tensor, always with one leading axis."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """(height, width) after scaling, rounded half up."""
        return keep_aspect((oldh, oldw), long_side_length)

    def _size(self, size: tuple[int, ...]) -> tuple[int, int]:
        return self.get_preprocess_shape(size[0], size[1], self.target_length)

    def _scale(self, size: tuple[int, ...]) -> tuple[float, float]:
        """New over old, (x, y); the two differ by the rounding of the sides."""
        height, width = self._size(size)
        return width / size[1], height / size[0]
