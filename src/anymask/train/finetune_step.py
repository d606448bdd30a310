"""A view's prompts, answered by any row's network in rounds, and how wrong the answers are.

All masks of a view are asked for in one way: by boxes, by one click each, or by several clicks.
Later rounds add a click where the answer is wrong and feed the answer back, as users do. Points go
through `anymask.prompts.network_points`, as when the model is used: half pixels, padding points and
scales are the row's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from anymask.frame import Frame
from anymask.model import Model, Network
from anymask.prompts import Prompts, network_points
from anymask.train.clicks import correction, noisy_box, point_in
from anymask.train.finetune_views import View
from anymask.train.losses import mask_losses, soft_iou

Kind = Literal["box", "click", "clicks"]

_KINDS: tuple[Kind, ...] = ("box", "click", "clicks")
_SHARES = (0.4, 0.45, 0.15)
_ROUNDS = (0.25, 0.35, 0.2, 0.1, 0.1)  # shares of 1, 2, 3 ... rounds
_FED_BACK = 0.3  # share of rounds after boxes without a click: the answer alone is fed back
_INNERMOST = 0.6  # share of first clicks at the innermost point, as in the figures


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What a network said in one round.

    Attributes
    ----------
    rows
        Which masks of the view were asked for.
    ambiguous
        One click is all there was: several masks answer.
    logits, scores
        All four outputs.
    chosen
        The output that the user goes on from.
    """

    rows: Int64[Tensor, " Q"]
    ambiguous: bool
    logits: Float[Tensor, "Q 4 h w"]
    scores: Float[Tensor, "Q 4"]
    chosen: Float[Tensor, "Q h w"]


class Asked:
    """What the user has pointed at so far, for each mask of a view; px of the window."""

    def __init__(self, view: View, kind: Kind, rng: np.random.Generator, *, sure: bool) -> None:
        """`sure`: boxes are tight and clicks innermost, as in the figures."""
        self.points: list[list[tuple[float, float]]] = [[] for _ in view.masks]
        self.labels: list[list[int]] = [[] for _ in view.masks]
        self.boxes: np.ndarray | None = None
        if kind == "box":
            boxes = [_tight(m) if sure else noisy_box(m, rng) for m in view.masks]
            self.boxes = np.array(boxes, np.float32)
            return
        more = int(rng.integers(1, 3)) if kind == "clicks" else 0
        for i, mask in enumerate(view.masks):
            self.add(i, point_in(mask, sure or rng.random() < _INNERMOST, rng), 1)
            for _ in range(more):
                on = rng.random() < 0.5 or not (~mask).any()
                self.add(i, point_in(mask if on else ~mask, False, rng), int(on))

    def add(self, row: int, xy: tuple[float, float], label: int) -> None:
        """One more click; the centre of pixel 0 is at 0.5."""
        self.points[row].append((xy[0] - 0.5, xy[1] - 0.5))
        self.labels[row].append(label)

    def count(self, row: int) -> int:
        """Points of a prompt, a box's corners among them."""
        return len(self.points[row]) + 2 * (self.boxes is not None)

    def prompts(self, rows: Sequence[int]) -> Prompts:
        """The prompts of some masks."""
        return Prompts(
            points=tuple(np.array(self.points[i], np.float32).reshape(-1, 2) for i in rows),
            labels=tuple(np.array(self.labels[i], np.int64) for i in rows),
            boxes=None if self.boxes is None else self.boxes[list(rows)],
        )


def draw_kind(rng: np.random.Generator) -> tuple[Kind, int]:
    """How a view is asked for, and in how many rounds."""
    return _KINDS[int(rng.choice(3, p=_SHARES))], 1 + int(rng.choice(len(_ROUNDS), p=_ROUNDS))


def answers(
    model: Model,
    features: tuple[Tensor, ...],
    view: View,
    kind: Kind,
    rounds: int,
    rng: np.random.Generator,
    *,
    sure: bool = False,
) -> Iterator[Answer]:
    """Ask for all masks of a view, in rounds; masks without any error left are asked for no more.

    Parameters
    ----------
    features
        Of the view, batch 1.
    sure
        See `Asked`; and nobody clicks after a box, its answer alone is fed back.
    """
    spec, frame = model.variant.spec, view.frame
    asked = Asked(view, kind, rng, sure=sure)
    previous: Tensor | None = None
    rows = list(range(len(view.masks)))
    for number in range(rounds):
        ambiguous = kind == "click" and number == 0
        logits, scores = _decode(model, features, asked, rows, previous, frame)
        chosen = _go_on(model, logits, scores, ambiguous)
        yield Answer(
            rows=torch.tensor(rows, device=logits.device),
            ambiguous=ambiguous,
            logits=logits,
            scores=scores,
            chosen=chosen,
        )
        if number + 1 == rounds:
            return
        room = [spec.most_points is None or asked.count(i) < spec.most_points for i in rows]
        boxed = asked.boxes is not None and spec.mask_prompts
        again = boxed and (sure or rng.random() < _FED_BACK)
        wrong = [
            again or _correct(asked, i, chosen[q], view, rng) for q, i in enumerate(rows) if room[q]
        ]
        kept = [q for q, found in zip(np.flatnonzero(room).tolist(), wrong, strict=True) if found]
        if not kept:
            return
        rows = [rows[q] for q in kept]
        previous = chosen[kept][:, None] if spec.mask_prompts else None


def answer_loss(model: Model, answer: Answer, truth: Float[Tensor, "K h w"]) -> Float[Tensor, ""]:
    """How wrong a round's answers are: masks as in `anymask.train.losses`, scores by their square.

    After one click the best of the alternatives counts most, else the output for clear prompts
    does, as the row names them.
    """
    outputs = model.variant.outputs
    wanted = truth[answer.rows]
    others = slice(outputs.alternatives.start, outputs.alternatives.stop)
    losses = mask_losses(answer.logits, wanted)
    first, rest = losses[:, outputs.clear], losses[:, others]
    sure, unsure = (0.5, 1.0) if answer.ambiguous else (1.0, 0.3)
    mask = sure * first + unsure * rest.amin(1) + 0.05 * rest.mean(1)
    with torch.no_grad():
        iou = soft_iou(answer.logits, wanted)
    known = (answer.scores - iou).square()
    score = known[:, outputs.clear] + known[:, others].sum(1)
    return (mask + score).mean()


def chosen_iou(answer: Answer, truth: Float[Tensor, "K h w"]) -> Float[Tensor, " Q"]:
    """IoU of what the user goes on from."""
    return soft_iou(answer.chosen[:, None], truth[answer.rows])[:, 0]


def _decode(
    model: Model,
    features: tuple[Tensor, ...],
    asked: Asked,
    rows: Sequence[int],
    previous: Float[Tensor, "Q 1 h w"] | None,
    frame: Frame,
) -> tuple[Tensor, Tensor]:
    """All outputs of some masks, in their order; prompts of as many points at a time."""
    prompts = asked.prompts(rows)
    device, network = model.device, cast(Network, model.network)
    groups = prompts.groups()
    found = []
    for group in groups:
        points, labels = network_points(prompts.take(group), frame, model.variant.spec)
        found.append(
            network.decode(
                features,
                torch.from_numpy(points).to(device),
                torch.from_numpy(labels).to(device),
                None if previous is None else previous[group],
            )
        )
    back = torch.tensor([i for group in groups for i in group], device=device).argsort()
    logits, scores = (torch.cat(part)[back] for part in zip(*found, strict=True))
    return logits, scores


def _go_on(model: Model, logits: Tensor, scores: Tensor, ambiguous: bool) -> Tensor:
    """The answer that is shown, as values."""
    shown, known = model.variant.outputs.answer(logits.detach(), scores.detach(), ambiguous)
    at = torch.arange(len(shown), device=shown.device)
    picked: Tensor = shown[at, known.argmax(1)]
    return picked


def _correct(
    asked: Asked, row: int, logits: Float[Tensor, "h w"], view: View, rng: np.random.Generator
) -> bool:
    """Click where the answer is wrong; whether it is."""
    frame = view.frame
    predicted = (logits > 0).cpu().numpy()
    predicted[frame.covered[0] :] = False  # what is found in the padding, nobody sees
    predicted[:, frame.covered[1] :] = False
    click = correction(view.truth[row], predicted, frame.mask_stride, rng)
    if click is None:
        return False
    height, width = frame.image
    x = min(max(click[0] / frame.scale[0], 0.5), width - 0.5)
    y = min(max(click[1] / frame.scale[1], 0.5), height - 0.5)
    asked.add(row, (x, y), click[2])
    return True


def _tight(mask: np.ndarray) -> tuple[float, float, float, float]:
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1
