"""Points and boxes as tensors to what networks take; nothing is checked.

The official predictors take labels of -1, places outside the image and prompts of nothing.
"""

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from anymask.frame import Frame
from anymask.prompts import Prompts, network_points
from anymask.variants import InputSpec


def identity(size: tuple[int, ...], spec: InputSpec) -> Frame:
    """The frame of an image that has its size (H, W) in the network already."""
    height, width = (int(side) for side in size)
    return Frame.fit((height, width), spec, max(height, width))


def pointed(
    frame: Frame,
    spec: InputSpec,
    points: Real[Tensor, "P N 2"] | None,
    labels: Real[Tensor, "P N"] | None,
    boxes: Real[Tensor, "..."] | None,
    count: int,
) -> tuple[Float[Tensor, "P M 2"], Int[Tensor, "P M"]]:
    """Points with padding and box corners in network px, and their labels, on the CPU.

    Parameters
    ----------
    frame
        The way from what the coordinates count to network px.
    spec
        What the weights expect.
    points, labels
        1 on the object, 0 off it, -1 nothing.
    boxes
        x0, y0, x1, y1, four numbers a prompt.
    count
        How many prompts there are where there are neither points nor boxes.

    Raises
    ------
    RuntimeError
        Points and boxes are not of as many prompts.
    AssertionError
        There are points without labels.
    """
    corners = None if boxes is None else boxes.detach().cpu().float().reshape(-1, 4).numpy()
    if points is not None and labels is None:
        raise AssertionError("points need labels")
    if points is None or labels is None:
        count = count if corners is None else len(corners)
        xy, kinds = torch.zeros((count, 0, 2)), torch.zeros((count, 0))
    else:
        xy, kinds = points.detach().cpu().float(), labels.detach().cpu()
    if corners is not None and len(corners) != len(xy):
        raise RuntimeError(f"there are points of {len(xy)} prompts and {len(corners)} boxes")
    prompts = Prompts(
        points=tuple(xy.numpy()), labels=tuple(kinds.to(torch.int64).numpy()), boxes=corners
    )
    places, known = network_points(prompts, frame, spec)
    return torch.from_numpy(places), torch.from_numpy(known)
