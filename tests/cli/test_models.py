"""`anymask models`: what there is, whether it is here, and getting it."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anymask.cli import main, models
from anymask.variants import VARIANTS, Variant
from anymask.weights.cache import bundled
from tiny import TINY_SAM
from weight_server import Server, serving

DATA = random.Random(0).randbytes(200_000)
NANO = VARIANTS[0]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANYMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(DATA) as state:
        yield state


@pytest.fixture
def row(server: Server, monkeypatch: pytest.MonkeyPatch) -> Variant:
    """A row of the table whose weights the server has."""
    one = replace(TINY_SAM, name="remote", weights=server.asset())
    table = (NANO, one)
    monkeypatch.setattr(models, "VARIANTS", table)
    monkeypatch.setattr(models, "variant", {r.name: r for r in table}.__getitem__)
    return one


def run(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(["models", *args])
    out, err = capfd.readouterr()
    return code, out, err


def run_json(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, Any]:
    code, out, _ = run(capfd, *args, "--json")
    assert out.isascii()
    return code, json.loads(out)


def test_the_list_shows_every_row(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd)
    assert code == 0
    for variant in VARIANTS:
        line = next(line for line in out.splitlines() if f" {variant.name} " in line)
        assert f"{variant.parameters / 1e6:.1f} M" in line
        assert variant.licence in line
        assert ("bundled" if variant.weights.url is None else "not here") in line
        assert variant.summary.split()[0] in line


def test_the_list_as_json_is_for_programs(capfd: pytest.CaptureFixture[str]) -> None:
    code, told = run_json(capfd)
    assert code == 0
    assert [one["name"] for one in told["models"]] == [v.name for v in VARIANTS]
    nano = told["models"][0]
    assert nano["weights"] == "bundled"
    assert nano["file"] == str(bundled(NANO.weights))
    assert nano["bytes"] == bundled(NANO.weights).stat().st_size


def test_a_model_is_downloaded_verified_and_found(
    row: Variant, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, "download", "remote")
    assert (code, out) == (0, f"{cache / 'weights.bin'}\n")
    assert "remote is here now" in err
    assert (cache / "weights.bin").read_bytes() == DATA

    code, out, err = run(capfd, "download", "remote")
    assert code == 0 and "is here already" in err

    code, out, _ = run(capfd, "verify", "remote")
    assert code == 0 and "intact" in out and str(row.weights.sha256)[:12] in out
    assert run(capfd, "path", "remote")[:2] == (0, f"{cache / 'weights.bin'}\n")
    assert run_json(capfd)[1]["models"][1]["weights"] == "downloaded"


def test_the_same_as_json(row: Variant, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    here = {"name": "remote", "file": str(cache / "weights.bin")}
    assert run_json(capfd, "download", "remote") == (0, {**here, "bytes": len(DATA)})
    code, told = run_json(capfd, "verify", "remote")
    assert code == 0 and told["ok"] and told["file"] == here["file"]
    assert run_json(capfd, "path", "remote") == (0, here)


def test_bundled_weights_are_never_downloaded(
    server: Server, row: Variant, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, "download", "nano")
    assert code == 0 and "comes with anymask" in err
    assert out == f"{bundled(NANO.weights)}\n"
    assert run(capfd, "verify", "nano")[0] == 0
    assert server.asked == []


@pytest.mark.parametrize("command", ["verify", "path"])
def test_weights_that_are_not_here_are_answered_with_the_command_that_gets_them(
    row: Variant, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, command, "remote")
    assert (code, out) == (4, "")
    assert "anymask models download remote" in err
    code, told = run_json(capfd, command, "remote")
    assert (code, told["error"]["code"]) == (4, "weights-missing")


def test_c09_a_changed_file_does_not_pass(
    row: Variant, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(capfd, "download", "remote")
    (cache / "weights.bin").write_bytes(DATA[::-1])
    code, _, err = run(capfd, "verify", "remote")
    assert code == 4
    assert err.startswith("weights-hash: ") and str(row.weights.sha256) in err


def test_a_bundled_file_with_numbers_that_are_none_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    state = load_file(bundled(NANO.weights))
    next(iter(state.values())).view(-1)[0] = torch.nan
    save_file(state, tmp_path / NANO.weights.file)
    monkeypatch.setattr("anymask.weights.cache.bundled", lambda a: tmp_path / a.file)
    if NANO.weights.sha256 is None:
        code, _, err = run(capfd, "verify", "nano")
        assert code == 4 and err.startswith("weights-not-finite: ")
    else:
        assert run(capfd, "verify", "nano")[2].startswith("weights-hash: ")


def test_an_unknown_model_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capfd, "path", "sam-vit-x")
    assert code == 2
    assert "choose one of nano" in err


def test_without_a_terminal_a_line_comes_every_ten_seconds(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    now = [0.0]
    monkeypatch.setattr(models.time, "monotonic", lambda: now[0])
    with models.DownloadBar(Console(stderr=True), "sam") as bar:
        for second in range(21):
            now[0] = float(second)
            bar.show(second * 1_000_000, 375_042_383)
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["sam: 10.0 MB of 375 MB", "sam: 20.0 MB of 375 MB"]


@pytest.mark.parametrize(
    ("size", "said"), [(5, "5 B"), (1_500, "1.5 kB"), (14_336_498, "14.3 MB"), (2.56e9, "2.6 GB")]
)
def test_sizes_are_for_people(size: int, said: str) -> None:
    assert models.in_bytes(size) == said


def test_the_list_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from anymask.cli import main\n"
        "assert main(['models', '--json']) == 0\n"
        "print(sorted({'torch', 'numpy', 'requests'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
