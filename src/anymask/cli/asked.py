"""What a command line points at: points, boxes and a mask, the same for every picture of a run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import typer
from jaxtyping import Shaped

from anymask.errors import ImageError, PromptError, shown
from anymask.formats.result import Asked
from anymask.frame import Frame
from anymask.image import load_image
from anymask.prompts import Prompts

ALTERNATIVES = 3  # masks that a model offers for one prompt


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """What is asked of each picture.

    Attributes
    ----------
    points
        (x, y), px.
    labels
        1 for a point on the object, 0 for one off it.
    boxes
        x0, y0, x1, y1, px; one for each object, or none for a single one.
    mask
        A rough mask of the object.
    mask_file
        Where it came from.
    all_masks
        All alternatives are wanted, not the best one.
    clip
        Points outside a picture are moved onto its border.
    refine
        How masks are made finer; see `anymask.ImagePredictor.predict`.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    mask: Shaped[np.ndarray, "h w"] | None = None
    mask_file: str | None = None
    all_masks: bool = False
    clip: bool = False
    refine: str | None = None

    @classmethod
    def parse(
        cls,
        positive: Sequence[str],
        negative: Sequence[str],
        boxes: Sequence[str],
        mask: Path | None,
        all_masks: bool = False,
        clip: bool = False,
        refine: str | None = None,
    ) -> "Request":
        """From the options as they were typed; the mask's file is read.

        Raises
        ------
        typer.BadParameter
            An option is no list of numbers, or nothing was pointed at.
        PromptError
            ``object-counts``: points beside several boxes; ``mask-color``, ``mask-file``.
        ImageError
            The mask's file cannot be read.
        """
        on = [numbers(text, 2, "--point X,Y") for text in positive]
        off = [numbers(text, 2, "--negative X,Y") for text in negative]
        found = [numbers(text, 4, "--box X0,Y0,X1,Y1") for text in boxes]
        if not on and not off and not found and mask is None:
            raise typer.BadParameter(
                "nothing was pointed at; give --point, --box or --mask, such as: "
                "anymask segment photo.jpg --point 500,375 -o out"
            )
        if len(found) > 1 and (on or off or mask is not None):
            raise PromptError(
                "object-counts",
                f"{len(found)} boxes are {len(found)} objects: whose are the points or the mask",
                hint="give a single box with them, or run once for each object",
            )
        request = cls(
            points=tuple((x, y) for x, y in [*on, *off]),
            labels=(1,) * len(on) + (0,) * len(off),
            boxes=tuple((a, b, c, d) for a, b, c, d in found),
            all_masks=all_masks,
            clip=clip,
            refine=refine,
        )
        if mask is None:
            return request
        return replace(request, mask=read_mask(mask), mask_file=str(mask))

    @property
    def count(self) -> int:
        """Masks of each picture."""
        return max(1, len(self.boxes)) * (ALTERNATIVES if self.all_masks else 1)

    @property
    def multimask(self) -> bool:
        """Whether the prompt may mean several things: a single point and nothing else."""
        one_point = len(self.points) == 1 and not self.boxes and self.mask is None
        return self.all_masks or one_point

    @property
    def given(self) -> dict[str, Any]:
        """What `Prompts.parse` and the predictor take."""
        return {
            "points": np.array(self.points, np.float32) if self.points else None,
            "labels": np.array(self.labels) if self.points else None,
            "boxes": np.array(self.boxes, np.float32) if self.boxes else None,
            "masks": self.mask,
            "clip": self.clip,
        }

    def check(self, frame: Frame) -> Prompts:
        """The prompts on a picture, checked."""
        return Prompts.parse(size=frame.image, frame=frame, **self.given)

    def asked(self, prompts: Prompts) -> tuple[Asked, ...]:
        """For each mask what it is the answer to: points and boxes as they were used."""
        found: list[Asked] = []
        for i in range(max(1, len(self.boxes))):
            points: tuple[tuple[float, float], ...] = ()
            box = None
            if self.points:
                points = tuple((x, y) for x, y in prompts.points[i].tolist())
            if self.boxes and prompts.boxes is not None:
                x0, y0, x1, y1 = prompts.boxes[i].tolist()
                box = (x0, y0, x1, y1)
            one = Asked(points=points, labels=self.labels, box=box, mask=self.mask_file)
            found += [one] * (self.count // max(1, len(self.boxes)))
        return tuple(found)


def read_mask(path: Path) -> Shaped[np.ndarray, "h w"]:
    """A mask from a grey picture, or from a ``.npy`` of any numbers.

    Raises
    ------
    PromptError
        ``mask-file``: a broken ``.npy``; ``mask-color``: a picture in colour.
    ImageError
        The picture cannot be read.
    """
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except FileNotFoundError as error:
            raise ImageError("image-missing", "there is no such file", where=str(path)) from error
        except (OSError, ValueError, EOFError) as error:
            raise PromptError("mask-file", "the file holds no array", where=str(path)) from error
        if array.ndim == 3 and array.shape[0] == 1:
            array = array[0]
        if array.ndim != 2:
            raise PromptError("mask-file", "a mask is (h, w)", given=array.shape, where=str(path))
        return np.asarray(array)
    pixels = load_image(path).pixels
    grey = np.ascontiguousarray(pixels[..., 0])
    if not (np.array_equal(grey, pixels[..., 1]) and np.array_equal(grey, pixels[..., 2])):
        raise PromptError(
            "mask-color",
            "a mask is black and white, this picture is in colour",
            where=str(path),
            hint="give the mask, not the photo or the overlay",
        )
    return grey


def numbers(text: str, count: int, option: str) -> tuple[float, ...]:
    """The numbers of an option such as ``500,375``."""
    parts = re.split(r"\s*,\s*|\s+", text.strip())
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        name, _, form = option.partition(" ")
        example = ",".join(("500", "375", "620", "480")[:count])
        raise typer.BadParameter(f"{shown(text)} is not {form}, such as {example}", param_hint=name)
    return numbers
