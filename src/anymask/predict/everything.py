"""Everything mode: all masks of an image, from a grid of points, as SAM's generator finds them.

For each crop of the image (the whole of it first): encode, decode a grid of points, keep masks by
predicted IoU, stability and place, drop duplicates; then drop duplicates across crops and clean up
small regions. The result is the official one; what differs is what it costs: a mask is drawn only
if its score passes, enlarged only where it is, and becomes run lengths at once.

Kirillov et al. 2023 (arXiv:2304.02643, app. B).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from anymask.errors import PromptError, warn_once
from anymask.frame import Frame
from anymask.frame_crops import (
    Crop,
    CropBox,
    crops_of,
    cut_by_crop,
    move_boxes,
    move_points,
)
from anymask.generated import GeneratedMasks
from anymask.image import Picture, Source, load_image
from anymask.mask_geometry import nms, remove_small_regions
from anymask.mask_rle import decode_rle, encode_rle
from anymask.model import Model
from anymask.predict.candidates import Candidates, Collector, find_candidates
from anymask.predict.everything_fast import find_candidates_fast
from anymask.predict.everything_settings import (
    Mend,
    Settings,
    at_least,
    cells_of,
    grids_of,
    known_mode,
    region,
)
from anymask.predict.steps import encode, encode_alike


class MaskGenerator:
    """All masks of an image.

    Names and defaults are those of the official generators; a model's row holds the thresholds
    that suit its scores.

    Parameters
    ----------
    model
        From `anymask.load`.
    points_per_side
        The grid is ``points_per_side`` squared; None where `point_grids` are given.
    point_grids
        Points (x, y) in 0..1, an array (N, 2) for the whole image and for each layer of crops.
    pred_iou_thresh, stability_score_thresh, stability_score_offset
        Masks of a lower score or stability are dropped; stability compares areas at the mask
        threshold plus and minus the offset. None takes the row's `EverythingSpec`.
    mask_threshold
        Logits above it are the mask.
    box_nms_thresh, crop_nms_thresh
        IoU of boxes above which the lower-scored one is dropped, within a crop and across crops.
    crop_n_layers
        Layer l adds 2**l x 2**l overlapping crops, each encoded at the full input size: finds
        small things, costs as many encodings.
    crop_overlap_ratio
        Of neighbouring crops, as a share of the image's shorter side.
    crop_n_points_downscale_factor
        The grid of layer l has ``points_per_side // factor**l`` points a side.
    min_mask_region_area
        Holes and islands of a smaller area, px, are removed, and duplicates that this makes.
    use_m2m
        Decode each mask once more with itself as the prompt, as SAM 2's generator can.
    multimask_output
        Three masks a point, or one.
    memory_mb
        What generating may take beside the model, the image and the result, MB; torch itself takes
        some 50 MB more, once.
    mode
        ``"exact"`` is the official result; ``"fast"`` finds nearly the same masks sooner, see
        `anymask.predict.everything_fast`.
    mend
        What is done to the logits of masks (K, h, w) before they are enlarged, or None.

    >>> generator = MaskGenerator(load("nano"))  # doctest: +SKIP
    >>> generator.generate("photo.jpg").records()[0]["area"]  # doctest: +SKIP
    78234
    """

    def __init__(
        self,
        model: Model,
        *,
        points_per_side: int | None = 32,
        point_grids: Sequence[Float[np.ndarray, "_ 2"]] | None = None,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        stability_score_offset: float | None = None,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        min_mask_region_area: int = 0,
        use_m2m: bool = False,
        multimask_output: bool = True,
        memory_mb: int = 512,
        mode: str = "exact",
        mend: Mend | None = None,
    ) -> None:
        row = model.variant.everything
        if use_m2m and not model.variant.spec.mask_prompts:
            raise PromptError(
                "mask-unsupported",
                "this model takes no masks as prompts, its own neither",
                given=model.variant.name,
                where="use_m2m",
                hint="leave use_m2m out, or take another model",
            )

        def or_row(given: float | None, own: float) -> float:
            return own if given is None else float(given)

        self.model = model
        self.settings = Settings(
            grids=grids_of(
                points_per_side, point_grids, crop_n_layers, crop_n_points_downscale_factor
            ),
            pred_iou_thresh=or_row(pred_iou_thresh, row.pred_iou_thresh),
            stability_score_thresh=or_row(stability_score_thresh, row.stability_score_thresh),
            stability_score_offset=or_row(stability_score_offset, row.stability_score_offset),
            mask_threshold=mask_threshold,
            box_nms_thresh=box_nms_thresh,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            min_mask_region_area=at_least("min_mask_region_area", min_mask_region_area, 0),
            use_m2m=use_m2m,
            multimask_output=multimask_output,
            memory_mb=at_least("memory_mb", memory_mb, 1),
            mode=known_mode(mode),
            mend=mend,
        )

    def generate(
        self,
        image: Source | Picture,
        *,
        roi: Sequence[float] | Bool[np.ndarray, "H W"] | None = None,
    ) -> GeneratedMasks:
        """All masks of one image, best score first (within a crop).

        Parameters
        ----------
        image
            Anything that `anymask.load_image` takes, or what it gave.
        roi
            Look only here: a box x0, y0, x1, y1, px, or a mask of the image's size. The box (or
            the mask's) is cut out and encoded alone, so that it is seen in more detail; only
            points on the mask are asked.

        Raises
        ------
        ImageError
            The image cannot be read.
        PromptError
            ``roi-empty``, ``roi-shape``: there is no such region in the image.
        """
        picture = image if isinstance(image, Picture) else load_image(image)
        warn_once(picture.notes)
        return replace(self._of(picture.pixels, roi), notes=picture.notes)

    def generate_many(
        self, images: Iterable[Source | Picture], *, together: int = 4
    ) -> Iterator[GeneratedMasks]:
        """All masks of each image, in order.

        Parameters
        ----------
        images
            What `generate` takes; read as they are needed.
        together
            Up to so many images of one size that follow each other are encoded in one batch,
            which a GPU likes; a CPU does not mind.
        """
        pictures = (i if isinstance(i, Picture) else load_image(i) for i in images)
        for group in _alike(pictures, at_least("together", together, 1)):
            frame = Frame.fit(_size(group[0].pixels), self.model.variant.spec)
            features = encode_alike(self.model, [p.pixels for p in group], frame)
            for i, picture in enumerate(group):
                warn_once(picture.notes)
                own = tuple(part[i : i + 1] for part in features)
                yield replace(self._of(picture.pixels, None, own), notes=picture.notes)

    def _of(
        self,
        pixels: UInt8[np.ndarray, "H W 3"],
        roi: Any,
        features: tuple[Tensor, ...] | None = None,
    ) -> GeneratedMasks:
        """`features` are those of the whole image, where they are there already."""
        size = _size(pixels)
        box, inside = region(roi, size)
        x0, y0, x1, y1 = box
        settings = self.settings
        part, inner = pixels[y0:y1, x0:x1], (y1 - y0, x1 - x0)
        crops = crops_of(inner, len(settings.grids) - 1, settings.crop_overlap_ratio)
        found = [
            self._crop(part, crop, box, size, inside, features if crop.layer == 0 else None)
            for crop in crops
        ]
        masks, boxes = _join(found, size)
        if len(crops) > 1:  # masks of small crops show more detail: they win
            areas = masks.crop_boxes[:, 2] * masks.crop_boxes[:, 3]
            kept = nms(boxes, 1 / areas, settings.crop_nms_thresh)
            masks, boxes = masks.keep(kept), boxes[kept]
        if settings.min_mask_region_area and len(masks):
            return self._clean(masks, boxes)
        return masks

    def _crop(
        self,
        part: UInt8[np.ndarray, "h w 3"],
        crop: Crop,
        origin: CropBox,
        size: tuple[int, int],
        inside: Bool[np.ndarray, "h w"] | None,
        features: tuple[Tensor, ...] | None,
    ) -> tuple[Candidates, Crop]:
        """What one crop shows, without duplicates, in px of the whole image."""
        settings = self.settings
        x0, y0, x1, y1 = crop.box
        pixels = part[y0:y1, x0:x1]
        frame = Frame.fit((y1 - y0, x1 - x0), self.model.variant.spec)
        grid = settings.grids[crop.layer]
        points = grid * np.array([x1 - x0, y1 - y0])
        asked = np.arange(len(grid))
        if inside is not None:
            at = (points + np.array([x0, y0])).astype(np.int64)
            asked = np.flatnonzero(inside[at[:, 1], at[:, 0]])
            points = points[asked]
        left, top = origin[:2]
        placed = (x0 + left, y0 + top, x1 + left, y1 + top)
        moved = replace(crop, box=placed)
        if not len(points):
            return Candidates.none(), moved
        if features is None:
            features = encode(self.model, pixels, frame)
        collector = Collector(frame, settings, (placed[0], placed[1]), size)
        cells = cells_of(grid) if settings.mode == "fast" else None
        if cells is None:  # a grid of one's own has no coarse and fine
            find_candidates(self.model, features, frame, points, settings, collector)
        else:
            find_candidates_fast(
                self.model, features, frame, points, cells[asked], settings, collector
            )
        found = collector.candidates()
        whole = found.keep(
            np.flatnonzero(
                ~cut_by_crop(found.boxes, crop.box, (0, 0, part.shape[1], part.shape[0]))
            )
        )
        kept = whole.keep(nms(whole.boxes, whole.scores, settings.box_nms_thresh))
        return (
            replace(
                kept, boxes=move_boxes(kept.boxes, placed), points=move_points(kept.points, placed)
            ),
            moved,
        )

    def _clean(self, masks: GeneratedMasks, boxes: np.ndarray) -> GeneratedMasks:
        """Fill small holes, remove small islands, drop duplicates; masks left alone win."""
        below = self.settings.min_mask_region_area
        rles, untouched, fresh = list(masks.rles), np.ones(len(masks)), boxes.copy()
        for i, rle in enumerate(masks.rles):
            mask, holes = remove_small_regions(decode_rle(rle), below, "holes")
            mask, islands = remove_small_regions(mask, below, "islands")
            if holes or islands:
                rles[i], untouched[i] = encode_rle(mask), 0
        cleaned = replace(masks, rles=tuple(rles))
        changed = np.flatnonzero(untouched == 0)
        if len(changed):
            tight = cleaned.keep(changed).boxes.astype(np.int64)
            tight[:, 2:] = np.maximum(tight[:, 2:] - 1, 0)  # inclusive, as all boxes here
            fresh[changed] = tight
        threshold = max(self.settings.box_nms_thresh, self.settings.crop_nms_thresh)
        return cleaned.keep(nms(fresh, untouched, threshold))


def _join(
    found: Sequence[tuple[Candidates, Crop]], size: tuple[int, int]
) -> tuple[GeneratedMasks, np.ndarray]:
    """Masks of all crops, and their boxes from first to last pixel."""
    crop_boxes = []
    for candidates, crop in found:
        x0, y0, x1, y1 = crop.box
        crop_boxes.append(np.tile(np.array([[x0, y0, x1 - x0, y1 - y0]]), (len(candidates), 1)))
    parts = [candidates for candidates, _ in found]
    masks = GeneratedMasks(
        size=size,
        rles=tuple(rle for part in parts for rle in part.rles),
        scores=np.concatenate([part.scores for part in parts]),
        stability=np.concatenate([part.stability for part in parts]),
        points=np.concatenate([part.points for part in parts]),
        crop_boxes=np.concatenate(crop_boxes).astype(np.int64),
    )
    return masks, np.concatenate([part.boxes for part in parts])


def _size(pixels: UInt8[np.ndarray, "H W 3"]) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]


def _alike(pictures: Iterable[Picture], most: int) -> Iterator[list[Picture]]:
    """Runs of pictures of one size."""
    group: list[Picture] = []
    for picture in pictures:
        if group and (len(group) == most or _size(group[0].pixels) != _size(picture.pixels)):
            yield group
            group = []
        group.append(picture)
    if group:
        yield group
