"""`anymask segment`: point at something in pictures, get its mask as files."""

import io
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anymask.cli.asked_find import find
from anymask.cli.common import (
    SOME_FAILED,
    JsonList,
    Progress,
    Stop,
    describe,
    exit_code,
    importing,
    line_of,
    say,
)
from anymask.errors import (
    AnymaskError,
    AnymaskWarning,
    DataError,
    ImageError,
    MissingExtraError,
    Note,
    PromptError,
    shown_text,
)

if TYPE_CHECKING:
    from anymask.cli.asked import Request
    from anymask.cli.inputs import Inputs, Item
    from anymask.cli.segment_text import WordsRequest
    from anymask.formats.folder import ResultFolder
    from anymask.formats.result import Result
    from anymask.image import Picture
    from anymask.predict.image import ImagePredictor
    from anymask.variants import Variant


class Refinement(StrEnum):
    """Ways to make a mask finer; see `anymask.ImagePredictor.predict`."""

    CROP = "crop"


_OF_ONE_PICTURE = (ImageError, PromptError, DataError, MissingExtraError)


def segment(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Pictures, folders of pictures, patterns in quotes, or - for stdin.",
            show_default=False,
        ),
    ],
    point: Annotated[
        list[str] | None,
        typer.Option("--point", "-p", metavar="X,Y", help="A point on the object, px; repeatable."),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option("--negative", "-n", metavar="X,Y", help="A point off it; repeatable."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            "--box",
            "-b",
            metavar="X0,Y0,X1,Y1",
            help="A box around the object, px; several boxes are several objects.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask", metavar="FILE", help="A rough mask to refine: black and white, or .npy."
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", metavar="WORDS", help="All things of a name; repeatable."),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="For --text: coco, grounding-dino-tiny, grounding-dino-base, sam3."
        ),
    ] = "coco",
    detector_weights: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Files of the detector.")
    ] = None,
    tiles: Annotated[
        int | None,
        typer.Option(metavar="PX", help="For --text: look for small things in tiles of this side."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="See: anymask models.")
    ] = "nano",
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to use instead of the model's own."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    all_masks: Annotated[
        bool, typer.Option("--all-masks", help="All three readings of a point, not just the best.")
    ] = False,
    clip: Annotated[
        bool, typer.Option("--clip", help="Move points outside a picture onto its border.")
    ] = False,
    refine: Annotated[
        Refinement | None,
        typer.Option("--refine", help="Finer borders: look again, in a crop around the object."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Folder for the results; made if needed."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there.")
    ] = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Keep files that are there, make the missing ones.")
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the JSON on stdout; -o may be left out then.")
    ] = False,
) -> None:
    """Point at something in a picture, get its exact mask.

    Points describe one object together: --point is on it, --negative is off it. Each --box is an
    object of its own; a single box may be refined by points. Coordinates are px of the picture,
    x to the right, y down. A single point may mean a part or the whole: the mask of the highest
    score is taken.

    --text finds all things of a name. Its overlay carries the names; single masks are in the JSON
    alone.

    Into OUT go, for each picture, an overlay to look at, the object cut out (RGBA with softened
    edges, cut to its box), the mask (255 on the object), and JSON with COCO run lengths, outlines,
    box, area and score.
    """
    if output is None and not json_:
        raise typer.BadParameter("say where the results go, such as -o out", param_hint="--output")
    if overwrite and skip:
        raise typer.BadParameter("not together with --overwrite", param_hint="--skip")

    from anymask.cli.asked import Request
    from anymask.cli.inputs import Inputs
    from anymask.cli.segment_text import WordsRequest
    from anymask.formats.folder import ResultFolder
    from anymask.variants import variant

    row = variant(model)
    words = None
    if text:
        words = WordsRequest.parse(text, detector, detector_weights, tiles, device)
        if point or negative or box or mask or all_masks or refine is not None:
            problem = "words find their objects alone; leave --point, --box and others out"
            raise typer.BadParameter(problem, param_hint="--text")
        request = Request()
    else:
        request = Request.parse(
            point or (), negative or (), box or (), mask, all_masks, clip, refine and refine.value
        )
    inputs = Inputs(images, apart=output)
    folder = None
    if output is not None:
        folder = ResultFolder(
            root=output,
            count=0 if words else request.count,  # nobody knows how many a word finds
            alternatives=request.all_masks,
            overwrite=overwrite,
            skip=skip,
        )
        kept = [] if mask is None else [mask]
        folder.check(inputs.names(), (*kept, *(Path(item.path) for item in inputs)))

    run = _Run(
        request=request,
        words=words,
        row=row,
        folder=folder,
        load=lambda: _load(row.name, checkpoint, device),
        many=not inputs.single,
    )
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore", AnymaskWarning)  # the same notes are printed here
        if json_:
            run.out = stack.enter_context(JsonList("images"))
        code = run.all(inputs)
    raise typer.Exit(code)


def _load(name: str, checkpoint: Path | None, device: str) -> "ImagePredictor":
    """The slow part: torch is imported here."""
    # Threads that wait should sleep, not spin: on a busy machine spinning makes a short run three
    # times as long, on an idle one sleeping costs some 20 ms. What the user set stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with importing():
        from anymask.model import load
        from anymask.predict.image import ImagePredictor

    return ImagePredictor(load(name, checkpoint=checkpoint, device=device))


@dataclass(kw_only=True)
class _Run:
    """One run over pictures: what is asked, where results go, and what came of it so far."""

    request: "Request"
    words: "WordsRequest | None"
    row: "Variant"
    folder: "ResultFolder | None"
    load: "Callable[[], ImagePredictor]"
    many: bool
    out: JsonList | None = None
    predictor: "ImagePredictor | None" = None
    done: int = 0
    failed: int = 0
    first_error: AnymaskError | None = None
    noted: set[str] = field(default_factory=set)

    def all(self, inputs: "Inputs") -> int:
        """Picture after picture; the exit code."""
        if not self.many:
            for item in inputs:
                self.one(item)
            return self.code()
        total = sum(1 for _ in inputs)
        with Progress("pictures", bar=self.out is None) as bar, Stop("picture") as stop:
            for item in inputs.walk(self.remark):
                if stop.asked:
                    say(
                        f"stopped: {self.done} of {total} pictures are done; the same command with "
                        "--skip goes on from here"
                    )
                    return stop.asked
                self.one(item)
                bar.show(self.done + self.failed, total)
        if self.failed:
            say(f"{self.failed} of {total} pictures failed")
        return self.code()

    def code(self) -> int:
        """What the process exits with."""
        if self.first_error is None:
            return 0
        if self.done:
            return SOME_FAILED
        if self.out is not None:
            self.out.error = describe(self.first_error)
        return exit_code(self.first_error)

    def one(self, item: "Item") -> None:
        """One picture, to the end; what is wrong with it does not stop the others."""
        try:
            if self.folder is not None and self.folder.done(item.name):
                self.skip(item)
            else:
                self.tell(item, *self.work(item))
        except _OF_ONE_PICTURE as error:
            self.failed += 1
            self.first_error = self.first_error or error
            if self.out is not None:
                entry = {"file": item.path, "masks": [], "notes": [], "error": describe(error)}
                self.out.add(entry)
            else:
                line, file = line_of(error), shown_text(item.path)
                say(line if file in line or not self.many else f"{line} (in {file})")
        else:
            self.done += 1

    def work(self, item: "Item") -> "tuple[Result, list[Path]]":
        """The masks of a picture, and the files written."""
        from anymask.frame import Frame

        picture = _read(item)
        if self.words is not None:
            return self.kept(item, self.words.find(self.ready, picture))
        height, width = picture.pixels.shape[:2]
        prompts = self.request.check(Frame.fit((height, width), self.row.spec))
        result = find(self.ready(), picture, self.request)
        notes = (*prompts.notes, *result.notes)
        return self.kept(item, replace(result, asked=self.request.asked(prompts), notes=notes))

    def ready(self) -> "ImagePredictor":
        """The predictor, loaded the first time: everything that can be refused has been."""
        if self.predictor is None:
            self.predictor = self.load()
        return self.predictor

    def kept(self, item: "Item", result: "Result") -> "tuple[Result, list[Path]]":
        """The result of a picture by its name, and its files."""
        notes = (*self.ready().model.notes, *result.notes)
        result = replace(result, file=item.path, notes=_once(notes))
        files = [] if self.folder is None else self.folder.write(result, item.name)
        return result, files

    def tell(self, item: "Item", result: "Result", files: list[Path]) -> None:
        """Say what was found, and where it is."""
        for note in result.notes:
            self.note(f"{shown_text(item.path)}: {note.text}", note.code)
        if self.out is not None:
            from anymask.formats.coco import result_to_entry

            self.out.add(result_to_entry(result) | {"files": [str(path) for path in files]})
            return
        say(_summary(result))
        for path in files:
            print(shown_text(str(path)), flush=True)

    def skip(self, item: "Item") -> None:
        """A picture whose files are there."""
        if self.out is None or self.folder is None:
            self.note("pictures whose files are there were passed over", "skipped")
            return
        import json

        from anymask.formats.coco import parse_images

        path = self.folder.path(item.name, self.folder.planned[-1])
        try:
            (entry,) = parse_images(json.loads(path.read_text("ascii")))
        except (OSError, ValueError) as error:
            raise DataError(
                "json-broken",
                "what an earlier run left cannot be read",
                where=str(path),
                hint="remove it, or pass --overwrite",
            ) from error
        self.out.add(entry)

    def remark(self, path: Path, note: Note) -> None:
        """Something in a folder that was passed over."""
        say(f"note: {note.code}: {shown_text(str(path))}: {note.text}")

    def note(self, text: str, code: str) -> None:
        """A note, once for each kind."""
        if code not in self.noted:
            self.noted.add(code)
            say(f"note: {code}: {text}")


def _read(item: "Item") -> "Picture":
    from anymask.cli.inputs import STDIN
    from anymask.image import load_image

    if item.path != STDIN:
        return load_image(item.path)
    if sys.stdin is None or sys.stdin.isatty():
        raise ImageError(
            "stdin-empty", "no picture comes in on stdin", hint="pipe one: < photo.jpg"
        )
    return load_image(io.BytesIO(sys.stdin.buffer.read()))


def _once(notes: tuple[Note, ...]) -> tuple[Note, ...]:
    """One note of each kind."""
    return tuple({note.code: note for note in reversed(notes)}.values())[::-1]


def _summary(result: "Result") -> str:
    """One line of what was found."""
    height, width = result.masks.size
    shares = ", ".join(
        f"{score:.2f} ({100 * area / (height * width):.1f} %)"
        for score, area in zip(result.masks.scores[:5], result.masks.areas[:5], strict=True)
    )
    more = ", ..." if len(result.masks) > 5 else ""
    count = f"{len(result.masks)} mask{'s' * (len(result.masks) != 1)}"
    return f"{shown_text(result.file)}: {count}, score (share of the picture): {shares}{more}"
