"""From data that were read and parted to a fine-tuned model, judged before and after, to a file.

The pictures that are judged on decide nothing but whether the result may be saved at all.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from safetensors.torch import save as to_bytes

from anymask import __version__
from anymask.errors import DeviceError, RunError
from anymask.evaluate.interactive import evaluate_interactive
from anymask.formats.atomic import write_atomic
from anymask.model import Model, load
from anymask.model_options import PLAIN
from anymask.predict.image import ImagePredictor
from anymask.train.denormals import denormals_as_zero
from anymask.train.finetune_data import Part, Split
from anymask.train.finetune_drift import agreement, remember
from anymask.train.finetune_exam import Exam
from anymask.train.finetune_loop import Learned, Lessons, learn
from anymask.train.finetune_methods import method
from anymask.train.finetune_order import Job, Order, Progress, check_output, telling
from anymask.train.finetune_store import FeatureStore, bytes_of, encode_view
from anymask.train.finetune_views import plan_whole
from anymask.weights.cache import cache_folder
from anymask.weights.card import Card, Figure

MEASURES = ("box", "click1", "click3", "click5")
AGREEMENT = "bundled photos"  # what `Card.others` calls them

_CLICKS = (1, 3, 5)
_WANTED_VIEWS = 800  # that a method must get through in its time to be chosen
_THROUGH = 4.0  # what a view costs with gradients through the encoder, in encodings
_ENCODING = 0.5  # share of the time that may go into features to be kept
_FEW = 4  # pictures to learn from, with which adapters were still the best: docs/LOG.md

Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinetuneResult:
    """A fine-tuned model and what is known of it.

    Attributes
    ----------
    model
        Ready for use.
    card
        Where it comes from, with the figures; it goes into the file.
    learned
        How the run went.
    split
        Ids of all pictures by part; `test` is empty where another set was judged on.
    judged
        Name of the set that was judged on.
    failed
        Pictures that could not be read, and why.
    refusal
        Why it is not saved without force, or None.
    minutes
        All in all.
    """

    model: Model
    card: Card
    learned: Learned
    split: Split
    judged: str
    failed: tuple[tuple[str, Exception], ...]
    refusal: str | None
    minutes: float


@denormals_as_zero()
def run(job: Job, progress: Progress | None = None, stop: Stop | None = None) -> FinetuneResult:
    """Judge, learn, judge again; nothing is written but features on disk.

    Parameters
    ----------
    stop
        Whether to end: what was best so far is the result then.

    Raises
    ------
    RunError
        ``stopped``: before anything was learnt; ``loss-not-finite``, ``no-view``.
    CheckpointError
        As `anymask.load`.
    """
    order, course, begun = job.order, job.order.course, time.monotonic()
    model = _loaded(order)
    start = model.fingerprint
    predictor = ImagePredictor(model)
    sets = (job.judged, *job.also)
    before = [_figures(predictor, part, progress, stop, "before") for part in sets]
    former = remember(predictor)
    encode_s, size = _cost(job, model)
    pictures, chosen = len(job.train.ids), order.method
    if chosen == "auto":
        chosen = choose_method(encode_s, course.minutes, pictures, course.steps, course.views)
    row, store = method(chosen), None
    if row.stored:
        room = (60 * course.minutes * _ENCODING / encode_s, order.cache_bytes / size)
        most = max(1, min(course.stored_views, int(min(room) / pictures)))
        course = replace(course, stored_views=most)
        folder = cache_folder() / "finetune" if order.cache is None else order.cache
        store = FeatureStore(model, folder, order.cache_bytes)
    exam = Exam(job.val, model, keep=not row.through, seed=course.seed) if job.val.ids else None
    learned = learn(
        model,
        row,
        Lessons(job.train, job.entries, model, course),
        course,
        exam=exam if exam is not None and exam.questions else None,
        store=store,
        progress=None if progress is None else lambda *a: progress("steps", *a),
        stop=stop,
    )
    tuned = Model(model.network, model.variant, model.notes, model.options)
    predictor = ImagePredictor(tuned)
    # whoever stops it does not wait: the exam has judged what is kept
    after = [_figures(predictor, part, progress, stop, "after", hasty=True) for part in sets]
    agreed = None if stop is not None and stop() else agreement(predictor, former)
    figures = [_paired(one, two) for one, two in zip(before, after, strict=True)]
    others = [(part.name, pair) for part, pair in zip(job.also, figures[1:], strict=True)]
    if former:
        others.append((AGREEMENT, (Figure(name="agreement", before=1.0, after=agreed),)))
    minutes = (time.monotonic() - begun) / 60
    card = Card(
        model=model.variant.name,
        start=start,
        method=row.name,
        data=job.train.name,
        data_sha256=job.stock.sha256,
        train=len(job.train.ids),
        val=len(job.val.ids),
        test=len(job.judged.ids),
        categories=job.stock.categories,
        steps=learned.steps,
        minutes=round(minutes, 2),
        seed=course.seed,
        figures=figures[0],
        others=tuple(others),
        made_with=__version__,
    )
    return FinetuneResult(
        model=tuned,
        card=card,
        learned=learned,
        split=job.split,
        judged=job.judged.name,
        failed=job.stock.failed,
        refusal=refusal_of(card.figures, learned),
        minutes=minutes,
    )


def save(result: FinetuneResult, order: Order) -> None:
    """Write the weight file, whole or not at all.

    Raises
    ------
    RunError
        ``no-gain``: see `FinetuneResult.refusal`; not if the order says force.
    OutputError
        As `anymask.formats.atomic.write_atomic`; a file that is there stays.
    """
    if result.refusal is not None and not order.force:
        raise RunError(
            "no-gain",
            f"{result.refusal}: nothing was saved",
            where=str(order.output),
            hint="give more pictures or minutes, another method, or save it all the same with "
            "force (--force)",
        )
    check_output(order.output)
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in result.model.network.state_dict().items()
    }
    write_atomic(order.output, to_bytes(tensors, result.card.metadata()))


def refusal_of(figures: tuple[Figure, ...], learned: Learned) -> str | None:
    """Why a result is no better, or None.

    The mean of the figures must not be lower than before; and where pictures decided when to stop,
    some weights must have been better than those of the start on them.
    """
    if learned.better is False:
        return "at no time was it better on the pictures that decide when to stop"
    pairs = [(f.before, f.after) for f in figures if f.before is not None and f.after is not None]
    if pairs and sum(after - before for before, after in pairs) < 0:
        change = sum(after - before for before, after in pairs) / len(pairs)
        return f"on the pictures kept aside the mean of the figures fell by {-change:.3f}"
    return None


def choose_method(encode_s: float, minutes: float, pictures: int, steps: int, views: int) -> str:
    """The method that gets through its views in the time.

    Parameters
    ----------
    encode_s
        What one view takes to encode, s.
    pictures
        To learn from.
    """
    room = 60 * minutes / max(encode_s, 1e-6)  # encodings
    wanted = min(_WANTED_VIEWS, steps * views)
    if pictures >= _FEW and room >= _THROUGH * wanted:
        return "lora"
    return "decoder" if room >= wanted else "frozen"


def _loaded(order: Order) -> Model:
    """The model to begin with, nobody else's.

    Raises
    ------
    DeviceError
        ``model-fixed``: it is not a plain one in float32.
    """
    if isinstance(order.model, Model):
        given = order.model
        if given.dtype != torch.float32 or given.options != PLAIN:
            raise DeviceError(
                "model-fixed",
                "only a model in float32 without options can learn",
                given=str(given.dtype).removeprefix("torch."),
                hint="load it anew without dtype, compile, autocast and quantise",
            )
        return Model(copy.deepcopy(given.network), given.variant, given.notes)
    if order.model is None and order.checkpoint is not None:
        return load(checkpoint=order.checkpoint, device=order.device)
    name = "nano" if order.model is None else order.model
    return load(name, checkpoint=order.checkpoint, device=order.device)


def _cost(job: Job, model: Model) -> tuple[float, int]:
    """What one view takes: seconds to encode it, bytes to keep it."""
    record = job.train.read(job.train.ids[0])
    pixels, plan = record.pixels(), plan_whole(record.size, model.variant)
    seconds, size = math.inf, 0
    for _ in range(2):  # the first one warms up
        begun = time.monotonic()
        size = bytes_of(encode_view(model, pixels, plan.frame(model.variant)))
        seconds = min(seconds, time.monotonic() - begun)
    return max(1e-6, seconds), size


def _figures(
    predictor: ImagePredictor,
    part: Part,
    progress: Progress | None,
    stop: Stop | None,
    when: str,
    *,
    hasty: bool = False,
) -> tuple[float | None, ...]:
    """Mean IoU of each of the measures; None where no mask is of a size that counts.

    `hasty`: a stop leaves all of them out, where it is an error else.
    """
    tell = telling(progress, f"pictures judged {when} ({part.name})")

    def step(done: int, total: int | None) -> None:
        if stop is not None and stop():
            raise RunError("stopped", "it was stopped before anything was learnt")
        if tell is not None:
            tell(done, total)

    try:
        report = evaluate_interactive(
            predictor, [part], split="all", clicks=_CLICKS, baselines=False, progress=step
        )
    except RunError:
        if hasty:
            return (None,) * len(MEASURES)
        raise
    means = (report.mean(name) for name in MEASURES)
    return tuple(None if math.isnan(mean) else mean for mean in means)


def _paired(
    before: tuple[float | None, ...], after: tuple[float | None, ...]
) -> tuple[Figure, ...]:
    return tuple(
        Figure(name=name, before=one, after=two)
        for name, one, two in zip(MEASURES, before, after, strict=True)
    )
