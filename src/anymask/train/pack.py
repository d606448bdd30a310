"""Training photos to tars below 25 MB, as they travel to another machine.

A set of name ``a`` becomes ``a.part-00.tar``, ``a.part-01.tar`` ... of the pairs that
`anymask.formats.sa1b` reads. Photos that are small enough keep their bytes; the others are scaled
with their masks. Names and order stay, so that a run on the parts draws the same samples.
"""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from anymask.errors import DataError
from anymask.formats.atomic import write_atomic
from anymask.formats.names import check_clashes, safe_relative
from anymask.formats.records import Record, measured
from anymask.formats.sa1b import open_sa1b, record_json, split_of
from anymask.mask_rle import encode_rle
from anymask.train.config import TrainConfig
from anymask.train.samples import usable
from anymask.train.sources import Source, open_sources

_LARGEST_PART = 24_000_000  # bytes
_QUALITY = 92


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was written."""

    photos: int
    parts: int
    scaled: int


def pack(config: TrainConfig, folder: Path, *, side: int = 1024, split: str = "all") -> Packed:
    """Write all photos of a config that have a usable mask, as parts; nothing is replaced.

    Parameters
    ----------
    config
        Names the sets.
    folder
        Where the parts go.
    side
        Longest side, px; larger photos are scaled down to it.
    split
        ``"all"`` takes validation photos along, ``"train"`` leaves them out.

    Raises
    ------
    DataError
        ``part-large``: a photo alone is larger than a part; ``pack-names``; and what
        `open_sources` raises.
    OutputError
        ``file-exists`` and others of `anymask.formats.atomic`.
    """
    photos = parts = scaled = 0
    for source in open_sources(config.data, strict=config.strict):
        waiting: list[tuple[str, bytes]] = []
        size = number = 0
        names: list[str] = []
        for record in _records(source, split):
            pair, was_scaled = _pair(record, side)
            names += [name for name, _ in pair]
            length = sum(1024 + len(data) for _, data in pair)
            if length > _LARGEST_PART:
                raise DataError(
                    "part-large",
                    f"the photo and its masks take {length} bytes",
                    where=record.where,
                    hint="pack to a smaller side",
                )
            if size + length > _LARGEST_PART:
                _write(folder, source.name, number, waiting)
                waiting, size, number = [], 0, number + 1
            waiting += pair
            size += length
            photos += 1
            scaled += was_scaled
        check_clashes(names)
        if waiting:
            _write(folder, source.name, number, waiting)
            number += 1
        parts += number
    return Packed(photos=photos, parts=parts, scaled=scaled)


def _records(source: Source, split: str) -> Iterator[Record]:
    for image_id in sorted(source.data.ids):
        if split in ("all", split_of(image_id)):
            record = source.data.read(image_id)
            if record.has_picture and usable(record):
                yield record


def _pair(record: Record, side: int) -> tuple[list[tuple[str, bytes]], bool]:
    """Picture and JSON under the photo's own id, and whether they were scaled."""
    larger = max(record.size) > side
    if larger:
        record, picture, ending = *_scaled(record, side), ".jpg"
    else:
        picture = record.image_bytes()
        ending = ""
    table, name = pair_names(record, ending)
    return [(table, record_json(replace(record, file_name=name))), (name, picture)], larger


def pair_names(record: Record, ending: str = "") -> tuple[str, str]:
    """Of a photo's JSON and picture under its own id; `ending` in place of the picture's own."""
    stem = str(safe_relative(record.image_id, room=len(".json")))
    ending = ending or Path(record.file_name).suffix.lower() or ".jpg"
    return f"{stem}.json", f"{stem}{ending}"


def _scaled(record: Record, side: int) -> tuple[Record, bytes]:
    pixels = record.pixels()
    factor = side / max(record.size)
    height, width = (max(1, round(v * factor)) for v in record.size)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    masks = []
    for each in usable(record):
        grey = each.mask().view(np.uint8) * np.uint8(255)
        bits = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA) > 127
        if bits.any():
            masks.append(
                measured(
                    each.id,
                    encode_rle(bits),
                    category=each.category,
                    category_id=each.category_id,
                    iscrowd=each.iscrowd,
                )
            )
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return replace(record, size=(height, width), annotations=tuple(masks)), buffer.getvalue()


def _write(folder: Path, name: str, number: int, files: list[tuple[str, bytes]]) -> None:
    """One part, read again at once."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, data in files:
            about = tarfile.TarInfo(path)
            about.size, about.mode = len(data), 0o644
            tar.addfile(about, io.BytesIO(data))
    place = folder / f"{name}.part-{number:02}.tar"
    write_atomic(place, buffer.getvalue())
    ids = sorted(n.removesuffix(".json") for n, _ in files if n.endswith(".json"))
    if list(open_sa1b(place).ids) != ids:
        raise DataError(
            "pack-names",
            "the photos of this set would have other names in a tar",
            given=ids[:3],
            where=name,
            hint="a tar forgets a folder that all photos lie in: name the set one folder deeper",
        )
