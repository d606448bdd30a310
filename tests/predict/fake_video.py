"""A network for videos that remembers everything it saw, so that tests see it too.

Each answer carries a number made of the frame, the prompt and all that was recalled, in order; two
runs give the same numbers only where they recalled the same.
"""

from dataclasses import dataclass
from hashlib import sha256

import torch

from anymask.predict.video_step import FrameMemory
from anymask.predict.video_work import Points, Shape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FakeAnswer:
    """An answer whose logits are all alike."""

    logits: torch.Tensor
    score: float
    present: float


def number(*facts: object) -> float:
    """The same for the same facts, a whole number that float32 holds."""
    return float(int.from_bytes(sha256(repr(facts).encode()).digest()[:3], "little"))


class FakeWork:
    """Does what a network does for a video of any length; notes which frames it looked at."""

    def __init__(self) -> None:
        self.looked: list[int] = []
        self.followed: list[tuple[int, int]] = []  # frame, objects at once

    def maps(self, frame):
        self.looked.append(frame)
        return (torch.tensor([float(frame)]),)

    def track(self, maps, recalls):
        frame = int(maps[0].item())
        self.followed.append((frame, len(recalls)))
        return [self._answer("followed", frame, seen(recall)) for recall in recalls]

    def prompt(self, maps, asked, before, recall):
        frame = int(maps[0].item())
        if isinstance(asked, Shape):
            return self._answer("shape", frame, asked.bits.tolist())
        assert isinstance(asked, Points)
        last = None if before is None else before.flatten()[0].item()
        recalled = None if recall is None else seen(recall)
        return self._answer("prompted", frame, asked.points.tolist(), last, recalled)

    def memorise(self, maps, answers, frame, *, prompted, binary):
        assert frame == int(maps[0].item())
        return [
            FrameMemory(
                frame=frame,
                spatial=answer.logits[:1, :1].clone(),
                pointer=answer.logits[0, :1].clone(),
                present=answer.present,
                logits=answer.logits,
                score=answer.score,
                prompted=prompted,
            )
            for answer in answers
        ]

    def forget(self):
        self.looked.clear()

    def _answer(self, *facts):
        found = number(*facts)
        return FakeAnswer(
            logits=torch.full((2, 2), found), score=found % 7 / 7, present=found % 5 - 1
        )


def seen(recall) -> tuple:
    """What an object recalled, as plain numbers."""
    assert all(memory.spatial.numel() for memory, _ in recall.spatial)
    return (
        [(m.frame, m.spatial.item(), row) for m, row in recall.spatial],
        [(m.frame, m.pointer.item(), gap) for m, gap in recall.pointers],
    )


def click(x: float, y: float = 0.0) -> Points:
    return Points(points=torch.tensor([[x, y]]), labels=torch.tensor([1]), clear=False)
