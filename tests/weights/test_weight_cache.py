"""Where weights lie, and what counts as a file there (rows C6 and C11 of the specification)."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pooch
import pytest

from anymask.errors import CheckpointError
from anymask.variants import VARIANTS, Asset
from anymask.weights import cache
from anymask.weights.download import fetch

DATA = b"weights"
ASSET = Asset(
    file="w.bin",
    url="http://127.0.0.1:9/w.bin",
    bytes=len(DATA),
    sha256=hashlib.sha256(DATA).hexdigest(),
    md5=hashlib.md5(DATA).hexdigest(),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYMASK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def test_the_cache_is_where_the_setting_says(folder: Path) -> None:
    assert cache.cache_folder() == folder
    assert cache.cache_path(ASSET) == folder / "w.bin"


@pytest.mark.parametrize("said", [None, ""])
def test_without_the_setting_it_is_the_platform_s_place(
    said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANYMASK_CACHE")
    if said is not None:
        monkeypatch.setenv("ANYMASK_CACHE", said)
    assert cache.cache_folder() == Path(pooch.os_cache("anymask"))


def test_a_setting_may_start_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANYMASK_CACHE", "~/weights")
    assert cache.cache_folder() == tmp_path / "weights"


def test_c11_a_linked_file_is_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(DATA)
    (folder / "w.bin").symlink_to(tmp_path / "elsewhere")
    assert cache.cached(ASSET) == folder / "w.bin"
    assert fetch(ASSET).read_bytes() == DATA


def test_c11_a_cache_that_is_a_link_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    monkeypatch.setenv("ANYMASK_CACHE", str(tmp_path / "link"))
    (tmp_path / "cache" / "w.bin").write_bytes(DATA)
    assert fetch(ASSET).read_bytes() == DATA


def test_c11_a_dangling_link_or_a_folder_is_no_file(folder: Path, tmp_path: Path) -> None:
    (folder / "w.bin").symlink_to(tmp_path / "gone")
    assert cache.cached(ASSET) is None
    (folder / "w.bin").unlink()
    (folder / "w.bin").mkdir()
    assert cache.cached(ASSET) is None


def test_a_bundled_file_is_looked_for_in_the_package_alone(folder: Path) -> None:
    (folder / "w.bin").write_bytes(DATA)
    assert cache.located(Asset(file="w.bin")) is None
    nano = VARIANTS[0].weights
    assert cache.located(nano) == cache.bundled(nano)


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_c09_a_hash_is_compared_and_both_are_shown(folder: Path, kind: str) -> None:
    (folder / "w.bin").write_bytes(DATA)
    right = {"sha256": ASSET.sha256, "md5": ASSET.md5}[kind]
    asset = Asset(file="w.bin", **{kind: right})
    cache.check_hash(asset, folder / "w.bin")
    (folder / "w.bin").write_bytes(DATA + b"!")
    with pytest.raises(CheckpointError) as caught:
        cache.check_hash(asset, folder / "w.bin")
    assert caught.value.code == "weights-hash"
    assert str(right) in str(caught.value)
    assert hashlib.new(kind, DATA + b"!").hexdigest() in str(caught.value)


def test_the_stronger_hash_counts() -> None:
    assert cache.digest(ASSET) == ("sha256", ASSET.sha256)
    with pytest.raises(CheckpointError, match=r"^weights-unpinned"):
        cache.digest(Asset(file="w.bin"))


def test_every_row_that_is_downloaded_is_pinned() -> None:
    for row in VARIANTS:
        if row.weights.url is not None:
            kind, value = cache.digest(row.weights)
            assert len(value) == {"sha256": 64, "md5": 32, "git blob": 40}[kind]


def test_c06_a_cached_file_needs_neither_torch_nor_an_http_client(folder: Path) -> None:
    (folder / "w.bin").write_bytes(DATA)
    code = (
        "import sys\n"
        "from anymask.variants import Asset\n"
        "from anymask.weights.download import fetch\n"
        "fetch(Asset(file='w.bin', url='http://127.0.0.1:9/', sha256='0' * 64))\n"
        "print(sorted({'torch', 'requests', 'numpy'} & sys.modules.keys()))"
    )
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_file_of_a_repository_is_known_by_the_name_that_git_gives_it(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"hello\n")
    asset = Asset(file="weights", git_blob="ce013625030ba8dba906f756967f9e9ca394464a")
    cache.check_hash(asset, path)
    path.write_bytes(b"hullo\n")
    with pytest.raises(CheckpointError, match=r"weights-hash.*git blob"):
        cache.check_hash(asset, path)
