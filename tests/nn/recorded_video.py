"""Recorded runs of the official video predictor, as steps that can be done again one by one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anymask.frame import Frame
from anymask.model import Model
from anymask.predict.video_step import (
    Answer,
    FrameMemory,
    Recall,
    maps,
    memorise,
    prompt,
    prompt_mask,
    track,
)

PIXEL = 0.5  # where the weights think a pixel's centre is


@dataclass
class Step:
    """A recorded step and what ours gave: the network's results beside the record they become."""

    facts: dict[str, Any]
    answer: Answer | None = None
    memory: FrameMemory | None = None
    recalled: torch.Tensor | None = None  # features, before the decoder
    remembered: torch.Tensor | None = None  # memory, before it is rounded


class Replay:
    """One scenario: its calls in order, its arrays, and what each object has of each frame.

    The steps of a call are matched to objects by the order in which the official code goes: objects
    as they were added, and while following those that are not prompted on the frame.
    """

    def __init__(self, model: Model, file: Path, clip: np.ndarray) -> None:
        self.model, self.clip = model, clip
        self.table = json.loads(file.read_text())
        with np.load(file.with_suffix(".npz")) as arrays:
            self.arrays = dict(arrays)
        self.frame = Frame.fit(clip.shape[1:3], model.variant.spec)
        self.maps: dict[int, tuple[torch.Tensor, ...]] = {}
        self.prompted: dict[int, dict[int, FrameMemory]] = {}
        self.tracked: dict[int, dict[int, FrameMemory]] = {}
        self.waiting: dict[int, dict[int, Answer]] = {}
        self.before: dict[tuple[int, int], Answer] = {}
        self.points: dict[tuple[int, int], list[tuple[list[float], int]]] = {}
        self.memories: dict[tuple[int, int], FrameMemory] = {}

    def of_frame(self, frame: int) -> tuple[torch.Tensor, ...]:
        if frame not in self.maps:
            self.maps[frame] = maps(self.model, self.clip[frame], self.frame)
        return self.maps[frame]

    def steps(self) -> Iterator[Step]:
        """All steps of all calls, done by ours."""
        state: dict[str, Any] = {}
        for call in self.table["calls"]:
            steps, args = call.get("steps", []), call["args"]
            if call["call"] == "propagate_in_video":
                yield from self.passed(steps, state, bool(args.get("reverse")))
            elif steps:
                yield self.asked(steps[0], args)
            state = call.get("state_after", state)

    def asked(self, facts: dict[str, Any], args: dict[str, Any]) -> Step:
        """A prompt."""
        frame, one = args["frame_idx"], args["obj_id"]
        key = (one, frame)
        seen = self.of_frame(frame)
        if "mask" in args:
            given = args["mask"]
            bits = np.unpackbits(self.arrays[given["bits"]])[: np.prod(given["shape"])]
            answer = prompt_mask(self.model, seen, self.fitted(bits.reshape(given["shape"])))[0]
            step = Step(facts, answer)
        else:
            if args.get("clear_old_points", True):
                self.points[key] = []
            if "box" in args:
                corners = zip(np.array(args["box"]).reshape(2, 2).tolist(), (2, 3), strict=True)
                self.points[key] += list(corners)
            height, width = self.clip.shape[1:3]
            unit = 1 if args.get("normalize_coords", True) else np.array([width, height])
            clicks = (np.array(args.get("points", [])).reshape(-1, 2) * unit).tolist()
            self.points[key] += list(zip(clicks, args.get("labels", []), strict=True))
            xy, labels = zip(*self.points[key], strict=True)
            scaled = np.array(xy) * self.frame.scale + PIXEL
            step = self.watched(
                facts,
                lambda: prompt(
                    self.model,
                    seen,
                    torch.tensor(np.concatenate([scaled, [[0, 0]]]), dtype=torch.float32),
                    torch.tensor([*labels, -1]),
                    clear=len(labels) > 1,
                    before=self.before[key].logits if facts["prev_logits"] else None,
                    recall=self.recall(one, facts["att"]) if facts["att"] else None,
                ),
            )
        assert step.answer is not None
        self.before[key] = step.answer
        self.waiting.setdefault(one, {})[frame] = step.answer
        return step

    def passed(
        self, steps: list[dict[str, Any]], state: dict[str, Any], reverse: bool
    ) -> Iterator[Step]:
        """A pass over frames: memories of prompts first, then the frames."""
        todo = iter(steps)
        for one, known in state.items():
            for kind in ("temp_cond", "temp_non_cond"):
                for frame in known[kind]:
                    facts = next(todo, None)
                    if facts is None:
                        return
                    answer = self.waiting[int(one)].pop(frame)
                    step = self.remembered(Step(facts, answer), frame, prompted=True)
                    assert step.memory is not None
                    kept = self.prompted if kind == "temp_cond" else self.tracked
                    kept.setdefault(int(one), {})[frame] = step.memory
                    self.tracked.get(int(one), {}).pop(frame, None) if kind == "temp_cond" else None
                    yield step
        objects = [int(one) for one in state]
        rest = list(todo)
        at = 0
        for frame in dict.fromkeys(facts["frame"] for facts in rest):
            for one in objects:
                if frame in self.prompted.get(one, {}):
                    continue
                facts = rest[at]
                assert facts["frame"] == frame and facts["reverse"] == reverse
                at += 1
                recall = self.recall(one, facts["att"])
                seen = self.of_frame(frame)
                step = self.watched(facts, lambda r=recall, s=seen: track(self.model, s, [r])[0])
                step = self.remembered(step, frame, prompted=False)
                assert step.memory is not None and step.answer is not None
                self.tracked.setdefault(one, {})[frame] = step.memory
                self.before[(one, frame)] = step.answer
                yield step
        assert at == len(rest)

    def watched(self, facts: dict[str, Any], call: Any) -> Step:
        """What a call gives, and what the network made of memories in it."""
        network, found = self.model.network, []
        own = network.recall
        network.recall = lambda *args: found.append(own(*args)) or found[-1]
        try:
            answer = call()
        finally:
            del network.recall
        return Step(facts, answer, recalled=found[0][0] if found else None)

    def remembered(self, step: Step, frame: int, *, prompted: bool) -> Step:
        """The same step with its memory."""
        network, found = self.model.network, []
        own = network.remember
        network.remember = lambda *args: found.append(own(*args)) or found[-1]
        try:
            answers = [step.answer]
            (memory,) = memorise(
                self.model, self.of_frame(frame), answers, frame, prompted=prompted
            )
        finally:
            del network.remember
        step.memory, step.remembered = memory, found[0]
        return step

    def recall(self, one: int, attended: dict[str, Any]) -> Recall:
        """What the record says that an object attended to."""
        prompted, tracked = self.prompted.get(one, {}), self.tracked.get(one, {})
        frame, sign = attended["frame"], -1 if attended["reverse"] else 1
        reach = min(16, self.table["num_frames"]) - 1

        def kept(at: int) -> FrameMemory:
            return prompted[at] if at in prompted else tracked[at]

        seen = [(kept(s["frame"]), s["tpos_row"]) for s in attended["spatial"]]
        told = [(kept(at), (frame - at) * sign / reach) for at in attended["pointer_frames"]]
        return Recall(spatial=tuple(seen), pointers=tuple(told))

    def fitted(self, bits: np.ndarray) -> torch.Tensor:
        """A mask at the network's size, as the official code takes it."""
        given = torch.from_numpy(bits)[None, None].float()
        full = torch.nn.functional.interpolate(
            given, size=self.frame.padded, mode="bilinear", align_corners=False, antialias=True
        )
        return full[:, 0] >= 0.5
