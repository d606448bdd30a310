"""What `SAM2VideoPredictor.init_state` returns: one video and what is known of its objects."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anymask.frame import Frame
from anymask.frames import Frames
from anymask.model import Model
from anymask.predict.video_engine import Engine
from anymask.predict.video_network import ModelWork
from anymask.predict.video_source import FileReader
from anymask.predict.video_tracks import Following

_MAPS = 2**26  # bytes of maps of frames looked at last
_NOWHERE = -1024.0  # logit where nothing is known of an object
_LOSES = -10.0  # highest logit of a pixel that belongs to another object


class VideoState(Mapping[str, Any]):
    """A session; the official keys that scripts read can be read here too.

    They are ``num_frames``, ``video_height``, ``video_width``, ``obj_ids``, ``device``.
    """

    def __init__(self, model: Model, frames: Frames, how: Following) -> None:
        self.frames, self.how = frames, how
        self.count = frames.counted() if frames.count is None else frames.count
        self.reader = FileReader(frames)
        size, spec = frames.size, model.variant.spec
        self.spec, self.device = spec, model.device
        self.work = ModelWork(model, self.reader, Frame.fit(size, spec), _MAPS)
        self.unit = Frame.fit((1, 1), spec)  # official points travel as 0..1
        self.points: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # by number and frame
        self.masked: set[tuple[int, int]] = set()
        self.reset()

    def reset(self) -> None:
        """Forget all objects."""
        self.engine = Engine(self.work, self.how, _tell_nobody, _always, count=self.count)
        self.numbers: dict[Hashable, int] = {}  # by the caller's id
        self.points.clear()
        self.masked.clear()
        self._next = 0

    @property
    def ids(self) -> list[Hashable]:
        """The caller's ids, in their order."""
        return list(self.numbers)

    def number(self, obj_id: Hashable) -> int:
        """Our number of an object, new where there was none."""
        if obj_id not in self.numbers:
            self.numbers[obj_id] = self._next
            self.engine.track(self._next)
            self._next += 1
        return self.numbers[obj_id]

    def remove(self, obj_id: Hashable) -> None:
        """Forget an object."""
        number = self.numbers.pop(obj_id)
        self.engine.remove(number)
        self.points = {key: value for key, value in self.points.items() if key[0] != number}
        self.masked = {key for key in self.masked if key[0] != number}

    def asked_on(self, number: int) -> set[int]:
        """Frames on which an object was pointed at."""
        return {frame for known, frame in (*self.points, *self.masked) if known == number}

    def logits(self, frame: int, apart: bool) -> Tensor:
        """(N, 1, H, W) of all objects at the video's size.

        ``apart`` lets a pixel belong to one object alone.
        """
        height, width = self.frames.size
        low = [self.engine.tracks[number].memory(frame) for number in self.numbers.values()]
        rows = [
            torch.full((1, 1, height, width), _NOWHERE, device=self.device)
            if one is None
            else F.interpolate(
                one.logits[None, None], (height, width), mode="bilinear", align_corners=False
            )
            for one in low
        ]
        full = torch.cat(rows) if rows else torch.empty((0, 1, height, width))
        if apart and len(full) > 1:
            wins = full.argmax(0, keepdim=True) == torch.arange(len(full), device=full.device).view(
                -1, 1, 1, 1
            )
            full = torch.where(wins, full, full.clamp(max=_LOSES))
        return full

    def drop_around(self, frame: int) -> None:
        """Drop memories of followed frames near a frame."""
        rules = self.how.rules
        far = rules.stride * rules.memories
        for track in self.engine.tracks.values():
            for at in range(frame - far, frame + far + 1):
                track.lane(False).memories.pop(at, None)

    def __getitem__(self, key: str) -> Any:
        height, width = self.frames.size
        known = {
            "num_frames": self.count,
            "video_height": height,
            "video_width": width,
            "obj_ids": self.ids,
            "device": self.device,
        }
        return known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("num_frames", "video_height", "video_width", "obj_ids", "device"))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _tell_nobody(object_id: int, frame: int, memory: object) -> None:
    """Memories are all kept, so nobody needs to be told of them."""


def _always(object_id: int, frame: int) -> bool:
    """Whether it is known what was told."""
    return True
