"""Clips with masks as DAVIS has them: pictures, and for each a PNG whose values are objects.

    JPEGImages/00000.jpg             Annotations/00000.png             one clip: a folder or a tar
    JPEGImages/CLIP/00000.jpg        Annotations/CLIP/00000.png        several, as YouTube-VOS
    JPEGImages/480p/CLIP/00000.jpg   Annotations/480p/CLIP/00000.png   as DAVIS; 480p is preferred
    ImageSets/2017/val.txt                                             names of clips, if any

The value of a pixel is the number of its object, 0 for none, 255 for what nobody knows. PNGs have
DAVIS's palette. An object whose number is above 255 makes its frame's PNG a grey one of 16 bits,
which DAVIS's own programs do not read; other frames keep the palette. Frames and masks are read
when they are asked for. A frame may have no mask.

Perazzi et al. 2016, A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Integer
from PIL import Image

from anymask.errors import DataError, OutputError
from anymask.formats.label_map import decode_map, paint
from anymask.frame_masks import FrameMasks
from anymask.frames import Frames
from anymask.frames_pictures import PictureFrames
from anymask.image_arrays import Options
from anymask.image_folder import natural
from anymask.image_members import Folder, Source, Tar
from anymask.image_sniff import SUFFIXES

_PICTURES, _MASKS = "JPEGImages", "Annotations"
_BEST = "480p"  # what the benchmark is run on
_PALETTE_MOST, _MOST = 255, 65535  # largest value of each kind of PNG
VOID = 255  # nobody knows whose these pixels are

Labels = Integer[np.ndarray, "H W"]  # uint8, or uint16 where a value is above 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DavisClip:
    """A clip whose frames and masks are read when they are asked for.

    Attributes
    ----------
    name
        Of its folder or tar.
    frames
        Files of the frames, in natural order.
    masks
        File of the mask of each frame, None where it has none.
    where
        For messages.
    """

    name: str
    frames: tuple[str, ...]
    masks: tuple[str | None, ...]
    where: str
    _source: Source

    def __len__(self) -> int:
        return len(self.frames)

    def open(self) -> Frames:
        """The frames.

        Raises
        ------
        VideoError, ImageError
            As `anymask.frames.open_frames`.
        """
        source = PictureFrames(
            len(self.frames),
            lambda index: self._source.read(self.frames[index]),
            Options(),
            names=[PurePosixPath(name).name for name in self.frames],
            where=self.where,
        )
        return Frames(source)

    def labels(self, index: int) -> Labels | None:
        """The label map of a frame, None where there is none.

        In a grey PNG of one object that is white, 255 is object 1, as in DAVIS 2016.

        Raises
        ------
        DataError
            ``set-unreadable``, ``label-map-broken``, ``label-map-colours``.
        """
        name = self.masks[index]
        if name is None:
            return None
        return read_labels(self._source.read(name), self._source.where(name))

    def label_maps(self) -> "LabelMaps":
        """All label maps as a sequence.

        Raises
        ------
        DataError
            ``clip-unmarked``: a frame has none.
        """
        for frame, mask in zip(self.frames, self.masks, strict=True):
            if mask is None:
                raise DataError(
                    "clip-unmarked", "a frame has no mask", given=frame, where=self.where
                )
        return LabelMaps(self)


class LabelMaps(Sequence[Labels]):
    """Label maps of a clip, read one by one."""

    def __init__(self, clip: DavisClip) -> None:
        self._clip = clip

    def __len__(self) -> int:
        return len(self._clip)

    def __getitem__(self, index: int) -> Labels:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        labels = self._clip.labels(index)
        assert labels is not None
        return labels


def davis_clips(path: Path, split: str | None = None) -> tuple[DavisClip, ...]:
    """The clips that lie there.

    Parameters
    ----------
    path
        A folder or an uncompressed tar of one of the layouts; a folder of such tars; the folder
        of one clip's pictures inside of a layout.
    split
        Clips of a list in ``ImageSets`` alone, such as ``"val"``; the latest year's.

    Raises
    ------
    DataError
        ``set-missing``, ``set-unreadable``, ``tar-broken``; ``clips-none``: no layout is there;
        ``clip-unmatched``: no mask has the name of a frame; ``split-missing``, ``clip-missing``.
    """
    if not path.exists():
        raise DataError("set-missing", "there is nothing here", given=str(path))
    parts = path.resolve().parts
    if path.is_dir() and _PICTURES in parts and not (path / _PICTURES).is_dir():
        at = len(parts) - parts[::-1].index(_PICTURES)  # the clip is named by what follows
        found = _clips(Folder(Path(*parts[: at - 1])), parts[at - 2], "/".join(parts[at:]))
    elif path.is_dir():
        tars = sorted(path.glob("*.tar"), key=lambda tar: natural(tar.name))
        if (path / _PICTURES).is_dir() or not tars:
            found = _clips(Folder(path), path.resolve().name)
        else:
            found = [clip for tar in tars for clip in _clips(Tar(tar), tar.stem)]
    else:
        found = _clips(Tar(path), path.stem)
    if not found:
        raise DataError(
            "clips-none",
            f"there are no pictures in a folder {_PICTURES}",
            given=str(path),
            hint=f"{_PICTURES} and {_MASKS} stand side by side in a folder or a tar",
        )
    return tuple(found if split is None else _of_split(found, path, split))


def read_labels(content: bytes, where: str) -> Labels:
    """The values of a PNG: uint8, or uint16 where one is above 255.

    Raises
    ------
    DataError
        ``label-map-broken``, ``label-map-colours``.
    """
    values, _, palette = decode_map(content, where)
    most = int(values.max(initial=0))
    if not palette and most == VOID and not np.any((values > 0) & (values < VOID)):
        values = values // VOID
    return values.astype(np.uint8 if most <= _PALETTE_MOST else np.uint16)


def davis_png(labels: Integer[np.ndarray, "H W"]) -> bytes:
    """A label map as a PNG with DAVIS's palette, or of 16 bits where a value is above 255.

    Raises
    ------
    OutputError
        ``labels-many``: a value is above 65535.
    """
    most = int(labels.max(initial=0))
    if most > _MOST or int(labels.min(initial=0)) < 0:
        raise OutputError(
            "labels-many",
            f"objects of a label map are numbered 1 to {_MOST}",
            given=most,
            hint="write JSON lines, which number any",
        )
    if most <= _PALETTE_MOST:
        picture = Image.fromarray(np.ascontiguousarray(labels, np.uint8))
        picture.putpalette(davis_palette())
    else:
        picture = Image.fromarray(np.ascontiguousarray(labels, np.uint16))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=3)
    return file.getvalue()


def labels_of(masks: FrameMasks) -> Labels:
    """The label map of a frame: the value is the object's id; the smaller mask lies in front.

    Raises
    ------
    OutputError
        ``labels-many``.
    """
    ids = np.array([0, *masks.object_ids], np.int64)
    if ids.max() > _MOST or ids.min() < 0:
        raise OutputError(
            "labels-many", f"a label map numbers objects up to {_MOST}", given=int(ids.max())
        )
    kind = np.uint8 if ids.max() <= _PALETTE_MOST else np.uint16
    return np.take(ids.astype(kind), paint(masks.rles, masks.size))


@lru_cache(maxsize=1)
def davis_palette() -> bytes:
    """Red, green and blue of the 256 values, as DAVIS and PASCAL VOC have them.

    The bits of a value go in turn to red, green and blue, the lowest ones to their highest bits.
    """
    colours = bytearray()
    for value in range(256):
        for part in range(3):
            bits = [value >> (3 * k + part) & 1 for k in range(3)]
            colours.append(sum(bit << (7 - k) for k, bit in enumerate(bits)))
    return bytes(colours)


def _clips(source: Folder | Tar, name: str, only: str | None = None) -> list[DavisClip]:
    """Clips of one folder or tar, by name; of several sizes the preferred one."""
    frames: dict[tuple[str, str], list[str]] = {}
    masks: dict[tuple[str, str], dict[str, str]] = {}
    for member in source.names():
        path = PurePosixPath(member.removeprefix("./"))
        kind = next((part for part in (_PICTURES, _MASKS) if part in path.parts[:-1]), None)
        if kind is None or path.name.startswith("."):
            continue
        at = path.parts.index(kind)
        key = "/".join(path.parts[:at]), "/".join(path.parts[at + 1 : -1])
        if kind == _PICTURES and path.suffix.lower() in SUFFIXES:
            frames.setdefault(key, []).append(member)
        elif kind == _MASKS and path.suffix.lower() == ".png":
            masks.setdefault(key, {})[path.stem] = member
    chosen: dict[str, tuple[str, str]] = {}
    for key in sorted(frames, key=lambda key: natural("/".join(key))):
        if only is not None and key[1] != only:
            continue
        called = PurePosixPath(key[1]).name or name
        if called not in chosen or _BEST in key[1].split("/"):
            chosen[called] = key
    return [
        _clip(source, called, frames[key], masks.get(key, {})) for called, key in chosen.items()
    ]


def _clip(source: Folder | Tar, name: str, frames: list[str], masks: dict[str, str]) -> DavisClip:
    frames.sort(key=lambda frame: (natural(PurePosixPath(frame).name), frame))
    matched = tuple(masks.get(PurePosixPath(frame).stem) for frame in frames)
    where = f"{source.path}: {name}"
    if masks and not any(matched):
        raise DataError(
            "clip-unmatched",
            "no mask has the name of a frame",
            given=next(iter(masks.values())),
            where=where,
            hint="names without their endings must be the same",
        )
    return DavisClip(name=name, frames=tuple(frames), masks=matched, where=where, _source=source)


def _of_split(clips: Sequence[DavisClip], path: Path, split: str) -> Iterator[DavisClip]:
    source = Folder(path) if path.is_dir() else Tar(path)
    pattern = re.compile(rf"(?:.*/)?ImageSets/(?:[^/]+/)?{re.escape(split)}\.txt")
    lists = sorted((name for name in source.names() if pattern.fullmatch(name)), key=natural)
    if not lists:
        raise DataError(
            "split-missing", f"there is no list {split}.txt in ImageSets", given=str(path)
        )
    lines = source.read(lists[-1]).decode("utf-8", "replace").splitlines()
    wanted = dict.fromkeys(_named(line.split()[0]) for line in lines if line.strip())
    known = {clip.name: clip for clip in clips}
    for name in wanted:
        if name not in known:
            raise DataError(
                "clip-missing",
                "the list names a clip that is not there",
                given=name,
                where=lists[-1],
            )
        yield known[name]


def _named(entry: str) -> str:
    """The clip that an entry of a list names: itself, or the folder of its picture."""
    path = PurePosixPath(entry)
    return path.parent.name if path.suffix.lower() in SUFFIXES else path.name
