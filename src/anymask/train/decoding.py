"""Prompts on several images through any network, as one call.

Networks decode prompts on one image, and padding points mean something to most: so prompts of an
image are decoded together that have as many clicks, with a box or without. Where padding means
nothing and the decoder takes several images, all go at once.

Letters: B images, P prompts each, N points each; points are network px of the view whose pixel 0
has its centre at 0.5, with labels 0 off, 1 on, 2 and 3 box corners, -1 nothing.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from anymask.frame import Frame
from anymask.model import Network
from anymask.prompts import BOX_FIRST, BOX_LAST, Prompts, network_points
from anymask.variants import InputSpec

Features = tuple[Tensor, ...]


class Asked(NamedTuple):
    """What is asked of a step's images."""

    points: Float[Tensor, "B P N 2"]
    labels: Int64[Tensor, "B P N"]
    previous: Float[Tensor, "B P h w"] | None  # logits that are fed back


Answers = tuple[Float[Tensor, "B P 4 h w"], Float[Tensor, "B P 4"]]  # logits, predicted IoU
Decode = Callable[[nn.Module, Features, Asked, InputSpec], Answers]
Cut = Callable[[Features, tuple[tuple[int, int], ...], int], Features]


class Group(NamedTuple):
    """Prompts of one image that can be decoded together, as the network takes them."""

    rows: list[int]
    points: Float32[np.ndarray, "G M 2"]
    labels: Int64[np.ndarray, "G M"]


def grouped(
    points: Float32[np.ndarray, "P N 2"], labels: Int64[np.ndarray, "P N"], spec: InputSpec
) -> list[Group]:
    """Prompts by number of clicks and having a box, with the row's shifts and padding.

    A view is its own photo: its px are those of the network.
    """
    clicked = (labels == 0) | (labels == 1)
    counts, boxed = clicked.sum(1), (labels == BOX_FIRST).any(1)
    side = spec.side
    frame = Frame(
        image=(side, side), resized=(side, side), padded=(side, side), mask_stride=spec.mask_stride
    )
    groups = []
    for count, box in sorted({(int(c), bool(b)) for c, b in zip(counts, boxed, strict=True)}):
        rows = np.flatnonzero((counts == count) & (boxed == box)).tolist()
        corners = [
            np.concatenate([points[r][labels[r] == BOX_FIRST], points[r][labels[r] == BOX_LAST]])
            for r in rows
        ]
        prompts = Prompts(
            points=tuple(points[r][clicked[r]] - np.float32(0.5) for r in rows),
            labels=tuple(labels[r][clicked[r]] for r in rows),
            boxes=np.stack(corners).reshape(len(rows), 4) if box else None,
        )
        groups.append(Group(rows, *network_points(prompts, frame, spec)))
    return groups


def decode_by_group(
    network: nn.Module, features: Features, asked: Asked, spec: InputSpec
) -> Answers:
    """Image by image, group by group: right for every network."""
    able = cast(Network, network)
    images, prompts = asked.points.shape[:2]
    device = features[0].device
    all_logits: list[Tensor] = []
    all_scores: list[Tensor] = []
    for b in range(images):
        own = tuple(maps[b : b + 1] for maps in features)
        rows: list[int] = []
        logits: list[Tensor] = []
        scores: list[Tensor] = []
        for group in grouped(asked.points[b].numpy(), asked.labels[b].numpy(), spec):
            masks = None
            if asked.previous is not None:
                masks = asked.previous[b, group.rows][:, None]
            found, known = able.decode(
                own,
                torch.from_numpy(group.points).to(device),
                torch.from_numpy(group.labels).to(device),
                masks,
            )
            rows += group.rows
            logits.append(found)
            scores.append(known)
        order = torch.from_numpy(np.argsort(rows)).to(device)
        all_logits.append(torch.cat(logits)[order])
        all_scores.append(torch.cat(scores)[order])
        assert len(rows) == prompts  # every prompt is in one group
    return torch.stack(all_logits), torch.stack(all_scores)


def decode_together(
    network: nn.Module, features: Features, asked: Asked, spec: InputSpec
) -> Answers:
    """All at once: for decoders of many images to whom padding points mean nothing."""
    images, prompts = asked.points.shape[:2]
    parts = [grouped(asked.points[b].numpy(), asked.labels[b].numpy(), spec) for b in range(images)]
    most = max(group.labels.shape[1] for part in parts for group in part)
    points = np.zeros((images, prompts, most, 2), np.float32)
    labels = np.full((images, prompts, most), -1, np.int64)
    for b, part in enumerate(parts):
        for group in part:
            count = group.labels.shape[1]
            points[b, group.rows, :count] = group.points
            labels[b, group.rows, :count] = group.labels
    device = features[0].device
    logits, scores = cast(Callable[..., Answers], network.decoder)(
        features,
        torch.from_numpy(points).to(device),
        torch.from_numpy(labels).to(device),
        asked.previous,
    )
    return logits, scores


def cut_nano(features: Features, corners: tuple[tuple[int, int], ...], window: int) -> Features:
    """The window of each view from nano's six maps."""
    parts = []
    for i, maps in enumerate(features):
        stride = (16, 8, 4)[i % 3]
        n = window // stride
        rows = [
            m[:, y // stride : y // stride + n, x // stride : x // stride + n]
            for m, (x, y) in zip(maps, corners, strict=True)
        ]
        parts.append(torch.stack(rows).contiguous(memory_format=torch.channels_last))
    return tuple(parts)
