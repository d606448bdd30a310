"""What the user points at: points, boxes and masks, checked; and where that is for a network.

Public coordinates are pixels of the original image: a point (x, y) at integers is the centre of a
pixel (x = 3 is pixel 3), a box (x0, y0, x1, y1) has continuous edges from 0 to W and 0 to H.
`network_points` is the one place where half pixels and scales are applied.

Letters: P prompts (objects), N points each, H W image, h w low-resolution logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from anymask.errors import Note, PromptError
from anymask.mask_prompts import MaskKind, parse_masks
from anymask.prompt_checks import (
    NEGATIVE,
    parse_boxes,
    parse_labels,
    parse_points,
)
from anymask.variants import InputSpec

PADDING, BOX_FIRST, BOX_LAST = -1, 2, 3  # labels that networks take beside 0 and 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The way of an image into a network: its size, its size when scaled, and when padded.

    Attributes
    ----------
    image, resized, padded
        (height, width), px.
    mask_stride
        Network px per cell of the low-resolution logits.
    """

    image: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]
    mask_stride: int

    @classmethod
    def fit(cls, size: tuple[int, int], spec: InputSpec, side: int | None = None) -> "Frame":
        """Longest side to ``side`` (the spec's own by default), rounded half up as SAM does."""
        longest = spec.side if side is None else side
        scale = longest / max(size)
        height, width = (max(1, int(length * scale + 0.5)) for length in size)
        multiple = spec.multiple
        return cls(
            image=size,
            resized=(height, width),
            padded=(-(-height // multiple) * multiple, -(-width // multiple) * multiple),
            mask_stride=spec.mask_stride,
        )

    @property
    def logits(self) -> tuple[int, int]:
        """Size (h, w) of the low-resolution logits."""
        return self.padded[0] // self.mask_stride, self.padded[1] // self.mask_stride


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prompts:
    """P checked prompts on one image.

    Attributes
    ----------
    points
        One array of xy a prompt, in image px; prompts may have different numbers.
    labels
        1 for points on the object, 0 for points off it.
    boxes
        xyxy in image px, or None.
    masks
        Logits at the network's low resolution, or None.
    single
        One prompt was given without a leading axis, and results come back without it.
    notes
        What was clipped or converted.
    """

    size: tuple[int, int]
    points: tuple[Float32[np.ndarray, "_ 2"], ...]
    labels: tuple[Int64[np.ndarray, " _"], ...]
    boxes: Float32[np.ndarray, "P 4"] | None = None
    masks: Float32[np.ndarray, "P h w"] | None = None
    single: bool = False
    notes: tuple[Note, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def parse(
        cls,
        *,
        size: tuple[int, int],
        frame: Frame,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        clip: bool = False,
        kind: MaskKind | None = None,
    ) -> "Prompts":
        """Check what was given and bring it into one form.

        Parameters
        ----------
        size
            (H, W) of the image, px.
        points
            (N, 2) or (2,) for one prompt; (P, N, 2) or a ragged list of (N, 2) for several.
        labels
            The same without the last axis; all 1 where left out.
        boxes
            (4,) for one prompt, (P, 4) for several.
        masks
            (h, w) or (1, h, w) for one prompt, (P, h, w) or (P, 1, h, w) for several; of the
            image's size or the network's low resolution.
        clip
            Move points outside onto the border instead of refusing them.
        kind
            What the numbers of a mask are; None tells by their values.

        Raises
        ------
        PromptError
            With a stable code for each way in which a prompt can be wrong.
        """
        if points is None and boxes is None and masks is None:
            hint = "give points=, boxes= or masks="
            if labels is not None:
                raise PromptError("labels-alone", "there are labels but no points", hint=hint)
            raise PromptError("no-prompt", "nothing was pointed at", hint=hint)
        notes: list[Note] = []
        found_points, one_a = parse_points(points, size, clip, notes)
        found_labels = parse_labels(labels, found_points, one_a)
        found_boxes, one_b = parse_boxes(boxes, size, notes)
        parsed = parse_masks(masks, size, frame.logits, frame.resized, frame.padded, kind)
        counts = {
            name: count
            for name, count in (
                ("points", None if found_points is None else len(found_points)),
                ("boxes", None if found_boxes is None else len(found_boxes)),
                ("masks", None if parsed is None else len(parsed.logits)),
            )
            if count is not None
        }
        if len(set(counts.values())) > 1:
            raise PromptError(
                "object-counts",
                "points, boxes and masks of one call belong to the same objects",
                given=counts,
                hint="give as many of each",
            )
        count = next(iter(counts.values()))
        singles = [s for s in (one_a, one_b, parsed.single if parsed else None) if s is not None]
        nothing = np.zeros((0, 2), np.float32)
        prompts = cls(
            size=size,
            points=found_points if found_points is not None else (nothing,) * count,
            labels=found_labels if found_labels is not None else (np.zeros(0, np.int64),) * count,
            boxes=found_boxes,
            masks=None if parsed is None else parsed.logits,
            single=all(singles),
            notes=tuple(notes),
        )
        if parsed is not None and parsed.binary:
            prompts = prompts._with_shapes(parsed.boxes, parsed.points)
            notes.append(
                Note("mask-binary", "a 0/1 mask was taken as logits with its box and inner point")
            )
        if any(len(at) and (at == NEGATIVE).all() for at in prompts.labels) and (
            prompts.boxes is None and prompts.masks is None
        ):
            notes.append(Note("only-negative", "only points off the object were given"))
        return replace(prompts, notes=tuple(notes))

    def _with_shapes(
        self, boxes: Float32[np.ndarray, "P 4"], points: Float32[np.ndarray, "P 2"]
    ) -> "Prompts":
        """Boxes and inner points of binary masks, where no own ones were given."""
        bare = all(len(p) == 0 for p in self.points)
        return replace(
            self,
            boxes=boxes if self.boxes is None else self.boxes,
            points=tuple(p[None] for p in points) if bare else self.points,
            labels=(np.ones(1, np.int64),) * len(self) if bare else self.labels,
        )

    def take(self, index: Sequence[int]) -> "Prompts":
        """Some of the prompts, in the order given."""
        rows = list(index)
        return replace(
            self,
            points=tuple(self.points[i] for i in rows),
            labels=tuple(self.labels[i] for i in rows),
            boxes=None if self.boxes is None else self.boxes[rows],
            masks=None if self.masks is None else self.masks[rows],
        )

    def groups(self) -> list[list[int]]:
        """Indices of prompts that can be decoded together: as many points each.

        Padding to a common number is not neutral for SAM, whose padding token is attended to.
        """
        by_count: dict[int, list[int]] = {}
        for i, points in enumerate(self.points):
            by_count.setdefault(len(points), []).append(i)
        return list(by_count.values())


def network_points(
    prompts: Prompts, frame: Frame, spec: InputSpec
) -> tuple[Float32[np.ndarray, "P M 2"], Int64[np.ndarray, "P M"]]:
    """Points and labels as the network takes them, for prompts with as many points each.

    Clicks first, then padding (label -1) as the row wants it, then box corners (labels 2 and 3);
    in network px. This is the only place where shifts and scales are applied.
    """
    count = len(prompts)
    scale = np.array(
        [frame.resized[1] / frame.image[1], frame.resized[0] / frame.image[0]], np.float64
    )
    points = np.stack(prompts.points).astype(np.float64)
    labels = np.stack(prompts.labels)
    net = (points + spec.point_shift_px) * scale
    parts = [(net.astype(np.float32) + np.float32(spec.point_shift_net)), labels]
    xy, kinds = [parts[0]], [parts[1]]
    padding = spec.padding(points.shape[1], prompts.boxes is not None)
    if padding:
        xy.append(np.zeros((count, padding, 2), np.float32))
        kinds.append(np.full((count, padding), PADDING, np.int64))
    if prompts.boxes is not None:
        corners = prompts.boxes.reshape(count, 2, 2).astype(np.float64) * scale
        xy.append(corners.astype(np.float32) + np.float32(spec.box_shift_net))
        kinds.append(np.tile(np.array([BOX_FIRST, BOX_LAST], np.int64), (count, 1)))
    return np.concatenate(xy, axis=1), np.concatenate(kinds, axis=1)
