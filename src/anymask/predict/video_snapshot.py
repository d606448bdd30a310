"""A session as bytes: its edits, and the memories that its objects can still attend to.

Going on from there gives what going on without a stop gives, to the bit: what is left out is what
attention reaches no more (and would be found by following again, if somebody went back).

The bytes are a safetensors file: tensors ``object/lane/frame/part``, and JSON in its metadata.
Lanes are ``p`` prompted frames, ``w`` answers that wait to be taken up, ``f`` and ``b`` frames
followed forward and back.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from anymask.errors import DataError
from anymask.predict.video_core import Core
from anymask.predict.video_edits import parse_edit
from anymask.predict.video_engine import Engine
from anymask.predict.video_session import VideoSession
from anymask.predict.video_spans import Spans
from anymask.predict.video_step import FrameMemory
from anymask.predict.video_tracks import Lane, Track, Waiting

FORMAT = 1  # of the bytes; another number is not read
_PARTS = ("spatial", "pointer", "logits")
_LANES = {"f": False, "b": True}  # name of a lane: whether it goes back


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Kept:
    """One memory and where it belongs."""

    object_id: int
    lane: str
    memory: FrameMemory
    prompted: bool = True  # of an answer that waits

    @property
    def key(self) -> str:
        return f"{self.object_id}/{self.lane}/{self.memory.frame}"


def save_session(session: VideoSession, facts: Mapping[str, Any]) -> bytes:
    """What a session must know to go on.

    Parameters
    ----------
    session
        It may be in the middle of a pass.
    facts
        JSON of the caller, which `load_session` gives back.
    """
    core = session.core
    tensors: dict[str, Tensor] = {}
    rows = []
    for kept in _kept(core):
        memory = kept.memory
        for part in _PARTS:
            tensors[f"{kept.key}/{part}"] = getattr(memory, part).detach().cpu().contiguous()
        rows.append(
            {
                "key": kept.key,
                "present": memory.present,
                "score": memory.score,
                "prompted": memory.prompted,
                "becomes": kept.prompted,
            }
        )
    table = {
        "format": FORMAT,
        "variant": session.model.variant.name,
        "fingerprint": session.model.fingerprint,
        "size": list(core.frame.image),
        "edits": [{"edit": type(edit).__name__.lower(), **asdict(edit)} for edit in core.edits],
        "tracks": {str(one): _spans_of(track) for one, track in core.engine.tracks.items()},
        "memories": rows,
        "facts": dict(facts),
    }
    return save(tensors, {"anymask": json.dumps(table)})


def load_session(session: VideoSession, data: bytes) -> dict[str, Any]:
    """Bring a new session of the same video to where another was saved; the caller's facts.

    Raises
    ------
    DataError
        ``snapshot-broken``: the bytes are none of ours; ``snapshot-other``: they are of another
        model or of frames of another size.
    """
    core = session.core
    try:
        tensors = load(data)
        table = json.loads(_metadata(data)["anymask"])
        if table["format"] != FORMAT:
            raise ValueError("another version")
        same = (session.model.variant.name, session.model.fingerprint, list(core.frame.image))
        if (table["variant"], table["fingerprint"], table["size"]) != same:
            raise DataError(
                "snapshot-other", "it is of another model, or of frames of another size"
            )
        for edit in (parse_edit(row) for row in table["edits"]):
            core.adopt(edit)
        for one, spans in table["tracks"].items():
            _adopt_spans(core, int(one), spans)
        for row in table["memories"]:
            _put(session, row, tensors)
        return dict(table["facts"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            "snapshot-broken", f"this is no saved session ({type(error).__name__}: {error})"
        ) from error


def _kept(core: Core) -> Iterator[_Kept]:
    """The memories that objects can attend to from where they are."""
    engine = core.engine
    for one, track in engine.tracks.items():
        for memory in track.prompted.values():
            yield _Kept(object_id=one, lane="p", memory=memory)
        for waiting in track.waiting.values():
            yield _Kept(object_id=one, lane="w", memory=waiting.memory, prompted=waiting.prompted)
        for name, reverse in _LANES.items():
            lane = track.lane(reverse)
            if lane is track.lane(not reverse) and reverse:
                continue  # both directions share one
            for memory in lane.memories.values():
                part = _needed(engine, lane, memory, reverse=reverse)
                if part is not None:
                    yield _Kept(object_id=one, lane=name, memory=part)


def _needed(
    engine: Engine, lane: Lane, memory: FrameMemory, *, reverse: bool
) -> FrameMemory | None:
    """What of a followed frame's memory can still be attended to going on: all, a part, nothing."""
    rules = engine.how.rules
    away = 0 if lane.last is None else (lane.last - memory.frame) * (-1 if reverse else 1) + 1
    # one more: what the last frame attended to is needed if somebody corrects it
    if 0 < away <= rules.window + 1:
        return memory
    if 0 < away <= rules.reach(engine.count) + 1:
        return replace(memory, spatial=memory.spatial[:0], logits=memory.logits[:0, :0])
    return None


def _spans_of(track: Track) -> dict[str, Any]:
    """Which frames an object was followed on."""
    lanes = {
        name: {
            "followed": _runs(track.lane(reverse).followed),
            "fresh": _runs(track.lane(reverse).fresh),
            "last": track.lane(reverse).last,
        }
        for name, reverse in _LANES.items()
    }
    return {"fixed": sorted(track.fixed), "back": _runs(track.back), **lanes}


def _adopt_spans(core: Core, object_id: int, spans: Mapping[str, Any]) -> None:
    track = core.engine.track(object_id)
    track.fixed = {int(frame) for frame in spans["fixed"]}
    track.back = _spans(spans["back"])
    for name, reverse in _LANES.items():
        lane: Lane = track.lane(reverse)
        lane.followed = _spans(spans[name]["followed"])
        lane.fresh = _spans(spans[name]["fresh"])
        lane.last = spans[name]["last"]


def _put(session: VideoSession, row: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """One memory back to where it was."""
    one, lane, frame = str(row["key"]).split("/")
    engine, device = session.core.engine, session.model.device
    spatial, pointer, logits = (tensors[f"{row['key']}/{part}"].to(device) for part in _PARTS)
    memory = FrameMemory(
        frame=int(frame),
        spatial=spatial,
        pointer=pointer,
        present=float(row["present"]),
        logits=logits,
        score=float(row["score"]),
        prompted=bool(row["prompted"]),
    )
    track = engine.track(int(one))
    if lane == "p":
        track.prompted[memory.frame] = memory
    elif lane == "w":
        track.waiting[memory.frame] = Waiting(memory=memory, prompted=bool(row["becomes"]))
    else:
        engine.hold(track.object_id, memory, reverse=_LANES[lane])


def _runs(spans: Spans) -> list[list[int]]:
    """First and last frame of each run."""
    runs: list[list[int]] = []
    for frame in spans:
        if runs and runs[-1][1] == frame - 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return runs


def _spans(runs: Sequence[Sequence[int]]) -> Spans:
    spans = Spans()
    for first, last in runs:
        for frame in range(first, last + 1):
            spans.add(frame)
    return spans


def _metadata(data: bytes) -> dict[str, str]:
    """What a safetensors file says beside its tensors."""
    length = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + length])["__metadata__"])
