"""Everything mode on images far larger than a network's input: tile by tile, whole objects.

Each tile is looked at by itself. A mask that a tile's border cuts off is not kept as a piece: its
point is asked again of windows that grow until they hold the object (`anymask.predict.tiles`), so
that an object comes out once, over as many tiles as it covers. Tiles that show nothing, the black
surroundings of a scene or the sea, are not looked at.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from anymask.errors import warn_once
from anymask.frame_crops import cut_by_crop
from anymask.generated import GeneratedMasks
from anymask.image import Picture, Source, load_image
from anymask.mask_geometry import nms
from anymask.mask_rle import Rle, box_of, runs_of
from anymask.predict.everything import MaskGenerator
from anymask.predict.tiles import Seen, TiledPredictor, cut_off, starts
from anymask.prompts import Prompts

_FLAT = 4  # grey levels between the darkest and the lightest pixel of a tile that shows nothing
_AT_BORDER = 2.0  # px: nearer masks are cut off
_STRIDE = 4  # of the pixels that are looked at to tell whether a tile is flat


@dataclass(slots=True, kw_only=True)
class _Found:
    """One mask of the whole image."""

    rle: Rle
    score: float
    stability: float
    point: tuple[float, float]
    crop: tuple[int, int, int, int]


def generate_tiled(
    generator: MaskGenerator,
    image: Source | Picture,
    *,
    tile: int | None = None,
    overlap: float = 0.25,
) -> GeneratedMasks:
    """All masks of a large image, with bounded memory beside it.

    Parameters
    ----------
    generator
        Its settings hold for each tile; its grid is that of a tile.
    image
        Anything that `anymask.load_image` takes, or what it gave.
    tile, overlap
        As in `anymask.predict.tiles.TiledPredictor`.

    Returns
    -------
    masks
        Best score first; ``crop_boxes`` hold the tile of each, for objects that are larger than
        their tile the window that they were found in.

    Raises
    ------
    ImageError, PromptError
        The image cannot be read; a tile of no size.
    """
    picture = image if isinstance(image, Picture) else load_image(image)
    warn_once(picture.notes)
    pixels = picture.pixels
    size = (pixels.shape[0], pixels.shape[1])
    predictor = TiledPredictor(generator.model, tile=tile, overlap=overlap)
    step = max(1, round(predictor.tile * (1 - overlap)))
    whole: list[_Found] = []
    cut: list[_Found] = []
    for top in starts(0, size[0], predictor.tile, step):
        for left in starts(0, size[1], predictor.tile, step):
            box = (
                left,
                top,
                min(left + predictor.tile, size[1]),
                min(top + predictor.tile, size[0]),
            )
            if not _flat(pixels[box[1] : box[3], box[0] : box[2]]):
                _sort_out(generator.generate(picture, roi=box), box, size, whole, cut)
    whole += _merge(predictor, pixels, cut, generator.settings.pred_iou_thresh)
    return replace(_join(whole, size, generator.settings.box_nms_thresh), notes=picture.notes)


def _flat(part: UInt8[np.ndarray, "h w 3"]) -> bool:
    some = part[::_STRIDE, ::_STRIDE].reshape(-1, 3)
    return bool((some.max(0).astype(int) - some.min(0) <= _FLAT).all())


def _sort_out(
    found: GeneratedMasks,
    tile: tuple[int, int, int, int],
    size: tuple[int, int],
    whole: list[_Found],
    cut: list[_Found],
) -> None:
    """Masks of a tile to those that lie in it and those that go on beyond it."""
    if not len(found):
        return
    corner = np.array([tile[0], tile[1], tile[0], tile[1]])
    inclusive = found.boxes - np.array([0, 0, 1, 1]) - corner
    image = (0, 0, size[1] - 1, size[0] - 1)
    last = (tile[0], tile[1], tile[2] - 1, tile[3] - 1)
    beyond = cut_by_crop(inclusive, last, image, within=_AT_BORDER)
    for i, goes_on in enumerate(beyond):
        one = _Found(
            rle=found.rles[i],
            score=float(found.scores[i]),
            stability=float(found.stability[i]),
            point=(float(found.points[i, 0]), float(found.points[i, 1])),
            crop=tuple(int(v) for v in found.crop_boxes[i]),  # type: ignore[arg-type]
        )
        (cut if goes_on else whole).append(one)


def _merge(
    predictor: TiledPredictor, pixels: UInt8[np.ndarray, "H W 3"], cut: list[_Found], least: float
) -> list[_Found]:
    """Objects of masks that tiles cut off; a point on one that was merged already is not asked."""
    size = (pixels.shape[0], pixels.shape[1])
    merged: list[_Found] = []
    for piece in sorted(cut, key=lambda one: -one.score):
        if any(_holds(one.rle, piece.point) for one in merged):
            continue
        prompt = Prompts.parse(size=size, points=[piece.point])
        seen = predictor.find(pixels, prompt)
        if cut_off(seen, size) or seen.score <= least:
            continue
        rle = predictor.draw(pixels, prompt, seen)
        merged.append(replace(piece, rle=rle, score=seen.score, crop=_corner_and_size(seen)))
    return merged


def _corner_and_size(seen: Seen) -> tuple[int, int, int, int]:
    window = seen.window
    return window.x0, window.y0, window.x1 - window.x0, window.y1 - window.y0


def _holds(rle: Rle, point: tuple[float, float]) -> bool:
    """Whether a point lies on a mask, told from its run lengths."""
    height, width = rle["size"]
    x, y = min(int(point[0]), width - 1), min(int(point[1]), height - 1)
    ends = np.cumsum(runs_of(rle))
    return bool(np.searchsorted(ends, x * height + y, side="right") % 2)


def _join(found: list[_Found], size: tuple[int, int], threshold: float) -> GeneratedMasks:
    """Without duplicates, best first."""
    boxes = np.array([box_of(runs_of(one.rle), size[0]) for one in found], np.float64)
    scores = np.array([one.score for one in found], np.float32)
    kept = nms(boxes.reshape(-1, 4), scores, threshold)
    rows = [found[i] for i in kept]
    return GeneratedMasks(
        size=size,
        rles=tuple(one.rle for one in rows),
        scores=scores[kept],
        stability=np.array([one.stability for one in rows], np.float32),
        points=np.array([one.point for one in rows], np.float64).reshape(-1, 2),
        crop_boxes=np.array([one.crop for one in rows], np.int64).reshape(-1, 4),
    )
