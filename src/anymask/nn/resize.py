"""Pixels to a network's size, and low-resolution logits to the image's size.

Each way has a name that rows of the table of models use; `SCALES` and `ENLARGES` list them.

Letters: B images, M masks, H W image, t w wanted size, h w logits.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]  # (height, width)


def smooth(pixels: UInt8[Tensor, "H W C"], size: Size) -> Float[Tensor, "t w C"]:
    """Bilinear with antialias on floats, as torchvision resizes a tensor; not rounded."""
    return _channels(pixels, size, antialias=True)


def plain(pixels: UInt8[Tensor, "H W C"], size: Size) -> Float[Tensor, "t w C"]:
    """Bilinear without antialias on floats; not rounded."""
    return _channels(pixels, size, antialias=False)


def _channels(pixels: UInt8[Tensor, "H W C"], size: Size, antialias: bool) -> Tensor:
    """One channel after the other: the floats of a large image take four times its memory."""
    scaled = [
        F.interpolate(
            pixels[None, None, :, :, i].float(),
            size=size,
            mode="bilinear",
            align_corners=False,
            antialias=antialias,
        )[0, 0]
        for i in range(pixels.shape[-1])
    ]
    return torch.stack(scaled, dim=-1)


def upscale(
    logits: Float[Tensor, "M h w"], padded: Size, resized: Size, image: Size, how: str = "twice"
) -> Float[Tensor, "M H W"]:
    """Logits at the image's size.

    Parameters
    ----------
    padded, resized, image
        Sizes of the network's input with and without padding, and of the image, px.
    how
        ``"twice"``: bilinear to the input, where padding is cut off, and bilinear again, as SAM
        does it; or ``"bilinear"`` or ``"bicubic"`` at once, for inputs without padding.
    """
    start, mode = ENLARGES[how]
    shown = start(logits, padded, resized)
    return F.interpolate(shown[:, None], size=image, mode=mode, align_corners=False)[:, 0]


def cut(logits: Float[Tensor, "M h w"], padded: Size, resized: Size) -> Float[Tensor, "M t w2"]:
    """Logits at the network's size without its padding."""
    full = F.interpolate(logits[:, None], size=padded, mode="bilinear", align_corners=False)
    return full[:, 0, : resized[0], : resized[1]]


def whole(logits: Float[Tensor, "M h w"], padded: Size, resized: Size) -> Float[Tensor, "M h w"]:
    """Logits as they are."""
    return logits


# what is enlarged to the image's size, and by which interpolation
ENLARGES: Mapping[str, tuple[Callable[[Tensor, Size, Size], Tensor], str]] = {
    "twice": (cut, "bilinear"),
    "bilinear": (whole, "bilinear"),
    "bicubic": (whole, "bicubic"),
}


def taps(
    mode: str, at: Float[Tensor, " n"], count: int
) -> list[tuple[Tensor, Float[Tensor, "n 1"]]]:
    """Lines and their shares that an interpolation mixes at each place along ``count`` lines.

    ``at`` is in lines, 0 at the first one's middle, as `torch.nn.functional.interpolate` has it.
    """
    if mode == "bilinear":
        at = at.clamp(min=0)
    before = at.floor()
    t = (at - before)[:, None]
    shares = _SHARES[mode](t)
    first = before.long() - (len(shares) // 2 - 1)
    return [((first + i).clamp(0, count - 1), share) for i, share in enumerate(shares)]


def _cubic(t: Tensor) -> list[Tensor]:
    """Keys' cubic convolution with a = -0.75."""
    a = -0.75

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


_SHARES: Mapping[str, Callable[[Tensor], list[Tensor]]] = {
    "bilinear": lambda t: [1 - t, t],
    "bicubic": _cubic,
}
