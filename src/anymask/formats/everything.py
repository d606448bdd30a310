"""What `anymask everything` writes: a table of layouts, and the files made of a whole folder.

The masks of a picture become files at once. Files of all pictures (COCO's JSON, contact sheets)
are put together at the end from parts that wait in the run's own folder.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from anymask.errors import DataError
from anymask.formats.coco_writer import CocoWriter
from anymask.formats.everything_pictures import contact_sheets, overlay_everything
from anymask.formats.label_map import generated_png
from anymask.formats.png import encode_png, mask_png
from anymask.formats.run_folder import STATE, RunFolder
from anymask.formats.sa1b import generated_json
from anymask.generated import GeneratedMasks
from anymask.image import load_image

Files = Iterator[tuple[str, bytes]]  # path below the run's folder, content

COCO = "coco.json"
SHEET = "sheet.png"
_OVERLAY = ".overlay.png"
_TILE = 480  # longest side of a picture on a sheet, px
_COLUMNS = (
    "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,"
    "stability_score,crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the masks of a picture become files.

    Attributes
    ----------
    name
        What ``--format`` takes.
    what
        What is written, for people.
    planned
        From a picture's name to the paths that its files begin with: files, or a folder that
        holds nothing else.
    make
        From a picture's name and masks to the files.
    flat
        Masks must not overlap.
    pictures
        Pictures are written, which must not be taken for inputs.
    finals
        Files made of all pictures.
    """

    name: str
    what: str
    planned: Callable[[str], tuple[str, ...]]
    make: Callable[[str, GeneratedMasks], Files]
    flat: bool = False
    pictures: bool = False
    finals: tuple[str, ...] = ()


def metadata_csv(records: Iterable[dict[str, Any]]) -> str:
    """The table of masks that SAM's script writes beside them, from records of the generator."""
    lines = [_COLUMNS]
    for i, record in enumerate(records):
        values = [
            i,
            record["area"],
            *record["bbox"],
            *record["point_coords"][0],
            record["predicted_iou"],
            record["stability_score"],
            *record["crop_box"],
        ]
        lines.append(",".join(str(value) for value in values))
    return "\n".join(lines)


def overlay_file(pixels: UInt8[np.ndarray, "H W 3"], masks: GeneratedMasks) -> bytes:
    """All masks over their picture, as a file."""
    return encode_png(overlay_everything(pixels, masks), own=True)


def tile_file(pixels: UInt8[np.ndarray, "H W 3"], masks: GeneratedMasks) -> bytes:
    """The same, small: what a contact sheet shows of a picture."""
    height, width = pixels.shape[:2]
    scale = min(1.0, _TILE / max(height, width))
    drawn = overlay_everything(pixels, masks)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        drawn = np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA))
    return encode_png(drawn, own=True)


def planned(layout: Layout, *, overlay: bool, sheet: bool) -> Callable[[str], tuple[str, ...]]:
    """From a picture's name to all paths that its files begin with, those of pictures too."""

    def paths(name: str) -> tuple[str, ...]:
        more = [name + _OVERLAY] if overlay else []
        more += [_tile(name)] if sheet else []
        return (*layout.planned(name), *more)

    return paths


def files(
    layout: Layout,
    name: str,
    masks: GeneratedMasks,
    pixels: UInt8[np.ndarray, "H W 3"],
    *,
    overlay: bool,
    sheet: bool,
) -> Files:
    """All files of one picture, made one by one."""
    yield from layout.make(name, masks)
    if overlay:
        yield name + _OVERLAY, overlay_file(pixels, masks)
    if sheet:
        yield _tile(name), tile_file(pixels, masks)


def finish(folder: RunFolder, layout: Layout, *, sheet: bool) -> list[Path]:
    """Make the files of all pictures; their paths.

    Raises
    ------
    OutputError
        As `RunFolder.final`.
    """
    made = []
    if COCO in layout.finals:
        at = folder.new / "coco"
        with CocoWriter(at, overwrite=True) as writer:
            for item in folder.items():
                if item.done:
                    part = folder.root / _part(item.name)
                    writer.add_json(part.read_bytes(), item.name)
            writer.finish()
        made.append(folder.final(COCO, at))
    if sheet:
        for number, page in enumerate(contact_sheets(_tiles(folder), tile=_TILE), 1):
            name = SHEET if number == 1 else SHEET.replace(".", f"-{number}.")
            made.append(folder.final(name, encode_png(page, own=True)))
    return made


def finals(layout: Layout, *, sheet: bool) -> tuple[str, ...]:
    """Names of the files of all pictures, as far as they are known beforehand."""
    return (*layout.finals, SHEET) if sheet else layout.finals


def _tiles(folder: RunFolder) -> Iterator[tuple[str, UInt8[np.ndarray, "_ _ 3"]]]:
    for item in folder.items():
        if item.done:
            yield item.name, load_image(folder.root / _tile(item.name)).pixels


def _tile(name: str) -> str:
    return f"{STATE}/tiles/{name}.png"


def _part(name: str) -> str:
    return f"{STATE}/parts/{name}.json"


def _sa1b(name: str, masks: GeneratedMasks) -> bytes:
    path = PurePosixPath(name)
    return generated_json(masks, path.name, path.stem)


def _each_mask(folder: str, masks: GeneratedMasks) -> Files:
    """A folder of black and white pictures and the table of their facts."""
    yield f"{folder}/metadata.csv", metadata_csv(masks.records("coco_rle")).encode("ascii")
    for i, mask in enumerate(masks):
        yield f"{folder}/{i}.png", mask_png(mask)


def _stem(name: str) -> str:
    """A name without its ending, as SAM's script has it: ``x/a.b.jpg`` is ``x/a.b``."""
    path = PurePosixPath(name)
    return str(path.with_name(path.stem))


def _amg_rle(name: str, masks: GeneratedMasks) -> Files:
    yield f"{_stem(name)}.json", json.dumps(masks.records("coco_rle")).encode("ascii")


def _panoptic(name: str, masks: GeneratedMasks) -> Files:
    yield f"{name}.panoptic.png", generated_png(masks, PurePosixPath(name).name)
    yield f"{name}.panoptic.json", _sa1b(name, masks)


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="sa1b",
        what="a JSON for each picture, as SA-1B has it",
        planned=lambda name: (f"{name}.json",),
        make=lambda name, masks: iter([(f"{name}.json", _sa1b(name, masks))]),
    ),
    Layout(
        name="coco",
        what="one JSON for all pictures, as COCO has it",
        planned=lambda name: (_part(name),),
        make=lambda name, masks: iter([(_part(name), _sa1b(name, masks))]),
        finals=(COCO,),
    ),
    Layout(
        name="png",
        what="a folder for each picture: a black and white picture a mask, and a table",
        planned=lambda name: (name,),
        make=_each_mask,
        pictures=True,
    ),
    Layout(
        name="panoptic",
        what="a label map for each picture, a mask a pixel at most, and a JSON",
        planned=lambda name: (f"{name}.panoptic.png", f"{name}.panoptic.json"),
        make=_panoptic,
        flat=True,
        pictures=True,
    ),
)

AMG: tuple[Layout, ...] = (
    Layout(
        name="amg",
        what="as png, the folder named as SAM's script names it",
        planned=lambda name: (_stem(name),),
        make=lambda name, masks: _each_mask(_stem(name), masks),
        pictures=True,
    ),
    Layout(
        name="amg-rle",
        what="a JSON for each picture, as SAM's script writes it",
        planned=lambda name: (f"{_stem(name)}.json",),
        make=_amg_rle,
    ),
)


def layout_of(name: str) -> Layout:
    """The row of that name.

    Raises
    ------
    DataError
        ``format-unknown``: there is none.
    """
    for row in (*LAYOUTS, *AMG):
        if row.name == name:
            return row
    raise DataError("format-unknown", "there is no such format", given=name, hint=_names(LAYOUTS))


def _names(rows: Sequence[Layout]) -> str:
    return f"choose one of {', '.join(row.name for row in rows)}"
