"""Pictures as frames: in a folder, in a tar, in a list or array; each is read when asked for."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

import numpy as np

from anymask.errors import DataError, ImageError, Note, VideoError
from anymask.frames_source import Damage, EndOfFrames, FrameFacts, Pixels
from anymask.image import find_images, load_image
from anymask.image_arrays import Options
from anymask.image_folder import natural
from anymask.image_members import Tar
from anymask.image_sniff import SUFFIXES

_PICTURES = "JPEGImages"
_DAMAGED = {"image-broken", "image-truncated", "image-empty", "image-not", "image-missing"}


@runtime_checkable
class Indexed(Protocol):
    """A list, an array, a tensor, or what behaves like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


class PictureFrames:
    """A source of frames; see `anymask.frames_source.FrameSource`.

    Parameters
    ----------
    count
        Number of pictures.
    load
        Gives what `anymask.image.load_image` reads, by index.
    rate
        Frames a second, where the caller says so.
    """

    rereads = True

    def __init__(
        self,
        count: int,
        load: Callable[[int], object],
        options: Options,
        *,
        names: Sequence[str] | None = None,
        rate: float | None = None,
        where: str | None = None,
        notes: Sequence[Note] = (),
    ) -> None:
        self.where, self.names, self.rate = where, names, rate
        self.count: int | None = count
        self.expected: int | None = count
        self.time_base = None if rate is None else 1 / Fraction(rate).limit_denominator(100_000)
        self.notes = {note.code: note for note in notes}
        self._load, self._options, self._total = load, options, count
        self._damage = Damage(where=where)
        self._bad: set[int] = set()
        self._size: tuple[int, int] | None = None

    def get(self, index: int) -> Pixels:
        if index >= self._total:
            raise EndOfFrames
        options, source = self._options, self._load(index)
        try:
            picture = load_image(source, range=options.range, max_pixels=options.max_pixels)
        except ImageError as error:
            if error.code not in _DAMAGED or self._size is None:
                raise
            return self._damaged(source, index)
        self.notes.update({note.code: note for note in picture.notes})
        self._size = self._size or (picture.pixels.shape[0], picture.pixels.shape[1])
        return picture.pixels

    def facts(self, index: int) -> FrameFacts | None:
        if index >= self._total:
            return None
        base = self.time_base
        return FrameFacts(
            index=index,
            pts=None if base is None else index,
            time_s=None if base is None else float(index * base),
            name=None if self.names is None else self.names[index],
            corrupt=index in self._bad,
        )

    def count_to(self, limit: int | None) -> int:
        return self._total if limit is None else min(limit, self._total)

    def close(self) -> None:
        self._load = _closed

    def _damaged(self, source: object, index: int) -> Pixels:
        """What could be decoded, or black."""
        if index not in self._bad:
            self._bad.add(index)
            self.notes["frame-damaged"] = self._damage.note(index)
            self._damage.check(self._total, None, ended=True)
        try:
            pixels = load_image(source, partial=True, max_pixels=self._options.max_pixels).pixels
        except ImageError:
            pixels = None
        assert self._size is not None
        if pixels is None or pixels.shape[:2] != self._size:
            return np.zeros((*self._size, 3), np.uint8)
        return pixels


def _closed(index: int) -> object:
    raise VideoError("frames-closed", "the frames were closed", given=index)


def folder_frames(root: Path, options: Options, rate: float | None) -> PictureFrames:
    """Pictures right inside a folder in natural order, or those in its ``JPEGImages``.

    Raises
    ------
    VideoError
        ``video-empty``, ``video-several``.
    """
    inner = choose_clip(_folders_of_pictures(root), str(root))
    folder = root / inner
    skipped: dict[str, tuple[str, int]] = {}  # code -> what was passed over first, how many
    names = []
    for path, note in find_images(folder, deep=False):
        if note is None:
            names.append(path.name)
        else:
            first, count = skipped.get(note.code, (f"{path.name}: {note.text}", 0))
            skipped[note.code] = first, count + 1
    return PictureFrames(
        len(names),
        lambda index: folder / names[index],
        options,
        names=names,
        rate=rate,
        where=str(folder),
        notes=[
            *(
                Note(code, first if count == 1 else f"{first}, and {count - 1} more")
                for code, (first, count) in skipped.items()
            ),
            *gaps_in(names),
        ],
    )


def tar_frames(path: Path, options: Options, rate: float | None) -> PictureFrames:
    """Pictures in an uncompressed tar, which is not unpacked.

    Raises
    ------
    VideoError
        ``video-broken``, ``video-empty``, ``video-several``.
    """
    try:
        tar = Tar(path)
    except DataError as error:
        raise VideoError(
            "video-broken", error.problem, where=error.where, hint=error.hint
        ) from error
    pictures = [n for n in tar.names() if PurePosixPath(n).suffix.lower() in SUFFIXES]
    folders = sorted({str(PurePosixPath(name).parent) for name in pictures}, key=natural)
    folder = choose_clip(folders, str(path))
    inside = [name for name in pictures if str(PurePosixPath(name).parent) == folder]
    inside.sort(key=lambda name: (natural(name), name))
    names = [PurePosixPath(name).name for name in inside]
    return PictureFrames(
        len(names),
        lambda index: tar.read(inside[index]),
        options,
        names=names,
        rate=rate,
        where=f"{path}: {folder}",
        notes=gaps_in(names),
    )


def list_frames(pictures: Indexed, options: Options, rate: float | None) -> PictureFrames:
    """Pictures of any kind, by index."""
    return PictureFrames(len(pictures), lambda index: pictures[index], options, rate=rate)


def choose_clip(folders: Sequence[str], where: str) -> str:
    """Of all folders with pictures the one that holds the frames.

    The folder itself, or its ``JPEGImages``, or a clip below that.

    Raises
    ------
    VideoError
        ``video-empty``, ``video-several``.
    """
    if "." in folders:
        return "."
    frames = [f for f in folders if _PICTURES in PurePosixPath(f).parts] or list(folders)
    if not frames:
        raise VideoError(
            "video-empty", "there are no pictures in it", where=where, hint="check the folder"
        )
    if len(frames) > 1:
        names = ", ".join(frames[:5]) + (" ..." if len(frames) > 5 else "")
        raise VideoError(
            "video-several",
            f"several folders in it have pictures: {names}",
            where=where,
            hint="give one of them",
        )
    return frames[0]


def gaps_in(names: Sequence[str]) -> list[Note]:
    """A remark on numbers that are missing in a series of names.

    Names that do not differ in their last number alone are no series.

    >>> gaps_in(["f1.jpg", "f2.jpg", "f5.jpg"])[0].text
    '2 numbers are missing, the first after f2.jpg: frames follow each other all the same'
    """
    found = [re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", name, re.DOTALL) for name in names]
    numbers = [int(match[2]) for match in found if match is not None]
    if len(numbers) < 3 or len(numbers) < len(names):
        return []
    if len({match[1] for match in found if match is not None}) > 1:
        return []
    steps = [b - a for a, b in pairwise(numbers)]
    usual = Counter(steps).most_common(1)[0][0]
    if usual < 1 or min(steps) < 1:
        return []
    missing = sum(-(-step // usual) - 1 for step in steps)
    if not missing:
        return []
    first = next(name for name, step in zip(names, steps, strict=False) if step > usual)
    return [
        Note(
            "frame-gaps",
            f"{missing} numbers are missing, the first after {first}: "
            "frames follow each other all the same",
        )
    ]


def _folders_of_pictures(root: Path) -> list[str]:
    """Folders that have pictures right inside: the folder itself, or those three levels down."""
    if _has_pictures(root):
        return ["."]
    found, level = [], [root]
    for _ in range(3):
        level = [child for folder in level for child in _children(folder)]
        found += [f.relative_to(root).as_posix() for f in level if _has_pictures(f)]
    return sorted(found, key=natural)


def _children(folder: Path) -> list[Path]:
    try:
        return [child for child in folder.iterdir() if child.is_dir() and not child.is_symlink()]
    except OSError:
        return []


def _has_pictures(folder: Path) -> bool:
    try:
        return any(p.suffix.lower() in SUFFIXES and not p.is_dir() for p in folder.iterdir())
    except OSError as error:
        raise VideoError(
            "video-locked", f"the folder cannot be read ({error.strerror})", where=str(folder)
        ) from error
