"""Pixels of any kind to RGB uint8: colour modes, profiles, alpha, orientation, depth, arrays.

Rules. 16-bit and other integers: smallest and largest value of the whole picture become 0 and
255, unless `range` says otherwise; nothing is clipped unseen. Floats: up to 1 are taken as 0..1,
up to 255 as they are, else by smallest and largest. Alpha is laid on `background`. Colours go
through the embedded ICC profile to sRGB where it is sound.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageCms

from anymask.errors import ImageError, Note

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BAD_EXIF = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    struct.error,
    ZeroDivisionError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller chose; see `anymask.image.load_image`."""

    partial: bool = False
    frame: int | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    range: tuple[float, float] | None = None
    bands: tuple[int, int, int] | None = None
    layout: str = "rgb"
    max_pixels: int = 500_000_000


def raw_depth(picture: Image.Image) -> int:
    """16 where the file stores 16 bits a channel, else 8; asked before decoding."""
    for tile in getattr(picture, "tile", ()):
        arguments = tile[3] if len(tile) > 3 else ()
        names = arguments if isinstance(arguments, tuple) else (arguments,)
        if any(isinstance(n, str) and ";16" in n for n in names):
            return 16
    return 8


def picture_to_rgb(
    picture: Image.Image, options: Options, where: str | None
) -> tuple[UInt8[np.ndarray, "H W 3"], list[Note]]:
    """A decoded Pillow image, upright and in sRGB; the image given stays as it is."""
    notes: list[Note] = []
    turn = _orientation(picture, notes)
    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        values, more = _known(np.asarray(picture), where)
        pixels, scaled = _scale(values, options, where)
        notes += [*more, *scaled]
        upright = Image.fromarray(np.ascontiguousarray(pixels))
    else:
        upright = _to_rgb(picture, options, notes)
    if turn is not None:
        upright = upright.transpose(turn)
    if upright.mode != "RGB":
        upright = upright.convert("RGB")
    return np.asarray(upright), notes


def _orientation(picture: Image.Image, notes: list[Note]) -> Image.Transpose | None:
    try:
        value = picture.getexif().get(_ORIENTATION)
    except _BAD_EXIF:
        notes.append(Note("image-exif", "the EXIF data is broken and was ignored"))
        return None
    if value in (None, 1):
        return None
    turn = _TURNS.get(value) if isinstance(value, int) else None
    if turn is None:
        notes.append(Note("image-orientation", "the orientation tag makes no sense, ignored"))
    return turn


def _to_rgb(picture: Image.Image, options: Options, notes: list[Note]) -> Image.Image:
    """Colour modes of 8 bits a channel to RGB (or L)."""
    profile = picture.info.get("icc_profile")
    mode = picture.mode
    clear = mode in ("RGBA", "LA", "La", "RGBa", "PA") or "transparency" in picture.info
    if mode == "LAB":
        return _through(picture, ImageCms.createProfile("LAB"), notes)
    if mode == "CMYK" and profile:
        return _through(picture, profile, notes)
    if clear:
        picture = _with_alpha(picture)
        alpha = picture.getchannel("A")
        colours = picture.convert("RGB")
        if profile:
            colours = _through(colours, profile, notes)
        notes.append(Note("image-alpha", "transparent pixels were laid on the background"))
        ground = Image.new("RGB", picture.size, options.background)
        ground.paste(colours, mask=alpha)
        return ground
    if mode in ("1", "L"):
        return picture.convert("L")
    if mode in ("CMYK", "YCbCr", "HSV", "P", "RGBX"):
        if mode == "CMYK":
            notes.append(Note("image-cmyk", "CMYK without a profile was converted plainly"))
        picture = picture.convert("RGB")
    return _through(picture, profile, notes) if profile and picture.mode == "RGB" else picture


def _with_alpha(picture: Image.Image) -> Image.Image:
    if picture.mode == "PA":
        return picture.convert("RGBA")
    if picture.mode == "1":
        # a transparent value of a 1-bit picture is 0 or 1, of its grey form 0 or 255
        grey = picture.convert("L")
        value = picture.info.get("transparency")
        if isinstance(value, int):
            grey.info["transparency"] = 255 if value else 0
        return grey.convert("RGBA")
    if picture.mode == "La":
        return picture.convert("LA").convert("RGBA")
    return picture if picture.mode == "RGBA" else picture.convert("RGBA")


def _through(picture: Image.Image, profile: Any, notes: list[Note]) -> Image.Image:
    """To sRGB by a colour profile; plainly where the profile is broken or of another kind."""
    try:
        source = ImageCms.ImageCmsProfile(
            io.BytesIO(profile) if isinstance(profile, bytes) else profile
        )
        if picture.mode == "RGB" and "srgb" in ImageCms.getProfileName(source).lower():
            return picture
        converted = ImageCms.profileToProfile(
            picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append(Note("image-profile", "the colour profile is broken and was ignored"))
        return picture.convert("RGB")
    notes.append(Note("image-colours", "colours were converted to sRGB by their profile"))
    if converted is None:
        return picture.convert("RGB")
    return converted


def array_to_rgb(
    array: Shaped[np.ndarray, "..."], options: Options
) -> tuple[UInt8[np.ndarray, "H W 3"], list[Note]]:
    """An array of any usable shape and type, as a new contiguous RGB array."""
    if array.dtype.kind not in "buif":
        raise ImageError(
            "image-dtype", "an array of numbers is wanted", given=str(array.dtype), where="array"
        )
    array = _channels(array, options)
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise ImageError("image-empty", "the array has no pixels", given=array.shape)
    if array.shape[0] * array.shape[1] > options.max_pixels:
        raise ImageError(
            "image-too-large",
            f"the array has {array.shape[1]}x{array.shape[0]} pixels, "
            f"the limit is {options.max_pixels}",
            hint="pass a larger max_pixels",
        )
    notes: list[Note] = []
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype != np.uint8:
        alpha = array[..., 3:] if array.shape[2] == 4 else None
        colours, notes = _scale(array[..., :3], options, "array")
        if alpha is not None:
            colours = np.concatenate([colours, _scale(alpha, options, "array")[0]], axis=2)
        array = colours
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    if array.shape[2] == 4:
        share = array[..., 3:].astype(np.float32) / 255
        ground = np.asarray(options.background, np.float32)
        mixed = array[..., :3] * share + ground * (1 - share)
        array = np.rint(mixed).astype(np.uint8)
        notes.append(Note("image-alpha", "transparent pixels were laid on the background"))
    if options.layout == "bgr":
        array = array[..., ::-1]
    return np.array(array, np.uint8, order="C"), notes


def _channels(array: np.ndarray, options: Options) -> np.ndarray:
    """(H, W, 1), (H, W, 3) or (H, W, 4), by the layout that was stated."""
    shape = array.shape
    if array.ndim == 2:
        return array[..., None]
    if array.ndim == 3 and options.layout == "chw":
        array = np.moveaxis(array, 0, 2)
    if array.ndim != 3:
        raise ImageError(
            "image-shape",
            "an array (H, W), (H, W, 3) or (H, W, 4) is wanted",
            given=shape,
            hint="one picture at a time",
        )
    if options.bands is not None:
        if not all(0 <= b < array.shape[2] for b in options.bands):
            raise ImageError(
                "image-bands", f"there are {array.shape[2]} bands", given=options.bands
            )
        return array[..., list(options.bands)]
    if array.shape[2] in (1, 3, 4):
        return array
    if shape[0] in (1, 3, 4) and options.layout != "chw":
        raise ImageError(
            "image-channels-first",
            "the channels come first",
            given=shape,
            hint="transpose to (H, W, 3) or pass layout='chw'",
        )
    raise ImageError(
        "image-bands",
        "a picture has 1, 3 or 4 channels",
        given=shape,
        hint="choose three with bands=(r, g, b)",
    )


def _known(values: np.ndarray, where: str | None) -> tuple[np.ndarray, list[Note]]:
    """A raster file's missing values (NaN, inf) become the smallest known one, with a note.

    Rasters mark places without data so. In an array that a program hands over they are a bug, and
    `_scale` refuses them.
    """
    if values.dtype.kind != "f":
        return values, []
    finite = np.isfinite(values)
    if finite.all() or not finite.any():
        return values, []
    count = int(values.size - finite.sum())
    filled = np.where(finite, values, values[finite].min())
    return filled, [Note("image-no-data", f"{count} values without data were taken as smallest")]


def _scale(
    values: np.ndarray, options: Options, where: str | None
) -> tuple[np.ndarray, list[Note]]:
    """Integers beyond 8 bits and floats to uint8 by the rules of this file."""
    floating = values.dtype.kind == "f"
    if floating:
        bad = ~np.isfinite(values)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ImageError(
                "image-not-finite",
                f"{int(bad.sum())} values are not finite, the first at index {first}",
                where=where,
                hint="replace them, for instance with numpy.nan_to_num",
            )
    low, high = options.range or (float(values.min()), float(values.max()))
    notes = []
    if options.range is None and floating and low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if high <= 1 else 255.0
    else:
        text = f"values {low:g} to {high:g} became 0 to 255"
        code = "image-float" if floating else "image-16bit"
        notes.append(Note(code, text if options.range else f"{text}; range= sets others"))
    if high <= low:
        return np.zeros(values.shape, np.uint8), notes
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8), notes
