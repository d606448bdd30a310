"""What the user points at: points, boxes and masks, checked; and where that is for a network.

Public coordinates are pixels of the original image: a point (x, y) at integers is the centre of a
pixel (x = 3 is pixel 3), a box (x0, y0, x1, y1) has continuous edges from 0 to W and 0 to H.
`network_points` is the one place where half pixels and scales are applied.

Letters: P prompts (objects), N points each, H W image, h w low-resolution logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from anymask.errors import Note, PromptError
from anymask.frame import Frame as Frame
from anymask.mask_prompts import MaskKind, ParsedMasks, parse_masks
from anymask.prompt_checks import NEGATIVE, POSITIVE, parse_boxes, parse_labels, parse_points
from anymask.variants import InputSpec

PADDING, BOX_FIRST, BOX_LAST = -1, 2, 3  # labels that networks take beside 0 and 1


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

    points: tuple[Float32[np.ndarray, "_ 2"], ...]
    labels: tuple[Int64[np.ndarray, " _"], ...]
    boxes: Float32[np.ndarray, "P 4"] | None = None
    masks: Float32[np.ndarray, "P h w"] | None = None
    single: bool = False
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def parse(
        cls,
        *,
        size: tuple[int, int],
        frame: Frame | None = None,
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
        frame
            The image's way into the network; needed for masks alone.
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
        notes: list[Note] = []
        found_points, one_a = parse_points(points, size, clip, notes)
        found_labels = parse_labels(labels, found_points, one_a)
        if found_points == () and (boxes is not None or masks is not None):
            found_points = found_labels = None  # an empty list beside boxes is "no points"
        found_boxes, one_b = parse_boxes(boxes, size, notes)
        if masks is not None and frame is None:
            raise PromptError("mask-frame", "masks as prompts need the frame of a network")
        parsed = None if frame is None else parse_masks(masks, frame, kind, notes)
        if found_points is None and found_boxes is None and parsed is None:
            raise PromptError(
                "no-prompt", "nothing was pointed at", hint="give points=, boxes= or masks="
            )
        count = _common_count(found_points, found_boxes, parsed)
        singles = [s for s in (one_a, one_b, parsed.single if parsed else None) if s is not None]
        nothing = np.zeros((0, 2), np.float32)
        prompts = cls(
            points=found_points if found_points is not None else (nothing,) * count,
            labels=found_labels if found_labels is not None else (np.zeros(0, np.int64),) * count,
            boxes=found_boxes,
            masks=None if parsed is None else parsed.logits,
            single=bool(singles) and all(singles),
        )
        if parsed is not None and parsed.boxes is not None and parsed.points is not None:
            prompts = prompts._with_shapes(parsed.boxes, parsed.points, notes)
        elif prompts.boxes is None and prompts.masks is None:
            prompts._look_at_labels(notes)
        return replace(prompts, notes=tuple(notes))

    def _with_shapes(
        self,
        boxes: Float32[np.ndarray, "P 4"],
        points: Float32[np.ndarray, "P 2"],
        notes: list[Note],
    ) -> "Prompts":
        """With boxes and inner points of binary masks, where nothing else was pointed at."""
        if self.boxes is not None or any(map(len, self.points)) or not len(self):
            return self
        notes.append(
            Note("mask-described", "the mask's box and innermost point were added to the prompt")
        )
        return replace(
            self,
            boxes=boxes,
            points=tuple(point[None] for point in points),
            labels=(np.full(1, POSITIVE, np.int64),) * len(self),
        )

    def _look_at_labels(self, notes: list[Note]) -> None:
        """Refuse prompts of nothing, remark on prompts of negative points alone."""
        for p, labels in enumerate(self.labels):
            if not len(labels):
                raise PromptError(
                    "no-prompt",
                    "nothing was pointed at",
                    where="points" if self.single else f"points[{p}]",
                    hint="give at least one point, or a box or mask",
                )
        if any((labels == NEGATIVE).all() for labels in self.labels):
            notes.append(Note("only-negative", "only points off the object were given"))

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


def _common_count(
    points: Sequence[object] | None,
    boxes: Float32[np.ndarray, "P 4"] | None,
    masks: ParsedMasks | None,
) -> int:
    """How many objects there are."""
    counts = {
        name: len(value)
        for name, value in (
            ("points", points),
            ("boxes", boxes),
            ("masks", None if masks is None else masks.logits),
        )
        if value is not None
    }
    if len(set(counts.values())) > 1:
        raise PromptError(
            "object-counts",
            "points, boxes and masks of one call belong to the same objects",
            given=counts,
            hint="give as many of each",
        )
    return next(iter(counts.values()))


def check_fits(prompts: Prompts, spec: InputSpec) -> None:
    """Refuse prompts that a model's weights were not made for.

    Raises
    ------
    PromptError
        ``mask-unsupported``: it takes no masks; ``too-many-points``: it takes fewer points.
    """
    if prompts.masks is not None and not spec.mask_prompts:
        raise PromptError(
            "mask-unsupported",
            "this model takes no masks as prompts",
            where="masks",
            hint="give points or boxes, or take a model that does, such as nano",
        )
    corners = 0 if prompts.boxes is None else 2
    for p, points in enumerate(prompts.points):
        if spec.most_points is not None and len(points) + corners > spec.most_points:
            raise PromptError(
                "too-many-points",
                f"this model takes {spec.most_points} points a prompt, a box counts as two",
                given=len(points) + corners,
                where="points" if prompts.single else f"points[{p}]",
                hint="give the points that matter most, or take another model",
            )


def network_points(
    prompts: Prompts, frame: Frame, spec: InputSpec
) -> tuple[Float32[np.ndarray, "P M 2"], Int64[np.ndarray, "P M"]]:
    """Points and labels as the network takes them, for prompts with as many points each.

    Clicks first, then padding (label -1) as the row wants it, then box corners (labels 2 and 3);
    in network px. This is the only place where shifts and scales are applied.

    Raises
    ------
    PromptError
        See `check_fits`.
    """
    check_fits(prompts, spec)
    scale = np.array(frame.scale)
    clicks = np.stack(prompts.points).astype(np.float64)
    net = ((clicks + spec.point_shift_px) * scale).astype(np.float32)
    xy = [net + np.float32(spec.point_shift_net)]
    labels = [np.stack(prompts.labels)]
    count, padding = len(prompts), spec.padding(net.shape[1], prompts.boxes is not None)
    if padding:
        xy.append(np.zeros((count, padding, 2), np.float32))
        labels.append(np.full((count, padding), PADDING, np.int64))
    if prompts.boxes is not None:
        corners = (prompts.boxes.reshape(count, 2, 2).astype(np.float64) * scale).astype(np.float32)
        xy.append(corners + np.float32(spec.box_shift_net))
        labels.append(np.tile(np.array([BOX_FIRST, BOX_LAST], np.int64), (count, 1)))
    return np.concatenate(xy, axis=1), np.concatenate(labels, axis=1)
