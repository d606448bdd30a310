"""Low-resolution logits to the image's size, as SAM does it: bilinear, crop, bilinear again."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def upscale(
    logits: Float[Tensor, "M h w"],
    padded: tuple[int, int],
    resized: tuple[int, int],
    image: tuple[int, int],
) -> Float[Tensor, "M H W"]:
    """Logits at the image's size.

    Parameters
    ----------
    padded, resized, image
        (height, width) of the network's input with and without padding, and of the image, px.
    """
    full = F.interpolate(logits[:, None], size=padded, mode="bilinear", align_corners=False)
    cropped = full[..., : resized[0], : resized[1]]
    return F.interpolate(cropped, size=image, mode="bilinear", align_corners=False)[:, 0]
