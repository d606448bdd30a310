"""Looks at the validation photos while a run goes on, shared among its processes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from anymask.evaluate.interactive import chosen_ids, evaluate_interactive
from anymask.evaluate.report import MaskScore, Report
from anymask.formats.records import RecordSet
from anymask.model import Model
from anymask.predict.image import ImagePredictor
from anymask.train.config import TrainConfig
from anymask.train.sources import Source, open_sources
from anymask.train.team import Team
from anymask.variants import Variant

Judge = Callable[[nn.Module, Variant, Team], Mapping[str, float]]


def judge_on(config: TrainConfig, sources: Sequence[Source] | None = None) -> Judge | None:
    """A judge for the run's sets; None where the config asks for no photos.

    Every process scores its share of the photos; the means are those of one process that scores
    all, for scores are told apart by what they are of.
    """
    if not config.judge_photos:
        return None
    opened = open_sources(config.data) if sources is None else sources
    photos = [
        (source, image_id)
        for source in opened
        for image_id in chosen_ids(source.data, "val", config.judge_photos)
        if source.data.read(image_id).has_picture
    ]

    def judge(network: nn.Module, row: Variant, team: Team) -> Mapping[str, float]:
        predictor = ImagePredictor(Model(network, row).to(team.device))
        own: dict[int, list[str]] = {}
        for source, image_id in photos[team.rank :: team.world]:
            own.setdefault(id(source), []).append(image_id)
        sets = [_only(s.data, own[id(s)]) for s in opened if id(s) in own]
        scores: tuple[MaskScore, ...] = ()
        if sets:
            scores = evaluate_interactive(predictor, sets, split="all", baselines=False).scores
        merged = merge(team.gather(scores))
        return means(merged)

    return judge


def _only(data: Any, ids: Sequence[str]) -> RecordSet:
    """A set with some of its photos."""
    some: RecordSet = replace(data, ids=tuple(ids))
    return some


def merge(parts: Sequence[Sequence[MaskScore]]) -> tuple[MaskScore, ...]:
    """Scores of all processes in one order; one that two have counts once."""
    found = {(s.set, s.image_id, str(s.annotation)): s for part in parts for s in part}
    return tuple(found[key] for key in sorted(found))


def means(scores: Sequence[MaskScore]) -> dict[str, float]:
    """Mean of each measure over all masks, and their number."""
    report = Report(sets=(), measures=_MEASURES, scores=tuple(scores))
    pooled = report.to_dict()["pooled"]
    assert isinstance(pooled, Mapping)  # the report's own form
    found = {name: float(v) for name, v in pooled.items() if isinstance(v, int | float)}
    return {name: value for name, value in found.items() if not math.isnan(value)}


_MEASURES = ("box", "click1", "click1_best", "click3", "click5", "filled_box", "grabcut_box")
