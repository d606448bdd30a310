"""`anymask evaluate --task video`: objects followed through clips whose true masks are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anymask.cli.common import Progress
from anymask.errors import DataError

if TYPE_CHECKING:
    from anymask.cli.evaluate_tasks import Asked
    from anymask.evaluate.video_report import VideoReport
    from anymask.formats.davis import DavisClip
    from anymask.model import Model


def open_clips(paths: Sequence[Path]) -> "list[DavisClip]":
    """The clips that lie at some places, looked at but not read.

    Raises
    ------
    DataError
        ``clip-twice``: two clips have one name; ``clip-unmarked``: a frame has no mask; else as
        `anymask.formats.davis.davis_clips`.
    """
    from anymask.formats.davis import davis_clips

    clips = [clip for path in paths for clip in davis_clips(path)]
    for clip in clips:
        clip.label_maps()
        if sum(clip.name == other.name for other in clips) > 1:
            raise DataError(
                "clip-twice",
                "two clips have one name, which is that of their folder or tar",
                given=clip.name,
                where=clip.where,
                hint="rename one",
            )
    return clips


def video(model: "Model", clips: "Sequence[DavisClip]", asked: "Asked") -> "VideoReport":
    """The objects of each clip's first frame followed; `limit` bounds the frames of each."""
    from anymask.evaluate.video import evaluate_video, read_clip
    from anymask.predict.video import VideoPredictor

    predictor, limit = VideoPredictor(model), asked.limit
    frames = sum(len(clip) if limit is None else min(len(clip), limit) for clip in clips)
    with Progress("frames") as bar:
        return evaluate_video(
            predictor,
            (read_clip(clip, limit) for clip in clips),
            baselines=asked.baselines,
            progress=lambda done, _: bar.show(done, frames),
        )
