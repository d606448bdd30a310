"""One frame of a video: functions of a model and values, that follow, answer and remember.

    pixels -> maps;  maps, recalls -> answers (`track`);  maps, prompt -> answer (`prompt`)
    maps, answers -> memories (`memorise`), which later frames recall

Nothing here knows of a video: which frames an object recalls is the caller's
(`anymask.predict.video_recall`). Objects are independent; those of one call share a frame's maps.
What is done with a network's answers is what SAM 2's published code does (Ravi et al. 2024,
arXiv:2408.00714), and `test_sam2_video_parity` holds every step of its recorded runs:

- A lone point, and a frame where nobody points, choose among alternatives by predicted IoU; what is
  clear gets the output for clear prompts, or where that is unstable the best alternative, with the
  pointer of the first all the same (`test_sam2_video`: `test_a_lone_point_gets_...`).
- An object that is not there has the row's ``absent`` everywhere, and one pointer that all absent
  objects share (`test_an_object_that_is_not_there_...`).
- A mask that somebody made is its own answer; the network is asked for its pointer alone
  (`test_a_mask_is_its_own_answer`).
- Memories are made from low-resolution logits, enlarged; those of prompted frames from masks of 0
  and 1 (`test_masks_that_somebody_made_...`). They are rounded as the row says.

Letters: N objects, M points, S side of the network's input, h w low-resolution logits, K tokens of
D channels that a memory has, C channels of a pointer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from anymask.frame import Frame
from anymask.model import Model
from anymask.model_video import Maps, MemoryBank, maps_of, video_network, video_spec
from anymask.predict.steps import SCALES

Found = tuple[  # of a network: logits, scores, vectors, present
    Float[Tensor, "N 4 h w"], Float[Tensor, "N 4"], Float[Tensor, "N 4 C"], Float[Tensor, " N"]
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What was found of one object on one frame.

    Attributes
    ----------
    logits
        At low resolution; the row's ``absent`` everywhere where the object is not there.
    score
        Predicted IoU.
    present
        Above 0 where the object is there.
    pointer
        What is remembered of the object beside its place.
    """

    logits: Float[Tensor, "h w"]
    score: float
    present: float
    pointer: Float[Tensor, " C"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameMemory:
    """What one object leaves of one frame.

    Attributes
    ----------
    frame
        Its index.
    spatial
        As kept: rounded as the row says.
    pointer, present, logits, score
        Of the answer.
    prompted
        Somebody pointed at the object there.
    """

    frame: int
    spatial: Float[Tensor, "K D"]
    pointer: Float[Tensor, " C"]
    present: float
    logits: Float[Tensor, "h w"]
    score: float
    prompted: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recall:
    """What one object may attend to on one frame.

    Attributes
    ----------
    spatial
        Memories, each with its row of the temporal table.
    pointers
        Memories whose pointers count, each with its distance in time over the longest one.
    """

    spatial: tuple[tuple[FrameMemory, int], ...]
    pointers: tuple[tuple[FrameMemory, float], ...] = ()

    @property
    def frames(self) -> tuple[tuple[int, int], ...]:
        """Frame and row of each memory."""
        return tuple((memory.frame, row) for memory, row in self.spatial)


@torch.inference_mode()
def maps(model: Model, pixels: UInt8[np.ndarray, "H W 3"], frame: Frame) -> Maps:
    """Resize a frame as the row does it for videos, then encode it."""
    scaled = SCALES[video_spec(model.variant).resize](pixels, frame.resized)
    return maps_of(model, scaled[None])


@torch.inference_mode()
def track(model: Model, maps: Maps, recalls: Sequence[Recall]) -> list[Answer]:
    """Follow objects onto a frame, each by what it recalls; nobody points at anything.

    One that recalls no memory is looked for as on a first frame.
    """
    network, answers = video_network(model), dict[int, Answer]()
    for some in _together(recalls, maps[0].is_cpu):
        features = _features(model, maps, [recalls[i] for i in some])
        asked = _nowhere(len(some), model.device)
        found = network.answer(features, *asked, None)
        answers |= zip(some, _chosen(model, found, multimask=True), strict=True)
    return [answers[i] for i in range(len(recalls))]


@torch.inference_mode()
def prompt(
    model: Model,
    maps: Maps,
    points: Float[Tensor, "M 2"],
    labels: Int[Tensor, " M"],
    *,
    clear: bool,
    before: Float[Tensor, "h w"] | None = None,
    recall: Recall | None = None,
) -> Answer:
    """Answer points and a box on one object.

    Parameters
    ----------
    points, labels
        With corners and padding, as `anymask.prompts.network_points` gives them, network px.
    clear
        The prompt means one thing: anything but a lone point.
    before
        Logits of an answer that this one refines.
    recall
        What the object recalls where it was followed onto this frame.
    """
    network, where, limit = video_network(model), model.device, video_spec(model.variant).limit
    features = _features(model, maps, [Recall(spatial=()) if recall is None else recall])
    masks = None if before is None else before[None, None].to(where).clamp(-limit, limit)
    found = network.answer(features, points[None].to(where), labels[None].to(where), masks)
    return _chosen(model, found, multimask=not clear)[0]


@torch.inference_mode()
def prompt_mask(model: Model, maps: Maps, masks: Bool[Tensor, "N S T"]) -> list[Answer]:
    """Take masks that somebody made, at the size of the network's input, as the answers.

    An object of which no pixel is set is not there.
    """
    network, spec = video_network(model), video_spec(model.variant)
    given = masks[:, None].to(model.device, torch.float32)
    n, size = len(given), [side // model.variant.spec.mask_stride for side in given.shape[2:]]
    asked = _nowhere(n, model.device)
    _, _, vectors, present = network.answer(maps, *asked, network.coded(given))
    own = network.pointers(vectors[:, model.variant.outputs.clear], present)
    there = given.flatten(1).any(1)
    sure = torch.where(there, spec.sure, -spec.sure)
    pointers = torch.where(there[:, None], own, network.pointers(torch.zeros_like(own), sure))
    high = (2 * given - 1) * spec.sure
    logits = F.interpolate(high, size=size, mode="bilinear", align_corners=False, antialias=True)
    scores = torch.ones_like(sure)
    return _answers(logits[:, 0], scores, sure, pointers)


@torch.inference_mode()
def memorise(
    model: Model,
    maps: Maps,
    answers: Sequence[Answer],
    frame: int,
    *,
    prompted: bool,
    binary: bool | None = None,
) -> list[FrameMemory]:
    """What answers leave of a frame.

    Parameters
    ----------
    prompted
        They answer prompts.
    binary
        Take their masks as in or out; None does so where they answer prompts.
    """
    network, stride = video_network(model), model.variant.spec.mask_stride
    kind = getattr(torch, video_spec(model.variant).keep)
    kept: list[Tensor] = []
    for some in _split(answers, maps[0].is_cpu):
        low = torch.stack([one.logits for one in some])[:, None]
        size = [side * stride for side in low.shape[2:]]
        high = F.interpolate(low, size=size, mode="bilinear", align_corners=False)
        present = low.new_tensor([one.present for one in some])
        hard = prompted if binary is None else binary
        kept += _alone(network.remember(maps, high, present, hard).to(kind))
    return [
        FrameMemory(
            frame=frame,
            spatial=spatial,
            pointer=one.pointer,
            present=one.present,
            logits=one.logits,
            score=one.score,
            prompted=prompted,
        )
        for spatial, one in zip(kept, answers, strict=True)
    ]


def bank_of(recalls: Sequence[Recall], device: torch.device) -> MemoryBank:
    """Recalls of N objects as tensors; where histories differ in length, the shorter are padded."""
    frames = max(len(one.spatial) for one in recalls)
    told = max(len(one.pointers) for one in recalls)
    first = recalls[0].spatial[0][0]

    def padded(rows: list[Tensor], most: int, like: Tensor) -> Tensor:
        missing = most - len(rows)
        return torch.stack([*rows, *[torch.zeros_like(like)] * missing]) if most else like[None][:0]

    def valid(counts: list[int], most: int) -> Tensor | None:
        if min(counts) == most:
            return None
        there = torch.arange(most, device=device) < torch.tensor(counts, device=device)[:, None]
        return there

    spatial = [padded([m.spatial for m, _ in r.spatial], frames, first.spatial) for r in recalls]
    pointers = [padded([m.pointer for m, _ in r.pointers], told, first.pointer) for r in recalls]
    rows = [[row for _, row in r.spatial] + [0] * (frames - len(r.spatial)) for r in recalls]
    gaps = [[gap for _, gap in r.pointers] + [0.0] * (told - len(r.pointers)) for r in recalls]
    return MemoryBank(
        spatial=torch.stack(spatial).to(device, torch.float32),
        rows=torch.tensor(rows, device=device).view(len(recalls), frames),
        spatial_valid=valid([len(r.spatial) for r in recalls], frames),
        pointers=torch.stack(pointers).to(device, torch.float32),
        gaps=torch.tensor(gaps, device=device, dtype=torch.float32).view(len(recalls), told),
        pointer_valid=valid([len(r.pointers) for r in recalls], told),
        same_frames=len({one.frames for one in recalls}) == 1,
    )


def _features(model: Model, maps: Maps, recalls: Sequence[Recall]) -> Maps:
    """Features of objects that recall something, or of those that recall nothing."""
    network = video_network(model)
    if not any(one.spatial for one in recalls):
        return network.forget(maps)
    return network.recall(maps, bank_of(recalls, model.device))


def _nowhere(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What stands for no points: one of padding, and the one that follows all points."""
    return torch.zeros(count, 2, 2, device=device), torch.full((count, 2), -1, device=device)


def _together(recalls: Sequence[Recall], cpu: bool) -> list[list[int]]:
    """Objects that are worked on together: those that recall something, and the others.

    On a CPU, which gains little by doing many at once, only objects that recall the same frames go
    together: then nothing is padded, and some networks compare frames but once for all of them.
    """
    groups: dict[object, list[int]] = {}
    for i, one in enumerate(recalls):
        alike = (one.frames, len(one.pointers)) if cpu else bool(one.spatial)
        groups.setdefault(alike, []).append(i)
    return list(groups.values())


def _split(answers: Sequence[Answer], cpu: bool) -> list[list[Answer]]:
    """The same of answers."""
    if cpu:
        return [[one] for one in answers]
    return [list(answers)] if answers else []


def _chosen(model: Model, found: Found, *, multimask: bool) -> list[Answer]:
    """The output that answers each prompt: the best alternative, or the one for clear prompts.

    An unstable answer to a clear prompt gives way to the best alternative, but the pointer is made
    of its own vector all the same, as the official code does.
    """
    outputs, network = model.variant.outputs, video_network(model)
    logits, scores, vectors, present = (part.float() for part in found)
    some = outputs.of(True)
    if multimask:
        chosen = scores[:, some].argmax(1) + outputs.alternatives.start
        spoken = chosen
    else:
        chosen = torch.full_like(scores[:, 0], outputs.clear, dtype=torch.int64)
        spoken = chosen
        if outputs.stable:
            chosen = outputs.steady(logits[:, outputs.clear], scores)
    rows = torch.arange(len(scores), device=scores.device)
    there = (present > 0)[:, None, None]
    shown = torch.where(there, logits[rows, chosen], video_spec(model.variant).absent)
    pointers = network.pointers(vectors[rows, spoken], present)
    return _answers(shown, scores[rows, chosen], present, pointers)


def _answers(
    logits: Float[Tensor, "N h w"],
    scores: Float[Tensor, " N"],
    present: Float[Tensor, " N"],
    pointers: Float[Tensor, "N C"],
) -> list[Answer]:
    """One each."""
    facts = torch.stack([scores, present], 1).tolist()  # the host waits once
    return [
        Answer(logits=shown, score=score, present=there, pointer=pointer)
        for shown, pointer, (score, there) in zip(
            _alone(logits), _alone(pointers), facts, strict=True
        )
    ]


def _alone(rows: Float[Tensor, "N C *_"]) -> list[Tensor]:
    """Rows with memory of their own: one that is let go of frees it, whatever the others do."""
    return [row.clone() for row in rows] if len(rows) > 1 else list(rows)
