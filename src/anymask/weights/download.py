"""Fetching weights: resumable, once for all processes, under its final name only when it is right.

While it comes the file is ``NAME.part``; a killed download goes on where it was. Then its hash is
checked: a right file gets its name, a wrong one is kept as ``NAME.bad`` and never used.
"""

import errno
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from anymask.errors import CheckpointError
from anymask.variants import Asset
from anymask.weights.cache import SETTING, cache_path, cached, digest, found_digest
from anymask.weights.locks import exclusive

if TYPE_CHECKING:
    from requests import Response

Progress = Callable[[int, int | None], None]

TRIES = 3  # in a row without news
_NEWS = 1 << 20  # bytes that make a try count as progress, so that it does not use up the tries
_CHUNK = 1 << 16
_TIMEOUT_S = (10.0, 30.0)  # to connect, between two pieces
_LONGEST_WAIT_S = 120.0  # that a server may ask for
_SPARE = 16 << 20  # bytes of the disk that are left free
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_FULL = {errno.ENOSPC, errno.EDQUOT}

_log = logging.getLogger(__name__)
_sleep = time.sleep


def fetch(asset: Asset, *, progress: Progress | None = None) -> Path:
    """A weight file in the cache, downloaded first where it is not there.

    Proxies and certificates are those of the environment (``HTTPS_PROXY``, ``NO_PROXY``,
    ``REQUESTS_CA_BUNDLE``). A file that is there opens no socket and writes nothing. Of several
    processes one downloads and the others wait; if it dies, the next goes on.

    Parameters
    ----------
    asset
        What to fetch.
    progress
        Called with bytes so far and bytes in all, None where unknown.

    Raises
    ------
    CheckpointError
        ``download-failed`` (no network, refused), ``-refused``, ``-size``, ``-tls``;
        ``weights-hash``; ``cache-full``, ``cache-read-only``, ``cache-broken``;
        ``weights-unpinned``, ``weights-missing`` (the row has no address).
    """
    there = cached(asset)
    if there is not None:
        return there
    digest(asset)  # nothing that cannot be checked is fetched
    path = cache_path(asset)
    if asset.url is None:
        raise CheckpointError(
            "weights-missing", "the file is not here, and has no address", where=str(path)
        )
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(
            path.with_name(path.name + ".lock"),
            lambda: _log.info("another process is fetching %s: waiting", path),
        ):
            if cached(asset) is None:  # else somebody else brought it meanwhile
                _bring(asset, part, path, progress)
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM}:
            with suppress(OSError):
                part.unlink()  # what it holds can no longer be trusted, or fills the disk
        _disk_fault(path, error)
    return path


def _bring(asset: Asset, part: Path, path: Path, progress: Progress | None) -> None:
    """Download, check, and give the file its name; a wrong resumed file is tried once from zero."""
    for resumed in (part.exists(), False):
        _transfer(asset, part, progress)
        kind, wanted = digest(asset)
        found = found_digest(asset, part)
        if found == wanted:
            os.replace(part, path)  # noqa: PTH105 - tests count the calls of os
            _sync_folder(path.parent)
            return
        bad = path.with_name(path.name + ".bad")
        os.replace(part, bad)  # noqa: PTH105
        if not resumed:
            break
        _log.warning("the resumed file is not what it should be: fetching it from the start")
    raise CheckpointError(
        "weights-hash",
        f"the {kind} of what came is {found}, it should be {wanted}",
        where=str(bad),
        hint=f"it is kept there and not used; try again, or put the right file at {path}",
    )


class _PassingError(Exception):
    """A try that failed in a way that may pass; `wait_s` is what the server asked for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait_s = reason, wait_s


def _transfer(asset: Asset, part: Path, progress: Progress | None) -> None:
    """Fill the part file, trying again where that may help."""
    failed = 0
    while True:
        before = _size(part)
        try:
            return _receive(asset, part, progress)
        except _PassingError as fault:
            reason, asked = fault.reason, fault.wait_s
        failed = 1 if _size(part) - before >= _NEWS else failed + 1
        wait = asked if asked is not None else float(2 ** (failed - 1))
        if failed >= TRIES or wait > _LONGEST_WAIT_S:
            _give_up(asset, "failed", reason)
        _log.info("%s: trying again in %.0f s", reason, wait)
        _sleep(wait)


def _receive(asset: Asset, part: Path, progress: Progress | None) -> None:
    """One request: append to the part file until all has come."""
    have = _size(part)
    if asset.bytes is not None and have > asset.bytes:
        part.unlink()
        have = 0
    if have and have == asset.bytes:
        return
    answer = _ask(asset, have)
    with answer:
        if answer.status_code == 416:  # nothing is left to send, or the file there is shorter
            if _span(answer)[1] != have:
                part.unlink()
                raise _PassingError("the file there has changed")
            return
        _refuse_bad_answers(asset, answer)
        if answer.status_code == 200 or _span(answer)[0] != have:
            if answer.status_code == 206:
                part.unlink()
                raise _PassingError("the server sent another part than was asked for")
            have = 0
        total = _total(asset, answer, have)
        if total is not None:
            _check_room(part, total - have)
        with part.open("ab" if have else "wb", buffering=0) as file:
            have = _write(answer, file.write, have, total, progress)
            os.fsync(file.fileno())
    if total is not None and have < total:
        raise _PassingError(f"the server stopped after {have} of {total} bytes")


def _ask(asset: Asset, have: int) -> "Response":
    """Send the request; faults of the network that may pass are a `_PassingError`."""
    import requests

    headers = {"Accept-Encoding": "identity", "User-Agent": "anymask"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        return requests.get(str(asset.url), headers=headers, stream=True, timeout=_TIMEOUT_S)
    except requests.exceptions.SSLError as error:
        kind, reason = "tls", _plain(error)
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise _PassingError(_plain(error)) from None
    except requests.exceptions.RequestException as error:  # an address or proxy that is none
        kind, reason = "failed", _plain(error)
    _give_up(asset, kind, reason)


def _refuse_bad_answers(asset: Asset, answer: "Response") -> None:
    status = answer.status_code
    if status in _AGAIN:
        raise _PassingError(f"the server answered {status} {answer.reason}", _retry_after(answer))
    if status not in (200, 206):
        _give_up(asset, "refused", f"the server answered {status} {answer.reason}")
    if answer.headers.get("Content-Type", "").lower().startswith("text/html"):
        _give_up(asset, "refused", "the server sent a web page (a log-in page of the network?)")


def _total(asset: Asset, answer: "Response", have: int) -> int | None:
    """Bytes of the whole file, as the server says, which must be what the row says."""
    said = answer.headers.get("Content-Length", "")
    encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
    total = have + int(said) if said.isdecimal() and not encoded else None
    if total is not None and asset.bytes is not None and total != asset.bytes:
        _give_up(
            asset, "size", f"the server's file has {total} bytes, it should have {asset.bytes}"
        )
    return total if total is not None else asset.bytes


def _write(
    answer: "Response",
    write: Callable[[bytes], int | None],
    have: int,
    total: int | None,
    progress: Progress | None,
) -> int:
    """Pieces to the file as they come; how many bytes it has in the end."""
    import requests

    pieces = answer.iter_content(_CHUNK)
    while total is None or have < total:
        try:
            piece = next(pieces, None)
        except requests.exceptions.RequestException:
            of = "" if total is None else f" of {total}"
            raise _PassingError(f"the connection broke after {have}{of} bytes") from None
        if piece is None:
            break
        view = memoryview(piece)
        while view:  # an unbuffered file may take less than it is given
            taken = write(view.tobytes()) or 0
            view = view[taken:]
            have += taken
        if progress is not None:
            progress(have, total)
    return have


def _check_room(part: Path, need: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if need + _SPARE > free:
        with suppress(OSError):
            part.unlink()
        raise CheckpointError(
            "cache-full",
            f"the download needs {need + _SPARE} bytes, the disk has {free} free",
            where=str(part.parent),
            hint=f"free some space, or set {SETTING} to a folder on another disk",
        )


def _disk_fault(path: Path, error: OSError) -> NoReturn:
    """Tell what the disk refused."""
    where = str(path.parent)
    hint = f"set {SETTING} to another folder"
    if error.errno in _FULL:
        code, problem = "cache-full", "the disk or the quota is full"
        with suppress(OSError):
            problem += f": {shutil.disk_usage(path.parent).free} bytes are free"
    elif error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        code, problem = "cache-read-only", "the weights are not here, and nothing can be written"
        hint += f", or put the file at {path}"
    else:
        code, problem = "cache-broken", f"the cache cannot be used ({error.strerror or error})"
    raise CheckpointError(code, problem, where=where, hint=hint) from error


def _give_up(asset: Asset, kind: str, reason: str) -> NoReturn:
    path = cache_path(asset)
    kept = f"; {_size(part)} bytes are kept" if (part := Path(f"{path}.part")).exists() else ""
    hints = {
        "tls": "if your network has certificates of its own, name them in REQUESTS_CA_BUNDLE",
        "failed": "is there a network? set HTTPS_PROXY if it needs a proxy",
    }
    hint = hints.get(kind, "try again later")
    raise CheckpointError(
        f"download-{kind}",
        f"{without_secrets(str(asset.url))} cannot be fetched: {reason}{kept}",
        where=str(path),
        hint=f"{hint}; or put the file there yourself",
    )


def _retry_after(answer: "Response") -> float | None:
    """Seconds that the server asks to wait: a number, or a date."""
    said = answer.headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said)
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    return None


def _span(answer: "Response") -> tuple[int | None, int | None]:
    """First byte and whole size of ``Content-Range``, None for what it does not say."""
    match = re.match(
        r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", answer.headers.get("Content-Range", "")
    )
    first, whole = match.groups() if match else (None, None)
    return (None if first is None else int(first)), (None if whole is None else int(whole))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def without_secrets(text: str) -> str:
    """A text whose addresses have lost user names, passwords and queries (signed addresses)."""
    text = re.sub(r"://[^/@\s'\"]*@", "://", text)
    return re.sub(r"\?[^\s'\")>]*", "", text)


def _plain(error: Exception) -> str:
    """What a fault of the network says, without secrets, in a few words."""
    text = without_secrets(str(error))
    inner = re.findall(r"(?:\[Errno -?\d+\] |\[SSL[^\]]*\] )[^'\"()]+", text)
    return (inner[-1] if inner else text).strip()[:160] or type(error).__name__


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
