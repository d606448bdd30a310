"""Which source of frames a thing is: by its kind, a file by its content, never by its name."""

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from anymask.errors import VideoError
from anymask.frames_animation import Animation
from anymask.frames_camera import open_camera
from anymask.frames_pictures import Indexed, folder_frames, list_frames, tar_frames
from anymask.frames_sniff import ANIMATED, demuxer_of, ends_early, head_of, what_it_is
from anymask.frames_source import FrameSource
from anymask.frames_stream import OnceFrames
from anymask.image_arrays import Options
from anymask.image_sniff import picture_kind

_URL = re.compile(r"(?i)[a-z][a-z0-9+.-]+:|subfile,")


def open_source(
    source: object, options: Options, *, rate: float | None, threads: int
) -> FrameSource:
    """The source of frames; `anymask.frames.open_frames` says of what, and with which errors."""
    if isinstance(source, int) and not isinstance(source, bool):
        return open_camera(source)
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(os.fsdecode(source)), options, rate, threads)
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return _from_file(lambda: io.BytesIO(data), options, threads, None)
    if callable(getattr(source, "read", None)):
        opened = _OpenFile(cast(BinaryIO, source))
        return _from_file(lambda: cast(BinaryIO, opened), options, threads, opened.name)
    if isinstance(source, Iterator):
        return OnceFrames(source, options, rate=rate)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        shape = getattr(source, "shape", None)
        if shape is not None and len(shape) not in (3, 4):
            raise VideoError(
                "video-kind",
                "an array of frames is (T, H, W, 3), or (T, H, W) in grey",
                given=tuple(shape),
            )
        return list_frames(cast(Indexed, source), options, rate)
    if hasattr(source, "__iter__"):
        return OnceFrames(iter(source), options, rate=rate)
    raise VideoError(
        "video-kind",
        "this has no frames",
        given=type(source).__name__,
        hint="give a path, bytes, a list or an array of pictures, an iterator or a camera's number",
    )


def _from_path(path: Path, options: Options, rate: float | None, threads: int) -> FrameSource:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if _URL.match(str(path)):
            raise VideoError(
                "video-url", "addresses are not fetched", given=str(path), hint="download it first"
            ) from error
        raise VideoError(
            "video-missing", "there is no such file", where=str(path), hint="check the path"
        ) from error
    if stat.S_ISDIR(mode):
        return folder_frames(path, options, rate)
    if stat.S_ISCHR(mode) and path.name.startswith("video"):
        return open_camera(str(path))
    if not stat.S_ISREG(mode):
        raise VideoError(
            "video-special",
            "this is a pipe or a device",
            where=str(path),
            hint="read it and pass the bytes; cameras have numbers",
        )

    def opener() -> BinaryIO:
        try:
            return path.open("rb")
        except OSError as error:
            raise VideoError(
                "video-locked", f"the file cannot be read ({error.strerror})", where=str(path)
            ) from error

    with opener() as file:
        is_tar = head_of(file)[257:262] == b"ustar"
    if is_tar:
        return tar_frames(path, options, rate)
    return _from_file(opener, options, threads, str(path))


def _from_file(
    opener: Callable[[], BinaryIO], options: Options, threads: int, where: str | None
) -> FrameSource:
    with opener() as file:
        size = file.seek(0, 2)
        head = head_of(file)
        demuxer = demuxer_of(head)
        cut = demuxer is not None and ends_early(file, demuxer, size)
    if not size:
        raise VideoError("video-empty", "the file has 0 bytes", where=where, hint="fetch it again")
    if picture_kind(head) in ANIMATED:
        return Animation(opener, options, where)
    if demuxer is None:
        raise VideoError(
            "video-not",
            f"this is no video but {what_it_is(head)}",
            given=head[:16],
            where=where,
            hint="give MP4, MOV, MKV, WebM, AVI, MPEG, Ogg, FLV, GIF, or a folder of pictures",
        )
    from anymask.frames_video import VideoFile  # FFmpeg loads here

    return VideoFile(opener, demuxer, options, cut=cut, size=size, threads=threads, where=where)


class _OpenFile:
    """A file of the caller's, read from its start as often as is needed and never closed."""

    def __init__(self, file: BinaryIO) -> None:
        name = getattr(file, "name", None)
        self.name = name if isinstance(name, str) else None
        try:
            file.seek(0)
            start = file.read(0)
        except (OSError, ValueError) as error:
            raise VideoError(
                "video-locked", f"the file cannot be read from its start ({error})", where=self.name
            ) from error
        if not isinstance(start, bytes):
            raise VideoError(
                "video-kind", "the file was opened as text", where=self.name, hint="open it as 'rb'"
            )
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """The caller closes it."""

    def __enter__(self) -> "_OpenFile":
        return self

    def __exit__(self, *error: object) -> None:
        """Left open."""
