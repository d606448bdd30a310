"""Looks at the clips that are held out while a run on videos goes on."""

from collections.abc import Mapping
from pathlib import Path

from anymask.evaluate.video import evaluate_video, read_clip
from anymask.model import Model
from anymask.predict.video import VideoPredictor
from anymask.train.video_config import VideoConfig
from anymask.train.video_run import Judge
from anymask.train.video_samples import find_clips


def judge_on(config: VideoConfig) -> Judge | None:
    """A judge on the clips that are held out; None where there are none."""
    if not config.held_out:
        return None
    clips = [read_clip(c) for c in find_clips(Path(config.clips), config.held_out, held=True)]

    def judge(model: Model, step: int) -> Mapping[str, float]:
        report = evaluate_video(VideoPredictor(model), clips, baselines=False)
        return {name: report.mean(name) for name in ("J&F", "J", "F")}

    return judge
