"""What `anymask track` is pointed at: objects, each with prompts on some frames."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import typer
from jaxtyping import Shaped
from PIL import Image

from anymask.cli.asked import numbers, read_mask
from anymask.errors import PromptError, shown
from anymask.prompts import Prompts

MOST_OBJECTS = 254  # values of a label map: 0 is nothing and 255 void
KINDS = ("point", "negative", "box", "mask", "object_")  # names of the options' parameters
_FORMS = {  # count of numbers, how they are typed, an example
    "point": (2, "FRAME:X,Y", "0:500,375"),
    "negative": (2, "FRAME:X,Y", "0:500,375"),
    "box": (4, "FRAME:X0,Y0,X1,Y1", "0:500,375,620,480"),
}
_FRAME = re.compile(r"\s*(\d+)\s*:(.*)", re.DOTALL)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AskedPrompt:
    """All that points at one object on one frame.

    Attributes
    ----------
    frame
        Its number in the video, from 0; None is the first frame that is tracked.
    points
        (x, y), px.
    labels
        1 for a point on the object, 0 for one off it.
    box
        x0, y0, x1, y1, px.
    mask
        The object as it stands, bits or logits of the frames' size.
    mask_file
        Where it came from.
    """

    frame: int | None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: Box | None = None
    mask: Shaped[np.ndarray, "h w"] | None = None
    mask_file: str | None = None

    @property
    def parts(self) -> tuple[dict[str, Any], ...]:
        """What a session is asked, one after the other: a mask, then points that refine it."""
        parts: list[dict[str, Any]] = []
        if self.mask is not None:
            parts.append({"masks": self.mask})
        if self.points or self.box is not None:
            parts.append(
                {
                    "points": np.array(self.points, np.float32) if self.points else None,
                    "labels": np.array(self.labels) if self.points else None,
                    "boxes": None if self.box is None else np.array([self.box], np.float32),
                }
            )
        return tuple(parts)

    def check(self, size: tuple[int, int]) -> None:
        """Refuse what makes no sense on frames of a size (H, W).

        Raises
        ------
        PromptError
            ``mask-size``, and those of `Prompts.parse`.
        """
        if self.mask is not None and self.mask.shape != size:
            raise PromptError(
                "mask-size",
                f"frames are {size[1]}x{size[0]} (width x height)",
                given=f"{self.mask.shape[1]}x{self.mask.shape[0]}",
                where=self.mask_file,
                hint="scale the mask to the frames",
            )
        for part in self.parts:
            if "masks" not in part:
                Prompts.parse(size=size, **part)

    @property
    def settings(self) -> dict[str, Any]:
        """What it says, for the manifest of a run."""
        mask = None
        if self.mask is not None:
            import hashlib

            data = np.ascontiguousarray(self.mask)
            mask = hashlib.sha256(str((data.shape, data.dtype)).encode() + data.tobytes())
        return {
            "frame": self.frame,
            "points": [list(point) for point in self.points],
            "labels": list(self.labels),
            "box": None if self.box is None else list(self.box),
            "mask": None if mask is None else mask.hexdigest(),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AskedObject:
    """One object to be followed.

    Attributes
    ----------
    name
        For people; the number where none was given.
    prompts
        One for each frame on which it is pointed at.
    """

    name: str
    prompts: tuple[AskedPrompt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """One option as it was typed: its parameter's name and its value."""

    kind: str
    value: str


def in_order(context: typer.Context, values: Mapping[str, Sequence[str]]) -> tuple[Typed, ...]:
    """The options that point at things in the order in which they were typed.

    Parameters
    ----------
    context
        The command's; its ``obj`` holds the words of the command line.
    values
        From each of `KINDS` to what was given, in its own order.

    The parser hands on each kind of option by itself; their order among each other, which says
    whose a point is, is asked of it once more.
    """
    words = list(context.obj or ())
    name = context.info_name
    after = words[words.index(name) + 1 :] if name in words else words
    _, _, order = context.command.make_parser(context).parse_args(list(after))
    left = {kind: list(given) for kind, given in values.items()}
    return tuple(
        Typed(kind=str(option.name), value=left[str(option.name)].pop(0))
        for option in order
        if left.get(str(option.name))
    )


def parse_objects(typed: Sequence[Typed]) -> tuple[AskedObject, ...]:
    """The objects that options ask for.

    With ``--object`` the options belong to the name behind them; or, if the first option is an
    ``--object``, to the name before them. Without, each box and each mask is an object, and points
    with at most one of them describe one object together. A label map has one object for each of
    its values.

    Raises
    ------
    typer.BadParameter
        An option is not of its form; nothing was pointed at; options without a name among such
        with one.
    PromptError
        ``object-counts``: whose are the points; ``box-counts``: an object with two boxes on a
        frame; ``objects-many``; ``mask-file``, ``mask-color``, ``mask-objects``.
    ImageError
        A mask's file cannot be read.
    """
    if not any(each.kind != "object_" for each in typed):
        raise typer.BadParameter(
            "nothing was pointed at; give --point, --box, --mask or --text, such as: "
            "anymask track clip.mp4 --point 0:500,375 -o out"
        )
    named = any(each.kind == "object_" for each in typed)
    groups = _named(typed) if named else _unnamed(typed)
    objects: dict[str, list[AskedPrompt]] = {}
    for name, group in groups:
        for own, prompts in _objects(name, group):
            objects.setdefault(own or _free(objects), []).extend(prompts)
    if len(objects) > MOST_OBJECTS:
        raise PromptError(
            "objects-many", f"{MOST_OBJECTS} objects can be tracked at once", given=len(objects)
        )
    return tuple(
        AskedObject(name=name, prompts=_joined(name, prompts)) for name, prompts in objects.items()
    )


def _named(typed: Sequence[Typed]) -> list[tuple[str | None, list[Typed]]]:
    """Options by the names before or behind them."""
    before = typed[0].kind == "object_"
    if before == (typed[-1].kind == "object_"):
        raise typer.BadParameter(
            "each name needs options and each option a name: --point 0:90,40 --object cat "
            "--box 0:9,9,80,70 --object dog",
            param_hint="--object",
        )
    parts = [(named, list(part)) for named, part in groupby(typed, lambda t: t.kind == "object_")]
    names = [part for named, part in parts if named]
    if any(len(part) > 1 for part in names):
        raise typer.BadParameter("two names follow each other", param_hint="--object")
    for (name,) in names:
        if not name.value.strip():
            raise typer.BadParameter("a name is empty", param_hint="--object")
    groups = [part for named, part in parts if not named]
    return [(name.value.strip(), part) for (name,), part in zip(names, groups, strict=True)]


def _unnamed(typed: Sequence[Typed]) -> list[tuple[str | None, list[Typed]]]:
    """Each box and each mask for itself, or all options together."""
    shapes = [each for each in typed if each.kind in ("box", "mask")]
    points = [each for each in typed if each.kind in ("point", "negative")]
    if len(shapes) < 2:
        return [(None, list(typed))]
    if points:
        raise PromptError(
            "object-counts",
            f"{len(shapes)} boxes or masks are as many objects: whose are the points",
            hint="say so: --box 0:9,9,80,70 --point 0:30,40 --object dog --box ... --object cat",
        )
    return [(None, [each]) for each in shapes]


def _objects(
    name: str | None, group: Sequence[Typed]
) -> Iterable[tuple[str | None, list[AskedPrompt]]]:
    """The objects of a group: one, or those of a label map."""
    prompts: list[AskedPrompt] = []
    for each in group:
        if each.kind != "mask":
            prompts.append(_shape(each))
            continue
        frame, file = _frame_of(each.value)
        masks = read_masks(Path(file))
        if len(masks) > 1 and (name is not None or len(group) > 1):
            raise PromptError(
                "mask-objects",
                f"this map holds {len(masks)} objects",
                where=file,
                hint="give it alone, without --object and points",
            )
        for value, mask in masks.items() if len(masks) > 1 else ():
            prompt = AskedPrompt(frame=frame, mask=mask, mask_file=file)
            yield str(value), [prompt]
        if len(masks) == 1:
            prompts += [
                AskedPrompt(frame=frame, mask=mask, mask_file=file) for mask in masks.values()
            ]
    if prompts:
        yield name, prompts


def _shape(each: Typed) -> AskedPrompt:
    """A point or a box."""
    frame, rest = _frame_of(each.value)
    count, form, example = _FORMS[each.kind]
    try:
        found = numbers(rest, count, form)
    except typer.BadParameter as error:
        raise typer.BadParameter(
            f"{shown(each.value)} is not {form}, such as {example}", param_hint=f"--{each.kind}"
        ) from error
    if each.kind == "box":
        x0, y0, x1, y1 = found
        return AskedPrompt(frame=frame, box=(x0, y0, x1, y1))
    return AskedPrompt(
        frame=frame, points=((found[0], found[1]),), labels=(int(each.kind == "point"),)
    )


def _frame_of(text: str) -> tuple[int | None, str]:
    """``12:500,375`` in two; without a number it is the first frame that is tracked."""
    found = _FRAME.fullmatch(text)
    return (int(found[1]), found[2]) if found else (None, text)


def _joined(name: str, prompts: Sequence[AskedPrompt]) -> tuple[AskedPrompt, ...]:
    """One prompt for each frame, in the order in which frames were named first."""
    frames: dict[int | None, AskedPrompt] = {}
    for prompt in prompts:
        held = frames.get(prompt.frame)
        if held is None:
            frames[prompt.frame] = prompt
            continue
        for kind in ("box", "mask"):
            if getattr(held, kind) is not None and getattr(prompt, kind) is not None:
                at = "the first frame" if prompt.frame is None else f"frame {prompt.frame}"
                raise PromptError(
                    f"{kind}-counts",
                    f"object {name} has two of --{kind} on {at}",
                    hint="give one; several objects have several names: --object",
                )
        frames[prompt.frame] = replace(
            held,
            points=held.points + prompt.points,
            labels=held.labels + prompt.labels,
            box=prompt.box if held.box is None else held.box,
            mask=prompt.mask if held.mask is None else held.mask,
            mask_file=prompt.mask_file if held.mask is None else held.mask_file,
        )
    return tuple(frames.values())


def _free(taken: Iterable[str]) -> str:
    """The lowest number that is no object's name."""
    names, number = set(taken), 1
    while str(number) in names:
        number += 1
    return str(number)


def read_masks(path: Path) -> dict[int, Shaped[np.ndarray, "h w"]]:
    """The masks of a file by value: one, or for a PNG with a palette one for each of its values.

    Errors as `anymask.cli.asked.read_mask`; ``mask-file`` also where a map holds nothing.
    """
    try:
        with Image.open(path) as picture:
            labels = np.asarray(picture) if picture.mode == "P" else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        labels = None  # what is wrong is said below
    if labels is None:
        mask = read_mask(path)
        if mask.dtype == np.uint8:  # a picture: black and white, or 0 and 1
            mask = mask > (127 if mask.max(initial=0) > 1 else 0)
        return {1: mask}
    values = [int(value) for value in np.unique(labels) if value not in (0, 255)]
    if not values:
        raise PromptError("mask-file", "this label map holds no object", where=str(path))
    return {value: np.ascontiguousarray(labels == value) for value in values}
