"""Masks of a clip to index PNGs, one a frame, as DAVIS's programs and ours read them."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from anymask.errors import OutputError
from anymask.formats.atomic import ensure_folder, exists, write_atomic
from anymask.formats.davis import davis_png, mask_name
from anymask.formats.names import inside, safe_relative


class DavisWriter:
    """A folder of masks, such as ``Annotations/480p/bear``; each PNG is whole or not there.

    Parameters
    ----------
    folder
        Made and swept when needed.
    overwrite
        Replace PNGs that are there. Without it a folder that has any is an error, before the
        first frame.

    Raises
    ------
    OutputError
        ``file-exists``, ``folder-read-only`` and others of `anymask.formats.atomic.ensure_folder`.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self.folder, self._overwrite = folder, overwrite
        self._names: dict[str, int] = {}  # folded name -> frame
        ensure_folder(folder)
        if not overwrite:
            with os.scandir(folder) as entries:
                there = next((e.path for e in entries if e.name.lower().endswith(".png")), None)
            if there is not None:
                raise exists(Path(there))

    def add(self, frame: int, labels: Integer[np.ndarray, "H W"], file: str | None = None) -> Path:
        """The mask of one frame; where it was written.

        Parameters
        ----------
        frame
            Its index.
        labels
            Numbers of objects, 0 for none.
        file
            The frame's own file, whose name the PNG gets; the index if None.

        Raises
        ------
        OutputError
            ``name-clash``: two frames would have one PNG; ``name-unsafe``; ``labels-many``;
            ``disk-full`` and others of `anymask.formats.atomic.write_atomic`.
        """
        name = safe_relative(mask_name(frame, file))
        other = self._names.setdefault(str(name).casefold(), frame)
        if other != frame:
            raise OutputError(
                "name-clash",
                f"frames {other} and {frame} would have the same mask",
                given=str(name),
                hint="rename one, or number them",
            )
        path = inside(self.folder, name)
        write_atomic(path, davis_png(labels), overwrite=self._overwrite)
        return path
