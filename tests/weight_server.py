"""A web server on the loopback for tests: serves one file, as well or badly as asked."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from anymask.variants import Asset


@dataclass
class Server:
    """What it serves and what it was asked.

    Attributes
    ----------
    data
        The file.
    answers
        Taken from the front, one a request: a function that answers in place of the usual way.
    ranges
        Whether it can send a part of the file.
    pause_s
        Between two pieces of 64 kB.
    asked
        (path, headers) of each request.
    sent
        Bytes of the body of each request.
    """

    data: bytes
    answers: list[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    ranges: bool = True
    pause_s: float = 0.0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    port: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/weights.bin"

    def asset(self, **changes: object) -> Asset:
        """What a row of the table would say of the file."""
        facts: dict[str, object] = {
            "file": "weights.bin",
            "url": self.url,
            "bytes": len(self.data),
            "sha256": hashlib.sha256(self.data).hexdigest(),
        }
        return Asset(**{**facts, **changes})  # type: ignore[arg-type]

    def starts(self) -> list[int]:
        """First byte that each request asked for."""
        return [
            int(h.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            for _, h in self.asked
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Listener"

    def do_GET(self) -> None:
        state = self.server.state
        state.asked.append((self.path, dict(self.headers)))
        state.sent.append(0)
        if state.answers:
            state.answers.pop(0)(self)
        else:
            send_file(self)

    def log_message(self, *args: object) -> None:
        pass


class _Listener(ThreadingHTTPServer):
    state: Server
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *args: object) -> None:
        pass  # killed clients are what these tests are about


def send_file(handler: BaseHTTPRequestHandler, cut: int | None = None) -> None:
    """The file, or what is left of it; `cut`: only so many bytes, though all were promised."""
    state: Server = handler.server.state  # type: ignore[attr-defined]
    data, start = state.data, 0
    wanted = handler.headers.get("Range")
    if wanted and state.ranges:
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(data):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(data)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    else:
        handler.send_response(200)
    body = data[start:]
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    number = len(state.sent) - 1
    for at in range(0, len(body[:cut]), 1 << 16):
        piece = body[at : at + (1 << 16)][: None if cut is None else cut - at]
        handler.wfile.write(piece)
        state.sent[number] += len(piece)
        if state.pause_s and state.closing.wait(state.pause_s):
            return
    if cut is not None:
        handler.close_connection = True


def status(code: int, body: bytes = b"", **headers: str) -> Callable[..., None]:
    """An answer of that status; `Retry_After="1"` becomes the header Retry-After."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def cut_after(count: int) -> Callable[[BaseHTTPRequestHandler], None]:
    """Promise all, send `count` bytes, hang up."""
    return lambda handler: send_file(handler, cut=count)


@contextmanager
def serving(data: bytes) -> Iterator[Server]:
    """A server for as long as the block runs."""
    listener = _Listener(("127.0.0.1", 0), _Handler)
    listener.state = state = Server(data=data, port=listener.server_address[1])
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        listener.shutdown()
        thread.join()
        listener.server_close()
