"""What a row of the table of models says: weights, input, defaults.

What differs between models is a value (a size, a mean, an offset) or a small function (how many
padding points).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from anymask.variant_video import VideoSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A weight file: where it comes from and how to know it.

    Attributes
    ----------
    file
        Name of the file in the cache, or in the package for bundled weights.
    url
        Official address; None for bundled weights.
    bytes
        Size, None where the publisher states none.
    sha256, md5
        Hex digests, None where unknown.
    git_blob
        SHA-1 of ``blob SIZE``, a zero byte and the file: its name in the publisher's repository.
    """

    file: str
    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    git_blob: str | None = None


def keep_aspect(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(H, W) scaled so that the longer becomes ``side``: rounded half up, as SAM does, at least 1.

    >>> keep_aspect((400, 600), 1024)
    (683, 1024)
    """
    scale = side / max(size)
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def stretch(size: tuple[int, int], side: int) -> tuple[int, int]:
    """A square of ``side``, whatever (H, W) is."""
    return side, side


def sam_padding(points: int, has_box: bool) -> int:
    """SAM adds one padding point (label -1) after the user's points unless there is a box."""
    return 1 if points and not has_box else 0


def no_padding(points: int, has_box: bool) -> int:
    """No padding points at all."""
    return 0


def lone_padding(points: int, has_box: bool) -> int:
    """One padding point beside a mask alone: nano's maps are made from at least one point."""
    return 0 if points or has_box else 1


def padding_always(points: int, has_box: bool) -> int:
    """SAM 2 adds one padding point after points and boxes alike, and none to a mask alone."""
    return 1 if points or has_box else 0


def six_points(points: int, has_box: bool) -> int:
    """EfficientSAM's prompts have six points, a box's corners among them; see `most_points`."""
    return max(0, 6 - points - 2 * has_box)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """How a picture and its prompts become network input.

    Attributes
    ----------
    side
        Longest side after resizing, px. Small images are enlarged.
    fit
        ``((H, W), side) -> (H, W)`` after resizing: the aspect is kept, or not.
    resize
        How pixels are resized, always bilinear: ``"bytes"`` with antialias and rounded to bytes
        again, ``"smooth"`` with antialias on floats, ``"plain"`` without antialias on floats.
    enlarge
        How logits get the image's size: ``"twice"``, bilinear to the network's input, where the
        padding is cut off, then bilinear again; or at once, ``"bilinear"`` or ``"bicubic"``, for
        inputs without padding.
    multiple
        The resized image is padded right and bottom with zeros, after normalisation, until both
        sides are multiples of this, px. ``multiple == side`` gives squares.
    mean, std
        Per channel (RGB), in 0..255 units.
    point_shift_px, point_shift_net, box_shift_net
        Added to point coordinates before scaling (image px), after scaling (network px), and to
        box corners after scaling: where the weights think a pixel's centre is.
    mask_stride
        Network px per cell of the low-resolution logits.
    padding
        ``(number of points, has a box) -> number of padding points`` the weights expect.
    most_points
        Points that a prompt may have, a box's two corners among them; None where any number goes.
    mask_prompts
        Masks can be prompts.
    """

    side: int
    multiple: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: Callable[[tuple[int, int], int], tuple[int, int]] = keep_aspect
    resize: Literal["bytes", "smooth", "plain"] = "bytes"
    enlarge: Literal["twice", "bilinear", "bicubic"] = "twice"
    point_shift_px: float = 0.0
    point_shift_net: float = 0.0
    box_shift_net: float = 0.0
    mask_stride: int = 4
    padding: Callable[[int, bool], int] = no_padding
    most_points: int | None = None
    mask_prompts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Which of a network's four outputs answer what.

    Attributes
    ----------
    clear
        The one for a prompt that is clear.
    alternatives
        Those for what an ambiguous prompt may mean.
    stable
        Least stability that the clear one must have to answer, else the best of the alternatives
        does, by score; 0 takes it always.
    stable_offset
        Stability is the share that cells above this logit have of those above its negative.
    box_passes
        A box that is to get one mask is decoded so often, each time with the logits of the time
        before: models that were trained with rounds of corrections refine their own answer.
    """

    clear: int = 0
    alternatives: range = range(1, 4)
    stable: float = 0.0
    stable_offset: float = 0.05
    box_passes: int = 1

    def of(self, multimask: bool) -> slice:
        """Those for ambiguous prompts, or the one for clear ones."""
        if multimask:
            return slice(self.alternatives.start, self.alternatives.stop)
        return slice(self.clear, self.clear + 1)

    def answer(self, logits: Any, scores: Any, multimask: bool) -> tuple[Any, Any]:
        """Logits (P, n, h, w) and scores (P, n) that answer, of all four (tensors)."""
        if multimask or not self.stable:
            asked = self.of(multimask)
            return logits[:, asked], scores[:, asked]
        columns = self.steady(logits[:, self.clear], scores)[:, None]
        found = logits.gather(1, columns[..., None, None].expand(-1, -1, *logits.shape[2:]))
        return found, scores.gather(1, columns)

    def steady(self, clear: Any, scores: Any) -> Any:
        """Which output answers each of P clear prompts (P,), by logits of the clear one (P, h, w).

        Where no cell is above the lower logit the mask counts as stable.
        """
        high = (clear > self.stable_offset).flatten(1).sum(1)
        low = (clear > -self.stable_offset).flatten(1).sum(1)
        keeps = (high / low.clamp(min=1) >= self.stable) | (low == 0)
        others = self.of(True)
        return (scores[:, others].argmax(1) + others.start).masked_fill(keeps, self.clear)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSizes:
    """Input sizes that a model takes beside its own.

    Attributes
    ----------
    step
        They are multiples of this, px.
    smallest, largest
        Bounds, both included, px.
    argument
        The builder's argument that is to be told, or None.
    """

    step: int
    smallest: int
    largest: int
    argument: str | None = "side"

    def has(self, size: int) -> bool:
        """Whether it is one of them."""
        return size % self.step == 0 and self.smallest <= size <= self.largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoom:
    """When a second look at a small object pays: crop, encode again, decode with the first logits.

    Attributes
    ----------
    below
        Object size (square root of box area over square root of image area) below which to zoom.
    margin
        Side of the crop over side of the object.
    side
        Longest side of the crop after resizing, px.
    alternatives
        What a lone point may mean is read anew in the crop, all of it. Else the mask of the highest
        score alone is refined there.
    """

    below: float
    margin: float
    side: int
    alternatives: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EverythingSpec:
    """What everything mode keeps unless told otherwise: scores mean other things in other models.

    Attributes
    ----------
    pred_iou_thresh, stability_score_thresh
        Masks of a lower predicted IoU or stability are thrown away.
    stability_score_offset
        How far the threshold is moved up and down to measure stability, logits.
    """

    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One model.

    Attributes
    ----------
    name
        What `anymask.load` takes.
    builder
        Key of `anymask.model.BUILDERS` and of the converters in `anymask.weights`.
    network
        Keyword arguments of the builder.
    spec
        Input specification.
    weights
        The official weight file.
    licence
        SPDX identifier of the weights.
    summary
        One line: what it is good for.
    parameters
        Number of parameters, for the table in the docs.
    zoom
        Second look at small objects, or None.
    everything
        Defaults of everything mode.
    outputs
        Which outputs answer what.
    sizes
        Other input sizes, or None; see `anymask.variant_sizes.sized`.
    video
        How videos are followed, or None where the model knows images alone.
    memory
        Weight file of what only videos need, where `weights` does not hold it.
    tuning_rate
        Highest learning rate when it is fine-tuned.
    """

    name: str
    builder: str
    network: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    spec: InputSpec
    weights: Asset
    licence: str
    summary: str
    parameters: int
    zoom: Zoom | None = None
    everything: EverythingSpec = field(default_factory=EverythingSpec)
    outputs: Outputs = field(default_factory=Outputs)
    sizes: InputSizes | None = None
    tuning_rate: float = 1e-4
    video: VideoSpec | None = None
    memory: Asset | None = None

    def __deepcopy__(self, memo: object) -> "Variant":
        """Itself: it never changes, so that copies of a model share their row."""
        return self
