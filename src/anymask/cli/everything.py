"""`anymask everything`: all masks of pictures and whole folders, as files."""

import difflib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from anymask.cli.common import say
from anymask.errors import shown

_FORMATS = ("sa1b", "coco", "png", "panoptic")
_OFFICIAL = {  # names of SAM's script: ours
    "default": "sam-vit-h",
    "vit_h": "sam-vit-h",
    "vit_l": "sam-vit-l",
    "vit_b": "sam-vit-b",
}
_GRID, _AMG = "What counts as a mask", "As SAM's script amg.py has it"
_VIDEO = "A video"


def everything(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Pictures, folders of pictures, patterns in quotes, - for stdin, or a video.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Folder for the results."),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format", "-f", metavar="NAME", help="sa1b (as without), coco, png or panoptic."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="See: anymask models.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to use instead of the model's own."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    memory_mb: Annotated[
        int,
        typer.Option(metavar="MB", min=1, help="What finding masks may take beside the model."),
    ] = 512,
    mode: Annotated[
        str, typer.Option(metavar="NAME", help="exact: as the original finds them; or fast.")
    ] = "exact",
    roi: Annotated[
        str | None,
        typer.Option(metavar="X0,Y0,X1,Y1", help="Look only into this box of each picture, px."),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            metavar="PX", min=32, help="Look into larger pictures tile by tile, of this side."
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="A picture of all masks for each picture, too.")
    ] = False,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Sheets of small overlays of all pictures, too.")
    ] = False,
    max_failures: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Give up when more pictures than that failed."),
    ] = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="Go on although pictures or settings changed; what depends on them is made anew.",
        ),
    ] = False,
    points_per_side: Annotated[
        int, typer.Option(metavar="N", min=1, help="A grid of N x N points.", rich_help_panel=_GRID)
    ] = 32,
    pred_iou_thresh: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Least score; as without: the model's own.", rich_help_panel=_GRID
        ),
    ] = None,
    stability_score_thresh: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Least stability; as without: the model's.", rich_help_panel=_GRID
        ),
    ] = None,
    stability_score_offset: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="By how much stability moves the threshold.", rich_help_panel=_GRID
        ),
    ] = None,
    box_nms_thresh: Annotated[
        float,
        typer.Option(
            metavar="X", help="IoU of boxes from which two are one.", rich_help_panel=_GRID
        ),
    ] = 0.7,
    min_mask_region_area: Annotated[
        int,
        typer.Option(
            metavar="PX", min=0, help="Remove smaller holes and islands.", rich_help_panel=_GRID
        ),
    ] = 0,
    crop_n_layers: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Look into 4, 16 ... crops, too.", rich_help_panel=_GRID
        ),
    ] = 0,
    crop_nms_thresh: Annotated[
        float,
        typer.Option(metavar="X", help="As --box-nms-thresh, of crops.", rich_help_panel=_GRID),
    ] = 0.7,
    crop_overlap_ratio: Annotated[
        float,
        typer.Option(metavar="X", help="By how much neighbours overlap.", rich_help_panel=_GRID),
    ] = 512 / 1500,
    crop_n_points_downscale_factor: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Each layer's grid is coarser by this.", rich_help_panel=_GRID
        ),
    ] = 1,
    use_m2m: Annotated[
        bool,
        typer.Option("--use-m2m", help="Refine each mask by itself once.", rich_help_panel=_GRID),
    ] = False,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="WORDS", help="Only things of these names; repeatable."),
    ] = None,
    detector: Annotated[
        str, typer.Option(metavar="NAME", help="For --text; `anymask models` lists them.")
    ] = "coco",
    detector_weights: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For --text: where its weights lie.")
    ] = None,
    video: Annotated[
        bool,
        typer.Option(
            "--video", help="A folder, a tar or a GIF is one video.", rich_help_panel=_VIDEO
        ),
    ] = False,
    look_every: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Look for new things so often.", rich_help_panel=_VIDEO
        ),
    ] = 30,
    most: Annotated[
        int, typer.Option(metavar="N", min=1, help="Things at once.", rich_help_panel=_VIDEO)
    ] = 16,
    layout: Annotated[
        str | None,
        typer.Option(metavar="amg", help="Name folders and files so.", rich_help_panel=_AMG),
    ] = None,
    input_: Annotated[
        str | None,
        typer.Option("--input", metavar="PATH", help="One IMAGE.", rich_help_panel=_AMG),
    ] = None,
    model_type: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="vit_h, vit_l or vit_b.", rich_help_panel=_AMG),
    ] = None,
    convert_to_rle: Annotated[
        bool,
        typer.Option("--convert-to-rle", help="JSON, not pictures.", rich_help_panel=_AMG),
    ] = False,
    points_per_batch: Annotated[
        int | None,
        typer.Option(metavar="N", help="Ignored: see --memory-mb.", rich_help_panel=_AMG),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end.")
    ] = False,
) -> None:
    """Find all masks of pictures, or of whole folders.

    The model is asked at a grid of points; masks that it is sure of are kept, duplicates dropped.
    What is written for each picture is said by --format: its JSON as SA-1B has it, one COCO JSON
    for all, a folder of black and white pictures, or a label map in which masks do not overlap.

    A run can be stopped, or killed, at any time: the same command goes on from there, and the
    result is the same to the bit. Pictures that cannot be read are listed in failures.jsonl. Files
    that this command did not write are never replaced.

    Of a video, what is found on the first frame is tracked; on every n-th frame it is looked again,
    and where nothing is tracked new things begin. What is written is what anymask track writes.
    """
    given = [*(images or ()), *([input_] if input_ is not None else ())]
    if not given:
        raise typer.BadParameter("say which pictures, such as photos/", param_hint="IMAGE")
    if output is None:
        raise typer.BadParameter("say where the results go, such as -o out", param_hint="--output")
    _one_of(mode, ("exact", "fast"), "--mode")
    options = {
        "points_per_side": points_per_side,
        "pred_iou_thresh": pred_iou_thresh,
        "stability_score_thresh": stability_score_thresh,
        "stability_score_offset": stability_score_offset,
        "box_nms_thresh": box_nms_thresh,
        "crop_n_layers": crop_n_layers,
        "crop_nms_thresh": crop_nms_thresh,
        "crop_overlap_ratio": crop_overlap_ratio,
        "crop_n_points_downscale_factor": crop_n_points_downscale_factor,
        "min_mask_region_area": min_mask_region_area,
        "use_m2m": use_m2m,
        "mode": mode,
    }
    from anymask.cli.everything_video import EverythingVideo, is_video

    if video or any(is_video(each) for each in given):
        pictures_only = {
            "--format": format_,
            "--layout": layout,
            "--convert-to-rle": convert_to_rle,
            "--roi": roi,
            "--tile": tile,
            "--overlay": overlay,
            "--sheet": sheet,
            "--text": text,
            "--max-failures": max_failures,
        }
        asked = EverythingVideo(
            output=output,
            model=_model(model, model_type, checkpoint),
            checkpoint=checkpoint,
            device=device,
            options={**options, "memory_mb": memory_mb},
            look_every=look_every,
            most=most,
            as_json=json_,
        )
        raise typer.Exit(asked.run(given, pictures_only))
    chosen = _layout(format_, layout, convert_to_rle)
    if tile is not None and (roi is not None or crop_n_layers):
        raise typer.BadParameter("not together with --roi or crops", param_hint="--tile")
    from anymask.cli.asked import numbers
    from anymask.cli.everything_job import EverythingJob
    from anymask.cli.everything_run import Run
    from anymask.variants import variant

    phrases: tuple[str, ...] = ()
    if text:
        from anymask.detectors import detector_row
        from anymask.predict.text_phrases import parse_phrases

        detector_row(detector)  # an unknown one is refused at once
        phrases = parse_phrases(list(text))
    name = _model(model, model_type, checkpoint)
    if name is not None:
        variant(name)  # an unknown one is refused at once
    if points_per_batch is not None:
        say("note: points-per-batch: is ignored; --memory-mb says how much is done at once")
    job = EverythingJob(
        model=name,
        checkpoint=checkpoint,
        device=device,
        options=options,
        layout=chosen,
        roi=None if roi is None else numbers(roi, 4, "--roi X0,Y0,X1,Y1"),
        tile=tile,
        text=phrases,
        detector=detector,
        detector_weights=detector_weights,
        overlay=overlay,
        sheet=sheet,
    )
    with ExitStack() as stack:
        code = Run(
            job=job,
            output=output,
            memory_mb=memory_mb,
            max_failures=max_failures,
            accept=accept_changes,
            as_json=json_,
        ).all(given, stack)
    raise typer.Exit(code)


def _layout(format_: str | None, layout: str | None, rle: bool) -> str:
    """The row of `anymask.formats.everything` that three options name."""
    if layout is None:
        if rle:
            raise typer.BadParameter("is for --layout amg", param_hint="--convert-to-rle")
        return _one_of(format_ or _FORMATS[0], _FORMATS, "--format")
    _one_of(layout, ("amg",), "--layout")
    if format_ is not None:
        raise typer.BadParameter("not together with --layout", param_hint="--format")
    return "amg-rle" if rle else "amg"


def _model(model: str | None, model_type: str | None, checkpoint: Path | None) -> str | None:
    """Our name of the model that was named; None: a checkpoint says what it is."""
    if model is not None and model_type is not None:
        raise typer.BadParameter("not together with --model", param_hint="--model-type")
    if model_type is not None:
        return _OFFICIAL[_one_of(model_type, tuple(_OFFICIAL), "--model-type")]
    return model or ("nano" if checkpoint is None else None)


def _one_of(value: str, names: Sequence[str], option: str) -> str:
    if value in names:
        return value
    near = difflib.get_close_matches(value, names, 1)
    meant = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(names)}"
    raise typer.BadParameter(f"{shown(value)} is unknown; {meant}", param_hint=option)
