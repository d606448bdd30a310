"""The loop: draw views, ask, learn, look at the pictures kept aside, keep the best, stop in time.

Everything random comes from (seed, step, view), so that two runs of as many steps are the same.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anymask.errors import RunError
from anymask.formats.records import Annotation, RecordSet
from anymask.model import Model
from anymask.train.finetune_data import Entry, usable
from anymask.train.finetune_exam import Exam, Marks
from anymask.train.finetune_methods import Groups, Method
from anymask.train.finetune_step import answer_loss, answers, draw_kind
from anymask.train.finetune_store import FeatureStore, encode_view
from anymask.train.finetune_views import Plan, View, plan_view, plan_whole, see_masks, see_pixels

_log = logging.getLogger(__name__)
_MOST_BAD_STEPS = 10
_TRIES = 20  # to draw a view that shows a mask
_WARM = 0.05  # share of a run in which the rate rises
_LATE = 0.02  # share of a run by which the clock may be ahead of the steps
_CLIP, _DECAY = 1.0, 1e-3
_MOST_IN_MEMORY = 64  # records

Progress = Callable[[int, int, str], None]
Stop = Callable[[], bool]
Lesson = tuple[tuple[Tensor, ...], View, np.random.Generator]  # features, masks, what goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long and how fast.

    Attributes
    ----------
    steps
        At most so many.
    minutes
        At most so long; the rate falls with whichever ends first.
    views, masks
        Views a step, and masks a view at most.
    rate
        Highest learning rate; None takes the model's row's.
    rank
        Of adapters.
    average
        Decay of the averaged weights, which are what is kept.
    checks, patience
        Looks at the pictures kept aside, and after how many without a better one it ends.
    seed
        Of everything random.
    stored_views
        Views of each picture whose features are kept on disk.
    blend
        Share of what was learnt that the weights take in the end, 0..1: they lie between those of
        the start and the new ones, and have forgotten less (Wortsman et al. 2021,
        arXiv:2109.01903).
    """

    steps: int = 400
    minutes: float = 10.0
    views: int = 2
    masks: int = 8
    rate: float | None = None
    rank: int = 8
    average: float = 0.98
    checks: int = 10
    patience: int = 4
    seed: int = 0
    stored_views: int = 8
    blend: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What came of it; the weights are in the network.

    Attributes
    ----------
    steps, seconds
        Spent.
    start, best
        Marks on the pictures kept aside; None where none are.
    better
        Whether the best are above those of the start; None where nobody looked.
    why
        Why it ended: ``"done"``, ``"time"``, ``"no better"``, ``"stopped"``.
    """

    steps: int
    seconds: float
    start: Marks | None
    best: Marks | None
    better: bool | None
    why: str


class Lessons:
    """Views of the pictures to learn from, each a function of (seed, step, number)."""

    def __init__(
        self, data: RecordSet, entries: Sequence[Entry], model: Model, course: Course
    ) -> None:
        self._data, self._model, self._course = data, model, course
        self._ids = [entry.image_id for entry in entries]
        # between pictures alike and masks alike
        weights = np.array([min(entry.masks, 8) ** 0.5 for entry in entries])
        self._upto = np.cumsum(weights / weights.sum())
        self._read: dict[str, tuple[tuple[int, int], tuple[Annotation, ...]]] = {}

    def draw(self, step: int, number: int, store: FeatureStore | None, *, through: bool) -> Lesson:
        """Features and masks of a view, and the generator that goes on from there.

        Raises
        ------
        RunError
            ``no-view``: no view shows a mask well.
        """
        rng = np.random.default_rng((self._course.seed, 1, step, number))
        for _ in range(_TRIES):
            picture = min(int(np.searchsorted(self._upto, rng.random())), len(self._ids) - 1)
            image_id = self._ids[picture]
            size, masks = self._masks(image_id)
            which = int(rng.integers(self._course.stored_views)) if store is not None else None
            plan = self._plan(picture, which, size, masks, rng)
            view = see_masks(masks, plan, self._model.variant, self._course.masks, rng)
            if view is None:
                continue

            def pixels(image_id: str = image_id, plan: Plan = plan) -> np.ndarray:
                return see_pixels(self._data.read(image_id).pixels(), plan)

            if store is not None:
                return store.get((image_id, which), pixels, view.frame), view, rng
            features = encode_view(self._model, pixels(), view.frame, through=through)
            return features, view, rng
        raise RunError(
            "no-view",
            f"{_TRIES} views running showed no mask well",
            given=self._data.name,
            hint="are the masks much smaller than a cell of the network's logits?",
        )

    def _plan(
        self,
        picture: int,
        which: int | None,
        size: tuple[int, int],
        masks: tuple[Annotation, ...],
        rng: np.random.Generator,
    ) -> Plan:
        """A new view, or one of the few whose features are kept; the first of these is plain."""
        row = self._model.variant
        if which == 0:
            return plan_whole(size, row)
        if which is not None:
            rng = np.random.default_rng((self._course.seed, 2, picture, which))
        return plan_view(size, masks, row, rng)

    def _masks(self, image_id: str) -> tuple[tuple[int, int], tuple[Annotation, ...]]:
        if image_id not in self._read:
            if len(self._read) >= _MOST_IN_MEMORY:
                self._read.pop(next(iter(self._read)))
            record = self._data.read(image_id)
            self._read[image_id] = record.size, usable(record)
        return self._read[image_id]


def learn(
    model: Model,
    method: Method,
    lessons: Lessons,
    course: Course,
    *,
    exam: Exam | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Learned:
    """Change the model's weights; those that did best on the exam are left in it, plain.

    Without an exam they are the averaged weights of the end.

    Raises
    ------
    RunError
        ``loss-not-finite``; ``no-view``.
    """
    start = None if exam is None else exam.marks(model)
    former = None
    if course.blend < 1:
        former = {name: t.clone() for name, t in model.network.state_dict().items()}
    groups = method.choose(model.network, course.rank, course.seed)
    pupil = _Pupil(model, groups, course)
    watch = None if exam is None or start is None else _Watch(exam, start)
    begun, step, checked, why = time.monotonic(), 0, 0, "done"
    while step < course.steps:
        share = step / course.steps
        spent = (time.monotonic() - begun) / (60 * course.minutes) if course.minutes else 1.0
        share = spent if spent > share + _LATE else share  # the clock rules where it must
        if stop is not None and stop():
            why = "stopped"
            break
        if share >= 1 and step:
            why = "time"
            break
        if watch is not None and share * course.checks >= checked + 1:
            checked = int(share * course.checks)
            if watch.look(pupil) >= course.patience:
                why = "no better"
                break
        views = (
            lessons.draw(step, number, store, through=method.through)
            for number in range(course.views)
        )
        loss = pupil.learn(views, step, _height(share))
        step += 1
        if progress is not None:
            found = "" if watch is None or watch.best is None else f", best {watch.best.mean:.3f}"
            progress(step, course.steps, f"loss {loss:.3f}{found}")
    if watch is not None and why in ("done", "time"):
        watch.look(pupil)
    put(pupil.parameters, pupil.averaged if watch is None else watch.kept or pupil.averaged)
    method.finish(model.network)
    model.network.requires_grad_(False)
    if former is not None:
        for name, tensor in model.network.state_dict().items():
            tensor.lerp_(former[name], 1 - course.blend)
    return Learned(
        steps=step,
        seconds=time.monotonic() - begun,
        start=start,
        best=None if watch is None else watch.best,
        better=None if watch is None else watch.best is not None,
        why=why,
    )


class _Pupil:
    """What learns: parameters, their optimiser, their average."""

    def __init__(self, model: Model, groups: Groups, course: Course) -> None:
        self.model, self._course = model, course
        self._top = model.variant.tuning_rate if course.rate is None else course.rate
        self.parameters = [p for p in model.network.parameters() if p.requires_grad]
        self.averaged = [p.detach().clone() for p in self.parameters]
        self._optimiser = torch.optim.AdamW(
            groups, lr=self._top, betas=(0.9, 0.99), weight_decay=_DECAY
        )
        self._bad = 0

    def learn(self, views: Iterable[Lesson], step: int, height: float) -> float:
        """One step from some views, at a share of the highest rate; the loss.

        Raises
        ------
        RunError
            ``loss-not-finite``: too many steps running gave nothing to learn from.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = self._top * height * float(group["factor"])
        self._optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        for features, view, rng in views:
            part = _view_loss(self.model, features, view, rng) / self._course.views
            part.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, _CLIP))
        if np.isfinite(norm) and np.isfinite(loss):
            self._optimiser.step()
            decay = min(self._course.average, (1 + step) / (10 + step))
            now = [p.detach() for p in self.parameters]
            torch._foreach_lerp_(self.averaged, now, 1 - decay)
            self._bad = 0
            return loss
        self._bad += 1
        _log.warning("step %d skipped: the gradient is not finite", step)
        if self._bad >= _MOST_BAD_STEPS:
            raise RunError(
                "loss-not-finite",
                f"{self._bad} steps running gave no finite gradient, the last was step {step}",
                hint="lower the learning rate",
            )
        return loss


class _Watch:
    """Keeps the weights that did best on the exam; those of the start are to be beaten."""

    def __init__(self, exam: Exam, start: Marks) -> None:
        self._exam, self._start = exam, start
        self._strikes = 0
        self.best: Marks | None = None
        self.kept: list[Tensor] | None = None

    def look(self, pupil: _Pupil) -> int:
        """Judge the averaged weights; how often running they were no better."""
        own = [p.detach().clone() for p in pupil.parameters]
        put(pupil.parameters, pupil.averaged)
        marks = self._exam.marks(pupil.model)
        put(pupil.parameters, own)
        self._strikes += 1
        if marks.mean > (self._start if self.best is None else self.best).mean:
            self.best, self._strikes = marks, 0
            self.kept = [value.clone() for value in pupil.averaged]
        return self._strikes


@torch.no_grad()
def put(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Give parameters values."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def _view_loss(
    model: Model, features: tuple[Tensor, ...], view: View, rng: np.random.Generator
) -> Tensor:
    """Mean over the rounds of one view."""
    kind, rounds = draw_kind(rng)
    truth = torch.from_numpy(view.truth).to(model.device)
    losses = [
        answer_loss(model, answer, truth)
        for answer in answers(model, features, view, kind, rounds, rng)
    ]
    return torch.stack(losses).mean()


def _height(share: float) -> float:
    """The rate over its highest, by the share of the run: up in a line, then down as a cosine."""
    up = min(1.0, (share + 1e-3) / _WARM)
    return up * 0.5 * (1 + float(np.cos(np.pi * min(1.0, share))))
