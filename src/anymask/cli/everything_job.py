"""What the worker of `anymask everything` does with a picture."""

import hashlib
import io
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymask.cli.common import importing
from anymask.errors import AnymaskError, AnymaskWarning, ImageError, Note, PromptError, RunError
from anymask.formats.run_inputs import Item
from anymask.formats.run_items import Product

if TYPE_CHECKING:
    from anymask.generated import GeneratedMasks
    from anymask.image import Picture
    from anymask.model import Model
    from anymask.predict.everything import MaskGenerator
    from anymask.predict.text import TextPredictor


@dataclass(kw_only=True)
class EverythingJob:
    """A picture to the files of its masks. It travels to the worker as plain values.

    Attributes
    ----------
    model, checkpoint, device
        As `anymask.load` takes them; no model: what the checkpoint is.
    options
        As `anymask.MaskGenerator` takes them.
    layout
        Name of a row of `anymask.formats.everything`.
    roi
        x0, y0, x1, y1, px, or None.
    tile
        Side of the tiles that a large picture is looked at in, px, or None.
    text
        Phrases: only masks of what they name are kept.
    detector, detector_weights
        Who sees what they name; see `anymask.predict.text_load.load_detector`.
    overlay, sheet
        Pictures to look at are wanted.
    """

    model: str | None
    checkpoint: Path | None
    device: str
    options: Mapping[str, Any]
    layout: str
    roi: tuple[float, ...] | None = None
    tile: int | None = None
    text: tuple[str, ...] = ()
    detector: str = "coco"
    detector_weights: Path | None = None
    overlay: bool = False
    sheet: bool = False
    _words: "TextPredictor | None" = field(default=None, init=False)
    _model: "Model | None" = field(default=None, init=False)
    _generator: "tuple[int, MaskGenerator] | None" = field(default=None, init=False)

    def read(self, item: Item) -> "Picture":
        """One picture."""
        return read_item(item)

    def prepare(self, memory_mb: int) -> None:
        """Load the model, the first time."""
        self.generator(memory_mb)

    def make(self, item: Item, read: "Picture", memory_mb: int) -> Product:
        """Find the masks of one picture within so many MB."""
        from anymask.formats.everything import files, layout_of

        layout, picture = layout_of(self.layout), read
        generator = self.generator(memory_mb)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AnymaskWarning)  # the notes go to the parent
            masks = self.named(generator, picture, self.find(generator, picture))
        if layout.flat:
            from anymask.predict.panoptic import panoptic

            masks = panoptic(masks).masks
        seen = dict.fromkeys((*picture.notes, *masks.notes))
        named = (Note(note.code, f"{item.name}: {note.text}") for note in seen)
        made = files(
            layout, item.name, masks, picture.pixels, overlay=self.overlay, sheet=self.sheet
        )
        return Product(
            files=made, facts={"masks": len(masks)}, notes=(*generator.model.notes, *named)
        )

    def find(self, generator: "MaskGenerator", picture: "Picture") -> "GeneratedMasks":
        """All masks, of the whole picture at once or tile by tile."""
        if self.tile is None or max(picture.pixels.shape[:2]) <= self.tile:
            return generator.generate(picture, roi=self.roi)
        from anymask.predict.everything_tiles import generate_tiled

        return generate_tiled(generator, picture, tile=self.tile)

    def named(
        self, generator: "MaskGenerator", picture: "Picture", masks: "GeneratedMasks"
    ) -> "GeneratedMasks":
        """Those of the masks that the words name, all where there are no words."""
        if not self.text:
            return masks
        from anymask.predict.text import TextPredictor
        from anymask.predict.text_load import load_detector
        from anymask.predict.text_match import matching

        if self._words is None:
            detector = load_detector(
                self.detector, weights=self.detector_weights, device=self.device
            )
            self._words = TextPredictor(generator.model, detector)
        phrases, notes = self._words.check(self.text)
        found = self._words.boxes(picture.pixels, phrases)
        rows, answered = matching(masks, found)
        labels = tuple(phrases[i] for i in answered)
        return replace(masks.keep(rows), labels=labels, notes=(*masks.notes, *notes))

    def generator(self, memory_mb: int) -> "MaskGenerator":
        """The generator for that budget; the model is loaded once."""
        if self._generator is None or self._generator[0] != memory_mb:
            self._generator = memory_mb, self.build(memory_mb)
        return self._generator[1]

    def build(self, memory_mb: int) -> "MaskGenerator":
        """A generator. The slow part: torch is imported here."""
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads sleep, not spin
        with importing():
            from anymask.model import load
            from anymask.predict.everything import MaskGenerator
        if self._model is None:
            where: dict[str, Any] = {"checkpoint": self.checkpoint, "device": self.device}
            self._model = load(**where) if self.model is None else load(self.model, **where)
        try:
            return MaskGenerator(self._model, memory_mb=memory_mb, **self.options)
        except PromptError as error:  # not of this picture: no other would do better
            raise RunError(
                error.code, error.problem, given=error.given, where=error.where, hint=error.hint
            ) from error


class _Named(io.BytesIO):
    """A file's content that knows the file's name."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def read_item(item: Item) -> "Picture":
    """The picture, if it is still the one that the run began with.

    Raises
    ------
    ImageError
        ``input-changed``, or why it cannot be read; it is called by its name in the run.
    """
    from anymask.image import load_image

    try:
        if item.sha256 is None:
            load_image(item.path)  # says what is wrong with it
            raise _changed(item)
        try:
            data = Path(item.path).read_bytes()
        except OSError as error:
            raise ImageError(
                "image-locked", f"the file cannot be read ({error.strerror})", where=item.name
            ) from error
        if hashlib.sha256(data).hexdigest() != item.sha256:
            raise _changed(item)
        return load_image(_Named(data, item.name))
    except AnymaskError as error:
        if error.where == item.path:
            error.where = item.name
        raise


def _changed(item: Item) -> ImageError:
    return ImageError(
        "input-changed",
        "the file was changed after the run began",
        where=item.name,
        hint="run again with --accept-changes",
    )
