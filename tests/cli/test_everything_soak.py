"""`anymask everything` over very many pictures: they are streamed, row L10."""

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = """
import os, sys
from pathlib import Path
from anymask.cli.bench import peak_mib
from anymask.formats import run_folder
from anymask.formats.run_manifest import Plan

count, root = int(sys.argv[1]), Path(sys.argv[2])

class Many:
    def names(self):
        return (f"photo-of-the-series-{i}.jpg" for i in range(1, count + 1))
    def locate(self, name):
        return name

run_folder.content_hash = lambda path: "0" * 64
plan = Plan(kind="x", version="1", settings={}, machine={}, memory_mb=512)
for _ in range(2):
    with run_folder.RunFolder(
        root, plan=plan, source=Many(), planned=lambda name: (f"{name}.json",)
    ) as folder:
        for number, item in enumerate(folder.items(), 1):
            assert item.name == f"photo-of-the-series-{number}.jpg", item.name
            if number == 1 and not item.done:
                folder.keep(item, [])
        assert number == count
print(int(peak_mib()))
"""


def soak(count: int, root: Path) -> int:
    """Peak memory, MiB, of opening a run over that many pictures, twice."""
    args = ["nice", sys.executable, "-c", SOAK, str(count), str(root)]
    return int(subprocess.run(args, check=True, stdout=subprocess.PIPE).stdout)


def test_l10_many_pictures_are_streamed_in_their_order(tmp_path: Path) -> None:
    assert soak(3_000, tmp_path / "out") < 150


@pytest.mark.slow
def test_l10_a_million_pictures_take_less_than_300_mb(tmp_path: Path) -> None:
    assert soak(1_000_000, tmp_path / "out") < 300
