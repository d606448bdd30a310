"""Weights come whole, once, and go on where they were (rows C4 and C5 of the specification)."""

import hashlib
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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

from anymask.variants import Asset
from anymask.weights import download
from anymask.weights.download import fetch
from weight_server import Server, cut_after, send_file


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
