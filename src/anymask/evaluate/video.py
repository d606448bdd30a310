"""How well objects are followed through clips whose true masks are known.

The true masks of a clip's first frame are given to a tracker as prompts; it follows them through
all frames, and its masks are compared with the true ones as the DAVIS benchmark does
(`anymask.evaluate.video_metrics`). Beside it stand the baselines of
`anymask.evaluate.video_baselines`, which know the same.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from anymask.errors import DataError
from anymask.evaluate.photos import Progress
from anymask.evaluate.video_baselines import flow, hold
from anymask.evaluate.video_metrics import LEAST_FRAMES, objects_of, score_clip
from anymask.evaluate.video_report import MODEL, ClipScore, VideoReport, WayScore
from anymask.formats.davis import DavisClip, labels_of

Pixels = UInt8[np.ndarray, "H W 3"]
Labels = UInt8[np.ndarray, "h w"]
Follow = Callable[[Labels, Sequence[Pixels]], Iterable[Labels]]
BASELINES: Mapping[str, Follow] = {"hold": hold, "flow": flow}


@runtime_checkable
class Predictor(Protocol):
    """What is judged: `anymask.VideoPredictor`, or anything that behaves like it."""

    def start(self, source: Any) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """A clip with its true masks.

    Attributes
    ----------
    name
        Of its folder or tar.
    frames
        RGB.
    labels
        One label map a frame: 0 nothing, 255 void, else an object.
    """

    name: str
    frames: Sequence[Pixels]
    labels: Sequence[Labels]


def read_clip(clip: DavisClip, limit: int | None = None) -> Clip:
    """A clip with all its frames and masks, or the first ones.

    Raises
    ------
    DataError
        ``clip-unmarked``: a frame has no mask; ``labels-many``: a value is above 255; else as
        `DavisClip.labels`.
    VideoError, ImageError
        A frame cannot be read.
    """
    count = len(clip) if limit is None else min(limit, len(clip))
    maps = clip.label_maps()
    labels = [maps[i] for i in range(count)]
    for at, each in enumerate(labels):
        if each.dtype != np.uint8:
            raise DataError(
                "labels-many",
                "objects are numbered 1 to 254",
                given=int(each.max()),
                where=f"{clip.where}, frame {at}",
            )
    with clip.open() as frames:
        return Clip(name=clip.name, frames=[frames.read(i) for i in range(count)], labels=labels)


def evaluate_video(
    predictor: Predictor,
    clips: Iterable[Clip],
    *,
    baselines: bool = True,
    progress: Progress | None = None,
) -> VideoReport:
    """Follow the objects of every clip and score them; the same input, the same figures.

    Parameters
    ----------
    predictor
        Follows objects.
    clips
        What to judge on, one after the other; their names must differ.
    baselines
        Take `BASELINES`, too.
    progress
        Called with (frames done, None).

    Raises
    ------
    DataError
        ``clip-lengths``, ``clip-short``, ``clip-sizes``; ``clip-empty``: nothing is marked on the
        first frame.
    """
    ways: dict[str, Follow] = {MODEL: lambda first, frames: followed(predictor, first, frames)}
    if baselines:
        ways |= BASELINES
    scores: list[ClipScore] = []
    done = 0

    def counted(maps: Iterable[Labels]) -> Iterator[Labels]:
        nonlocal done
        for labels in maps:
            done += 1
            if progress is not None:
                progress(done, None)
            yield labels

    for clip in clips:
        check_clip(clip)
        taken = []
        for way, follow in ways.items():
            began = time.perf_counter()
            maps = follow(clip.labels[0], clip.frames)
            found = list(counted(maps) if way == MODEL else maps)
            seconds = time.perf_counter() - began
            objects = score_clip(clip.labels, found)
            taken.append(WayScore(way=way, objects=objects, seconds=seconds))
        scores.append(ClipScore(clip=clip.name, frames=len(clip.frames), ways=tuple(taken)))
    return VideoReport(clips=tuple(scores))


def followed(predictor: Predictor, first: Labels, frames: Sequence[Pixels]) -> Iterator[Labels]:
    """Label maps of all frames by a predictor that is given the first one."""
    with predictor.start(list(frames)) as session:
        for value in objects_of(first):
            session.prompt(0, value, masks=first == value)
        for _, masks in session.propagate():
            yield labels_of(masks)


def check_clip(clip: Clip) -> None:
    """Refuse a clip that cannot be judged, before it is followed.

    Raises
    ------
    DataError
        ``clip-short``, ``clip-lengths``, ``clip-sizes``, ``clip-empty``.
    """
    if len(clip.frames) != len(clip.labels):
        raise DataError(
            "clip-lengths",
            f"there are {len(clip.frames)} frames",
            given=len(clip.labels),
            where=clip.name,
            hint="every frame needs a label map",
        )
    if len(clip.frames) < LEAST_FRAMES:
        raise DataError(
            "clip-short",
            f"the first frame and the last are not judged: {LEAST_FRAMES} frames are the least",
            given=len(clip.frames),
            where=clip.name,
        )
    for at, (frame, labels) in enumerate(zip(clip.frames, clip.labels, strict=True)):
        if frame.shape[:2] != labels.shape:
            raise DataError(
                "clip-sizes",
                f"the frame is {frame.shape[1]}x{frame.shape[0]}",
                given=f"{labels.shape[1]}x{labels.shape[0]}",
                where=f"{clip.name}, frame {at}",
            )
    if not objects_of(clip.labels[0]):
        raise DataError(
            "clip-empty",
            "nothing is marked on the first frame, so there is nothing to follow",
            where=clip.name,
        )
