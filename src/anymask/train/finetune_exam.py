"""How good a model is on the pictures that decide when to stop: the same views and prompts always.

Quick and coarse beside `anymask.evaluate.interactive`: a few views a picture, at the network's own
sizes, IoU in cells of the logits. It never looks at the pictures that are judged on in the end.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anymask.formats.records import RecordSet
from anymask.model import Model
from anymask.train.finetune_data import usable
from anymask.train.finetune_step import Kind, answers, chosen_iou
from anymask.train.finetune_store import as_halves, encode_view
from anymask.train.finetune_views import Plan, View, plan_view, plan_whole, see_masks, see_pixels

VIEWS_A_PICTURE = 3  # all of it, and two parts
_MOST_VIEWS, _MOST_MASKS = 16, 4
_CLICKS = 3
_ASKED: tuple[Kind, ...] = ("box", "click")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Mean IoU of all masks, 0..1: by a box, by one click, by three."""

    box: float
    click1: float
    click3: float

    @property
    def mean(self) -> float:
        """What decides."""
        return (self.box + self.click1 + self.click3) / 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """One view of one picture."""

    image_id: str
    plan: Plan
    view: View


class Exam:
    """Views of the pictures, drawn once.

    Parameters
    ----------
    data
        The pictures.
    row
        Of the model.
    keep
        The encoder stays as it is: features are made once and kept in memory.
    """

    def __init__(self, data: RecordSet, model: Model, *, keep: bool, seed: int = 0) -> None:
        self._data, self._keep, self._seed = data, keep, seed
        self._kept: dict[int, tuple[Tensor, ...]] = {}
        drawn: list[Question] = []
        for number, image_id in enumerate(data.ids):
            record = data.read(image_id)
            masks = usable(record)
            rng = np.random.default_rng((seed, 11, number))
            row = model.variant
            parts = (plan_view(record.size, masks, row, rng) for _ in range(VIEWS_A_PICTURE - 1))
            for plan in (plan_whole(record.size, row), *parts):
                plain = Plan(window=plan.window, side=plan.side, focus=plan.focus)
                view = see_masks(masks, plain, row, _MOST_MASKS, rng)
                if view is not None:
                    drawn.append(Question(image_id=image_id, plan=plain, view=view))
        # of too many, some of every picture
        step = max(1.0, len(drawn) / _MOST_VIEWS)
        count = min(len(drawn), _MOST_VIEWS)
        self.questions = tuple(drawn[int(i * step)] for i in range(count))

    @torch.no_grad()
    def marks(self, model: Model) -> Marks:
        """Ask everything."""
        found: dict[str, list[float]] = {"box": [], "click1": [], "click3": []}
        for number, question in enumerate(self.questions):
            features, view = self._features(model, number), question.view
            truth = torch.from_numpy(view.truth).to(model.device)
            passes = model.variant.outputs.box_passes
            for kind in _ASKED:
                rounds = passes if kind == "box" else _CLICKS
                rng = np.random.default_rng((self._seed, 12, number))
                known = np.zeros(len(view.masks))
                given = answers(model, features, view, kind, rounds, rng, sure=True)
                for turn, answer in enumerate(given):
                    known[answer.rows.cpu().numpy()] = chosen_iou(answer, truth).cpu().numpy()
                    if turn == 0 and kind == "click":
                        found["click1"] += known.tolist()
                # masks that were right before are not asked for again
                found["box" if kind == "box" else "click3"] += known.tolist()
        means = {name: float(np.mean(values)) for name, values in found.items()}
        return Marks(**means)

    def _features(self, model: Model, number: int) -> tuple[Tensor, ...]:
        kept = self._kept.get(number)
        if kept is None:
            question = self.questions[number]
            pixels = see_pixels(self._data.read(question.image_id).pixels(), question.plan)
            # in halves from the first time on: marks of the start and of later weights compare
            kept = as_halves(encode_view(model, pixels, question.view.frame))
            if self._keep:
                self._kept[number] = kept
        return tuple(part.float() for part in kept)
