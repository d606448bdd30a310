"""`anymask track`: point at something in a video, get its mask on every frame."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass

_FRAMES, _WORDS = "Which frames", "Words instead of pointing"


def track(
    context: typer.Context,
    video: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO",
            help="A video file, a folder of pictures, or a tar with JPEGImages/.",
            show_default=False,
        ),
    ],
    point: Annotated[
        list[str] | None,
        typer.Option(
            "--point", "-p", metavar="FRAME:X,Y", help="A point on the object, px; repeatable."
        ),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option("--negative", "-n", metavar="FRAME:X,Y", help="A point off it; repeatable."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            "--box",
            "-b",
            metavar="FRAME:X0,Y0,X1,Y1",
            help="A box around it, px; several boxes are several objects.",
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            "--mask",
            metavar="FRAME:FILE",
            help="Its mask: black and white, .npy, or a label map of several objects.",
        ),
    ] = None,
    object_: Annotated[
        list[str] | None,
        typer.Option("--object", metavar="NAME", help="Names the object of the options before it."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            "-t",
            metavar="WORDS",
            help="Track all things of a name; repeatable.",
            rich_help_panel=_WORDS,
        ),
    ] = None,
    look_every: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Look for new ones on every so many frames.",
            rich_help_panel=_WORDS,
        ),
    ] = 15,
    most: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Objects at once.", rich_help_panel=_WORDS),
    ] = 16,
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="coco, grounding-dino-tiny, grounding-dino-base, sam3.",
            rich_help_panel=_WORDS,
        ),
    ] = "coco",
    detector_weights: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Files of the detector.", rich_help_panel=_WORDS),
    ] = None,
    start: Annotated[
        int,
        typer.Option(metavar="FRAME", min=0, help="The first one.", rich_help_panel=_FRAMES),
    ] = 0,
    stop: Annotated[
        int | None,
        typer.Option(
            metavar="FRAME", min=1, help="The one before which it ends.", rich_help_panel=_FRAMES
        ),
    ] = None,
    every: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Take every so many frames.", rich_help_panel=_FRAMES
        ),
    ] = 1,
    reverse: Annotated[
        bool,
        typer.Option("--reverse", help="Go back in time.", rich_help_panel=_FRAMES),
    ] = False,
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
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Folder for the results; made if needed."
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", help="Write overlay.mp4, too.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where there are results.")
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print a JSON of all frames; -o may be left out then.")
    ] = False,
) -> None:
    """Point at something in a video, get its mask on every frame.

    FRAME is the number of a frame, from 0; without it the first one is meant. Points on several
    frames correct the mask there. --point is on the object, --negative is off it; each --box and
    each --mask is an object of its own. To point at several objects, name each behind its options:
    --point 0:90,40 --object cat --point 0:30,60 --negative 0:9,9 --object dog.

    Objects are tracked from the first frame that somebody points at to the end; with --reverse from
    the last one back to the beginning. An object that goes out of sight has an empty mask and is
    marked as lost; when it comes back it is the same object.

    --text finds all things of a name on the first frame and on every n-th one, and tracks them.

    Into OUT go overlay.mp4 to look at, masks/ with a label map a frame as DAVIS has it, and
    tracks.jsonl with run lengths, boxes and scores, a line a frame. A run can be stopped, or
    killed, at any time: the same command goes on from there. Files that this command did not write
    are never replaced.
    """
    from anymask.cli.track_asked import in_order, parse_objects
    from anymask.cli.track_run import Taken
    from anymask.cli.track_start import Asked, Found, Pointed, Start

    if output is None and not json_:
        raise typer.BadParameter("say where the results go, such as -o out", param_hint="--output")
    if stop is not None and stop <= start:
        raise typer.BadParameter("it comes after --start", param_hint="--stop")
    given = {
        "point": point or [],
        "negative": negative or [],
        "box": box or [],
        "mask": mask or [],
        "object_": object_ or [],
    }
    taken = Taken(start=start, stop=stop, every=every, reverse=reverse)
    asked: Asked
    if text:
        if any(given.values()):
            problem = "words find their objects alone; leave --point, --box and others out"
            raise typer.BadParameter(problem, param_hint="--text")
        if reverse:
            raise typer.BadParameter("not together with --text", param_hint="--reverse")
        asked = Found.words(text, detector, detector_weights, device, look_every, most)
    else:
        asked = Pointed(objects=parse_objects(in_order(context, given)), taken=taken)
    code = Start(
        video=video,
        output=output,
        kind="track",
        taken=taken,
        asked=asked,
        model=model,
        checkpoint=checkpoint,
        device=device,
        overlay=overlay,
        overwrite=overwrite,
        as_json=json_,
    ).run()
    raise typer.Exit(code)
