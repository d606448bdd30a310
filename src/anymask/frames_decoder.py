"""One pass through a video file: its frames in the order in which they are decoded.

FFmpeg gets an open file and no name, may open nothing else, and is told which reader to use. A
packet that cannot be decoded is counted and passed over.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

from anymask.errors import MissingExtraError, VideoError
from anymask.frames_sniff import boxes_of

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_BUFFER = 1 << 18  # bytes read at a time
_MOST_FAULTS = 100  # one after the other: then nothing more is expected of the file


def need_av(where: str | None) -> Any:
    """The package av.

    Raises
    ------
    MissingExtraError
        ``missing-video``.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(
            "missing-video",
            "video files need the package av",
            where=where,
            hint="pip install 'anymask[video]', or give a folder of pictures",
        ) from error
    return av


class Decoder:
    """A pass that can be begun again, or taken up at a key frame.

    Parameters
    ----------
    opener
        Gives the open file, each time anew or from its start.
    demuxer
        FFmpeg's name of the reader.
    cut
        The file is known to end early: what is left of its last packet is no frame.
    threads
        That decode.
    where
        Its path.

    Attributes
    ----------
    lost
        Packets so far in this pass that gave no frame.
    """

    def __init__(
        self,
        opener: Callable[[], BinaryIO],
        demuxer: str,
        *,
        cut: bool,
        threads: int,
        where: str | None,
    ) -> None:
        self._av = need_av(where)
        self._opener, self._demuxer, self._cut = opener, demuxer, cut
        self._threads, self._where = threads, where
        self._container: InputContainer | None = None
        self._file: BinaryIO | None = None
        self.lost = 0
        self.restart()

    @property
    def stream(self) -> "VideoStream":
        """The video stream that is decoded."""
        return self._stream

    @property
    def codec_tag(self) -> str:
        """What the container calls the codec, such as ``avc1``; nothing where that is no text."""
        try:
            return str(self._stream.codec_context.codec_tag)
        except UnicodeDecodeError:
            return ""

    def restart(self) -> None:
        """Begin at the first frame.

        Raises
        ------
        VideoError
            ``video-broken``, ``video-unfinished``, ``video-no-picture``.
        """
        self.close()
        self._file = self._opener()
        self._file.seek(0)
        try:
            self._container = self._av.open(
                self._file,
                format=self._demuxer,
                buffer_size=_BUFFER,
                container_options={"protocol_whitelist": "none", "enable_drefs": "0"},
                io_open=_refuse,
            )
            self._choose_stream()
        except (self._av.error.FFmpegError, ValueError) as error:
            raise self._unopened(error) from error
        except OSError as error:
            self.close()
            raise self._unread(error) from error
        except BaseException:
            self.close()
            raise
        self._begin()

    def _choose_stream(self) -> None:
        """The largest video stream that is no cover of a record."""
        assert self._container is not None
        streams = [s for s in self._container.streams.video if not _is_cover(s)]
        if not streams:
            kinds = ", ".join(
                f"{s.type} ({s.codec_context.name})" if s.codec_context else s.type
                for s in self._container.streams
            )
            raise VideoError(
                "video-no-picture",
                f"there is no video in it, only {kinds or 'nothing'}",
                where=self._where,
                hint="give a file with a video stream",
            )
        known = [s for s in streams if s.codec_context is not None]
        if not known:
            raise VideoError(
                "video-codec",
                "this FFmpeg has no decoder for its video",
                where=self._where,
                hint="convert it to H.264 with a video tool",
            )
        self._stream = max(known, key=lambda s: s.width * s.height)

    def seek(self, pts: int) -> None:
        """Go to the key frame at or before a time; what comes next may still be before it."""
        assert self._container is not None
        self._container.seek(pts, backward=True, any_frame=False, stream=self._stream)
        self._begin()

    def next(self) -> "VideoFrame | None":
        """The next frame, None after the last."""
        return next(self._frames, None)

    def close(self) -> None:
        """Let go of the file."""
        self._frames: Iterator[VideoFrame] = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        context = self._stream.codec_context
        if not context.is_open:
            context.thread_count = self._threads
            context.thread_type = "AUTO" if self._threads > 1 else "NONE"
            context.flags |= self._av.codec.context.Flags.output_corrupt
        self.lost = 0
        self._frames = self._decoded()

    def _decoded(self) -> Iterator["VideoFrame"]:
        for packet in self._packets():
            try:
                yield from self._stream.codec_context.decode(packet)
            except self._av.error.EOFError:
                return
            except self._av.error.FFmpegError:
                self.lost += 1
        try:
            yield from self._stream.codec_context.decode(None)
        except self._av.error.FFmpegError:
            return

    def _packets(self) -> Iterator["Packet[VideoStream]"]:
        """Packets of the stream, up to where the file is cut off."""
        assert self._container is not None
        faults = 0
        while faults < _MOST_FAULTS:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.dts is None and packet.size == 0:
                        return  # the last: an empty one
                    if self._cut and packet.is_corrupt:
                        return
                    faults = 0
                    yield packet
                return
            except self._av.error.FFmpegError:
                faults += 1
            except OSError as error:  # of the disk, through FFmpeg
                raise self._unread(error) from error
        self.lost += 1

    def _unread(self, error: OSError) -> VideoError:
        return VideoError(
            "video-locked",
            f"the file cannot be read ({error.strerror or error})",
            where=self._where,
            hint="check the disk",
        )

    def _unopened(self, error: Exception) -> VideoError:
        file = self._file
        assert file is not None
        boxes = boxes_of(file, file.seek(0, 2)) if self._demuxer == "mov" else []
        self.close()
        if self._demuxer == "mov" and b"moov" not in [name for name, _, _ in boxes]:
            return VideoError(
                "video-unfinished",
                "the recording was cut off before its table of frames was written",
                where=self._where,
                hint="fetch it again, or rebuild it with a repair tool for MP4",
            )
        if self._cut:
            return VideoError(
                "video-truncated",
                "the file ends inside its header, before frame 0",
                where=self._where,
                hint="fetch it again",
            )
        strerror = getattr(error, "strerror", None) or error
        return VideoError(
            "video-broken",
            f"the file cannot be read ({strerror})",
            where=self._where,
            hint="fetch it again",
        )


def rate_of(stream: "VideoStream") -> float | None:
    """Mean frames a second as the file says."""
    rate: Fraction | None = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def _is_cover(stream: "VideoStream") -> bool:
    """A still picture that belongs to a sound file."""
    return bool(stream.disposition & stream.disposition.attached_pic)


def _refuse(url: str, flags: int, options: dict[str, str]) -> object:
    raise PermissionError(f"a video file asked for another file: {url!r}")
