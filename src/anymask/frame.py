"""Frame: the way of an image into a network, as sizes; scaled, then padded right and bottom."""

from dataclasses import dataclass

from anymask.variants import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Sizes of one image on its way into a network, and of the logits that come out.

    Attributes
    ----------
    image, resized, padded
        (height, width) of the image, of the image when scaled, and when padded, px.
    mask_stride
        Network px per cell of the low-resolution logits.
    enlarge
        How logits get the image's size; see `anymask.variants.InputSpec`.
    """

    image: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]
    mask_stride: int
    enlarge: str = "twice"

    @classmethod
    def fit(cls, size: tuple[int, int], spec: InputSpec, side: int | None = None) -> "Frame":
        """The frame of an image of ``size`` (H, W) whose longest side becomes ``side``.

        ``side`` is the spec's own where left out.
        """
        height, width = spec.fit(size, spec.side if side is None else side)
        multiple = spec.multiple
        return cls(
            image=(int(size[0]), int(size[1])),
            resized=(height, width),
            padded=(-(-height // multiple) * multiple, -(-width // multiple) * multiple),
            mask_stride=spec.mask_stride,
            enlarge=spec.enlarge,
        )

    @property
    def logits(self) -> tuple[int, int]:
        """Size (h, w) of the low-resolution logits."""
        return self.padded[0] // self.mask_stride, self.padded[1] // self.mask_stride

    @property
    def covered(self) -> tuple[int, int]:
        """Rows and columns of the low-resolution logits that the image reaches into."""
        height, width = self.resized
        return -(-height // self.mask_stride), -(-width // self.mask_stride)

    @property
    def scale(self) -> tuple[float, float]:
        """Network px per image px, (x, y); the two differ by the rounding of the sides."""
        return self.resized[1] / self.image[1], self.resized[0] / self.image[0]

    @property
    def cell(self) -> tuple[float, float]:
        """Image px per cell of the low-resolution logits, (x, y)."""
        return self.mask_stride / self.scale[0], self.mask_stride / self.scale[1]
