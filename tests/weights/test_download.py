"""Weights come whole, once, and go on where they were (rows C4 to C10 of the specification)."""

import errno
import hashlib
import logging
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from anymask.errors import CheckpointError
from anymask.variants import Asset
from anymask.weights import download
from anymask.weights.download import fetch, without_secrets
from faults import Faults, faults_below  # noqa: F401 - the fixture `faults`
from weight_server import Server, cut_after, send_file, serving, status

DATA = random.Random(0).randbytes(700_000)
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test, no proxies from outside, and a clock that does not wait."""
    monkeypatch.setenv("ANYMASK_CACHE", str(tmp_path / "cache"))
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "cache"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr(download, "_sleep", waited.append)
    return waited


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(DATA) as state:
        yield state


def names(folder: Path) -> list[str]:
    """Files in a folder but for the lock, which stays."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def refused(asset: Asset) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        fetch(asset)
    return caught.value


def test_a_file_is_fetched_checked_and_named(server: Server, cache: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path = fetch(server.asset(), progress=lambda done, total: told.append((done, total)))
    assert path == cache / "weights.bin"
    assert path.read_bytes() == DATA
    assert names(cache) == ["weights.bin"]
    assert told[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_file_known_by_md5_alone_is_checked_by_it(server: Server, cache: Path) -> None:
    asset = server.asset(sha256=None, bytes=None, md5=hashlib.md5(DATA).hexdigest())
    assert fetch(asset).read_bytes() == DATA
    other = server.asset(file="other.bin", sha256=None, md5="0" * 32)
    assert refused(other).code == "weights-hash"


def test_c01_a_file_without_a_hash_in_the_table_is_not_fetched(server: Server) -> None:
    assert refused(server.asset(sha256=None)).code == "weights-unpinned"
    assert server.asked == []


# C4: killed, cut off, gone on with


@pytest.mark.parametrize("have", [1, 65_536, 300_000, len(DATA) - 1, len(DATA)])
def test_c04_a_part_is_gone_on_with(server: Server, cache: Path, have: int) -> None:
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(DATA[:have])
    assert fetch(server.asset()).read_bytes() == DATA
    assert server.starts() == ([have] if have < len(DATA) else [])
    assert names(cache) == ["weights.bin"]


def test_c04_a_whole_part_of_unknown_size_is_recognised(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(DATA)
    assert fetch(server.asset(bytes=None)).read_bytes() == DATA
    assert server.sent == [0]


def test_c04_a_server_that_cannot_send_parts_sends_all(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(DATA[:1000])
    server.ranges = False
    assert fetch(server.asset()).read_bytes() == DATA


@pytest.mark.parametrize("junk", [b"x" * 1000, b"x" * (len(DATA) + 5)], ids=["short", "too long"])
def test_c04_a_part_of_another_file_costs_one_more_try(
    server: Server, cache: Path, junk: bytes
) -> None:
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(junk)
    assert fetch(server.asset()).read_bytes() == DATA
    assert server.starts()[-1] == 0


def test_c04_a_connection_that_breaks_is_taken_up_again(server: Server, waits: list[float]) -> None:
    server.answers = [cut_after(100_000), cut_after(200_000)]
    assert fetch(server.asset()).read_bytes() == DATA
    first, second, third = server.starts()
    assert first == 0 < second <= 100_000 < third <= 300_000
    assert waits == [1.0, 2.0]


def test_c04_tries_that_bring_news_are_not_counted(
    server: Server, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_NEWS", 100_000)
    server.answers = [cut_after(131_072) for _ in range(5)]
    assert fetch(server.asset()).read_bytes() == DATA
    assert waits == [1.0] * 5


HELPER = """
import os, sys
import requests, pooch
from anymask.variants import Asset
from anymask.weights.download import fetch
url, size, sha256 = sys.argv[1:]
asset = Asset(file="weights.bin", url=url, bytes=int(size), sha256=sha256)
for line in sys.stdin:  # each line: fetch in a new process, whose number is printed
    child = os.fork()
    if child == 0:
        try:
            fetch(asset)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
"""


class Starter:
    """Starts processes that fetch, without waiting for an interpreter each time."""

    def __init__(self, asset: Asset) -> None:
        run = [sys.executable, "-c", HELPER]
        facts = [str(asset.url), str(asset.bytes), str(asset.sha256)]
        self.process = subprocess.Popen(
            [*run, *facts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture
def starter(server: Server) -> Iterator[Starter]:
    one = Starter(server.asset())
    yield one
    one.close()


def kill(number: int) -> None:
    os.kill(number, 9)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # until it is a zombie or gone: its locks are free then
        try:
            if Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.002)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def kill_downloads(server: Server, starter: Starter, cache: Path, times: int) -> None:
    """Kill downloads at any time; the name is never there before the file is whole."""
    chance, final = random.Random(1), cache / "weights.bin"
    server.pause_s = 0.004
    kept = 0
    for _ in range(times):
        number = starter.start()
        time.sleep(chance.uniform(0, 0.06))
        kill(number)
        if final.exists():
            assert final.read_bytes() == DATA
            final.unlink()
        part = cache / "weights.bin.part"
        if part.exists() and part.stat().st_size:
            kept += 1
            assert DATA.startswith(part.read_bytes())
    server.pause_s = 0
    assert kept > 0, "no kill came during a download: the test proves nothing"
    assert fetch(server.asset()).read_bytes() == DATA
    assert any(start > 0 for start in server.starts()), "nothing was ever gone on with"
    assert names(cache) == ["weights.bin"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_c04_twenty_kills_lose_nothing_and_leave_no_half_file(
    server: Server, starter: Starter, cache: Path
) -> None:
    kill_downloads(server, starter, cache, 20)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_c04_two_hundred_kills_lose_nothing_and_leave_no_half_file(
    server: Server, starter: Starter, cache: Path
) -> None:
    kill_downloads(server, starter, cache, 200)


# C5: several at once


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_c05_of_eight_processes_one_downloads(
    server: Server, starter: Starter, cache: Path
) -> None:
    server.pause_s = 0.02
    for _ in range(8):
        starter.start()
    wait_until((cache / "weights.bin").exists)
    starter.close()
    assert (cache / "weights.bin").read_bytes() == DATA
    assert server.sent == [len(DATA)]


def test_c05_of_eight_threads_one_downloads(server: Server) -> None:
    server.pause_s = 0.01
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(fetch(server.asset()))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 8
    assert server.sent == [len(DATA)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_c05_a_dead_owner_s_lock_is_taken_over_and_its_part_used(
    server: Server, starter: Starter, caplog: pytest.LogCaptureFixture
) -> None:
    server.pause_s = 0.05
    owner = starter.start()
    wait_until(lambda: server.sent and server.sent[0] > 200_000)
    done: list[Path] = []
    with caplog.at_level(logging.INFO, "anymask"):
        waiter = threading.Thread(target=lambda: done.append(fetch(server.asset())))
        waiter.start()
        wait_until(lambda: "another process is fetching" in caplog.text)
    assert len(server.asked) == 1
    server.pause_s = 0
    kill(owner)
    waiter.join(30)
    assert done[0].read_bytes() == DATA
    assert len(server.asked) == 2
    assert server.starts()[1] > 0


# C6: no network


def test_c06_a_cached_file_opens_no_socket_and_writes_nothing(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(server.asset())
    before = {p: p.stat().st_mtime_ns for p in [cache, *cache.iterdir()]}

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a socket, or a file to write")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, forbidden)
    monkeypatch.setattr(os, "open", forbidden)
    assert fetch(server.asset()) == cache / "weights.bin"
    assert {p: p.stat().st_mtime_ns for p in [cache, *cache.iterdir()]} == before


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_c06_without_a_network_the_path_and_the_address_are_named(
    cache: Path, waits: list[float]
) -> None:
    url = f"http://127.0.0.1:{closed_port()}/weights.bin"
    error = refused(Asset(file="weights.bin", url=url, sha256="0" * 64))
    assert error.code == "download-failed"
    assert str(cache / "weights.bin") in str(error)
    assert url in str(error)
    assert "refused" in str(error)
    assert len(waits) == download.TRIES - 1


# C7: a cache that cannot be written


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_c07_a_read_only_cache_names_the_setting(
    server: Server, faults: Faults, number: int, cache: Path
) -> None:
    faults.arm(0, number, forever=True)
    error = refused(server.asset())
    assert error.code == "cache-read-only"
    assert "ANYMASK_CACHE" in str(error)
    assert str(cache) in str(error)
    assert server.asked == []


def test_c07_a_file_in_a_read_only_cache_is_used_without_a_lock(
    server: Server, faults: Faults, cache: Path
) -> None:
    cache.mkdir()
    (cache / "weights.bin").write_bytes(DATA)
    faults.arm(0, errno.EROFS, forever=True)
    assert fetch(server.asset()) == cache / "weights.bin"
    assert [p.name for p in cache.iterdir()] == ["weights.bin"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="Linux")
def test_c07_a_place_that_is_really_read_only_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYMASK_CACHE", "/proc/anymask")
    assert "ANYMASK_CACHE" in str(refused(server.asset()))


# C8: no room


def test_c08_room_is_checked_before_the_first_byte(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(DATA[:10])
    usage = shutil.disk_usage(cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000))
    error = refused(server.asset())
    assert error.code == "cache-full"
    assert "1000 free" in str(error)
    assert f"needs {len(DATA) - 10 + (16 << 20)} bytes" in str(error)
    assert names(cache) == []


@pytest.mark.parametrize("forever", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "cache-full"),
        (errno.EDQUOT, "cache-full"),
        (errno.EIO, "cache-broken"),
        (errno.EROFS, "cache-read-only"),
    ],
    ids=["ENOSPC", "EDQUOT", "EIO", "EROFS"],
)
def test_c08_a_fault_of_the_disk_at_any_call_is_told_and_leaves_no_name(
    server: Server, faults: Faults, cache: Path, number: int, code: str, forever: bool
) -> None:
    server.data = DATA[:150_000]
    asset = server.asset()
    for error in faults.each(lambda: fetch(asset), number, forever=forever):
        if error is not None:
            assert isinstance(error, CheckpointError)
            assert error.code == code
            assert not (cache / "weights.bin").exists()
            if code != "cache-read-only" and cache.exists():
                assert names(cache) == []
    assert (cache / "weights.bin").read_bytes() == server.data
    assert faults.calls > 10


# C9: not what it should be


def test_c09_a_wrong_file_is_kept_apart_and_never_used(server: Server, cache: Path) -> None:
    wanted = server.asset()
    server.data = DATA[::-1]
    error = refused(wanted)
    assert error.code == "weights-hash"
    assert str(wanted.sha256) in str(error)
    assert hashlib.sha256(server.data).hexdigest() in str(error)
    assert names(cache) == ["weights.bin.bad"]
    server.data = DATA
    assert fetch(wanted).read_bytes() == DATA
    assert server.starts() == [0, 0]


def test_c09_a_file_of_another_size_is_refused_before_it_comes(server: Server, cache: Path) -> None:
    error = refused(server.asset(bytes=len(DATA) + 1))
    assert error.code == "download-size"
    assert str(len(DATA)) in str(error) and str(len(DATA) + 1) in str(error)
    assert names(cache) == []


def test_c02_a_web_page_instead_of_the_file_is_refused(server: Server, cache: Path) -> None:
    server.answers = [status(200, b"<html>Please log in", Content_Type="text/html; charset=x")]
    error = refused(server.asset())
    assert error.code == "download-refused"
    assert "web page" in str(error)
    assert names(cache) == []


# C10: proxies, TLS, busy servers, secrets


@pytest.mark.parametrize("code", [429, 500, 503])
def test_c10_a_busy_server_is_asked_again_as_it_wishes(
    server: Server, waits: list[float], code: int
) -> None:
    server.answers = [status(code, Retry_After="7"), status(code)]
    assert fetch(server.asset()).read_bytes() == DATA
    assert waits == [7.0, 2.0]


def test_c10_a_date_to_come_back_is_understood(server: Server, waits: list[float]) -> None:
    later = formatdate(time.time() + 30, usegmt=True)
    server.answers = [status(429, Retry_After=later), status(429, Retry_After="soon")]
    fetch(server.asset())
    assert 25 < waits[0] <= 30
    assert waits[1] == 2.0


def test_c10_after_three_tries_it_gives_up(server: Server, waits: list[float]) -> None:
    server.answers = [status(429)] * 9
    error = refused(server.asset())
    assert error.code == "download-failed"
    assert "429" in str(error)
    assert len(server.asked) == 3
    assert waits == [1.0, 2.0]


def test_c10_nobody_waits_for_an_hour(server: Server, waits: list[float]) -> None:
    server.answers = [status(429, Retry_After="3600")] * 9
    refused(server.asset())
    assert len(server.asked) == 1
    assert waits == []


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_c10_a_refusal_is_final(server: Server, waits: list[float], code: int) -> None:
    server.answers = [status(code)] * 9
    error = refused(server.asset())
    assert error.code == "download-refused"
    assert str(code) in str(error)
    assert len(server.asked) == 1


def test_c10_the_proxy_of_the_environment_is_used_with_its_password(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:s3cret@127.0.0.1:{server.port}")
    url = "http://weights.invalid/weights.bin"
    assert fetch(server.asset(url=url)).read_bytes() == DATA
    path, headers = server.asked[0]
    assert path == url
    assert headers["Proxy-Authorization"].startswith("Basic ")


def test_c10_hosts_that_need_no_proxy_get_none(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert fetch(server.asset()).read_bytes() == DATA


@pytest.mark.parametrize("answer", [status(407), status(502), None], ids=["407", "502", "gone"])
def test_c10_no_error_shows_a_secret(
    server: Server,
    answer: Any,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = server.port if answer else closed_port()
    server.answers = [answer] * 9
    monkeypatch.setenv("HTTP_PROXY", f"http://user:s3cret@127.0.0.1:{port}")
    url = "http://someone:hunter2@weights.invalid/weights.bin?Signature=abcdef&token=ghijkl"
    with caplog.at_level(logging.INFO):
        error = refused(server.asset(url=url))
    chain = [str(error), repr(error), repr(error.__cause__), repr(error.__context__), caplog.text]
    for secret in ("s3cret", "hunter2", "abcdef", "ghijkl"):
        assert not any(secret in text for text in chain)
    assert "weights.invalid/weights.bin" in str(error)


def test_c10_a_server_without_the_right_certificate_is_not_trusted(
    server: Server, waits: list[float]
) -> None:
    error = refused(server.asset(url=server.url.replace("http:", "https:")))
    assert error.code == "download-tls"
    assert "REQUESTS_CA_BUNDLE" in str(error)
    assert waits == []


@pytest.mark.parametrize("proxy", ["http://[", "nonsense://127.0.0.1:1"])
def test_c10_a_proxy_that_is_none_is_told(
    server: Server, proxy: str, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    assert refused(server.asset()).code == "download-failed"


def test_secrets_leave_addresses() -> None:
    text = "GET https://a:b@host/x?key=1 failed (proxy 'http://u:p@h:1/')"
    assert without_secrets(text) == "GET https://host/x failed (proxy 'http://h:1/')"


def test_a_server_that_counts_wrongly_is_asked_anew(
    server: Server, cache: Path, waits: list[float]
) -> None:
    def wrong_part(handler: Any) -> None:
        handler.headers.replace_header("Range", "bytes=5-")
        send_file(handler)

    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(DATA[:1000])
    server.answers = [wrong_part]
    assert fetch(server.asset()).read_bytes() == DATA


def test_a_part_longer_than_the_file_there_is_dropped(
    server: Server, cache: Path, waits: list[float]
) -> None:
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(DATA + b"more")
    assert fetch(server.asset(bytes=None)).read_bytes() == DATA
    assert server.starts()[-1] == 0
