"""`anymask everything` on a video: all masks of its first frame, tracked, and new ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from anymask.errors import shown


def is_video(path: str) -> bool:
    """Whether a file is a video, by its first bytes; animated pictures are pictures."""
    from anymask.frames_sniff import demuxer_of, head_of
    from anymask.image_sniff import picture_kind

    if not Path(path).is_file():
        return False
    try:
        with Path(path).open("rb") as file:
            head = head_of(file)
    except OSError:
        return False
    return picture_kind(head) is None and demuxer_of(head) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class EverythingVideo:
    """What is asked of a video.

    Attributes
    ----------
    output
        Folder of the results.
    model, checkpoint, device
        As `anymask.load` takes them.
    options
        As `anymask.MaskGenerator` takes them.
    look_every, most
        See `anymask.predict.video_found.FoundSettings`.
    as_json
        Lines go to stdout, too.
    """

    output: Path
    model: str | None
    checkpoint: Path | None
    device: str
    options: Mapping[str, Any]
    look_every: int
    most: int
    as_json: bool

    def run(self, given: Sequence[str], pictures_only: Mapping[str, object]) -> int:
        """Track everything; the exit code.

        Parameters
        ----------
        given
            What the command line names.
        pictures_only
            Options that are for pictures, as they were given.

        Raises
        ------
        typer.BadParameter
            One of those was given, or something beside the video.
        """
        from anymask.cli.track_run import Taken
        from anymask.cli.track_start import Found, Start

        for option, value in pictures_only.items():
            if value not in (None, False, []):
                raise typer.BadParameter("is for pictures, not for a video", param_hint=option)
        if len(given) > 1:
            problem = f"one video at a time: {shown(given[1])}"
            raise typer.BadParameter(problem, param_hint="IMAGE")
        return Start(
            video=given[0],
            output=self.output,
            kind="everything-video",
            taken=Taken(),
            asked=Found.everything(self.options, self.look_every, self.most),
            model=self.model,
            checkpoint=self.checkpoint,
            device=self.device,
            as_json=self.as_json,
        ).run()
