"""A cache, a server and a clock that does not wait, for the tests of downloads."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from anymask.errors import CheckpointError
from anymask.variants import Asset
from anymask.weights import download
from anymask.weights.download import fetch
from weight_server import Server, serving

DATA = random.Random(0).randbytes(700_000)
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True, name="cache")
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test, no proxies from outside, and a clock that does not wait."""
    monkeypatch.setenv("ANYMASK_CACHE", str(tmp_path / "cache"))
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "cache"


@pytest.fixture(name="waits")
def no_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr(download, "_sleep", waited.append)
    return waited


@pytest.fixture(name="server")
def running_server() -> Iterator[Server]:
    with serving(DATA) as state:
        yield state


def names(folder: Path) -> list[str]:
    """Files in a folder but for the lock, which stays."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def refused(asset: Asset) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        fetch(asset)
    return caught.value
