"""`anymask finetune`: teach a model a field of pictures from some with masks."""

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anymask.cli.common import SOME_FAILED, Progress, Stop, exit_code, importing, line_of, say
from anymask.errors import RunError, shown_text

if TYPE_CHECKING:
    from anymask.train.finetune_order import Job, Order
    from anymask.train.finetune_run import FinetuneResult
    from anymask.weights.card import Figure

_METHODS = ("auto", "frozen", "decoder", "lora", "full")
_WHAT, _HOW = "What is learnt from and judged on", "How it learns"


def finetune(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Pictures with masks: folder, tar or JSON.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The weight file to make, .safetensors.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="What to begin with, nano if left out."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to begin with instead of the model's own."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FORMAT",
            help="What DATA is; guessed if left out.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where pictures are, if not in the usual place.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Stop at the first picture or mask that is not sound.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    held_out: Annotated[
        Path | None,
        typer.Option(
            "--held-out",
            metavar="SET",
            help="Judge on this set; a quarter of DATA if left out.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Pictures in whose names it finds the same are learnt from or judged on together.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SET",
            help="Judge on this one too: was anything forgotten? Repeatable.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="frozen, decoder, lora or full; auto takes what fits the time.",
            rich_help_panel=_HOW,
        ),
    ] = "auto",
    minutes: Annotated[
        float,
        typer.Option(min=0, help="At most so long; judging comes on top.", rich_help_panel=_HOW),
    ] = 10.0,
    steps: Annotated[int, typer.Option(min=1, help="At most so many.", rich_help_panel=_HOW)] = 400,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0, help="Highest learning rate; the model's own if left out.", rich_help_panel=_HOW
        ),
    ] = None,
    rank: Annotated[
        int, typer.Option(min=1, help="lora: rank of the adapters.", rich_help_panel=_HOW)
    ] = 8,
    blend: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of what was learnt to take: with less, less is forgotten.",
            rich_help_panel=_HOW,
        ),
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Of everything random.", rich_help_panel=_HOW)] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="frozen: where features are kept; at most 2 GB.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Save the result even if it is no better.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Teach a model a field of pictures from some with masks.

    A quarter of the pictures is kept aside: the model is judged on them before and after, and a
    result that is no better there is not saved. Another part decides when to stop. Ctrl-C ends the
    learning and keeps the best so far.

    OUT is taken by all commands as --checkpoint. DATA is SA-1B's layout, COCO, LabelMe, YOLO, label
    maps, or folders of masks; it is never changed.
    """
    if method not in _METHODS:
        near = difflib.get_close_matches(method.lower(), _METHODS, 1, 0.4)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise typer.BadParameter(
            f"{method!r} is none of {', '.join(_METHODS)}{meant}", param_hint="--method"
        )
    if output.suffix != ".safetensors":
        raise typer.BadParameter("the file must end in .safetensors", param_hint="--output")
    if model is not None:
        from anymask.variants import variant

        variant(model)
    with importing():
        from anymask.train.finetune_loop import Course
        from anymask.train.finetune_order import Order, prepare
        from anymask.train.finetune_run import run, save

    order = Order(
        data=data,
        output=output,
        model=model,
        checkpoint=checkpoint,
        device=device,
        method=method,
        format=from_,
        images=images,
        strict=strict,
        held_out=held_out,
        group=group,
        also=tuple(also or ()),
        course=Course(minutes=minutes, steps=steps, rate=rate, rank=rank, seed=seed, blend=blend),
        force=force,
        cache=cache,
    )
    with _Bars(bar=not json_) as bars, Stop("step") as stop:
        job = prepare(order, bars.show)
        _tell_data(job)
        try:
            result = run(job, bars.show, lambda: bool(stop.asked))
        except RunError as error:
            if error.code == "stopped":
                say("stopped before anything was learnt: nothing was written")
                raise typer.Exit(stop.asked) from error
            raise
    _finish(result, order, stop.asked, save, as_json=json_)


def _finish(
    result: "FinetuneResult", order: "Order", stopped: int, save: Any, *, as_json: bool
) -> None:
    """Tell, save and leave."""
    from anymask.cli.bench import peak_mib

    refused: RunError | None = None
    if not as_json:
        _print_table(result)
        _tell_run(result, peak_mib())
    try:
        save(result, order)
    except RunError as error:
        refused = error
    if as_json:
        print(json.dumps(_facts(result, order, refused, peak_mib())))
    elif refused is None:
        print(shown_text(str(order.output)), flush=True)
    else:
        say(line_of(refused))
    if stopped:
        raise typer.Exit(stopped)
    if refused is not None or result.failed:
        raise typer.Exit(SOME_FAILED)


class _Bars:
    """A progress for each kind of thing, one after the other."""

    def __init__(self, *, bar: bool) -> None:
        self._wanted = bar
        self._what = ""
        self._now: Progress | None = None

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._now is not None:
            self._now.__exit__(None, None, None)

    def show(self, what: str, done: int, total: int | None, more: str) -> None:
        """See `anymask.train.finetune_order.Progress`."""
        if what != self._what:
            self.__exit__()
            self._what, self._now = what, Progress(what, bar=self._wanted)
            self._now.__enter__()
        if self._now is not None:
            self._now.show(done, total, more)


def _tell_data(job: "Job") -> None:
    """What is learnt from, and what was left out."""
    stock = job.stock
    for image_id, error in stock.failed:
        line, name = line_of(error), shown_text(image_id)
        say(line if name in line else f"{line} (in {name})")
    if stock.empty:
        say(f"{len(stock.empty)} pictures have no mask to ask for: left out")
    for code, count in stock.lost:
        say(f"lost: {code} x {count}")
    say(
        f"{len(job.train.ids)} pictures to learn from, {len(job.val.ids)} to stop by, "
        f"{len(job.judged.ids)} to judge on"
    )
    if not job.val.ids:
        say("too few to keep some aside to stop by: it learns to the end")


def _print_table(result: "FinetuneResult") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    card = result.card
    table = Table(title="Mean IoU before and after", box=SIMPLE, show_edge=False)
    for name in ("", "measure", "before", "after", "change"):
        table.add_column(name, justify="left" if name in ("", "measure") else "right")
    kept = result.judged + (", kept aside" if result.split.test else "")
    for name, figures in ((kept, card.figures), *card.others):
        for i, figure in enumerate(figures):
            table.add_row(escape(name) if i == 0 else "", figure.name, *_cells(figure))
        table.add_section()
    Console(stderr=True).print(table)


def _cells(figure: "Figure") -> tuple[str, str, str]:
    def text(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    if figure.before is None or figure.after is None:
        return text(figure.before), text(figure.after), "-"
    return text(figure.before), text(figure.after), f"{figure.after - figure.before:+.3f}"


def _tell_run(result: "FinetuneResult", peak: float | None) -> None:
    learned, card = result.learned, result.card
    ends = {
        "done": "all its steps were done",
        "time": "the minutes were used up",
        "no better": "it became no better",
        "stopped": "it was stopped",
    }
    memory = "" if peak is None else f", {peak:.0f} MiB at most"
    say(
        f"{card.method}: {learned.steps} steps in {learned.seconds / 60:.1f} minutes, until "
        f"{ends[learned.why]}; {result.minutes:.1f} minutes with judging{memory}"
    )
    if card.figures and card.figures[0].after is None:
        say("not judged after: anymask evaluate does that")


def _facts(
    result: "FinetuneResult", order: "Order", refused: RunError | None, peak: float | None
) -> dict[str, Any]:
    """The outcome for programs."""
    from dataclasses import asdict

    return {
        "output": str(order.output) if refused is None else None,
        "refused": None if refused is None else line_of(refused),
        "card": asdict(result.card),
        "split": asdict(result.split),
        "ended": result.learned.why,
        "minutes": round(result.minutes, 2),
        "peak_mib": peak,
        "failed": [
            {"image_id": image_id, "error": line_of(error), "exit": exit_code(error)}
            for image_id, error in result.failed
        ],
    }
