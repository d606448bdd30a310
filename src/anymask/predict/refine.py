"""A second, closer look at an object.

The object (its box, or its first mask) is cut out with a margin, encoded again at its own scale,
and decoded with the same prompt and the first logits. Interactive segmentation calls this zoom-in
(Sofiiuk et al. 2022, arXiv:2102.06583).

A model's row says for which objects this always happens; ``refine="crop"`` asks for it at every
size, closer to the object and at the model's whole input (docs/LOG.md has the figures).

Everything here is a function of (model, embedding, prompt, first answer).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anymask.errors import PromptError
from anymask.frame import Frame
from anymask.model import Model
from anymask.predict.embedding import ImageEmbedding
from anymask.predict.steps import decode, encode, fill_masks
from anymask.prompts import Prompts
from anymask.variants import Zoom

Box = tuple[float, float, float, float]  # x0, y0, x1, y1, px with continuous edges

_OUTSIDE = -4.0  # highest logit of what lies outside the crop: surely not the object
_MOST_ENLARGED = 4  # a crop is not enlarged more than this: there is nothing more to see
_MARGIN = 1.25  # side of a crop that was asked for, in sides of the object
_SHRUNK = 0.5  # network px per image px, from which on a crop shows much that was not seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of an image, in whole px; x1 and y1 are not in it."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), px."""
        return self.y1 - self.y0, self.x1 - self.x0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """What a second look saw: one mask, or all that the prompt may mean.

    Attributes
    ----------
    window
        Where; outside it the masks are empty.
    masks
        What is in the window.
    logits
        In the frame of the whole image, so that they can be fed back.
    scores
        Predicted IoU.
    frame, found
        Of the window, and the logits in it: with the detail that `logits` has no room for.
    """

    window: Window
    masks: Bool[np.ndarray, "M y x"]
    logits: Float[Tensor, "M h w"]
    scores: Float[Tensor, " M"]
    frame: Frame
    found: Float[Tensor, "M h2 w2"]


def zoom_of(
    model: Model, frame: Frame, prompts: Prompts, always: bool, refine: str | None
) -> Zoom | None:
    """How the objects of prompts are looked at again, or None.

    Parameters
    ----------
    frame
        Of the whole image.
    always
        Small objects are looked at again where the model's row provides for it.

    Raises
    ------
    PromptError
        ``setting``: there is no such way to refine.
    """
    if refine not in (None, "crop"):
        raise PromptError(
            "setting", "there is no such way to refine", given=refine, hint='give "crop" or None'
        )
    # A box holds the object, a first mask may have missed part of it, which a crop would cut off:
    # that is worth it only where the crop shows more than the whole image did.
    trusted = prompts.boxes is not None or max(frame.scale) <= _SHRUNK
    if refine is not None and trusted:
        return Zoom(below=math.inf, margin=_MARGIN, side=model.variant.spec.side)
    return model.variant.zoom if always else None


def look_closer(
    model: Model,
    embedding: ImageEmbedding,
    prompt: Prompts,
    logits: Float[Tensor, "h w"],
    zoom: Zoom,
    multimask: bool = False,
) -> Look | None:
    """A second look at one prompt's object, or None where it is large or nothing was found.

    The crop is made around the prompt's box, else around the first mask. With the first logits the
    prompt is clear, so that a single mask answers; where several are wanted of a lone point, and
    the zoom provides for it, the point alone is asked again.

    Parameters
    ----------
    multimask
        Several masks are wanted.
    """
    box = mask_box(logits, embedding.frame)
    if prompt.boxes is not None:
        x0, y0, x1, y1 = (float(v) for v in prompt.boxes[0])
        box = x0, y0, x1, y1
    window = None if box is None else choose_window(box, prompt, embedding.size, zoom)
    if window is None:
        return None
    frame = Frame.fit(window.size, model.variant.spec, zoom.side)
    moved = move(prompt, window)
    open_question = multimask and zoom.alternatives and is_lone_point(prompt)
    if not open_question and model.variant.spec.mask_prompts:
        known = resample(logits[None], embedding.frame, frame, (window.x0, window.y0))
        moved = replace(moved, masks=known.cpu().numpy())
    pixels = np.ascontiguousarray(embedding.pixels[window.y0 : window.y1, window.x0 : window.x1])
    outputs, known_scores = decode(model, encode(model, pixels, frame), moved, frame)
    answers, scores = model.variant.outputs.answer(outputs, known_scores, open_question)
    found = answers[0]
    masks = np.empty((len(found), *window.size), bool)
    fill_masks(masks, found, frame)
    return Look(
        window=window,
        masks=masks,
        logits=torch.stack(
            [_whole(logits, each, embedding.frame, frame, window) for each in found]
        ),
        scores=scores[0],
        frame=frame,
        found=found,
    )


def is_lone_point(prompt: Prompts) -> bool:
    """Whether one prompt is a single point on the object, which may mean many things."""
    return prompt.boxes is None and prompt.masks is None and prompt.labels[0].tolist() == [1]


def mask_box(logits: Float[Tensor, "h w"], frame: Frame) -> Box | None:
    """Tight box of a low-resolution mask in image px, or None where it is empty."""
    bits = (logits[: frame.covered[0], : frame.covered[1]] > 0).cpu().numpy()
    ys, xs = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    if not len(ys):
        return None
    (height, width), (across, down) = frame.image, frame.cell
    return (
        float(xs[0] * across),
        float(ys[0] * down),
        min(float(width), float((xs[-1] + 1) * across)),
        min(float(height), float((ys[-1] + 1) * down)),
    )


def choose_window(box: Box, prompt: Prompts, size: tuple[int, int], zoom: Zoom) -> Window | None:
    """Where to look closer: around the object and every point on it; None where it is large."""
    (height, width), (x0, y0, x1, y1) = size, box
    on = prompt.points[0][prompt.labels[0] == 1]
    if len(on):  # what was clicked belongs to the object, whatever the first mask says
        x0, y0 = min(x0, float(on[:, 0].min())), min(y0, float(on[:, 1].min()))
        x1, y1 = max(x1, float(on[:, 0].max()) + 1), max(y1, float(on[:, 1].max()) + 1)
    if math.sqrt((x1 - x0) * (y1 - y0) / (height * width)) >= zoom.below:
        return None
    longest = max(x1 - x0, y1 - y0)
    length = max(zoom.margin * longest, zoom.side / _MOST_ENLARGED)
    pad = (length - longest) / 2
    window = Window(
        x0=max(0, math.floor(x0 - pad)),
        y0=max(0, math.floor(y0 - pad)),
        x1=min(width, math.ceil(x1 + pad)),
        y1=min(height, math.ceil(y1 + pad)),
    )
    return None if window.size == size else window


def move(prompt: Prompts, window: Window) -> Prompts:
    """One prompt in the frame of a window.

    Points outside (they are all off the object) say nothing about the inside and are left out.
    """
    corner = np.array([window.x0, window.y0], np.float32)
    points = prompt.points[0] - corner
    inside = ((points >= 0) & (points < np.array(window.size[::-1], np.float32))).all(1)
    boxes = None
    if prompt.boxes is not None:
        boxes = prompt.boxes - np.tile(corner, 2)
    return replace(
        prompt,
        points=(points[inside],),
        labels=(prompt.labels[0][inside],),
        boxes=boxes,
        masks=None,
    )


def resample(
    logits: Float[Tensor, "M h w"], source: Frame, target: Frame, shift: tuple[int, int]
) -> Float[Tensor, "M h2 w2"]:
    """Logits of one frame in the cells of another: bilinear, means where the cells are larger.

    Parameters
    ----------
    shift
        Where the target's image begins in the source's image, (x, y) px.
    """
    across = _weights(source, target, 0, shift[0]).to(logits.device)
    down = _weights(source, target, 1, shift[1]).to(logits.device)
    return down @ logits @ across.T


def _weights(source: Frame, target: Frame, axis: int, shift: int) -> Float[Tensor, "t s"]:
    """What each cell of the source counts for in each of the target, along one axis (0 is x)."""
    count, known = target.logits[1 - axis], source.logits[1 - axis]
    samples = math.ceil(target.cell[axis] / source.cell[axis] - 1e-3)  # in a cell of the target
    fine = (torch.arange(count * samples, dtype=torch.float64) + 0.5) / samples
    at = (fine * target.cell[axis] + shift) / source.cell[axis] - 0.5
    at = at.clamp(0, known - 1)
    before = at.floor().long()
    share = at - before
    weights = torch.zeros((count * samples, known), dtype=torch.float64)
    weights.scatter_add_(1, before[:, None], (1 - share)[:, None])
    weights.scatter_add_(1, (before + 1).clamp(max=known - 1)[:, None], share[:, None])
    return weights.view(count, samples, known).mean(1).float()


def _whole(
    before: Float[Tensor, "h w"],
    found: Float[Tensor, "h2 w2"],
    frame: Frame,
    cropped: Frame,
    window: Window,
) -> Float[Tensor, "h w"]:
    """Logits of the whole image: what was found inside the window, background outside."""
    again = resample(found[None], cropped, frame, (-window.x0, -window.y0))[0]
    (h, w), (across, down) = frame.logits, frame.cell
    xs = (torch.arange(w, device=found.device) + 0.5) * across
    ys = (torch.arange(h, device=found.device) + 0.5) * down
    columns = (xs >= window.x0) & (xs < window.x1)
    rows = (ys >= window.y0) & (ys < window.y1)
    whole = torch.where(rows[:, None] & columns, again, before.clamp(max=_OUTSIDE))
    highest = float(found.max())
    if highest > 0 and not bool((whole > 0).any()):
        # an object smaller than a cell would be lost: its strongest point speaks for its cell
        y, x = divmod(int(found.argmax()), found.shape[-1])
        px = (x + 0.5) * cropped.cell[0] + window.x0, (y + 0.5) * cropped.cell[1] + window.y0
        whole[min(h - 1, int(px[1] / down)), min(w - 1, int(px[0] / across))] = highest
    return whole
