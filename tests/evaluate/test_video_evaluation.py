"""Clips are followed and reported: what is asked of a predictor, and what comes of its masks."""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from anymask.errors import DataError
from anymask.evaluate.video import Clip, evaluate_video, read_clip
from anymask.evaluate.video_metrics import ObjectScore
from anymask.evaluate.video_report import ClipScore, VideoReport, WayScore
from anymask.formats.davis import davis_clips, davis_png
from anymask.formats.png import encode_png
from anymask.frame_masks import FrameMasks
from anymask.mask_rle import encode_rle


class Follows:
    """Follows by knowing the truth; from some frame on it loses one object."""

    def __init__(self, truth: np.ndarray, loses: int = 0, since: int = 99) -> None:
        self.truth, self.loses, self.since = truth, loses, since
        self.prompts: list[tuple[int, int, int]] = []
        self.frames = 0

    def start(self, source: Any) -> "Follows":
        self.frames = len(source)
        return self

    def __enter__(self) -> "Follows":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def prompt(self, frame: int, object_id: int, *, masks: np.ndarray) -> None:
        self.prompts.append((frame, object_id, int(masks.sum())))

    def propagate(self) -> Any:
        ids = tuple(one for _, one, _ in self.prompts)
        for t in range(self.frames):
            bits = [(self.truth[t] == one) & (one != self.loses or t < self.since) for one in ids]
            yield (
                t,
                FrameMasks(
                    size=self.truth.shape[1:],
                    rles=tuple(encode_rle(each) for each in bits),
                    scores=np.ones(len(ids), np.float32),
                    frame=t,
                    object_ids=ids,
                    presence=np.ones(len(ids), np.float32),
                ),
            )


def truth(frames: int = 6) -> np.ndarray:
    maps = np.zeros((frames, 40, 60), np.uint8)
    for t in range(frames):
        maps[t, 5:15, 5 + 3 * t : 20 + 3 * t] = 3
        maps[t, 20:38, 10:40] = 8
    return maps


def clip(name: str = "walk", frames: int = 6) -> Clip:
    maps = truth(frames)
    shades = np.repeat(maps[..., None] * 20, 3, axis=3)
    return Clip(name=name, frames=list(shades), labels=list(maps))


def test_each_object_of_the_first_frame_is_given_as_a_mask():
    predictor = Follows(truth())
    report = evaluate_video(predictor, [clip()])
    assert predictor.prompts == [(0, 3, 150), (0, 8, 540)]
    assert report.mean("J&F") == 1


def test_a_lost_object_costs_its_own_score_alone():
    report = evaluate_video(Follows(truth(), loses=3, since=3), [clip()])
    table = report.to_dict()
    each = table["clips"]["walk"]["each"]
    assert each["3"]["J"] == each["3"]["J-recall"] == 0.5  # frames 1 and 2 of 1 to 4
    assert each["8"]["J&F"] == 1
    assert table["mean"]["J"] == 0.75 and table["mean"]["objects"] == 2


def test_the_report_has_the_asked_keys_baselines_and_speed():
    told = []
    report = evaluate_video(
        Follows(truth()), [clip()], progress=lambda done, total: told.append(done)
    )
    table = json.loads(json.dumps(report.to_dict()))
    assert list(table) == ["mean", "mean_of_clips", "clips", "baselines", "fps"]
    assert list(table["mean"])[:3] == ["J&F", "J", "F"]
    assert table["clips"]["walk"]["frames"] == 6 and table["fps"] > 0
    held = table["baselines"]["hold"]["clips"]["walk"]["each"]
    assert held["8"]["J&F"] == 1 and held["3"]["J&F"] < 0.7
    assert set(table["baselines"]) == {"hold", "flow"}
    assert told == [1, 2, 3, 4, 5, 6]


def test_x04_two_evaluations_differ_in_time_alone():
    one, two = (evaluate_video(Follows(truth(), 3, 4), [clip()]).to_dict() for _ in range(2))
    for table in (one, two):
        table.pop("fps")
        table["clips"]["walk"].pop("fps")
    assert one == two


def scored(name: str, *values: float) -> ClipScore:
    objects = tuple(
        ObjectScore(object=i, j=np.full(4, v), f=np.full(4, v)) for i, v in enumerate(values, 1)
    )
    way = WayScore(way="model", objects=objects, seconds=2.0)
    return ClipScore(clip=name, frames=6, ways=(way,))


def test_davis_weighs_objects_and_a_second_mean_weighs_clips():
    report = VideoReport(clips=(scored("one", 1.0), scored("many", 0.4, 0.4, 0.4)))
    table = report.to_dict()
    assert table["mean"]["J&F"] == pytest.approx(0.55)
    assert table["mean_of_clips"]["J&F"] == pytest.approx(0.7)
    assert table["fps"] == 3
    assert math.isnan(report.mean("J", "flow"))


def test_tables_hold_a_row_for_each_clip_and_both_means():
    report = evaluate_video(Follows(truth()), [clip("a|b"), clip("[b]")])
    console = Console(width=80, record=True)
    console.print(report.table())
    text = console.export_text()
    assert "[b]" in text and "mean of objects" in text and "flow" in text and "…" not in text
    lines = report.markdown().splitlines()
    assert len(lines) == 2 + 2 + 2 and lines[2].startswith("| a\\|b | 2 | 6 | 1.000")
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"frames": clip().frames[:2], "labels": clip().labels[:2]}, "clip-short"),
        ({"frames": clip().frames[:5]}, "clip-lengths"),
        ({"labels": [np.zeros((40, 60), np.uint8)] * 6}, "clip-empty"),
        ({"labels": [np.ones((40, 50), np.uint8)] * 6}, "clip-sizes"),
    ],
)
def test_clips_that_cannot_be_judged_are_refused_before_they_are_followed(change, code):
    fields = {"name": "walk", "frames": clip().frames, "labels": clip().labels, **change}
    predictor = SimpleNamespace(start=lambda source: pytest.fail("followed"))
    with pytest.raises(DataError) as caught:
        evaluate_video(predictor, [Clip(**fields)])
    assert caught.value.code == code and "walk" in caught.value.where


def test_clips_are_read_from_davis_folders(tmp_path):
    one = clip(frames=4)
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / kind).mkdir()
    for t in range(4):
        (tmp_path / "JPEGImages" / f"{t:05d}.png").write_bytes(encode_png(one.frames[t]))
        (tmp_path / "Annotations" / f"{t:05d}.png").write_bytes(davis_png(one.labels[t]))
    read = read_clip(davis_clips(tmp_path)[0])
    assert np.array_equal(read.frames, one.frames) and np.array_equal(read.labels, one.labels)
    assert len(read_clip(davis_clips(tmp_path)[0], limit=3).frames) == 3
