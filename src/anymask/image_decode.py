"""A file with a picture in it -> the decoded Pillow image, or one clear `ImageError`.

The content decides, never the name. Only the readers in `_READERS` are ever tried: none starts
another program. Header first, then the limit on pixels, then the pixels; no setting of Pillow that
the whole process shares is touched.
"""

import contextlib
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import PurePath

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from anymask.errors import ImageError, MissingExtraError, Note
from anymask.image_arrays import Notes, Options, array_to_bytes
from anymask.image_color import TURNS
from anymask.image_sniff import (
    HEAD,
    SUFFIXES,
    UNKNOWN,
    BinaryFile,
    claimed_size,
    ends_early,
    is_raw_tiff,
    other_kind,
    picture_kind,
)

_READERS = {  # format -> module, what opens it
    "JPEG": ("PIL.JpegImagePlugin", "jpeg_factory"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "JPEG2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIF": ("pillow_heif", "HeifImageFile"),
    "PSD": ("PIL.PsdImagePlugin", "PsdImageFile"),
    "ICO": ("PIL.IcoImagePlugin", "IcoImageFile"),
}
_ORIENTATION = 0x0112
_INTEGERS = {1: "B", 3: "H", 4: "L"}  # EXIF types: byte, short, long
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\.|pillow_heif"), 0)


def decode(file: BinaryFile, options: Options, notes: Notes, where: str | None) -> Image.Image:
    """The chosen frame of a file with all its pixels; 16-bit colours are 8-bit ones afterwards."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(HEAD)
    if size == 0:
        raise ImageError("image-empty", "the file has 0 bytes", where=where, hint="fetch it again")
    kind, promised = picture_kind(head), SUFFIXES.get(PurePath(where or "").suffix.lower())
    if kind == "TIFF" and (promised == "raw" or is_raw_tiff(file)):
        kind = "raw"
    other = other_kind(head) if kind is None else ""
    if kind == "raw" or (promised == "raw" and other == UNKNOWN):
        return _develop(file, options, notes, where)
    if kind is None:
        raise ImageError(
            "image-not",
            f"this is no picture but {other}",
            given=head[:16],
            where=where,
            hint="give JPEG, PNG, WebP, TIFF, BMP, GIF, PNM, JPEG 2000, AVIF, HEIC, PSD or ICO",
        )
    if promised not in (None, kind):
        notes["image-suffix"] = Note("image-suffix", f"its name says {promised}, it holds {kind}")
    with quiet():
        claimed = claimed_size(file, head, kind)
        if claimed is not None:
            options.check_size(claimed[1], claimed[0], where)
        picture = _open(file, kind, size, where)
        options.check_size(picture.height, picture.width, where)
        _choose_frame(picture, options, notes, where)
        options.check_size(picture.height, picture.width, where)
        deep = _has_deep_colours(picture, head)
        picture = _load(file, picture, kind, size, options, notes, where)
    return _all_bits(file, picture, options, notes) if deep else picture


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings of Pillow: what matters becomes an error or a note.

    `warnings.catch_warnings` swaps the filters of the whole process, so threads lose each other's.
    Here one entry goes into a list, and the same entry out of the same list; each step is atomic.
    """
    filters: list[object] = warnings.filters  # type: ignore[assignment]
    filters.insert(0, _QUIET)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # somebody has reset all filters meanwhile
            filters.remove(_QUIET)


def _develop(file: BinaryFile, options: Options, notes: Notes, where: str | None) -> Image.Image:
    """A camera's raw file by LibRaw with the camera's white balance: upright, sRGB, 8 bits."""
    try:
        rawpy = import_module("rawpy")
    except ImportError as error:
        raise MissingExtraError(
            "missing-raw",
            "a camera's raw file needs the package rawpy",
            where=where,
            hint="pip install 'anymask[raw]', or export it as TIFF or JPEG",
        ) from error
    file.seek(0)
    try:
        with rawpy.imread(file) as raw:
            options.check_size(raw.sizes.height, raw.sizes.width, where)
            notes["image-raw"] = Note("image-raw", "developed with the camera's white balance")
            return Image.fromarray(raw.postprocess(use_camera_wb=True))
    except ImageError:
        raise
    except Exception as error:  # as in _open
        raise ImageError(
            "image-broken",
            "the raw file is damaged or of an unknown camera",
            where=where,
            hint="fetch it again, or export it as TIFF or JPEG",
        ) from error


def _open(file: BinaryFile, kind: str, size: int, where: str | None) -> Image.Image:
    """The picture, its header read."""
    module, name = _READERS[kind]
    try:
        reader: Callable[..., Image.Image] = getattr(import_module(module), name)
    except ImportError as error:
        raise MissingExtraError(
            "missing-heic",
            "HEIC pictures need the package pillow-heif",
            where=where,
            hint="pip install 'anymask[heic]'",
        ) from error
    if kind in ("AVIF", "WEBP") and not import_module(module).SUPPORTED:
        raise MissingExtraError(
            f"missing-{kind.lower()}",
            f"this Pillow was built without {kind}",
            where=where,
            hint="pip install --upgrade --force-reinstall pillow",
        )
    file.seek(0)
    try:
        return reader(file, "")
    except Image.DecompressionBombError as error:
        raise _bomb(where) from error
    except Exception as error:  # on damaged files Pillow's readers raise almost anything
        if _is_cut(file, kind, size, error, []):
            raise ImageError(
                "image-truncated",
                f"the file ends after {size} bytes, inside its header",
                where=where,
                hint="fetch it again",
            ) from error
        raise ImageError(
            "image-broken",
            f"the {kind} header is damaged or of a layout that Pillow cannot read",
            where=where,
            hint="fetch it again, or read it with its own tool and pass the array",
        ) from error


def _bomb(where: str | None) -> ImageError:
    """Pillow's own limit, met inside a reader, where no size is told beside the picture's."""
    return ImageError(
        "image-too-large",
        "the picture, or a part of it, is above the limit on pixels of Pillow itself",
        where=where,
        hint="if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS",
    )


def _choose_frame(picture: Image.Image, options: Options, notes: Notes, where: str | None) -> None:
    try:
        count = int(getattr(picture, "n_frames", 1))
    except Exception:  # a broken list of pages: the first can still be had
        count = 1
    layered = picture.format == "PSD"  # its layers are no frames; Pillow gives them flattened
    last = 0 if layered else count - 1
    wanted = options.frame or 0
    if wanted > last:
        raise ImageError("image-frame", f"there are frames 0 to {last}", given=wanted, where=where)
    if count > 1 and options.frame is None:
        taken = f"frame 0 of {count} was taken; frame= chooses another"
        text = f"{count} layers were flattened" if layered else taken
        notes["image-frames"] = Note("image-frames", text)
    if layered or picture.tell() == wanted:
        return
    try:
        picture.seek(wanted)
    except Image.DecompressionBombError as error:
        raise _bomb(where) from error
    except Exception as error:  # as in _open
        raise ImageError(
            "image-frame", "the frame cannot be reached", given=wanted, where=where
        ) from error


def _load(
    file: BinaryFile,
    picture: Image.Image,
    kind: str,
    size: int,
    options: Options,
    notes: Notes,
    where: str | None,
) -> Image.Image:
    """All pixels decoded; with ``partial`` those that came before a fault."""
    tags = getattr(picture, "tag_v2", {})
    if tags.get(_ORIENTATION, 1) not in range(1, 9):  # valid ones Pillow turns itself, in a TIFF
        notes["image-exif"] = Note("image-exif", "an orientation that makes no sense was ignored")
    if not isinstance(picture.info.get("xmp", b""), bytes | str):  # would stop Pillow at the end
        del picture.info["xmp"]
        notes["image-exif"] = Note("image-exif", "broken XMP data were ignored")
    try:
        picture.load()
        return picture
    except Image.DecompressionBombError as error:
        raise _bomb(where) from error
    except MemoryError as error:
        raise ImageError(
            "image-memory",
            f"too little memory for {picture.width}x{picture.height} pixels",
            where=where,
        ) from error
    except Exception as error:  # as in _open
        fault = error
    if options.partial:
        picture.tile = []  # type: ignore[attr-defined]  # nothing more is asked for
        with contextlib.suppress(Exception):  # nothing at all was decoded: the fault stands
            part = picture.copy() if tags else picture  # whose size may not be turned as it should
            part.load()
            notes["image-partial"] = Note("image-partial", "a damaged file is shown in part")
            turn = TURNS.get(tags.get(_ORIENTATION, 1))
            return part if turn is None else part.transpose(turn)
    cut = _is_cut(file, kind, size, fault, _strips(tags))
    raise ImageError(
        "image-truncated" if cut else "image-broken",
        f"the file ends after {size} bytes, inside the pixel data"
        if cut
        else f"the {kind} data are damaged",
        where=where,
        hint="fetch it again or pass partial=True",
    ) from fault


def _strips(tags: Mapping[int, object]) -> list[tuple[int, int]]:
    """(offset, bytes) of a TIFF's strips or tiles, as far as they make sense."""
    pairs: list[tuple[object, object]] = []
    for offsets, lengths in ((tags.get(273), tags.get(279)), (tags.get(324), tags.get(325))):
        if isinstance(offsets, tuple) and isinstance(lengths, tuple):
            pairs += zip(offsets, lengths, strict=False)
    return [(a, b) for a, b in pairs if isinstance(a, int) and isinstance(b, int)]


def _is_cut(
    file: BinaryFile, kind: str, size: int, error: Exception, strips: list[tuple[int, int]]
) -> bool:
    said = "truncated" in str(error).lower() or isinstance(error, EOFError)
    return said or ends_early(file, kind, size, strips)


def _has_deep_colours(picture: Image.Image, head: bytes) -> bool:
    """More than one channel of 16 bits, of which Pillow keeps the upper 8."""
    if picture.format == "PNG":
        return head[24] == 16 and picture.mode[0] != "I"
    bits = getattr(picture, "tag_v2", {}).get(0x0102, ())
    return isinstance(bits, tuple) and len(bits) > 1 and set(bits) == {16}


def _all_bits(
    file: BinaryFile, picture: Image.Image, options: Options, notes: Notes
) -> Image.Image:
    """Colours of 16 bits with all their bits, which OpenCV reads, brought to 8 by our rule.

    Taken only where their upper halves are Pillow's pixels: for layouts that the two understand
    differently (premultiplied alpha), and where OpenCV refuses, Pillow's pixels stay.
    """
    import cv2

    file.seek(0)
    try:
        read = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        read = None
    deep = _as_rgb(read)
    seen = np.asarray(picture)
    channels = seen.shape[-1]  # OpenCV makes alpha of a transparent colour, Pillow keeps its value
    same = deep is not None and deep.shape[:2] == seen.shape[:2] and channels <= deep.shape[2]
    if deep is None or not same or not np.array_equal(deep[..., :channels] >> 8, seen):
        notes["image-16bit"] = Note("image-16bit", "of 16-bit colours the upper 8 bits were taken")
        picture.info.pop("transparency", None)  # a colour of 16 bits, which names none of 8
        return picture
    whole = Image.fromarray(array_to_bytes(deep, options, notes))
    whole.info = {key: value for key, value in picture.info.items() if key != "transparency"}
    return whole


def _as_rgb(read: object) -> UInt16[np.ndarray, "H W C"] | None:
    if not isinstance(read, np.ndarray) or read.dtype != np.uint16 or read.ndim != 3:
        return None
    return read[..., [2, 1, 0, 3][: read.shape[2]]] if read.shape[2] in (3, 4) else None


def orientation(info: dict[str | tuple[int, int], object], notes: Notes) -> int:
    """EXIF orientation 1..8 from EXIF, ImageMagick's text profile or XMP; 1 where none makes sense.

    Read here and not by Pillow, whose reader warns, or raises almost anything, on broken data.
    """
    found: int | None = None
    try:
        for key in ("exif", "Raw profile type exif", "Raw profile type APP1"):
            value = info.get(key)
            if isinstance(value, str):  # ImageMagick's: name, length, then hexadecimal lines
                value = bytes.fromhex("".join(value.split("\n")[3:]))
                value = b"" if value.startswith(b"http:") else value  # XMP
            if isinstance(value, bytes) and value and found is None:
                found = _exif_orientation(value)
    except (struct.error, ValueError):
        notes["image-exif"] = Note("image-exif", "broken EXIF data were ignored")
    if found is None:
        xmp = info.get("XML:com.adobe.xmp") or info.get("xmp")
        text = xmp.encode(errors="replace") if isinstance(xmp, str) else xmp
        pattern = rb'tiff:Orientation(?:="|>)([0-9]{1,9})'
        match = re.search(pattern, text) if isinstance(text, bytes) else None
        found = int(match[1]) if match else 1
    if not 1 <= found <= 8:
        notes["image-exif"] = Note("image-exif", f"an EXIF orientation of {found} was ignored")
        return 1
    return found


def _exif_orientation(blob: bytes) -> int | None:
    """The tag in the first directory; None without; `ValueError`, `struct.error` where broken."""
    blob = re.sub(rb"^(Exif\x00\x00){1,2}", b"", blob)
    order = {b"II": "<", b"MM": ">"}.get(blob[:2])
    if order is None:
        raise ValueError("no byte order")
    (start,) = struct.unpack_from(order + "L", blob, 4)
    (count,) = struct.unpack_from(order + "H", blob, start)
    for index in range(count):
        at = start + 2 + 12 * index
        tag, kind, number = struct.unpack_from(order + "HHL", blob, at)
        if tag == _ORIENTATION:
            if kind not in _INTEGERS or number != 1:
                raise ValueError("not one integer")
            (value,) = struct.unpack_from(order + _INTEGERS[kind], blob, at + 8)
            return int(value)
    return None
