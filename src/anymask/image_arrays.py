"""Numbers to RGB uint8 (H, W, 3): arrays of any usable shape and type, and the rule for depth.

8 bits stay. 16-bit integers: smallest and largest value of the whole picture become 0 and 255, for
colours jointly, so that a dark picture shows all it has; a flat one is divided by 257. Floats: in
0..1 times 255, in 0..255 rounded, else smallest and largest. Integers of 32 and 64 bits: in 0..255
as they are, else smallest and largest. ``range=`` overrides all of these. Alpha of 16 bits is
divided by 257, of floats multiplied by 255 where it is at most 1.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped, UInt8

from anymask.errors import ImageError, Note

Notes = dict[str, Note]  # by code: one remark a kind

_BAND = 2**18  # pixels converted at a time: small enough for the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller chose; `anymask.image.load_image` explains each. Checked when made."""

    partial: bool = False
    frame: int | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    range: tuple[float, float] | None = None
    bands: tuple[int, ...] | None = None
    layout: str | None = None
    max_pixels: int = 500_000_000

    def __post_init__(self) -> None:
        def refuse(name: str, wanted: str) -> None:
            value = getattr(self, name)
            raise ImageError("image-option", f"{name} is {wanted}", given=value, where=name)

        if self.frame is not None and self.frame < 0:
            refuse("frame", "counted from 0")
        if len(self.background) != 3 or not all(0 <= part <= 255 for part in self.background):
            refuse("background", "(red, green, blue), each 0 to 255")
        if self.range is not None and (
            len(self.range) != 2
            or not all(math.isfinite(end) for end in self.range)
            or self.range[0] >= self.range[1]
        ):
            refuse("range", "(low, high), two finite numbers, low below high")
        if self.bands is not None and (len(self.bands) not in (1, 3) or min(self.bands) < 0):
            refuse("bands", "one or three channel numbers counted from 0")
        if self.layout not in (None, "rgb", "bgr", "chw"):
            refuse("layout", "'rgb', 'bgr' or 'chw'")
        if self.max_pixels < 1:
            refuse("max_pixels", "at least 1")

    def check_size(self, height: int, width: int, where: str | None) -> None:
        """Refuse a picture above the limit; asked before any of its pixels is decoded."""
        if height < 1 or width < 1:
            raise ImageError("image-empty", f"the picture is {width}x{height} pixels", where=where)
        if height * width > self.max_pixels:
            raise ImageError(
                "image-too-large",
                f"the picture claims {width}x{height} pixels, max_pixels is {self.max_pixels}",
                where=where,
                hint="if you trust it, pass a larger max_pixels",
            )


def row_bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(16, _BAND // width)
    return ((start, min(start + step, height)) for start in range(0, height, step))


def not_finite(count: int, first: tuple[int, ...], where: str | None) -> ImageError:
    return ImageError(
        "image-not-finite",
        f"{count} values are NaN or infinite, the first at index {first}",
        where=where,
        hint="replace them, for instance with numpy.nan_to_num",
    )


def ends_of(
    kind: np.dtype, low: float, high: float, options: Options, notes: Notes
) -> tuple[float, float]:
    """The two values that become 0 and 255, for a picture whose values lie in low..high."""
    floating, code = kind.kind == "f", "image-float" if kind.kind == "f" else "image-16bit"
    if options.range is not None:
        low, high = options.range
    elif (floating or kind.itemsize != 2) and low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if floating and high <= 1 else 255.0
        if not floating:
            return low, high  # bytes in a wider type: nothing changes
    elif low >= high:  # flat: there is nothing to stretch
        low, high = 0.0, 65535.0 if kind.itemsize == 2 and not floating else 255.0
    notes[code] = Note(code, f"values {low:g} to {high:g} became 0 to 255; range= sets others")
    return low, high


def scaled(
    values: Shaped[np.ndarray, "*shape"], low: float, high: float
) -> UInt8[np.ndarray, "*shape"]:
    """Values to 0..255, clipped at the ends, rounded half to even."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 2 and values.size > 2**16:
        table = scaled(np.arange(2**16, dtype=np.uint16), low, high)
        return np.take(table, values)
    if math.isinf(high - low):  # the ends of float64
        return scaled(values.astype(np.float64) / 2, low / 2, high / 2)
    part = values.astype(np.float64)
    part -= low
    part /= high - low
    part *= 255
    np.clip(part, 0, 255, out=part)
    return np.rint(part, out=part).astype(np.uint8)


def channels_last(
    array: Shaped[np.ndarray, "..."], options: Options
) -> Shaped[np.ndarray, "H W C"]:
    """A view of 1, 3 or 4 channels (RGB), by the layout that was stated, never by a guess."""
    if array.dtype.kind not in "buif":
        raise ImageError(
            "image-dtype", "an array of numbers is wanted", given=str(array.dtype), where="array"
        )
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and options.layout == "chw":
        array = np.moveaxis(array, 0, 2)
    elif array.ndim != 3:
        raise ImageError(
            "image-shape",
            "an array (H, W), (H, W, 3) or (H, W, 4) is wanted",
            given=shape,
            where="array",
            hint="one picture at a time",
        )
    count = array.shape[2]
    if options.bands is not None:
        if max(options.bands) >= count:
            raise ImageError(
                "image-bands", f"bands={options.bands}, channels are", given=count, where="array"
            )
        array = array[..., list(options.bands)]
    elif count not in (1, 3, 4):
        raise _wrong_channels(shape, options)
    options.check_size(array.shape[0], array.shape[1], "array")
    if options.layout == "bgr" and array.shape[2] > 1:
        return array[..., [2, 1, 0, 3][: array.shape[2]]]
    return array


def _wrong_channels(shape: tuple[int, ...], options: Options) -> ImageError:
    if shape[0] in (1, 3, 4) and options.layout != "chw":
        return ImageError(
            "image-layout",
            "channels seem to come first",
            given=shape,
            where="array",
            hint="transpose to (H, W, 3) or pass layout='chw'",
        )
    return ImageError(
        "image-bands",
        "a picture has 1, 3 or 4 channels, this array another number",
        given=shape,
        where="array",
        hint="choose three with bands=(red, green, blue)",
    )


def array_to_bytes(
    values: Shaped[np.ndarray, "H W C"], options: Options, notes: Notes
) -> UInt8[np.ndarray, "H W C"]:
    """8 bits by the rules above; the values themselves where they are 8 bits already."""
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint8:
        return values
    height, width, channels = values.shape
    bands = list(row_bands(height, width))
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float64 is infinite
            values = values.astype(np.float64) if values.dtype.itemsize > 8 else values
        _refuse_not_finite(values, bands, options)
    alpha = channels == 4
    colours = values[..., :3] if alpha else values
    ends = ends_of(values.dtype, float(colours.min()), float(colours.max()), options, notes)
    whole = 65535.0 if values.dtype.kind in "ui" and values.dtype.itemsize == 2 else 255.0
    if alpha and values.dtype.kind == "f" and values[..., 3].max() <= 1:
        whole = 1.0
    out = np.empty(values.shape, np.uint8)
    for start, stop in bands:
        out[start:stop, :, :3] = scaled(colours[start:stop], *ends)
        if alpha:
            out[start:stop, :, 3] = scaled(values[start:stop, :, 3], 0.0, whole)
    return out


def _refuse_not_finite(
    values: Shaped[np.ndarray, "H W C"], bands: list[tuple[int, int]], options: Options
) -> None:
    """The first index is one of the array as it was given, before channels were chosen."""
    count = 0
    first: tuple[int, ...] = ()
    for start, stop in bands:
        bad = ~np.isfinite(values[start:stop])
        if bad.any():
            if not count:
                y, x, channel = (int(i) for i in np.argwhere(bad)[0])
                channel = options.bands[channel] if options.bands else channel
                first = (start + y, x, channel)
                if options.layout == "chw":
                    first = (channel, start + y, x)
                elif values.shape[2] == 1:
                    first = (start + y, x)
            count += int(bad.sum())
    if count:
        raise not_finite(count, first, "array")
