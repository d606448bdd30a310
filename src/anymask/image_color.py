"""A decoded Pillow image to RGB uint8 (H, W, 3): upright, sRGB, without holes.

Transparent pixels show ``background``. So do pixels of a file that hold no value: NaN, infinite or
GDAL's no-data value; in an image that the caller made, NaN and infinity are an error. Colours go
through the embedded ICC profile; a broken one is ignored; CMYK without one is converted plainly.
More than 8 bits: see `anymask.image_arrays`.

Pictures are converted in bands of rows, so that beside the decoded picture (4 bytes a pixel) and
the result (3) nothing of their size is held.
"""

import io
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image, ImageCms

from anymask.errors import Note
from anymask.image_arrays import Notes, Options, ends_of, not_finite, row_bands, scaled

_PHOTOMETRIC = 0x0106
_NO_DATA = 42113  # GDAL's tag, text
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # rows become columns
_BACKWARDS = (3, 4, 6, 7)  # the first row goes last
_ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
_KEYED_MODES = ("P", "L", "RGB", "1")  # may name one transparent value
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a profile -> Pillow mode
_BAD_PROFILE = (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError)


def picture_to_rgb(
    picture: Image.Image,
    options: Options,
    notes: Notes,
    *,
    turn: int = 1,
    where: str | None = None,
    from_file: bool = False,
) -> UInt8[np.ndarray, "H W 3"]:
    """A decoded Pillow image as a new array; the image itself stays as it is.

    `turn` is its EXIF orientation. `from_file` tells a picture that anymask decoded, whose NaN are
    holes and whose integers are 16 bits, from one that the caller made.
    """
    if picture.mode[0] == "I" or picture.mode == "F":
        return _upright(picture, _deep(picture, options, notes, where, from_file), turn)
    return _upright(picture, _shallow(picture, options, notes), turn)


def _upright(
    picture: Image.Image, convert: Callable[[Image.Image], Image.Image], turn: int
) -> UInt8[np.ndarray, "H W 3"]:
    """Band by band: converted to L or RGB, turned, written to its place."""
    width, height = picture.size
    sideways, method = turn in _SIDEWAYS, TURNS.get(turn)
    out = np.empty((width, height, 3) if sideways else (height, width, 3), np.uint8)
    for start, stop in row_bands(height, width):
        band = convert(picture.crop((0, start, width, stop)))
        if method is not None:
            band = band.transpose(method)
        pixels = np.asarray(band)
        if turn in _BACKWARDS:
            start, stop = height - stop, height - start
        place = out[:, start:stop] if sideways else out[start:stop]
        place[...] = pixels if pixels.ndim == 3 else pixels[..., None]
    return out


def _shallow(
    picture: Image.Image, options: Options, notes: Notes
) -> Callable[[Image.Image], Image.Image]:
    """How bands of 8 bits a channel become L or RGB."""
    to_srgb = _to_srgb(picture, notes)
    keyed = picture.mode in _KEYED_MODES and "transparency" in picture.info
    if picture.mode == "CMYK" and to_srgb is None:
        notes["image-cmyk"] = Note("image-cmyk", "CMYK without a profile was converted plainly")

    def colours(band: Image.Image) -> Image.Image:
        if to_srgb is not None:
            return to_srgb(band)
        return band if band.mode == "L" else band.convert("L" if band.mode == "1" else "RGB")

    def on_background(band: Image.Image) -> Image.Image:
        band = (band.convert("LA") if band.mode == "La" else band).convert("RGBA")
        alpha = band.getchannel("A")
        if alpha.getextrema() == (255, 255):
            return colours(band)
        notes["image-alpha"] = Note("image-alpha", "transparent pixels show the background")
        ground = Image.new("RGB", band.size, options.background)
        ground.paste(colours(band).convert("RGB"), mask=alpha)
        return ground

    return on_background if keyed or picture.mode in _ALPHA_MODES else colours


def _to_srgb(picture: Image.Image, notes: Notes) -> Callable[[Image.Image], Image.Image] | None:
    """A conversion by the picture's profile; None where there is none or it changes nothing."""
    blob = picture.info.get("icc_profile") or b""
    if picture.mode != "LAB" and not blob:
        return None
    try:
        if picture.mode == "LAB":
            profile, mode = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB"
        else:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(blob))
            mode = _SPACES[profile.profile.xcolor_space.strip()]
            if (mode == "CMYK") != (picture.mode == "CMYK"):
                raise ValueError("a profile for other colours")
        transform = ImageCms.buildTransform(
            profile, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")), mode, "RGB"
        )
    except _BAD_PROFILE:
        notes["image-profile"] = Note("image-profile", "a broken colour profile was ignored")
        return None
    if mode in ("RGB", "L"):  # most profiles are sRGB under some name: they change nothing
        ramp = np.arange(0, 256, 17, dtype=np.uint8)
        cube = np.stack(np.meshgrid(ramp, ramp, ramp), axis=-1).reshape(64, 64, 3)
        probe = Image.fromarray(cube if mode == "RGB" else cube[..., 0])
        change = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB"))
        if np.abs(change).max() <= 1:
            return None
    notes["image-colours"] = Note("image-colours", "colours were converted to sRGB")

    def convert(band: Image.Image) -> Image.Image:
        return transform.apply(band if band.mode == mode else band.convert("RGB").convert(mode))

    return convert


def _deep(
    picture: Image.Image, options: Options, notes: Notes, where: str | None, from_file: bool
) -> Callable[[Image.Image], Image.Image]:
    """How bands of one channel of more than 8 bits become L, or RGB where there are holes."""
    tags = getattr(picture, "tag_v2", {}) if from_file else {}
    key = picture.info.get("transparency")
    no_data = _number(tags.get(_NO_DATA))
    inverted = tags.get(_PHOTOMETRIC) == 0  # white is zero

    def holes(values: Shaped[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
        empty: Bool[np.ndarray, "H W"] = ~np.isfinite(values)
        with np.errstate(over="ignore"):  # a mark beyond float32 marks nothing
            for mark in (no_data, key):
                if isinstance(mark, int | float):
                    empty |= values == mark
        return empty

    low, high, count, first = math.inf, -math.inf, 0, (0, 0)
    width, height = picture.size
    for start, stop in row_bands(height, width):
        values = np.asarray(picture.crop((0, start, width, stop)))
        empty = holes(values)
        if empty.any():
            if not count:
                y, x = np.argwhere(empty)[0]
                first = (start + int(y), int(x))
            count += int(empty.sum())
            values = values[~empty]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if count and not from_file and picture.mode == "F":
        raise not_finite(count, first, where)
    if count:
        text = f"{count} pixels without a value, the first at {first}, show the background"
        notes["image-holes"] = Note("image-holes", text)
    if low > high:  # there are but holes
        low = high = 0.0
    kind = np.dtype(np.uint16) if from_file and picture.mode == "I" else values.dtype
    ends = ends_of(kind, low, high, options, notes)

    def convert(band: Image.Image) -> Image.Image:
        values = np.asarray(band)
        empty = holes(values) if count else None
        grey = scaled(values if empty is None else np.where(empty, 0, values), *ends)
        shown = Image.fromarray(255 - grey if inverted else grey)
        if empty is not None and empty.any():
            shown = shown.convert("RGB")
            shown.paste(options.background, mask=Image.fromarray(empty))
        return shown

    return convert


def _number(text: object) -> float | None:
    try:
        return float(str(text).strip("\x00 ")) if text is not None else None
    except ValueError:
        return None
