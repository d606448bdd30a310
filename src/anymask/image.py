"""Reading pictures: any source to RGB uint8 (H, W, 3); every odd input is dealt with here, once.

`load_image` gives the pixels with notes on what was converted; `read_image` gives the pixels alone
and warns. Decoding is Pillow's, with a fixed list of formats: none of them starts another program,
and the limit on pixels is checked before a pixel is decoded, without touching Pillow's own
process-wide limit.
"""

import io
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, UnidentifiedImageError

from anymask.errors import ImageError, MissingExtraError, Note, shown, warn_once
from anymask.image_convert import Options, array_to_rgb, picture_to_rgb, raw_depth

MAX_PIXELS = 500_000_000  # 500 MP for pictures on this machine
# fmt: off
SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".dib",
    ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".ico", ".mpo", ".jp2", ".j2k", ".jpx",
    ".avif", ".avifs", ".psd", ".tga", ".heic", ".heif",
))
_FORMATS = (
    "JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "MPO", "JPEG2000", "AVIF", "PSD", "ICO",
    "DIB", "TGA",  # TGA last: it has no signature
)
# fmt: on
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    AttributeError,
    struct.error,
    ZeroDivisionError,
)  # what Pillow's readers raise on damaged files
_NOT_PICTURES = (
    (b"%PDF", "a PDF document"),
    (b"<?xml", "XML or SVG text"),
    (b"<svg", "an SVG drawing"),
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%!PS", "PostScript"),
    (b"version https://git-lfs", "a Git LFS pointer: the real file was not fetched"),
)
_RAW_SUFFIXES = frozenset([".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"])

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | object
_File = IO[bytes] | io.BufferedIOBase  # BytesIO is no IO[bytes] to a checker at run time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A picture as the rest of anymask sees it.

    Attributes
    ----------
    pixels
        RGB, upright.
    notes
        What was converted on the way.
    name
        Path or name of the source, None for arrays and bytes.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    notes: tuple[Note, ...] = ()
    name: str | None = None


def read_image(
    source: Source,
    *,
    partial: bool = False,
    frame: int | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    range: tuple[float, float] | None = None,
    bands: tuple[int, int, int] | None = None,
    layout: Literal["rgb", "bgr", "chw"] = "rgb",
    max_pixels: int = MAX_PIXELS,
) -> UInt8[np.ndarray, "H W 3"]:
    """A picture as RGB; takes what `load_image` takes, and warns once of each kind of conversion.

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


def load_image(
    source: Source,
    *,
    partial: bool = False,
    frame: int | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    range: tuple[float, float] | None = None,
    bands: tuple[int, int, int] | None = None,
    layout: Literal["rgb", "bgr", "chw"] = "rgb",
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """A picture as RGB, with notes.

    Parameters
    ----------
    source
        A path, bytes of a file, a binary file object (stays open), a Pillow image, an array
        (H, W), (H, W, 1), (H, W, 3), (H, W, 4), or a torch tensor of such a shape.
    partial
        Take what could be decoded of a truncated file; the rest is black.
    frame
        Which frame of an animation or page of a document; None takes the first and notes it.
    background
        What transparent pixels are laid on.
    range
        Values that become 0 and 255, for 16-bit and float pictures; None takes smallest and
        largest of the whole picture.
    bands
        Which three channels of an array with two or more than four are red, green, blue.
    layout
        Order of an array: ``"rgb"``, ``"bgr"`` or ``"chw"`` (RGB, channels first). Never guessed.
    max_pixels
        Larger pictures are refused before decoding.

    Raises
    ------
    ImageError
        With a stable code for each way in which a source can be wrong.
    MissingExtraError
        ``missing-heic``: a HEIC file, and pillow-heif is not installed.
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
    if isinstance(source, Image.Image):
        pixels, notes = picture_to_rgb(source, options, "the picture")
        return Picture(pixels=pixels, notes=tuple(notes))
    if isinstance(source, (str, os.PathLike)):
        return _from_path(os.fspath(source), options)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(source), None, options)
    if hasattr(source, "read") and hasattr(source, "seek"):
        return _from_file(cast(IO[bytes], source), getattr(source, "name", None), options)
    if hasattr(source, "detach") and hasattr(source, "cpu"):  # a torch tensor, torch unseen
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray) or hasattr(source, "__array__"):
        pixels, notes = array_to_rgb(np.asarray(source), options)
        return Picture(pixels=pixels, notes=tuple(notes))
    raise ImageError(
        "image-kind",
        "this is no picture",
        given=type(source).__name__,
        hint="give a path, bytes, a file, a Pillow image, an array or a tensor",
    )


def resize(pixels: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Scale to (h, w) px as SAM's own code does: Pillow's bilinear on uint8, antialiased."""
    height, width = size
    if pixels.shape[:2] == (height, width):
        return pixels
    small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small)


def find_images(root: Path, *, follow: bool = False) -> Iterator[tuple[Path, Note | None]]:
    """Pictures below a folder by their suffix, in natural order (f2 before f10), one by one.

    Links out of the folder or round in a circle are passed over, with a note, unless `follow`.
    """
    inside = root.resolve()
    seen: set[tuple[int, int]] = set()

    def walk(folder: Path) -> Iterator[tuple[Path, Note | None]]:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            yield folder, Note("link-loop", "a link leads back to a folder already seen")
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            names = sorted((e.name for e in entries), key=natural)
        for name in names:
            path = folder / name
            if path.is_symlink() and not follow and not path.resolve().is_relative_to(inside):
                yield path, Note("link-outside", "a link leads out of the folder; passed over")
            elif path.is_dir():
                yield from walk(path)
            elif path.suffix.lower() in SUFFIXES:
                yield path, None

    yield from walk(root)


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that counts: f2 before f10.

    >>> sorted(["f10", "f2"], key=natural)
    ['f2', 'f10']
    """
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(p)) if p.isdecimal() else (1, p) for p in parts)


def _from_path(path: str, options: Options) -> Picture:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path):
        raise ImageError(
            "image-url", "addresses are not fetched", given=path, hint="download it, give the file"
        )
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        raise ImageError(
            "image-missing", "there is no such file", where=path, hint="check the path"
        ) from error
    if stat.S_ISDIR(mode):
        raise ImageError(
            "image-folder", "this is a folder", where=path, hint="give the files in it"
        )
    if not stat.S_ISREG(mode):
        raise ImageError(
            "image-special",
            "this is a pipe or device, not a file",
            where=path,
            hint="copy it first",
        )
    try:
        with Path(path).open("rb") as file:
            return _from_file(file, path, options)
    except PermissionError as error:
        raise ImageError("image-locked", "the file may not be read", where=path) from error


def _from_file(file: _File, name: object, options: Options) -> Picture:
    where = shown(name) if isinstance(name, bytes) else str(name) if name is not None else None
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(0)
    head = file.read(512)
    file.seek(0)
    if size == 0:
        raise ImageError("image-empty", "the file has 0 bytes", where=where, hint="fetch it again")
    picture, notes = _open(file, head, size, where), list[Note]()
    width, height = picture.size
    if width * height > options.max_pixels:
        raise ImageError(
            "image-too-large",
            f"the picture claims {width}x{height} pixels, the limit is {options.max_pixels}",
            where=where,
            hint="pass a larger max_pixels if you trust the file",
        )
    notes += _suffix_note(where, picture)
    notes += _choose_frame(picture, options, where)
    notes += _decode(picture, options, size, where)
    pixels, more = picture_to_rgb(picture, options, where)
    return Picture(pixels=pixels, notes=(*notes, *more), name=where)


def _open(file: _File, head: bytes, size: int, where: str | None) -> Image.Image:
    """The picture, its header read and nothing else."""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head[8:32]:
        return _open_heif(file, where)
    Image.init()
    for name in _FORMATS:
        if name not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[name]
        if accept is not None and not isinstance(accept(head), bool | None):
            continue  # a text says why the format is not supported here
        if accept is not None and not accept(head):
            continue
        if name == "TGA" and Path(where or "").suffix.lower() != ".tga":
            continue  # it has no signature: anything could be one
        file.seek(0)
        try:
            return factory(cast(IO[bytes], file), "")
        except UnidentifiedImageError:
            continue
        except Image.DecompressionBombError as error:
            raise ImageError(
                "image-too-large", f"the picture is too large: {error}", where=where
            ) from error
        except _BROKEN as error:
            cut = size < 64 or "truncated" in str(error).lower()
            raise ImageError(
                "image-truncated" if cut else "image-broken",
                f"the {name} header cannot be read after {size} bytes"
                if cut
                else f"the {name} header is damaged",
                where=where,
                hint="fetch it again",
            ) from error
    start = head.lstrip().lower()
    kind = next((what for mark, what in _NOT_PICTURES if start.startswith(mark.lower())), None)
    if kind is None:
        kind = "text" if _is_text(head) else "of an unknown kind"
    raw = Path(where or "").suffix.lower() in _RAW_SUFFIXES
    raise ImageError(
        "image-raw" if raw else "image-not",
        f"the file is no picture that can be read, it is {kind}",
        where=where,
        hint="develop it to TIFF or JPEG" if raw else "check where it came from",
    )


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 > 0  # only a character cut in two
    return b"\x00" not in head


def _open_heif(file: _File, where: str | None) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtraError(
            "missing-heic",
            "HEIC pictures need pillow-heif",
            where=where,
            hint="pip install 'anymask[heic]'",
        ) from error
    try:
        opened: Image.Image = pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call]
    except _BROKEN as error:
        raise ImageError(
            "image-broken", "the HEIC file is damaged", where=where, hint="fetch it again"
        ) from error
    return opened


def _suffix_note(where: str | None, picture: Image.Image) -> list[Note]:
    suffix = Path(where).suffix.lower() if where else ""
    stated = Image.registered_extensions().get(suffix)
    same = {"MPO": "JPEG", "APNG": "PNG", "DIB": "BMP"}
    actual = same.get(picture.format or "", picture.format)
    if stated is None or actual is None or same.get(stated, stated) == actual:
        return []
    return [Note("image-suffix", f"the file is {actual} whatever its name says")]


def _choose_frame(picture: Image.Image, options: Options, where: str | None) -> list[Note]:
    try:
        count = int(getattr(picture, "n_frames", 1))
    except _BROKEN:
        count = 1  # a broken list of pages: the first can still be had
    wanted = options.frame or 0
    if not 0 <= wanted < count:
        raise ImageError("image-frame", f"the file has {count} frames", given=wanted, where=where)
    try:
        picture.seek(wanted)
    except _BROKEN as error:
        if wanted:
            raise ImageError("image-frame", "the frame is damaged", given=wanted) from error
    if count > 1 and options.frame is None:
        return [Note("image-frames", f"only the first of {count} frames is taken; frame= chooses")]
    return []


def _decode(picture: Image.Image, options: Options, size: int, where: str | None) -> list[Note]:
    notes = []
    depth = raw_depth(picture)
    try:
        picture.load()
    except Image.DecompressionBombError as error:
        raise ImageError("image-too-large", str(error), where=where) from error
    except _BROKEN as error:
        if not options.partial or getattr(picture, "im", None) is None:
            raise ImageError(
                "image-truncated",
                f"the picture data ends or breaks within the {size} bytes of the file ({error})",
                where=where,
                hint="fetch it again or pass partial=True",
            ) from error
        # what was decoded stays, the rest is not asked for again
        cast(ImageFile.ImageFile, picture).tile = []
        notes.append(Note("image-partial", "the file is truncated; the rest is black"))
    if depth == 16 and picture.mode in ("RGB", "RGBA", "RGBX"):
        notes.append(Note("image-16bit", "of 16-bit colours the upper 8 bits are taken"))
    return notes
