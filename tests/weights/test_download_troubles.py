"""Downloads without a network, room, rights or a good server (rows C6 to C10, and C2)."""

import errno
import hashlib
import logging
import os
import shutil
import socket
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from downloads import (  # noqa: F401 - the fixtures
    DATA,
    names,
    no_waits,
    own_cache,
    refused,
    running_server,
)

from anymask.errors import CheckpointError
from anymask.variants import Asset
from anymask.weights import download
from anymask.weights.download import fetch, without_secrets
from faults import Faults, faults_below  # noqa: F401 - the fixture `faults`
from weight_server import Server, status

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
