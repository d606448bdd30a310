"""`anymask doctor`: what this machine has and lacks, in words; nothing is written."""

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from anymask.cli import doctor, main
from anymask.cli.doctor import Finding, State, examine
from anymask.variants import VARIANTS
from anymask.weights.cache import bundled


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path / "cache"


def found(name: str) -> Finding:
    return next(one for one in examine() if one.name == name)


def test_a_sound_machine_is_told_so(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capfd.readouterr().out
    for said in (
        "Python 3.",
        torch.__version__,
        "threads",
        "cores",
        "GB",
        str(cache),
        "anymask takes",
        "weights of nano",
        "anymask can do its work on this machine",
    ):
        assert said in out
    assert not cache.exists(), "it writes nothing"


def test_the_findings_are_there_for_programs(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    out = capfd.readouterr().out
    told = json.loads(out)
    assert out.isascii() and told["ok"]
    names = [one["name"] for one in told["findings"]]
    assert len(names) == len(set(names)) >= 9
    assert all(one["state"] in ("ok", "note") and one["text"] for one in told["findings"])


def test_l02_without_torch_it_still_speaks_and_exits_with_4(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["doctor"]) == 4
    out = capfd.readouterr().out
    assert 'pip install "torch>=2.10"' in out
    assert "broken: torch" in out
    assert main(["doctor", "--json"]) == 4
    assert not json.loads(capfd.readouterr().out)["ok"]


def test_c01_a_torch_with_holes_in_its_reader_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    assert found("torch").state is State.broken
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    assert found("torch").state is State.ok


def test_a_library_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    libraries = found("libraries")
    assert libraries.state is State.broken
    assert "pycocotools" in libraries.text and "cv2" not in libraries.text


@pytest.mark.parametrize(
    ("level", "machine", "state"),
    [
        ("AVX2", "x86_64", State.ok),
        ("AVX512", "AMD64", State.ok),
        ("DEFAULT", "x86_64", State.note),
        ("DEFAULT", "arm64", State.ok),
    ],
)
def test_x08_a_processor_without_avx2_is_noted(
    level: str, machine: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: level)
    monkeypatch.setattr(doctor.platform, "machine", lambda: machine)
    processor = found("processor")
    assert processor.state is state
    assert level in processor.text
    assert ("AVX2 everything is" in processor.text) == (state is State.note)


def test_little_memory_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    for memory, state in ((1_000_000_000, State.note), (8_000_000_000, State.ok), (None, "note")):
        monkeypatch.setattr(doctor, "total_memory", lambda m=memory: m)
        assert found("memory").state is State(state)


def test_c07_a_cache_that_cannot_be_written_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert found("cache").state is State.ok
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ANYMASK_CACHE", str(tmp_path / "file" / "cache"))
    cache = found("cache")
    assert cache.state is State.note
    assert cache.fix is not None and "ANYMASK_CACHE" in cache.fix


def test_what_downloads_left_behind_is_told(cache: Path) -> None:
    cache.mkdir()
    (cache / "sam.pth.part").write_bytes(b"x" * 2000)
    (cache / "sam.pth.bad").write_bytes(b"x" * 3000)
    (cache / "sam.pth").write_bytes(b"x")
    text = found("cache").text
    assert "5.0 kB" in text and "sam.pth.part" in text and "sam.pth.bad" in text


def test_a_missing_extra_comes_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in ("pillow-heif", "pillow_heif"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    extra = found("extra heic")
    assert extra.state is State.note
    assert extra.fix == 'pip install "anymask[heic]"'


def test_a_source_folder_without_an_installation_is_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", unknown)
    assert found("extras").state is State.note


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_broken_bundled_weights_are_told_and_exit_with_4(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asset = VARIANTS[0].weights
    if damage == "cut":
        whole = bundled(asset).read_bytes()
        (tmp_path / asset.file).write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr("anymask.weights.cache.bundled", lambda a: tmp_path / a.file)
    assert main(["doctor"]) == 4
    out = capfd.readouterr().out
    assert "broken: weights of nano" in out
    assert "install anymask again" in out


def test_other_weights_are_listed_as_here_or_to_be_had(cache: Path) -> None:
    remote = [row for row in VARIANTS if row.weights.url is not None]
    assert "downloaded: none" in found("other weights").text
    cache.mkdir()
    (cache / remote[0].weights.file).write_bytes(b"")
    assert f"downloaded: {remote[0].name}" in found("other weights").text
