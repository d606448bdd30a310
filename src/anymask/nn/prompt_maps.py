"""Prompts as maps: clicks, boxes and a previous mask become channels beside the image's.

    where:  rational bumps around clicks, signed distance to the box, previous probability
    like:   cosine of each cell's key with the keys under clicks and inside the first guess

Distance maps for clicks are common in interactive segmentation (Sofiiuk et al. 2022,
arXiv:2102.06583); similarity to a masked mean of features is the prototype of few-shot
segmentation (Zhang et al. 2020, SG-One, arXiv:1810.09091). Bumps are 1 / (1 + d²), not
exp(-d²): a third of the time on a CPU.

Letters: B images, P prompts each, N points each, h w cells of the level.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

WHERE = 10  # channels of `where_maps`
FINE = 5  # channels of `fine_maps`
LIKE = 4  # channels of `like_maps`

_FAR = 1e6  # squared px: "there is no click of this kind"


def click_distances(
    points: Float[Tensor, "Q N 2"], chosen: Float[Tensor, "Q N"], h: int, w: int, stride: int
) -> Float[Tensor, "Q h w"]:
    """Squared distance (px²) of each cell's centre to the nearest chosen point, 1e6 if none."""
    ys = (torch.arange(h, device=points.device, dtype=points.dtype) + 0.5) * stride
    xs = (torch.arange(w, device=points.device, dtype=points.dtype) + 0.5) * stride
    away = (1 - chosen) * _FAR
    dx = (xs - points[..., :1]).square() + away[..., None]  # (Q, N, w)
    dy = (ys - points[..., 1:]).square()  # (Q, N, h)
    return (dy[..., :, None] + dx[..., None, :]).amin(dim=1).clamp_max(_FAR)


def box_inside(box: Float[Tensor, "Q 4"], h: int, w: int, stride: int) -> Float[Tensor, "Q h w"]:
    """Signed distance (px) of each cell's centre to the nearest box side, positive inside."""
    ys = (torch.arange(h, device=box.device, dtype=box.dtype) + 0.5) * stride
    xs = (torch.arange(w, device=box.device, dtype=box.dtype) + 0.5) * stride
    x = torch.minimum(xs - box[:, :1], box[:, 2:3] - xs)
    y = torch.minimum(ys - box[:, 1:2], box[:, 3:] - ys)
    return torch.minimum(x[:, None, :], y[:, :, None])


def where_maps(
    points: Float[Tensor, "Q N 2"],
    labels: Int[Tensor, "Q N"],
    box: Float[Tensor, "Q 4"],
    has_box: Float[Tensor, " Q"],
    prev: Float[Tensor, "Q h w"],
    has_prev: Float[Tensor, " Q"],
    stride: int,
) -> tuple[Float[Tensor, "Q 10 h w"], Float[Tensor, "Q h w"], Float[Tensor, "Q h w"]]:
    """The ten maps of a level, and first guesses of what is object and what is not (0..1).

    ``prev`` is the previous probability at this level (0.5 where there is none).
    """
    h, w = prev.shape[-2:]
    positive = (labels == 1).to(points.dtype)
    negative = (labels == 0).to(points.dtype)
    dp = click_distances(points, positive, h, w, stride)
    dn = click_distances(points, negative, h, w, stride)
    sd = box_inside(box, h, w, stride)
    size = ((box[:, 2] - box[:, 0]).clamp_min(4) * (box[:, 3] - box[:, 1]).clamp_min(4)).sqrt()[
        :, None, None
    ]
    boxed, known = has_box[:, None, None], has_prev[:, None, None]
    edge = sd.sigmoid() * boxed
    deep = (2 * sd / size).clamp(-1, 1) * boxed
    maps = torch.stack(
        [
            1 / (1 + dp / 36),
            1 / (1 + dp / 900),
            1 / (1 + dn / 36),
            (torch.log1p(dp.sqrt() / 8) / 3).clamp_max(1.5),
            (torch.log1p(dn.sqrt() / 8) / 3).clamp_max(1.5),
            edge,
            deep,
            boxed.expand(-1, h, w),
            (2 * prev - 1) * known,
            known.expand(-1, h, w),
        ],
        dim=1,
    )
    in_box = (2 * deep).clamp(0, 1)
    near = (1 + dp / 64).square().reciprocal()
    off_box = 1 - edge
    near_negative = (1 + dn / 64).square().reciprocal()
    guess = known * prev + (1 - known) * (boxed * in_box + (1 - boxed) * near)
    other = known * (1 - prev) + (1 - known) * (boxed * off_box + (1 - boxed) * near_negative)
    return maps, guess, other


def fine_maps(
    points: Float[Tensor, "Q N 2"],
    labels: Int[Tensor, "Q N"],
    box: Float[Tensor, "Q 4"],
    has_box: Float[Tensor, " Q"],
    prev: Float[Tensor, "Q h w"],
    has_prev: Float[Tensor, " Q"],
    stride: int,
) -> Float[Tensor, "Q 5 h w"]:
    """What the finest level needs of the prompt: close clicks, box edge, previous mask."""
    h, w = prev.shape[-2:]
    dp = click_distances(points, (labels == 1).to(points.dtype), h, w, stride)
    dn = click_distances(points, (labels == 0).to(points.dtype), h, w, stride)
    known = has_prev[:, None, None]
    return torch.stack(
        [
            1 / (1 + dp / 36),
            1 / (1 + dn / 36),
            box_inside(box, h, w, stride).sigmoid() * has_box[:, None, None],
            (2 * prev - 1) * known,
            known.expand(-1, h, w),
        ],
        dim=1,
    )


def sample_keys(
    keys: Float[Tensor, "B C h w"], points: Float[Tensor, "B P N 2"], stride: int
) -> Float[Tensor, "B P N C"]:
    """Keys under points (px), bilinear."""
    h, w = keys.shape[-2:]
    size = torch.tensor([w * stride, h * stride], dtype=points.dtype, device=points.device)
    grid = (2 * points / size - 1).clamp(-1, 1)
    return F.grid_sample(keys, grid, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)


def like_maps(
    keys: Float[Tensor, "B C h w"],
    points: Float[Tensor, "B P N 2"],
    labels: Int[Tensor, "B P N"],
    guess: Float[Tensor, "B P h w"],
    other: Float[Tensor, "B P h w"],
    stride: int,
) -> Float[Tensor, "B P 4 h w"]:
    """Cosine with keys at positive clicks, at negative ones, and with two prototypes.

    The first two are the largest over clicks and -1 without any; prototypes are means weighted
    by the first guesses.
    """
    b, c, h, w = keys.shape
    p, n = points.shape[1:3]
    flat = keys.flatten(2)  # (B, C, hw)
    at = sample_keys(keys, points, stride).reshape(b, p * n, c)
    cosine = (at @ flat).view(b, p, n, h * w)
    kinds = []
    for label in (1, 0):
        absent = (labels != label).to(cosine.dtype)[..., None] * 4  # below any cosine
        kinds.append((cosine - absent).amax(dim=2).clamp_min(-1))
    weights = torch.stack([guess, other], dim=2).flatten(3)  # (B, P, 2, hw)
    means = (weights.flatten(1, 2) @ flat.transpose(1, 2)) / (
        weights.sum(-1).flatten(1, 2)[..., None] + 1e-3
    )
    prototypes = (means @ flat).view(b, p, 2, h * w)
    return torch.cat([torch.stack(kinds, dim=2), prototypes], dim=2).view(b, p, LIKE, h, w)
