"""`anymask convert`: masks of a data set in another format."""

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anymask.cli.common import SOME_FAILED, Progress, Stop, exit_code, line_of, say
from anymask.errors import shown_text
from anymask.formats import SETS, guess_format, set_format

if TYPE_CHECKING:
    from anymask.formats import SetFormat
    from anymask.formats.conversion import Counts


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A folder, a tar or a JSON.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder for the result; or a file: .json for coco, .tar for sa1b.",
            show_default=False,
        ),
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="What to write.", show_default=False)
    ],
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="FORMAT", help="What IN is; guessed if left out."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where pictures are, if not in the usual place."),
    ] = None,
    copy_images: Annotated[
        bool, typer.Option("--copy-images", help="Put copies of the pictures into OUT.")
    ] = False,
    link_images: Annotated[
        bool, typer.Option("--link-images", help="Put links to the pictures into OUT.")
    ] = False,
    polygons: Annotated[
        bool,
        typer.Option("--polygons", help="coco: polygons for masks without holes, not run lengths."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first thing that masks would lose.")
    ] = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Keep files that are there, make the missing ones.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Write the masks of a data set in another format.

    Formats are sa1b (a JSON beside each picture, in a folder or a tar), coco (one JSON), labelmap
    (PNGs whose values number the objects), labelme (JSONs of shapes), yolo (outlines in texts)
    and, to read only, segment (what anymask segment wrote) and masks (a black-and-white PNG for
    each mask).

    At the end it says how many pictures and masks were written and what was cut or left out. No
    file that is there is replaced, and IN is never changed.
    """
    if copy_images and link_images:
        raise typer.BadParameter("not together with --copy-images", param_hint="--link-images")
    if images is not None and not images.is_dir():
        raise typer.BadParameter("there is no such folder", param_hint="--images")
    written = _named(to, "--to", [row.name for row in SETS if row.writer])
    if from_ is None:
        row = guess_format(source)
    else:
        row = _named(from_, "--from", [row.name for row in SETS])

    from anymask.formats.conversion import Conversion
    from anymask.formats.records import ReadOptions

    conversion = Conversion(
        data=row.open(source, ReadOptions(strict=strict, images=images)),
        row=written,
        root=output,
        strict=strict,
        polygons=polygons,
        pictures="copy" if copy_images else "link" if link_images else "",
        skip=skip,
    )
    conversion.check()
    errors: list[Exception] = []

    def failed(image_id: str, error: Exception) -> None:
        errors.append(error)
        line, name = line_of(error), shown_text(image_id)
        say(line if name in line else f"{line} (in {name})")

    with Progress("pictures", bar=not json_) as bar, Stop("picture") as stop:
        counts = conversion.run(bar.show, failed, lambda: bool(stop.asked))
    _tell(counts, row.name, to, output, as_json=json_)
    if stop.asked:
        say(
            "stopped: nothing was written, as it would be one file"
            if conversion.single
            else "stopped: the same command with --skip goes on from here"
        )
        raise typer.Exit(stop.asked)
    if errors:
        done = counts.pictures or counts.skipped
        raise typer.Exit(SOME_FAILED if done else exit_code(errors[0]))


def _named(name: str, option: str, names: list[str]) -> "SetFormat":
    """The row of a format, or a usage error with what is nearest."""
    if name in names:
        return set_format(name)
    near = difflib.get_close_matches(name.lower(), names, 1, 0.4)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise typer.BadParameter(f"{name!r} is none of {', '.join(names)}{meant}", param_hint=option)


def _tell(counts: "Counts", source: str, target: str, output: Path, *, as_json: bool) -> None:
    """What was done and what was lost, at the end."""
    if as_json:
        about: dict[str, Any] = {
            "from": source,
            "to": target,
            "output": str(output),
            "pictures": counts.pictures,
            "masks": counts.masks,
            "skipped": counts.skipped,
            "failed": counts.failed,
            "lost": dict(sorted(counts.lost.items())),
            "notes": dict(sorted(counts.said.items())),
        }
        print(json.dumps(about))
        return
    more = [
        f"{count} {word}"
        for count, word in ((counts.skipped, "passed over"), (counts.failed, "failed"))
        if count
    ]
    total = ", ".join([f"{counts.pictures} pictures, {counts.masks} masks", *more])
    say(f"{source} -> {target}: {total}")
    for word, found in (("lost", counts.lost), ("note", counts.said)):
        for code, count in sorted(found.items()):
            say(f"{word}: {code} x {count}, such as {shown_text(counts.examples[code])}")
    print(shown_text(str(output)), flush=True)
