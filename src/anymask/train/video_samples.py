"""Clips with masks to training samples: a few frames of one, cropped and recoloured alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from anymask.errors import DataError
from anymask.evaluate.video import Clip
from anymask.formats.davis import VOID, DavisClip, davis_clips
from anymask.train.augment import change_colours

SMALLEST = 60  # px of an object on the first frame of a sample
_STRIDES = (1, 1, 2, 3, 4)  # frames from one to the next of a sample
_TRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Some frames and the masks of some objects on them.

    Attributes
    ----------
    frames
        RGB; sides are multiples of 32, padded with mid grey.
    masks
        Where each object can be seen; all false where it is not.
    """

    frames: UInt8[np.ndarray, "T H W 3"]
    masks: Bool[np.ndarray, "T N H W"]


def find_clips(
    folder: Path, held_out: Sequence[str], *, held: bool = False
) -> tuple[DavisClip, ...]:
    """All clips of a place but those that are held out, or only those.

    Raises
    ------
    DataError
        ``clip-missing``: a name that is held out is not there, so that a misspelt one is not
        trained on; ``no-clips``; and those of `anymask.formats.davis.davis_clips`.
    """
    clips = davis_clips(folder)
    names = {clip.name for clip in clips}
    for name in held_out:
        if name not in names:
            raise DataError("clip-missing", "no such clip", given=name, where=str(folder))
    chosen = tuple(clip for clip in clips if (clip.name in held_out) == held)
    if not chosen:
        raise DataError("no-clips", "no clip is left", where=str(folder))
    return chosen


class ClipDrawer:
    """Draws clips: long ones and those of several objects more often.

    Raises
    ------
    DataError
        ``no-object``: nothing is marked on the first frame of any clip.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = tuple(clips)
        weights = np.array([(len(c.frames) * min(3, len(_numbers(c)))) ** 0.5 for c in clips])
        if not weights.any():
            raise DataError("no-object", "no clip has an object on its first frame")
        self._upto = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> Clip:
        """One clip."""
        at = int(np.searchsorted(self._upto, rng.random()))
        return self.clips[min(at, len(self.clips) - 1)]


def draw_sample(
    drawer: ClipDrawer, size: tuple[int, int], count: int, most: int, rng: np.random.Generator
) -> Sample:
    """Frames of a clip, forward or back: one crop that may drift, one flip, one change of colours.

    Parameters
    ----------
    size
        (H, W) of the sample, multiples of 32.
    count
        Frames; the last one is repeated where a clip is too short.
    most
        Objects.

    Raises
    ------
    DataError
        ``no-object``: no object of these clips is large enough to be seen.
    """
    for _ in range(_TRIES):
        clip = drawer.draw(rng)
        full = clip.labels[0].shape
        order = _frames(len(clip.frames), count, rng)
        flip, seed = rng.random() < 0.5, int(rng.integers(2**31))
        frames, labels = [], []
        crops = _crops(full, size, count, rng)
        for at, (x, y, w, h) in zip(order, crops, strict=True):
            part = np.s_[y : y + h, x : x + w]
            how = cv2.INTER_AREA if w > size[1] else cv2.INTER_LINEAR
            frame = cv2.resize(clip.frames[at][part], size[::-1], interpolation=how)
            label = cv2.resize(clip.labels[at][part], size[::-1], interpolation=cv2.INTER_NEAREST)
            frame = change_colours(frame, np.random.default_rng(seed))
            frames.append(frame[:, ::-1] if flip else frame)
            labels.append(label[:, ::-1] if flip else label)
        numbers, areas = np.unique(labels[0], return_counts=True)
        large = (areas >= SMALLEST) & (areas < 0.8 * labels[0].size)
        good = numbers[large & (numbers != 0) & (numbers != VOID)]
        if len(good):
            objects = rng.permutation(good)[:most]
            masks = np.stack([[label == o for o in objects] for label in labels])
            return Sample(frames=np.stack(frames), masks=masks)
    raise DataError("no-object", "no object of the clips is large enough", given=_TRIES)


def _numbers(clip: Clip) -> set[int]:
    """Objects of the first frame."""
    return set(np.unique(clip.labels[0]).tolist()) - {0, VOID}


def _frames(length: int, count: int, rng: np.random.Generator) -> list[int]:
    stride = int(rng.choice(_STRIDES))
    stride = max(1, min(stride, (length - 1) // max(1, count - 1)))
    span = stride * (count - 1)
    start = int(rng.integers(max(1, length - span)))
    order = [min(length - 1, start + i * stride) for i in range(count)]
    return order[::-1] if rng.random() < 0.5 else order


def _crops(
    full: tuple[int, ...], size: tuple[int, int], count: int, rng: np.random.Generator
) -> list[tuple[int, int, int, int]]:
    """(x, y, width, height) a frame; its shape is roughly the sample's."""
    height, width = full
    share = rng.uniform(0.55, 1.0)
    ratio = size[1] / size[0] * np.exp(rng.normal() * 0.08)
    h = min(height, width / ratio) * share
    w = min(width, h * ratio)
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    drift = rng.normal(size=2) * (0.0 if rng.random() < 0.5 else 0.04) * w
    found = []
    for i in range(count):
        left = int(np.clip(x + i * drift[0], 0, width - w))
        top = int(np.clip(y + i * drift[1], 0, height - h))
        found.append((left, top, max(8, int(w)), max(8, int(h))))
    return found
