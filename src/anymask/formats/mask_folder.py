"""Folders of masks: black-and-white PNGs, one a mask.

Known are the layouts of `anymask segment` (``a.jpg.mask.png``, ``a.jpg.2.mask.png``), a folder for
each picture (``a/0.png``, ``a/1.png``, and ``a/metadata.csv`` with scores, as SAM's script writes
them), and one mask a picture (``a.png``). Written is a folder for each picture.
"""

import csv
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool
from PIL import Image

from anymask.errors import DataError
from anymask.formats import segment_set
from anymask.formats.file_sets import FileSet, find_files, picture_of, stem_of
from anymask.formats.pictures import Pictures
from anymask.formats.records import Annotation, ReadOptions, Record, Remarks, measured
from anymask.image_folder import natural
from anymask.mask_rle import encode_rle

_OURS = re.compile(r"(?P<name>.+?\.\w+?)(\.(?P<number>\d+))?\.mask")  # without .png
_TABLE = "metadata.csv"
_MOST_PIXELS = 500_000_000


def open_set(path: Path, options: ReadOptions) -> FileSet:
    """A folder of masks.

    Raises
    ------
    DataError
        ``set-missing``, ``set-empty``; when read ``mask-broken``, ``masks-sizes``: two masks of
        one picture have different sizes; if strict ``mask-empty``.
    """
    names = find_files(path, ".png")
    tabled = {found.parent.relative_to(path).as_posix() for found in path.rglob(_TABLE)}
    # where there are tables, other PNGs show what was found
    groups = _groups([n for n in names if str(PurePosixPath(n).parent) in tabled] or names)
    folders = [options.images] if options.images else [path / "images", path.parent / "images"]
    return FileSet(
        name=path.resolve().name,
        path=path,
        ids=tuple(sorted(groups)),
        strict=options.strict,
        _read=partial(_read, path, groups, tuple(Pictures(folder) for folder in folders)),
    )


def looks_like(path: Path) -> bool:
    """Whether a folder has masks of `anymask segment`, or folders of numbered PNGs.

    Where the JSON of `anymask segment` are there too, `segment_set` reads more.
    """
    if not path.is_dir() or segment_set.looks_like(path):
        return False
    if any(path.rglob("*.mask.png")):
        return True
    if any(found.stem.isdigit() for found in path.glob("*/*.png")):
        return True
    return any((found.parent / "0.png").is_file() for found in path.rglob(_TABLE))


def _groups(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Picture -> its masks, in the order in which people count; all without ending."""
    found: dict[str, list[str]] = {}
    ours = [name for name in names if _OURS.fullmatch(name)]
    deep = any("/" in name and PurePosixPath(name).name.isdigit() for name in names)
    for name in ours or names:
        match = _OURS.fullmatch(name)
        if match is not None:
            key = stem_of(match["name"])
        else:
            key = str(PurePosixPath(name).parent) if deep and "/" in name else name
        found.setdefault(key, []).append(name)
    return {key: tuple(sorted(mine, key=natural)) for key, mine in found.items()}


def _read(
    root: Path,
    groups: Mapping[str, tuple[str, ...]],
    places: tuple[Pictures, ...],
    name: str,
    remarks: Remarks,
) -> Record:
    remarks.where = where = str(root / name)
    facts = _facts(root / name / _TABLE)
    size: tuple[int, int] | None = None
    found: list[Annotation] = []
    for number, each in enumerate(groups[name]):
        file = root / f"{each}.png"
        bits = _bits(file, remarks)
        shape = (bits.shape[0], bits.shape[1])
        if size is not None and shape != size:
            raise DataError(
                "masks-sizes",
                f"the mask is {shape}, others {size} (height, width)",
                where=str(file),
            )
        size = shape
        if not bits.any():
            remarks.lost("mask-empty", "the mask has no pixel: left out", at=f"{each}.png")
            continue
        row = facts.get(PurePosixPath(each).name, {})
        found.append(_with_facts(measured(number, encode_rle(bits)), row))
    match = _OURS.fullmatch(groups[name][0])
    stated = None if match is None else match["name"]
    file_name, pictures, picture = picture_of(name, places, stated, remarks)
    return Record(
        image_id=name,
        file_name=file_name,
        size=size or (1, 1),
        annotations=tuple(found),
        where=where,
        notes=tuple(remarks.notes),
        _source=None if pictures is None else pictures.source,
        _picture=picture,
    )


def _bits(file: Path, remarks: Remarks) -> Bool[np.ndarray, "H W"]:
    """A mask: the brighter of two values, or what is brighter than half."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(file.read_bytes()), formats=["PNG"]) as picture:
                if picture.size[0] * picture.size[1] > _MOST_PIXELS:
                    raise ValueError("too large")
                grey = np.asarray(picture if picture.mode == "P" else picture.convert("L"))
    except Exception as error:  # on damaged files Pillow's readers raise almost anything
        raise DataError("mask-broken", f"no mask ({error})", where=str(file)) from error
    values = np.unique(grey)
    if len(values) <= 2:
        return grey > 0 if len(values) < 2 else grey == values[-1]
    remarks.say("mask-grey", f"{file.name} has {len(values)} values: from 128 on is the mask")
    return grey >= 128


def _facts(file: Path) -> dict[str, dict[str, str]]:
    """Rows of SAM's ``metadata.csv`` by id."""
    if not file.is_file():
        return {}
    try:
        rows = list(csv.DictReader(file.read_text("utf-8").splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError("metadata-broken", f"no table ({error})", where=str(file)) from error
    return {str(row.get("id")): {k: v for k, v in row.items() if k} for row in rows}


def _with_facts(annotation: Annotation, row: Mapping[str, str]) -> Annotation:
    def number(key: str) -> float | None:
        try:
            value = float(row[key])
        except (KeyError, TypeError, ValueError):
            return None
        return value if np.isfinite(value) else None

    x, y = number("point_input_x"), number("point_input_y")
    crop = [number(f"crop_box_{key}") for key in ("x0", "y0", "w", "h")]
    sides = [v for v in crop if v is not None]
    return replace(
        annotation,
        predicted_iou=number("predicted_iou"),
        stability_score=number("stability_score"),
        points=((x, y),) if x is not None and y is not None else (),
        crop_box=(sides[0], sides[1], sides[2], sides[3]) if len(sides) == 4 else None,
    )
