"""What is pointed at on a frame of a video, checked: one object at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from anymask.errors import PromptError, warn_once
from anymask.frame import Frame
from anymask.mask_rle import decode_rle, encode_rle
from anymask.predict.video_edits import Prompted
from anymask.predict.video_work import Points, Shape
from anymask.prompts import Prompts, check_fits, network_points
from anymask.variants import InputSpec


def parse_asked(
    frame: int,
    object_id: int,
    size: tuple[int, int],
    *,
    points: Any = None,
    labels: Any = None,
    boxes: Any = None,
    masks: Any = None,
    clip: bool = False,
    earlier: Prompted | None = None,
    refines: bool = False,
) -> Prompted:
    """A record of what is pointed at.

    Parameters
    ----------
    size
        (H, W) of the frames, px.
    points, labels, boxes, clip
        As `anymask.Prompts.parse` takes them, of one object.
    masks
        One mask (H, W) or (1, H, W) of the frames' size: bits; or 0 and 255; or where it is above
        0.5, if all is within 0..1; or logits, where they are above 0. It may show nothing.
    earlier
        What points and a box are added to, or None.
    refines
        There is a mask that the prompt refines: points off the object alone make sense then.

    Raises
    ------
    PromptError
        As `anymask.Prompts.parse`; ``one-object``; ``mask-with-others``: a mask and points or a
        box in one prompt; ``mask-shape``, ``mask-size``, ``mask-values``, ``not-finite``.
    """
    if masks is not None:
        if points is not None or labels is not None or boxes is not None:
            raise PromptError(
                "mask-with-others",
                "a mask is the answer as it stands, so nothing can be beside it",
                hint="give the mask, then points on the same frame: they refine it",
            )
        rle = encode_rle(_bits(masks, size))
        mask = (size[0], size[1], str(rle["counts"]))
        return Prompted(frame=frame, object_id=object_id, mask=mask)
    asked = Prompts.parse(size=size, points=points, labels=labels, boxes=boxes, clip=clip)
    if len(asked) != 1:
        raise PromptError(
            "one-object", "a prompt is of one object", given=len(asked), hint="prompt one by one"
        )
    warn_once(tuple(n for n in asked.notes if not (refines and n.code == "only-negative")))
    xy = tuple((float(x), float(y)) for x, y in asked.points[0])
    kinds = tuple(int(label) for label in asked.labels[0])
    box = None if asked.boxes is None else _four(asked.boxes[0])
    if earlier is not None:
        xy, kinds = (*earlier.points, *xy), (*earlier.labels, *kinds)
        box = earlier.box if box is None else box
    return Prompted(frame=frame, object_id=object_id, points=xy, labels=kinds, box=box)


def for_network(asked: Prompted, frame: Frame, spec: InputSpec) -> Points | Shape:
    """A record as a network takes it."""
    if asked.mask is not None:
        height, width, counts = asked.mask
        bits = decode_rle({"size": [height, width], "counts": counts})
        return Shape(bits=fitted(torch.from_numpy(bits), frame))
    prompts = Prompts(
        points=(np.array(asked.points, np.float32).reshape(-1, 2),),
        labels=(np.array(asked.labels, np.int64),),
        boxes=None if asked.box is None else np.array([asked.box], np.float32),
    )
    check_fits(prompts, spec)
    xy, kinds = network_points(prompts, frame, spec)
    return Points(
        points=torch.from_numpy(xy)[0],
        labels=torch.from_numpy(kinds)[0],
        clear=asked.box is not None or len(asked.points) > 1,
    )


def fitted(bits: Bool[Tensor, "H W"], frame: Frame) -> Bool[Tensor, "S T"]:
    """A mask at the size of the network's input: smoothed, cut at a half, padded with nothing."""
    given = bits[None, None].float()
    if bits.shape != frame.resized:
        given = F.interpolate(
            given, size=frame.resized, mode="bilinear", align_corners=False, antialias=True
        )
    below, beside = (a - b for a, b in zip(frame.padded, frame.resized, strict=True))
    return F.pad(given[0, 0] >= 0.5, (0, beside, 0, below))


def _bits(value: Any, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """A mask of any numbers as bits."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise PromptError("mask-shape", "a mask is (H, W)", given=value) from error
    if array.dtype.kind not in "buif":
        raise PromptError("mask-values", "a mask holds numbers", given=str(array.dtype))
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2:
        raise PromptError("mask-shape", "a mask of one object is (H, W)", given=array.shape)
    if array.shape != size:
        turned = array.shape == size[::-1]
        raise PromptError(
            "mask-size",
            f"the mask is {array.shape[0]}x{array.shape[1]} (height x width), "
            f"the frames are {size[0]}x{size[1]}",
            hint="it fits if swapped: transpose it" if turned else "scale it to the frames",
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise PromptError("not-finite", "a mask holds numbers not finite", where="masks")
    soft = array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1
    return np.asarray(array > (0.5 if soft else 0))


def _four(box: Sequence[Any] | np.ndarray) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return x0, y0, x1, y1
