"""Figures of objects that were followed through clips: as JSON, table and markdown."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from anymask.evaluate.rows import Row, markdown_table, or_none, terminal_table, text_of
from anymask.evaluate.video_metrics import ObjectScore, statistics

MODEL = "model"  # the way that is judged; all others are baselines
MEASURES = ("J&F", "J", "F", "J-recall", "J-decay", "F-recall", "F-decay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One line of a report.

    Attributes
    ----------
    objects
        How many there are.
    values
        One for each of `MEASURES`; NaN where nothing was measured.
    """

    objects: int
    values: tuple[float, ...]

    def to_dict(self) -> dict[str, object]:
        """Measures by name, None for NaN."""
        values = map(or_none, self.values)
        return {**dict(zip(MEASURES, values, strict=True)), "objects": self.objects}


@dataclass(frozen=True, slots=True, kw_only=True)
class WayScore:
    """How well one way of following did on a clip.

    Attributes
    ----------
    way
        `MODEL`, or the name of a baseline.
    objects
        One for each object.
    seconds
        What following took, without reading frames and true masks.
    """

    way: str
    objects: tuple[ObjectScore, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScore:
    """One clip.

    Attributes
    ----------
    clip
        Its name.
    frames
        How many it has, the first and last included.
    ways
        The model's score and those of baselines.
    """

    clip: str
    frames: int
    ways: tuple[WayScore, ...]

    def way(self, name: str) -> WayScore | None:
        """The score of one way, None where it was not taken."""
        return next((way for way in self.ways if way.way == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoReport:
    """All figures of an evaluation.

    Attributes
    ----------
    clips
        One for each clip, in the order given.
    """

    clips: tuple[ClipScore, ...]

    def mean(self, measure: str = "J&F", way: str = MODEL) -> float:
        """A measure over all objects of all clips; NaN where there are none."""
        return figures(self._objects(way)).values[MEASURES.index(measure)]

    def to_dict(self) -> dict[str, object]:
        """``{"mean": {...}, "mean_of_clips": {...}, "clips": {...}, "fps": ..., ...}``.

        ``mean`` is DAVIS's: over all objects, each with the same weight. ``mean_of_clips`` gives
        each clip the same weight. ``baselines`` has both means and the clips of each baseline.
        Frames a second are of the machine; all else is the same in every run.
        """
        return {
            **self._part(MODEL),
            "baselines": {way: self._part(way) for way in self._ways() if way != MODEL},
            "fps": self._fps(self.clips),
        }

    def table(self) -> Table:
        """For the terminal: a row for each clip, and the means."""
        *clips, objects, means = self._rows()
        return terminal_table("Video", self._heads(), [clips, [objects, means]], fold=True)

    def markdown(self) -> str:
        """The same as a markdown table."""
        return markdown_table(self._heads(), [self._rows()])

    def _part(self, way: str) -> dict[str, object]:
        """Means and clips of one way."""
        return {
            "mean": figures(self._objects(way)).to_dict(),
            "mean_of_clips": self._mean_of_clips(way).to_dict(),
            "clips": {clip.clip: self._clip(clip, way) for clip in self.clips},
        }

    def _clip(self, clip: ClipScore, way: str) -> dict[str, object]:
        """One clip for programs, with its objects."""
        objects = _of(clip, way)
        return {
            **figures(objects).to_dict(),
            "frames": clip.frames,
            "each": {str(score.object): figures([score]).to_dict() for score in objects},
            **({"fps": self._fps([clip])} if way == MODEL else {}),
        }

    def _objects(self, way: str) -> list[ObjectScore]:
        return [score for clip in self.clips for score in _of(clip, way)]

    def _mean_of_clips(self, way: str) -> Figures:
        """Each clip that has objects with the same weight."""
        parts = [figures(_of(clip, way)) for clip in self.clips if _of(clip, way)]
        return Figures(
            objects=sum(part.objects for part in parts),
            values=_means([part.values for part in parts]),
        )

    def _ways(self) -> list[str]:
        return list(dict.fromkeys(way.way for clip in self.clips for way in clip.ways))

    def _fps(self, clips: Iterable[ClipScore]) -> float | None:
        """Frames a second of the model."""
        taken = [(clip.frames, way.seconds) for clip in clips if (way := clip.way(MODEL))]
        seconds = sum(seconds for _, seconds in taken)
        return round(sum(frames for frames, _ in taken) / seconds, 2) if seconds else None

    def _heads(self) -> list[str]:
        others = [way for way in self._ways() if way != MODEL]
        return ["obj", "len", "J&F", "J", "F", "J rec", "fps", *others]

    def _rows(self) -> list[Row]:
        """Clips, then the two means."""
        rows: list[Row] = [
            (clip.clip, self._cells({way.way: figures(way.objects) for way in clip.ways}, [clip]))
            for clip in self.clips
        ]
        ways = self._ways()
        objects = {way: figures(self._objects(way)) for way in ways}
        clips = {way: self._mean_of_clips(way) for way in ways}
        return [
            *rows,
            ("mean of objects", self._cells(objects, self.clips)),
            ("mean of clips", self._cells(clips, self.clips)),
        ]

    def _cells(self, ways: dict[str, Figures], clips: Sequence[ClipScore]) -> list[str]:
        ours = ways.get(MODEL, figures(()))
        fps = self._fps(clips)
        frames = sum(clip.frames for clip in clips)
        others = [ways[way].values[0] if way in ways else math.nan for way in self._ways()[1:]]
        return [
            *(str(ours.objects), str(frames)),
            *map(text_of, ours.values[:4]),
            "-" if fps is None else f"{fps:.1f}",
            *map(text_of, others),
        ]


def figures(scores: Sequence[ObjectScore]) -> Figures:
    """The means of objects, each with the same weight; NaN where there are none."""
    return Figures(objects=len(scores), values=_means([_values(score) for score in scores]))


def _values(score: ObjectScore) -> tuple[float, ...]:
    j, f = statistics(score.j), statistics(score.f)
    return score.jf, j.mean, f.mean, j.recall, j.decay, f.recall, f.decay


def _means(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    if not rows:
        return (math.nan,) * len(MEASURES)
    return tuple(map(float, np.mean(rows, axis=0)))


def _of(clip: ClipScore, way: str) -> tuple[ObjectScore, ...]:
    taken = clip.way(way)
    return () if taken is None else taken.objects
