"""The folder that `anymask track` fills: frame by frame, resumable after a kill at any moment.

    OUT/tracks.jsonl           a line a frame, in the order in which they were tracked
    OUT/masks/00000.png        a label map a frame
    OUT/overlay.mp4            to look at, when all frames are done or the run was stopped
    OUT/.anymask/run.json      what is asked of which video        (run_manifest)
    OUT/.anymask/lock          who is at work                      (run_lock)
    OUT/.anymask/state         what a tracker must know to go on
    OUT/.anymask/finals.json   what the run has put in place as a whole

A frame is done when its line is there; its label map is made of the line, so a missing one is made
again. A line that was cut off is taken away. Files of these names that the run did not write are
neither replaced nor removed.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from anymask.errors import RunError
from anymask.formats.atomic import ensure_folder, naming, sweep, write_atomic
from anymask.formats.run_files import changed, content_hash, taken
from anymask.formats.run_lock import RunLock
from anymask.formats.run_manifest import Plan, read_inputs, read_plan, write_manifest
from anymask.formats.track_lines import (
    TrackLine,
    TrackWriter,
    line_table,
    mend_lines,
    parse_line,
    read_track,
)

STATE = ".anymask"
LINES, MASKS, OVERLAY = "tracks.jsonl", "masks", "overlay.mp4"


class TrackFolder:
    """What is asked, which frames are done, and putting results in place. Use as a context.

    Parameters
    ----------
    root
        The folder.
    plan
        What is asked.
    video
        Its name, and the hash of its content.
    overwrite
        Begin anew where there are results already.

    Attributes
    ----------
    frames
        Numbers of the frames that are done, in the order in which they were.
    """

    def __init__(
        self, root: Path, *, plan: Plan, video: tuple[str, str | None], overwrite: bool = False
    ) -> None:
        self.root, self.state = root, root / STATE
        self.plan, self.video = plan, video
        self.frames: list[int] = []
        self._overwrite = overwrite
        self._made = False
        self._lines: TrackWriter | None = None
        self.lock = RunLock(self.state / "lock")
        self._manifest, self._finals = self.state / "run.json", self.state / "finals.json"
        self._state = self.state / "state"

    def __enter__(self) -> "TrackFolder":
        self._made = not self.root.exists()
        ensure_folder(self.root)
        with naming(self.state):
            self.state.mkdir(exist_ok=True)
        self.lock.take()
        try:
            with naming(self.state):
                sweep(self.state)
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def complete(self) -> bool:
        """Whether all frames are done and all files in place."""
        return bool(self._known().get("complete"))

    def mask_path(self, frame: int) -> Path:
        """Where the label map of a frame belongs."""
        return self.root / MASKS / f"{frame:05d}.png"

    def lines(self, *, back: bool = False) -> Iterator[TrackLine]:
        """What was written of the frames that are done, in their order, or the last one first.

        Raises
        ------
        DataError
            As `anymask.formats.track_lines.read_track`.
        """
        path = self.root / LINES
        if not path.exists():
            return
        if not back:
            yield from read_track(path)
            return
        with path.open("rb") as file:
            starts = [0]
            starts += [file.tell() for _ in iter(file.readline, b"")]
            for at in reversed(starts[:-1]):
                file.seek(at)
                yield parse_line(json.loads(file.readline()), str(path))

    def add(self, line: TrackLine, png: bytes | None) -> None:
        """One more frame is done.

        Parameters
        ----------
        line
            What is known of it.
        png
            Its label map, or None where none is wanted.

        Raises
        ------
        OutputError
            ``file-exists``: somebody else has put a label map there; else as `write_atomic`.
        """
        self.lock.check()
        if self._lines is None:
            self._lines = TrackWriter(self.root / LINES, resume=True)
        self._lines.add(line_table(line))
        self.frames.append(line.frame)
        if png is not None:
            self.add_mask(line.frame, png)

    def add_mask(self, frame: int, png: bytes) -> None:
        """Put the label map of a frame in place; errors as in `add`."""
        target = self.mask_path(frame)
        if os.path.lexists(target) and not self._overwrite:
            raise taken(target)
        write_atomic(target, png, overwrite=self._overwrite)

    def save_state(self, data: bytes) -> None:
        """Keep what a tracker must know to go on."""
        write_atomic(self._state, data, overwrite=True)

    def load_state(self) -> bytes | None:
        """What `save_state` was given last, None where there is nothing."""
        with naming(self._state), contextlib.suppress(FileNotFoundError):
            return self._state.read_bytes()
        return None

    def part(self, name: str) -> Path:
        """Where a file that has no name yet is written."""
        return self.state / name

    def check_final(self, name: str) -> None:
        """Refuse what is in the place of a file of all frames and is not the run's.

        Raises
        ------
        OutputError
            ``file-exists``, ``result-changed``.
        """
        target, known = self.root / name, self._known().get(name, [])
        if os.path.lexists(target) and not self._overwrite and content_hash(target) not in known:
            raise changed(target) if known else taken(target)

    def final(self, name: str, at: Path, *, complete: bool) -> Path:
        """Put a file of all frames in place of an earlier one of this run; errors as `check_final`.

        Parameters
        ----------
        at
            Where it lies, on the same disk.
        complete
            The run is done with this.
        """
        self.check_final(name)
        target = self.root / name
        table = self._known()  # every content that it was given: a kill may come between two
        self._write_known(table | {name: [*table.get(name, []), content_hash(at)]})
        with naming(target):
            os.replace(at, target)  # noqa: PTH105 - tests count the calls of os
        if complete:
            self.finish()
        return target

    def finish(self) -> None:
        """The run is done; what only going on would need is removed."""
        self._write_known(self._known() | {"complete": True})
        with naming(self._state):
            self._state.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go; a folder in which nothing was done is left as it was found."""
        try:
            if self._lines is not None:
                self._lines.close()
                self._lines = None
            if not self.frames:
                self._discard()
        finally:
            self.lock.release()

    def _open(self) -> None:
        old = read_plan(self._manifest)
        if old is not None and not self._overwrite:
            self._compare(old)
            self._mend()
            self.frames = [line.frame for line in self.lines()]
            return
        if old is not None:
            self._mend()
            for line in list(self.lines()):  # our own, which are made again
                self.mask_path(line.frame).unlink(missing_ok=True)
        elif not self._overwrite:
            for name in (LINES, OVERLAY, MASKS):
                target = self.root / name
                if os.path.lexists(target) and not _is_empty_folder(target):
                    raise taken(target)
        with naming(self.root):
            for path in (self.root / LINES, self._finals, self._state):
                path.unlink(missing_ok=True)
        write_manifest(self._manifest, self.plan, [self.video])

    def _compare(self, old: Plan) -> None:
        """Refuse to go on with another video or other settings."""
        found = [*self.plan.differences(old), *self.plan.moved(old)]
        ((name, sha256),) = read_inputs(self._manifest)
        if sha256 != self.video[1]:
            found.append(f"the video: {name}")
        if found or self.plan.kind != old.kind:
            raise RunError(
                "run-changed",
                "this folder holds a run of another video or other settings "
                f"({'; '.join(found) or old.kind})",
                where=str(self.root),
                hint="pass --overwrite to begin anew, or choose another folder",
            )

    def _mend(self) -> None:
        """Take away a last line that was cut off."""
        with naming(self.root / LINES):
            mend_lines(self.root / LINES)

    def _known(self) -> dict[str, Any]:
        """Hashes of what was put in place, and whether all is done."""
        try:
            table = json.loads(self._finals.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RunError(
                "run-broken",
                "this is no list of a run's files",
                where=str(self._finals),
                hint="choose another folder",
            ) from error
        return dict(table) if isinstance(table, dict) else {}

    def _write_known(self, table: Mapping[str, Any]) -> None:
        write_atomic(self._finals, json.dumps(table).encode("ascii"), overwrite=True)

    def _discard(self) -> None:
        """Remove our own files of a run that has no results."""
        with contextlib.suppress(OSError):
            for path in (self._manifest, self._finals, self._state, self.lock.path):
                path.unlink(missing_ok=True)
            for path in self.state.iterdir():
                path.unlink()
            self.state.rmdir()
            if self._made:
                self.root.rmdir()


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
