"""Looks at the validation photos while a run goes on."""

from collections.abc import Mapping
from pathlib import Path

from anymask.evaluate.interactive import evaluate_interactive
from anymask.formats.sa1b import open_sa1b
from anymask.model import Model
from anymask.nn.nano import Nano
from anymask.predict.image import ImagePredictor
from anymask.train.config import TrainConfig
from anymask.train.loop import Judge
from anymask.train.samples import expand
from anymask.variants import variant


def judge_on(config: TrainConfig) -> Judge | None:
    """A judge for the run's sets; None where the config asks for no photos."""
    if not config.judge_photos:
        return None
    sets = [open_sa1b(path) for path in expand([Path(p) for p in config.data])]

    def judge(network: Nano, step: int) -> Mapping[str, float]:
        predictor = ImagePredictor(Model(network, variant("nano")))
        report = evaluate_interactive(predictor, sets, limit=config.judge_photos, baselines=False)
        pooled = report.to_dict()["pooled"]
        assert isinstance(pooled, Mapping)  # the report's own form
        return {name: float(v) for name, v in pooled.items() if isinstance(v, int | float)}

    return judge
