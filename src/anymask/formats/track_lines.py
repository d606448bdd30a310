"""A tracked video as JSON lines: one line a frame, written as the frames are done.

    {"frame": 0, "pts": 0, "time_s": 0.0, "file": null, "size": [216, 384], "objects": [
        {"id": 1, "name": "dog", "score": 0.93, "presence": 0.99, "lost": false,
         "bbox": [10, 20, 30, 40], "area": 812,
         "segmentation": {"size": [216, 384], "counts": "..."}}]}

Frames are in the order in which they were tracked. Run lengths, boxes (x, y, width, height) and
areas are COCO's. An object that is out of sight is ``lost`` and has an empty mask. Each line is on
the disk before the next is begun, and a line that a kill cut off is none: readers stop before it,
writers take it away.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from anymask.errors import DataError
from anymask.formats.atomic import exists, naming
from anymask.formats.checks import as_dict, as_list, as_rle, as_size, as_text, number, to_json
from anymask.formats.records import bbox_of
from anymask.frame_masks import FrameMasks
from anymask.frames_source import FrameFacts
from anymask.mask_rle import Rle, area_of, runs_of

_CHUNK = 1 << 16  # bytes read at a time when the last whole line is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedObject:
    """One object on one frame.

    Attributes
    ----------
    id
        The same on all frames; never used again.
    name
        What people call it, or None.
    rle
        Its mask at the frame's size; empty while it is lost.
    score
        Predicted IoU, 0..1.
    presence
        How sure it is that the object is there, 0..1.
    """

    id: int
    name: str | None
    rle: Rle
    score: float
    presence: float

    @property
    def area(self) -> int:
        """Pixels."""
        return area_of(runs_of(self.rle))

    @property
    def lost(self) -> bool:
        """It is out of sight."""
        return self.area == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackLine:
    """All objects on one frame.

    Attributes
    ----------
    frame
        Index, from 0.
    size
        (H, W), px.
    objects
        In the order of their ids' first use.
    pts, time_s
        The frame's time in units of the video and in seconds; None where there is none.
    file
        The frame's own file, or None.
    """

    frame: int
    size: tuple[int, int]
    objects: tuple[TrackedObject, ...]
    pts: int | None = None
    time_s: float | None = None
    file: str | None = None

    def masks(self) -> FrameMasks:
        """The same as a tracker gives it, without names."""
        return FrameMasks(
            size=self.size,
            rles=tuple(each.rle for each in self.objects),
            scores=np.array([each.score for each in self.objects], np.float32),
            frame=self.frame,
            object_ids=tuple(each.id for each in self.objects),
            presence=np.array([each.presence for each in self.objects], np.float32),
        )


def track_line(
    masks: FrameMasks,
    names: Sequence[str | None] = (),
    facts: FrameFacts | None = None,
    *,
    frame: int | None = None,
) -> TrackLine:
    """The line of what a tracker gave.

    Parameters
    ----------
    masks
        Of a frame.
    names
        One for each object, or none.
    facts
        The frame's time and file, where they are known.
    frame
        Its index in the whole video, where a part of it was tracked.
    """
    called = names or [None] * len(masks)
    rows = zip(
        masks.object_ids,
        called,
        masks.rles,
        masks.scores.tolist(),
        masks.presence.tolist(),
        strict=True,
    )
    return TrackLine(
        frame=masks.frame if frame is None else frame,
        size=masks.size,
        objects=tuple(
            TrackedObject(id=id, name=name, rle=rle, score=score, presence=presence)
            for id, name, rle, score, presence in rows
        ),
        pts=None if facts is None else facts.pts,
        time_s=None if facts is None else facts.time_s,
        file=None if facts is None else facts.name,
    )


def line_table(line: TrackLine) -> dict[str, object]:
    """A line as JSON has it."""
    return {
        "frame": line.frame,
        "pts": line.pts,
        "time_s": None if line.time_s is None else round(line.time_s, 6),
        "file": line.file,
        "size": list(line.size),
        "objects": [_object_table(each) for each in line.objects],
    }


def parse_line(table: object, where: str) -> TrackLine:
    """A line that was read.

    Raises
    ------
    DataError
        ``record-broken``, ``rle-broken``, ``rle-size``.
    """
    row = as_dict(table, where)
    frame, pts, size = row.get("frame"), row.get("pts"), row.get("size")
    if type(frame) is not int or frame < 0:
        raise DataError("record-broken", "a frame is counted from 0", given=frame, where=where)
    if pts is not None and type(pts) is not int:
        raise DataError("record-broken", "pts is a whole number", given=pts, where=where)
    if not isinstance(size, list) or len(size) != 2:
        raise DataError("record-broken", "size is [height, width]", given=size, where=where)
    sides = as_size(size[0], size[1], where)
    objects = as_list(row.get("objects"), "objects", where)
    return TrackLine(
        frame=frame,
        size=sides,
        objects=tuple(
            _object(each, sides, f"{where}: objects[{i}]") for i, each in enumerate(objects)
        ),
        pts=pts,
        time_s=number(row.get("time_s")),
        file=as_text(row.get("file"), "file", where),
    )


def read_track(path: Path) -> Iterator[TrackLine]:
    """The lines of a file one by one; a last one that was cut off is left out.

    Raises
    ------
    DataError
        ``set-unreadable``; ``json-broken`` and those of `parse_line`, with the line's number.
    """
    try:
        with path.open("rb") as file:
            for count, text in enumerate(file, 1):
                if not text.endswith(b"\n"):
                    return
                where = f"{path}, line {count}"
                try:
                    table = json.loads(text)
                except (ValueError, RecursionError) as error:
                    raise DataError("json-broken", f"no JSON ({error})", where=where) from error
                yield parse_line(table, where)
    except OSError as error:
        raise DataError(
            "set-unreadable", f"cannot read ({error.strerror})", where=str(path)
        ) from error


class TrackWriter:
    """A file of lines that grows; use it in ``with``.

    Parameters
    ----------
    path
        The file; folders on the way are made.
    resume
        Go on after the last whole line of a file that is there. Without it such a file is an
        error, unless `overwrite`.
    overwrite
        Begin anew where there is a file.

    Raises
    ------
    OutputError
        ``file-exists``, ``disk-full``, ``folder-read-only`` and others of
        `anymask.formats.atomic.write_atomic`.
    """

    def __init__(self, path: Path, *, resume: bool = False, overwrite: bool = False) -> None:
        self.path = path
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path) and not (resume or overwrite):
                raise exists(path)
            if resume:
                mend_lines(path)
            # without a buffer: a failed write leaves no rest that a later one would add
            self._file: FileIO = path.open("ab" if resume else "wb", buffering=0)

    def add(self, table: Mapping[str, object]) -> None:
        """One line more, on the disk when this returns; see `line_table`.

        A write that fails is taken back, so that the file holds whole lines.

        Raises
        ------
        OutputError
            As when it was opened.
        """
        with naming(self.path):
            end = os.fstat(self._file.fileno()).st_size
            try:
                left = memoryview(to_json(table) + b"\n")
                while left:
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
            except BaseException:
                os.ftruncate(self._file.fileno(), end)
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> "TrackWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def mend_lines(path: Path) -> None:
    """Take away a last line that was cut off; errors are the system's."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _CHUNK)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                file.truncate(start + at + 1)
                return
            end = start
        file.truncate(0)


def _object_table(each: TrackedObject) -> dict[str, object]:
    x, y, w, h = (int(v) for v in bbox_of(each.rle))
    return {
        "id": each.id,
        "name": each.name,
        "score": round(each.score, 5),
        "presence": round(each.presence, 5),
        "lost": each.lost,
        "bbox": [x, y, w, h],
        "area": each.area,
        "segmentation": each.rle,
    }


def _object(table: object, size: tuple[int, int], where: str) -> TrackedObject:
    row = as_dict(table, where)
    id, score, presence = row.get("id"), number(row.get("score")), number(row.get("presence"))
    if type(id) is not int:
        raise DataError("record-broken", "an id is a whole number", given=id, where=where)
    if score is None or presence is None:
        raise DataError("record-broken", "score and presence are numbers", given=row, where=where)
    return TrackedObject(
        id=id,
        name=as_text(row.get("name"), "a name", where),
        rle=as_rle(row.get("segmentation"), size, where),
        score=score,
        presence=presence,
    )
