"""Moving pictures made of still photos: objects cut out, each on a path of its own over a moving
background, with occluders, look-alikes, blur and changes of light.

A scene is a stack of layers, back to front: the background photo, whose own masks move with it,
then cut-outs of other photos. Pasting moving cut-outs is how video segmentation is taught from
stills (Oh et al. 2018, RGMP; Perazzi et al. 2017, arXiv:1612.02646).
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from anymask.formats.records import Annotation, Record
from anymask.train.augment import change_colours
from anymask.train.batches import PhotoDrawer
from anymask.train.samples import usable
from anymask.train.video_samples import SMALLEST, Sample

_TRIES = 20
_SIDE = 480  # px; photos are brought down to this before anything is cut out


@dataclass(slots=True, kw_only=True, eq=False)
class Path2d:
    """Where a layer is on each frame: similarity transforms and a slow bending."""

    centre: Float32[np.ndarray, "T 2"]
    angle: Float32[np.ndarray, " T"]
    scale: Float32[np.ndarray, "T 2"]
    bend: Float32[np.ndarray, "T g g 2"]


@dataclass(slots=True, kw_only=True, eq=False)
class Layer:
    """A picture with its opacity (0..1) and the masks that move with it."""

    pixels: UInt8[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]
    path: Path2d
    endless: bool = False  # mirrored beyond its sides
    masks: list[Bool[np.ndarray, "h w"]] = field(default_factory=list)


def draw_scene(
    drawer: PhotoDrawer, size: tuple[int, int], count: int, most: int, rng: np.random.Generator
) -> Sample | None:
    """A sample of made-up motion, or None where no object can be seen.

    Parameters
    ----------
    size
        (H, W), multiples of 32.
    count
        Frames.
    most
        Objects.
    """
    speed = float(rng.choice([0.3, 1.0, 2.0]))
    layers = [_background(drawer, size, count, speed, rng)]
    cuts = int(rng.integers(0, 4)) if layers[0].masks else int(rng.integers(1, 4))
    for _ in range(cuts):
        layer = _cut_out(drawer, size, count, speed, rng)
        if layer is None:
            continue
        layers.append(layer)
        if rng.random() < 0.25:  # one that looks the same and goes elsewhere
            twin = Layer(
                pixels=layer.pixels,
                alpha=layer.alpha,
                masks=list(layer.masks),
                path=_object_path(layer.alpha.shape, size, count, speed, rng),
            )
            layers.append(twin)
    return _filmed(layers, size, count, most, rng)


def _filmed(
    layers: list[Layer], size: tuple[int, int], count: int, most: int, rng: np.random.Generator
) -> Sample | None:
    """Draw the stack on each frame, and keep objects that the first frame shows."""
    frames: list[np.ndarray] = []
    masks: list[list[np.ndarray]] = []
    kernel = _blur(rng)
    drift = rng.normal(size=3) * rng.choice([0.0, 4.0])
    for t in range(count):
        canvas: np.ndarray = np.full((*size, 3), 127, np.float32)
        seen: list[np.ndarray] = []
        for layer in layers:
            at = _coordinates(layer, t, size)
            beyond = cv2.BORDER_REFLECT if layer.endless else cv2.BORDER_CONSTANT
            alpha = cv2.remap(layer.alpha, *at, cv2.INTER_LINEAR, borderMode=beyond)
            pixels = cv2.remap(layer.pixels, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            canvas += alpha[..., None] * (pixels - canvas)
            over = alpha > 0.5
            seen = [mask & ~over for mask in seen]
            for mask in layer.masks:
                moved = cv2.remap(mask.astype(np.float32), *at, cv2.INTER_LINEAR, borderValue=0)
                seen.append(moved > 0.5)
        if kernel is not None:
            canvas = cv2.filter2D(canvas, -1, kernel)
        canvas += drift.astype(np.float32) * t
        frames.append(np.clip(canvas, 0, 255).astype(np.uint8))
        masks.append(seen)
    areas = np.array([mask.sum() for mask in masks[0]])
    good = np.flatnonzero((areas >= SMALLEST) & (areas < 0.7 * size[0] * size[1]))
    if not len(good):
        return None
    # pasted objects come last: they move on their own, so they are preferred
    weights = 1.0 + 3.0 * (good >= len(layers[0].masks))
    chosen = rng.choice(good, min(most, len(good)), replace=False, p=weights / weights.sum())
    seed = int(rng.integers(2**31))
    return Sample(
        frames=np.stack([change_colours(f, np.random.default_rng(seed)) for f in frames]),
        masks=np.stack([[seen[i] for i in chosen] for seen in masks]),
    )


def _background(
    drawer: PhotoDrawer, size: tuple[int, int], count: int, speed: float, rng: np.random.Generator
) -> Layer:
    record = _read(drawer, rng)
    pixels = _reduced(record.pixels())
    some = rng.permutation(np.array(usable(record), object))[:4]
    masks = [_scaled(annotation.mask(), pixels.shape[:2]) for annotation in some]
    h, w = pixels.shape[:2]
    cover = max(size[0] / h, size[1] / w) * rng.uniform(1.0, 1.8)
    room = np.maximum(0, np.array([w * cover - size[1], h * cover - size[0]])) / 2
    start = np.array(size[::-1]) / 2 + rng.uniform(-1, 1, 2) * room
    path = _path(count, start, cover, 0.5 * speed * max(size), 0.05, rng)
    path.bend *= 0.5
    alpha = np.ones((h, w), np.float32)
    return Layer(pixels=pixels, alpha=alpha, path=path, masks=masks, endless=True)


def _cut_out(
    drawer: PhotoDrawer, size: tuple[int, int], count: int, speed: float, rng: np.random.Generator
) -> Layer | None:
    """An object of a photo, cut out along its mask."""
    record = _read(drawer, rng)
    pixels = _reduced(record.pixels())
    annotations = usable(record)
    annotation: Annotation = annotations[rng.integers(len(annotations))]
    mask = _scaled(annotation.mask(), pixels.shape[:2])
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(ys) < 12 or len(xs) < 12:
        return None
    part = np.s_[max(0, ys[0] - 3) : ys[-1] + 4, max(0, xs[0] - 3) : xs[-1] + 4]
    inner = cv2.erode(mask[part].astype(np.uint8), np.ones((3, 3), np.uint8))
    alpha = cv2.GaussianBlur(inner.astype(np.float32), (3, 3), 0)
    seed = int(rng.integers(2**31))
    return Layer(
        pixels=change_colours(np.ascontiguousarray(pixels[part]), np.random.default_rng(seed)),
        alpha=alpha,
        masks=[inner.astype(bool)],
        path=_object_path(alpha.shape, size, count, speed, rng),
    )


def _object_path(
    shape: tuple[int, ...],
    size: tuple[int, int],
    count: int,
    speed: float,
    rng: np.random.Generator,
) -> Path2d:
    wanted = max(size) * np.exp(rng.uniform(np.log(0.1), np.log(0.6)))
    start = rng.uniform(0.1, 0.9, 2) * np.array(size[::-1])
    scale = wanted / max(shape)
    return _path(count, start, scale, speed * (0.3 * max(size) + 0.7 * wanted), 0.12, rng)


def _path(
    count: int,
    start: np.ndarray,
    scale: float,
    reach: float,
    turn: float,
    rng: np.random.Generator,
) -> Path2d:
    """Steady motion with some acceleration; sizes and angles change slowly, shapes bend."""
    t = np.arange(count, dtype=np.float32)
    velocity = rng.normal(size=2) * 0.06 * reach
    change = rng.normal(size=2) * 0.015 * reach
    centre = start + t[:, None] * velocity + 0.5 * t[:, None] ** 2 * change
    centre += rng.normal(size=(count, 2)) * 0.01 * reach
    angle = rng.normal() * turn * t + rng.normal(size=count) * 0.2 * turn
    growth = np.exp(rng.normal() * 0.05 * t)
    squeeze = np.exp(rng.normal(size=2) * 0.03 * t[:, None])
    aspect = np.exp(rng.normal(size=2) * 0.08)
    bends = rng.normal(size=(2, 4, 4, 2)) * rng.choice([0.0, 0.025, 0.05])
    phase = rng.uniform(0.3, 1.0) * t[:, None, None, None]
    bend = bends[0] * np.sin(phase) + bends[1] * (np.cos(phase) - 1)
    return Path2d(
        centre=centre.astype(np.float32),
        angle=angle.astype(np.float32),
        scale=(scale * growth[:, None] * squeeze * aspect).astype(np.float32),
        bend=bend.astype(np.float32),
    )


def _coordinates(
    layer: Layer, t: int, size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]:
    """Where in the layer each pixel of the frame comes from."""
    h, w = layer.alpha.shape
    path = layer.path
    c, s = np.cos(path.angle[t]), np.sin(path.angle[t])
    ys, xs = np.mgrid[: size[0], : size[1]].astype(np.float32)
    dx, dy = xs - path.centre[t, 0], ys - path.centre[t, 1]
    u = (c * dx + s * dy) / path.scale[t, 0]
    v = (c * dy - s * dx) / path.scale[t, 1]
    bend = cv2.resize(path.bend[t], (w, h), interpolation=cv2.INTER_CUBIC)
    near_u = np.clip(u + w / 2, 0, w - 1).astype(np.int32)
    near_v = np.clip(v + h / 2, 0, h - 1).astype(np.int32)
    moved = bend[near_v, near_u] * max(h, w)
    return u + np.float32(w / 2) + moved[..., 0], v + np.float32(h / 2) + moved[..., 1]


def _blur(rng: np.random.Generator) -> Float32[np.ndarray, "k k"] | None:
    """A streak, as of a moving camera, or a blot, or most often nothing."""
    kind = rng.random()
    if kind < 0.7:
        return None
    length = int(rng.integers(3, 10))
    kernel: np.ndarray = np.zeros((11, 11), np.float32)
    if kind < 0.9:
        angle = rng.uniform(0, np.pi)
        for along in np.linspace(-length / 2, length / 2, 21):
            x, y = 5 + along * np.cos(angle), 5 + along * np.sin(angle)
            kernel[round(np.clip(y, 0, 10)), round(np.clip(x, 0, 10))] += 1
    else:
        kernel[5, 5] = 1
        kernel = cv2.GaussianBlur(kernel, (0, 0), length / 5)
    blurred: np.ndarray = kernel / kernel.sum()
    return blurred


def _read(drawer: PhotoDrawer, rng: np.random.Generator) -> Record:
    photo = drawer.draw(rng)
    return photo.folder.read(photo.image_id)


def _reduced(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    factor = _SIDE / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    size = max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor))
    small: np.ndarray = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small


def _scaled(mask: Bool[np.ndarray, "H W"], shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    if mask.shape == shape:
        return mask
    small: np.ndarray = cv2.resize(mask.view(np.uint8), shape[::-1], interpolation=cv2.INTER_AREA)
    return small > 0
