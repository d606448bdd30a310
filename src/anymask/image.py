"""Reading pictures: any source to RGB uint8 (H, W, 3); every odd input is dealt with here, once.

`load_image` gives pixels with notes on what was converted; `read_image` gives the pixels alone and
warns once of each kind of note. What is given is never changed.

    image_sniff    what a file is, by its first bytes
    image_decode   a file -> its decoded picture, within limits
    image_color    a decoded picture -> RGB: alpha, profile, holes, orientation
    image_arrays   numbers -> 8 bits: the rule for depth, layouts of arrays
    image_folder   a folder -> its pictures
"""

import io
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from anymask.errors import ImageError, Note, warn_once
from anymask.image_arrays import Notes, Options, array_to_bytes, channels_last
from anymask.image_color import picture_to_rgb
from anymask.image_decode import decode, orientation
from anymask.image_folder import find_images
from anymask.image_sniff import BinaryFile

__all__ = ["MAX_PIXELS", "Picture", "Source", "find_images", "load_image", "read_image", "resize"]

MAX_PIXELS = 500_000_000  # for pictures of one's own; a server that takes uploads sets less
Source = object  # a path, bytes, a file, a Pillow image, an array, a tensor: see `load_image`

_URL = re.compile(r"(?i)[a-z][a-z0-9+.-]+:/|data:")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A picture as the rest of anymask sees it.

    Attributes
    ----------
    pixels
        RGB, upright, sRGB; a new contiguous array.
    notes
        What was converted or ignored on the way; one of each kind.
    name
        Path or name of the source; None for bytes and arrays.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    notes: tuple[Note, ...] = ()
    name: str | None = None


def load_image(
    source: Source,
    *,
    partial: bool = False,
    frame: int | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    range: tuple[float, float] | None = None,
    bands: tuple[int, ...] | None = None,
    layout: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """A picture as RGB, with notes.

    Parameters
    ----------
    source
        A path; the bytes of a file; a binary file object, read from its start and left open; a
        Pillow image; an array or tensor (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). URLs are
        refused. Bits do not depend on the kind of source.
    partial
        Show what could be decoded of a damaged file; the rest is black.
    frame
        Which frame or page of a file, from 0. None takes the first and notes how many there are.
    background
        Colour that shows through transparent pixels and holes in float rasters.
    range
        Values that become 0 and 255, for pictures of more than 8 bits a channel. None takes the
        smallest and largest of the whole picture (for floats: 0..1 or 0..255 where they fit).
    bands
        The three channels that are red, green and blue, or the one that is grey.
    layout
        How an array is laid out: ``"rgb"`` (as None), ``"bgr"``, ``"chw"``. Never guessed.
    max_pixels
        A picture above this is refused before it is decoded.

    Raises
    ------
    ImageError
        ``image-missing``, ``-folder``, ``-special``, ``-locked``, ``-url``: no file to read.
        ``image-empty``, ``-not``, ``-broken``, ``-truncated``, ``-too-large``, ``-memory``,
        ``-frame``: a file that cannot be used. ``image-kind``, ``-dtype``, ``-shape``, ``-layout``,
        ``-bands``, ``-not-finite``: an object or array that cannot. ``image-option``: an argument.
    MissingExtraError
        ``missing-heic``, ``missing-raw``: a HEIC or a camera's raw file, and the package that
        reads it is not installed.

    Examples
    --------
    >>> load_image(np.zeros((2, 3), np.uint16)).notes[0].code
    'image-16bit'
    """
    options = Options(
        partial=partial,
        frame=frame,
        background=background,
        range=range,
        bands=bands,
        layout=layout,
        max_pixels=max_pixels,
    )
    notes: Notes = {}
    array = _as_array(source)
    if array is not None:
        _only_for(options, "frame", "files")
        return _picture(_from_array(array, options, notes), notes)
    _only_for(options, "layout", "arrays")
    if isinstance(source, Image.Image):
        _only_for(options, "frame", "files: seek the Pillow image")
        options.check_size(source.height, source.width, None)
        try:
            source.load()
        except Exception as error:  # as in decode: a lazy Pillow image is a file still unread
            raise ImageError(
                "image-broken", "the Pillow image cannot be loaded", given=source
            ) from error
        return _picture(_from_picture(source, options, notes), notes)
    if isinstance(source, str | os.PathLike):
        return _from_path(os.fsdecode(source), options, notes)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(source), options, notes, None)
    if callable(getattr(source, "read", None)):
        name = getattr(source, "name", None)
        return _from_file(
            _rewindable(source), options, notes, name if isinstance(name, str) else None
        )
    raise ImageError(
        "image-kind",
        "this is no picture",
        given=type(source).__name__,
        hint="give a path, bytes, a file, a Pillow image, an array or a tensor",
    )


def read_image(
    source: Source,
    *,
    partial: bool = False,
    frame: int | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    range: tuple[float, float] | None = None,
    bands: tuple[int, ...] | None = None,
    layout: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of `load_image`, with one warning for each kind of note in this process.

    >>> read_image(np.zeros((2, 3), np.uint8)).shape
    (2, 3, 3)
    """
    picture = load_image(
        source,
        partial=partial,
        frame=frame,
        background=background,
        range=range,
        bands=bands,
        layout=layout,
        max_pixels=max_pixels,
    )
    warn_once(picture.notes)
    return picture.pixels


def resize(pixels: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Scaled to (h, w) px by Pillow's bilinear filter, which antialiases when it shrinks.

    The official SAM resizes its uint8 input in just this way, to the last bit.
    """
    height, width = size
    if height < 1 or width < 1:
        raise ImageError("image-size", "a picture is at least 1x1", given=size, where="size")
    if pixels.shape[:2] == (height, width):
        return pixels.copy()
    small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(small)


def _picture(pixels: UInt8[np.ndarray, "H W 3"], notes: Notes, name: str | None = None) -> Picture:
    return Picture(pixels=pixels, notes=tuple(notes.values()), name=name)


def _only_for(options: Options, name: str, what: str) -> None:
    if getattr(options, name) is not None:
        raise ImageError(
            "image-option", f"{name}= is for {what}", given=getattr(options, name), where=name
        )


def _from_path(path: str, options: Options, notes: Notes) -> Picture:
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        if _URL.match(path):
            raise ImageError(
                "image-url", "addresses are not fetched", given=path, hint="download it first"
            ) from error
        raise ImageError(
            "image-missing", "there is no such file", where=path, hint="check the path"
        ) from error
    if stat.S_ISDIR(mode):
        raise ImageError("image-folder", "this is a folder", where=path, hint="give its files")
    if not stat.S_ISREG(mode):
        raise ImageError(
            "image-special",
            "this is a pipe or a device",
            where=path,
            hint="read it and pass the bytes",
        )
    try:
        with Path(path).open("rb") as file:
            return _from_file(cast(BinaryFile, file), options, notes, path)
    except OSError as error:
        raise ImageError(
            "image-locked", f"the file cannot be read ({error.strerror})", where=path
        ) from error


def _from_file(file: BinaryFile, options: Options, notes: Notes, name: str | None) -> Picture:
    picture = decode(file, options, notes, name)
    return _picture(_from_picture(picture, options, notes, name, from_file=True), notes, name)


def _from_picture(
    picture: Image.Image,
    options: Options,
    notes: Notes,
    where: str | None = None,
    *,
    from_file: bool = False,
) -> UInt8[np.ndarray, "H W 3"]:
    turn = orientation(picture.info, notes)
    if options.bands is not None:
        picture = Image.fromarray(_from_array(np.asarray(picture), options, notes))
    return picture_to_rgb(picture, options, notes, turn=turn, where=where, from_file=from_file)


def _from_array(
    array: Shaped[np.ndarray, "..."], options: Options, notes: Notes
) -> UInt8[np.ndarray, "H W 3"]:
    values = array_to_bytes(channels_last(array, options), options, notes)
    if values.shape[2] == 4:
        return picture_to_rgb(Image.fromarray(np.ascontiguousarray(values)), options, notes)
    out = np.empty((*values.shape[:2], 3), np.uint8)
    out[...] = values
    return out


def _rewindable(source: object) -> BinaryFile:
    """The file itself where it can go back, else its bytes."""
    try:
        if isinstance(source, BinaryFile) and not isinstance(source, io.RawIOBase):
            source.seek(0)  # fails for pipes and sockets
            if isinstance(source.read(0), bytes):
                return source
        data = source.read()  # type: ignore[attr-defined]
    except io.UnsupportedOperation:
        data = source.read()  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:  # closed, or gone
        raise ImageError("image-locked", f"the file cannot be read ({error})") from error
    if not isinstance(data, bytes):
        raise ImageError(
            "image-kind", "the file was opened as text", given=source, hint="open it with 'rb'"
        )
    return io.BytesIO(data)


def _as_array(source: object) -> Shaped[np.ndarray, "..."] | None:
    """An array, also of a tensor (known by its methods, torch is not imported); else None."""
    if isinstance(source, np.ndarray):
        return np.asarray(source)
    if isinstance(source, Image.Image | bytes | bytearray | memoryview | str):
        return None
    try:
        if all(hasattr(source, name) for name in ("detach", "cpu", "numpy")):
            tensor = source.detach().cpu()  # type: ignore[attr-defined]
            try:
                return np.asarray(tensor.numpy())
            except TypeError:  # bfloat16 is unknown to numpy
                return np.asarray(tensor.float().numpy())
        if hasattr(source, "__array__") or hasattr(source, "__array_interface__"):
            return np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ImageError(
            "image-kind", "this cannot become an array", given=type(source).__name__
        ) from error
    return None
